#!/usr/bin/python3
"""pool.*, arena.*, scoped.*: when it pays to use an object again, against rt_new and the collector.

CPU time for each object, the collector's included, on one P, beside 100 MB of live heap (1 MB in the
rows small_heap). A ratio below 1 says that it pays; what it saves is mostly the collector's work, which
grows with the object's size and the live heap, so small objects gain least. The rows against Go have Go's sync.Pool as their peer, with as much live heap.
"""
import os
import sys

import interleaved as il
import peers

RT_POOL = os.path.join(os.environ["BUILD_DIR"], "tests", "rt_pool")
COUNTS = {64: 4_000_000, 1024: 400_000, 16384: 24_000, 65536: 6_000}  # some cycles for rt_new
LIVE_MB = 100


def ours(way, size, n, live=LIVE_MB):
    return lambda: il.run_json([RT_POOL, way, str(size), str(n), str(live)], {"RT_PROCS": "1"})


def go(size, n):
    program = peers.go_program("pool")
    return lambda: il.run_json([program, str(size), str(n)], {"GOMAXPROCS": "1"})


def against_new(name, way, size, peer, live):
    n = COUNTS[size]
    il.emit(name, "ns", il.rounds(ours(way, size, n, live), ours(peer, size, n, live)), "rt_new",
            goal="shown")


def main():
    rows = [(f"{way}.{size}", way, size, "new", LIVE_MB) for way, sizes in
            (("pool", COUNTS), ("arena", (64, 1024, 16384)), ("scoped", (64, 1024))) for size in sizes]
    rows.append(("pool.with_reset_hook", "nodes", 64, "node", LIVE_MB))
    rows.append(("pool.64_small_heap", "pool", 64, "new", 1))
    rows.append(("pool.hook_small_heap", "nodes", 64, "node", 1))
    for name, *row in rows:
        if il.wanted(name):
            with il.broken_rows_are_told(name):
                against_new(name, *row)
    for size in (64, 16384):
        name = f"pool.go_{size}"
        if il.wanted(name):
            with il.broken_rows_are_told(name):
                il.emit(name, "ns", il.rounds(ours("pool", size, 5_000_000), go(size, 5_000_000)),
                        peers.go_name() + " sync.Pool", goal="shown")
    sys.exit(1 if il.broken else 0)


main()
