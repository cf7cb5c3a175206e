"""interleaved - two programs that do the same work, run in turn, compared by medians

A round runs each side once, whole processes, the order swapped from round to round. A side is a
function that runs once and returns {"value": ..., "cpu_s": ..., ...}. What the machine's CPUs did
for others meanwhile is told with the row: a row that was measured against neighbours says so.
"""
import contextlib
import fnmatch
import json
import os
import statistics
import subprocess
import sys
import time

ROUNDS = 7
ONLY = sys.argv[1] if len(sys.argv) > 1 else "*"


broken = []  # names of rows


class Broken(Exception):
    pass


def wanted(name):
    return fnmatch.fnmatch(name, ONLY)


def busy_seconds():
    """CPU time that the machine has spent since boot, other than idling."""
    with open("/proc/stat", encoding="ascii") as f:
        ticks = [int(t) for t in f.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def own_seconds():
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def run_json(argv, env=None, timeout=300):
    """The JSON object that a program printed last."""
    proc = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False, timeout=timeout,
                          env=dict(os.environ, **(env or {})))
    if proc.returncode:
        raise Broken(f"{' '.join(argv)} with {env} ended with {proc.returncode}")
    return json.loads(proc.stdout.splitlines()[-1])


def timed(side):
    start = time.monotonic()
    result = side()
    result["wall_s"] = time.monotonic() - start
    return result


def take_turns(sides, n=ROUNDS):
    """Results of each of the named sides, a list each, and what the neighbours used in CPUs."""
    got = {name: [] for name in sides}
    start, busy, own = time.monotonic(), busy_seconds(), own_seconds()
    for i in range(n):
        for name in sorted(sides, reverse=i % 2 == 1):
            got[name].append(timed(sides[name]))
    wall = time.monotonic() - start
    return got, max(0, busy_seconds() - busy - (own_seconds() - own)) / wall


def rounds(ours, peer, n=ROUNDS):
    """Results of both sides, a list each, and what the neighbours used in CPUs."""
    got, others = take_turns({"ours": ours, "peer": peer}, n)
    return got["ours"], got["peer"], others


def median(results, key="value"):
    values = [r[key] for r in results if key in r]
    return statistics.median(values) if values else None


def pooled(q):
    """Like median(), of lists: the quantile q of all rounds' values together."""
    def value_of(results, key):
        values = sorted(x for r in results for x in r[key])
        if not values:
            raise Broken(f"no round has any of {key}")
        return values[int((len(values) - 1) * q)]
    return value_of


def rounded(x):
    return None if x is None else float(f"{x:.5g}")


def emit(name, unit, pair, peer_name, goal="", most=None, least=None, key="value",
         value_of=median, scale=1, **fields):
    """A row. most/least: the goal as a limit of ours / peer; neither: the row is for information."""
    ours, peer, others = pair
    ours_value, peer_value = value_of(ours, key) * scale, value_of(peer, key) * scale
    ratio = ours_value / peer_value if peer_value else float("inf")
    ok = None
    if most is not None:
        goal, ok = f"<= {most} x", ratio <= most
    if least is not None:
        goal, ok = f">= {least} x", ratio >= least
    row = {"name": name, "unit": unit, "ours": rounded(ours_value),
           "peer": rounded(peer_value), "peer_name": peer_name, "ratio": rounded(ratio),
           "goal": goal, "ok": ok, "rounds": len(ours), "others_cpus": rounded(others)}
    for side, results in (("ours", ours), ("peer", peer)):
        row[f"{side}_all"] = [rounded(value_of([r], key) * scale) for r in results]
        row[f"{side}_cpu_s"] = rounded(median(results, "cpu_s"))
        row[f"{side}_wall_s"] = rounded(median(results, "wall_s"))
        row[f"{side}_gc_cycles"] = median(results, "gc_cycles")
    # Of whole processes; tells a slow row from one that waited for its turn on busy CPUs.
    row["ratio_cpu"] = rounded(median(ours, "cpu_s") / median(peer, "cpu_s"))
    print(json.dumps({**row, **fields}), flush=True)


@contextlib.contextmanager
def broken_rows_are_told(name):
    """A row that breaks says so and leaves the others their turn; the benchmark fails at its end."""
    try:
        yield
    except (Broken, subprocess.SubprocessError, OSError, KeyError, ValueError) as e:
        print(f"{name}: {e}", file=sys.stderr, flush=True)
        broken.append(name)
