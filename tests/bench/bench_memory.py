#!/usr/bin/python3
"""memory.*: the allocator and the collector against Go's, and Boehm's where that says something.

Both sides are whole processes of the same work (rt_memory.c and go/memory, rt_pauses.c and
go/pauses), run in turn, with the settings they come with: collections when the heap has doubled, 4 MB
at least. Their results are compared where they have any: a lost object is not a fast one.
"""
import os
import sys

import interleaved as il
import peers

PROCS = 2
PATIENCE_S = 1200
GRAPH = 23  # 2^23 objects of 64 bytes: 512 MiB
KINDS_GRAPH = 19  # small, so that there are many pauses
REQUEST_ROUNDS = 3
REQUEST_ROWS = ("_gc_cpu", "_p50", "_p999", "_max", "_cpu")

# As published, of Go: the p99 pause under each setting in ms, and a store through two barriers.
PUBLISHED_BARRIERS = "published: 8 and 3.2 ns"
ADAPTIVE = "adaptive"  # ours only
SETTINGS = {  # name: (percent, limit, published pause)
    "default": ("100", None, 86),
    "50": ("50", None, 41),
    "50_limit": ("50", "760MiB", 29),
    ADAPTIVE: ("100", None, None),
}


def ours(program, row, n, **env):
    path = os.path.join(os.environ["BUILD_DIR"], "tests", "rt_" + program)
    env["RT_PROCS"] = str(PROCS)
    return lambda: il.run_json([path, row, str(n)], env, timeout=PATIENCE_S)


def go(program, row, n, **env):
    path = peers.go_program(program)
    env["GOMAXPROCS"] = str(PROCS)
    return lambda: il.run_json([path, row, str(n)], env, timeout=PATIENCE_S)


def both(program, row, n, rounds=il.ROUNDS):
    return il.rounds(ours(program, row, n), go(program, row, n), rounds)


def check_same(key, *sides):
    """All rounds of all sides came to the same result."""
    first = sides[0][0][key]
    for r in (r for side in sides for r in side):
        if r[key] != first:
            raise il.Broken(f"{key} differs between rounds or sides: {r[key]}, not {first}")


# Allocation ------------------------------------------------------------------------------------


def alloc(row, n, most):
    il.emit("memory." + row, "ns", both("memory", row, n), peers.go_name(), most=most)


def trees():
    boehm = peers.boehm_program("boehm_trees")
    got, others = il.take_turns({"ours": ours("memory", "trees", 20), "go": go("memory", "trees", 20),
                                 "boehm": lambda: il.run_json([boehm, "20"], timeout=PATIENCE_S)})
    check_same("checks", *got.values())
    pair = got["ours"], got["go"], others
    il.emit("memory.trees", "CPU s", pair, peers.go_name(), most=0.35)
    il.emit("memory.trees_rss", "MB", pair, peers.go_name(), most=1.0, key="max_rss", scale=1e-6)
    pair = got["ours"], got["boehm"], others
    il.emit("memory.trees_boehm", "CPU s", pair, peers.boehm_name(), goal="reported")
    il.emit("memory.trees_boehm_rss", "MB", pair, peers.boehm_name(), goal="reported", key="max_rss",
            scale=1e-6)


# Marking ---------------------------------------------------------------------------------------


def mark(row, **goal):
    pair = both("memory", row, GRAPH)
    check_same("check", pair[0], pair[1])
    for r in pair[0] + pair[1]:
        if r["objects"] < 2 ** GRAPH - 1:
            raise il.Broken(f"{row}: {r['objects']} objects are left of 2^{GRAPH}")
    il.emit(f"memory.{row}", "ns/obj", pair, peers.go_name(), **goal)


def barrier():
    pair = both("memory", "barrier", GRAPH)
    il.emit("memory.barrier", "ns", pair, peers.go_name(), most=0.35, published=PUBLISHED_BARRIERS)
    il.emit("memory.barrier_off", "ns", pair, peers.go_name(), key="off", goal="reported")


def barrier_kinds():
    """The three kinds, each against the one that is shipped, in turn."""
    ran, others = il.take_turns({
        "satb": ours("memory", "barrier_kinds", KINDS_GRAPH), "dijkstra": ours("memory_dijkstra", "barrier_kinds", KINDS_GRAPH),
        "hybrid": ours("memory_hybrid", "barrier_kinds", KINDS_GRAPH)})
    for kind in ("dijkstra", "hybrid"):
        pair = ran[kind], ran["satb"], others
        name = f"memory.barrier_kinds_{kind}"
        il.emit(name, "ns", pair, "satb", goal="reported")
        il.emit(name + "_off", "ns", pair, "satb", key="off", goal="reported")
        il.emit(name + "_pause", "us", pair, "satb", key="pause_p99", scale=1e6, goal="reported")
        il.emit(name + "_cycle_cpu", "ms", pair, "satb", key="cycle_cpu", scale=1e3, goal="reported")


# Pauses ----------------------------------------------------------------------------------------


def stw(name, parked):
    pair = both("pauses", "stw", parked)
    for side in pair[:2]:
        if sum(len(r["pauses"]) for r in side) < 300:
            raise il.Broken(f"{name}: fewer than 300 pauses")
    il.emit(name, "us", pair, peers.go_name(), most=0.5, key="pauses", value_of=il.pooled(0.99),
            scale=1e6)
    il.emit(name + "_max", "us", pair, peers.go_name(), goal="reported", key="pauses",
            value_of=il.pooled(1), scale=1e6)


def cycle_1m():
    il.emit("memory.cycle_1m", "ms", both("pauses", "cycle", 1_000_000), peers.go_name(), most=1.0)


# Requests --------------------------------------------------------------------------------------


def requests(name, rate):
    pair = both("pauses", "request", rate, REQUEST_ROUNDS)
    il.emit(name, "ms", pair, peers.go_name(), most=0.2)
    il.emit(name + "_gc_cpu", "CPUs", pair, peers.go_name(), most=0.35, key="gc_cpu")
    for key, unit in (("p50", "ms"), ("p999", "ms"), ("max", "ms"), ("cpu", "CPUs")):
        il.emit(f"{name}_{key}", unit, pair, peers.go_name(), goal="reported", key=key)


def columns(results, default):
    """What the table of settings says of one side."""
    def pause_ms(q):
        return il.pooled(q)(results, "pauses") * 1e3
    pauses = [s * 1e3 for r in results for s in r["pauses"]]
    medians = {key: il.median(results, key) for key in ("p50", "p999", "gc_cpu", "max_rss")}
    return {"mean pause ms": sum(pauses) / len(pauses), "p99 pause ms": pause_ms(0.99),
            "max pause ms": pause_ms(1), "p50 ms": medians["p50"],
            "p99 ms": il.median(results, "value"), "p99.9 ms": medians["p999"],
            "throughput %": (il.median(results, "throughput") / il.median(default, "throughput") - 1)
                            * 100,
            "GC CPUs": medians["gc_cpu"], "RSS MB": medians["max_rss"] / 1e6}


def settings_sides():
    for name, (percent, limit, _) in SETTINGS.items():
        mine, its = {"RT_GOGC": percent}, {"GOGC": percent}
        if limit:
            mine["RT_MEMLIMIT"] = its["GOMEMLIMIT"] = limit
        if name == ADAPTIVE:
            mine["RT_GCTUNE"] = "on"
        else:
            yield ("peer", name), go("pauses", "settings", 4000, **its)
        yield ("ours", name), ours("pauses", "settings", 4000, **mine)


def settings():
    """Requests at a paced rate, then as many as go, under each setting; all of them in turn."""
    got, others = il.take_turns(dict(settings_sides()), REQUEST_ROUNDS)
    got["peer", ADAPTIVE] = got["peer", "default"]
    for name, (_, _, published) in SETTINGS.items():
        pair = got["ours", name], got["peer", name], others
        table = {side: columns(got[side, name], got[side, "default"]) for side in ("ours", "peer")}
        said = {"published": f"p99 pause of Go, published: {published} ms"} if published else {}
        il.emit(f"memory.settings_{name}", "ms", pair, peers.go_name(), goal="reported",
                columns=table, **said)


# A row's name, what ends the names of the rows that come with it, and what measures them.
ROWS = (
    ("alloc_16", (), lambda: alloc("alloc_16", 30_000_000, 0.5)),
    ("alloc_16_ptr", (), lambda: alloc("alloc_16_ptr", 30_000_000, 0.5)),
    ("alloc_64", (), lambda: alloc("alloc_64", 20_000_000, 0.4)),
    ("alloc_64_ptr", (), lambda: alloc("alloc_64_ptr", 20_000_000, 0.4)),
    ("alloc_1024", (), lambda: alloc("alloc_1024", 4_000_000, 0.25)),
    ("alloc_1024_ptr", (), lambda: alloc("alloc_1024_ptr", 4_000_000, 0.25)),
    ("trees", ("_rss", "_boehm", "_boehm_rss"), trees),
    ("mark_random", (), lambda: mark("mark_random", most=0.25)),
    ("mark_local", (), lambda: mark("mark_local", goal="reported")),
    ("barrier", ("_off",), barrier),
    ("barrier_kinds", tuple(f"_{kind}{end}" for kind in ("dijkstra", "hybrid")
                            for end in ("", "_off", "_pause", "_cycle_cpu")), barrier_kinds),
    ("stw_p99_10", ("_max",), lambda: stw("memory.stw_p99_10", 10)),
    ("stw_p99_10k", ("_max",), lambda: stw("memory.stw_p99_10k", 10_000)),
    ("stw_p99_1m", ("_max",), lambda: stw("memory.stw_p99_1m", 1_000_000)),
    ("cycle_1m", (), cycle_1m),
    ("request_p99_1000", REQUEST_ROWS, lambda: requests("memory.request_p99_1000", 1000)),
    ("request_p99_4000", REQUEST_ROWS, lambda: requests("memory.request_p99_4000", 4000)),
    ("settings", tuple("_" + name for name in SETTINGS), settings),
)


def main():
    for name, others, row in ROWS:
        name = "memory." + name
        if any(il.wanted(name + end) for end in ("", *others)):
            with il.broken_rows_are_told(name):
                row()
    sys.exit(1 if il.broken else 0)


main()
