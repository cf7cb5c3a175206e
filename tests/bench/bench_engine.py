#!/usr/bin/python3
"""engine.*: what the delay engine adds to a delay of 10 ms, and what one TCP stream gets through"""
import contextlib
import fnmatch
import json
import os
import statistics
import sys

from delay_pair import Pair

ONLY = sys.argv[1] if len(sys.argv) > 1 else "*"
DELAY_MS = 10


def emit(name, unit, ours, peer, peer_name, goal, ok):
    print(json.dumps({"name": name, "unit": unit, "ours": ours, "peer": peer,
                      "peer_name": peer_name, "ratio": ours / peer if peer else None,
                      "goal": goal, "ok": ok}), flush=True)


def bench_delay_error(plain, delayed):
    """Round trips, delayed and not, in turns: the difference of the medians, less the delay."""
    base, slow = [], []
    for _ in range(8):
        base += plain.ping(count=40, interval=0.01)
        slow += delayed.ping(count=40, interval=0.01)
    error = statistics.median(slow) - statistics.median(base) - DELAY_MS
    emit("engine.delay_error_ms", "ms", round(error, 3), None, "", "<= 0.3 ms", error <= 0.3)


def bench_tcp(plain, delayed):
    """One stream each, in turns, 3 seconds after one of warming up: medians of three."""
    rates = [[pair.iperf("-t", "3", "-O", "1")["sum_received"]["bits_per_second"] / 1e9
              for pair in (plain, delayed)] for _ in range(3)]
    base, ours = (statistics.median(column) for column in zip(*rates))
    emit("engine.tcp_gbit", "Gbit/s", round(ours, 2), round(base, 2), "no delay", ">= 2 Gbit/s",
         ours >= 2)


rows = [(name, fn) for name, fn in (("engine.delay_error_ms", bench_delay_error),
                                    ("engine.tcp_gbit", bench_tcp)) if fnmatch.fnmatch(name, ONLY)]
if rows and os.geteuid() != 0:
    sys.exit("engine.*: network namespaces need root")
if rows:
    with contextlib.closing(Pair("bt-bench-plain")) as plain, \
            contextlib.closing(Pair("bt-bench-slow")) as delayed:
        delayed.rig("to", delay_ns=DELAY_MS * 1_000_000)
        for _, fn in rows:
            fn(plain, delayed)
