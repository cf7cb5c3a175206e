#!/usr/bin/python3
"""sched.*: the scheduler against Go, and its time to safepoint against the JVM's.

Both sides are whole processes of the same work (rt_sched.c, go/sched/main.go), run in turn.
"""
import os
import re
import subprocess
import sys

import interleaved as il
import peers

RT_SCHED = os.path.join(os.environ["BUILD_DIR"], "tests", "rt_sched")


def ours(row, n, procs, preempt="all"):
    return lambda: il.run_json([RT_SCHED, row, str(n)],
                               {"RT_PROCS": str(procs), "RT_PREEMPT": preempt})


def go(row, n, procs):
    program = peers.go_program("sched")
    return lambda: il.run_json([program, row, str(n)], {"GOMAXPROCS": str(procs)})


def against_go(name, unit, row, n, procs, **goal):
    il.emit(name, unit, il.rounds(ours(row, n, procs), go(row, n, procs)), peers.go_name(), **goal)


def spawn():
    against_go("sched.spawn", "ns", "spawn", 2_000_000, 1, most=0.35)


def switch():
    against_go("sched.switch", "ns", "switch", 5_000_000, 1, most=0.30)


def roundtrip():
    against_go("sched.roundtrip", "ns", "roundtrip", 1_000_000, 1, most=0.50)


def parked_rss():
    against_go("sched.parked_rss", "B", "parked_rss", 1_000_000, 2, most=1.6)


def parked_rss_printf():
    against_go("sched.parked_rss_printf", "B", "parked_rss_printf", 1_000_000, 2,
               goal="reported")


def stop(name, row, preempt, **goal):
    pair = il.rounds(ours(row, 300, 2, preempt), go("stop", 300, 2))
    il.emit(name, "us", pair, peers.go_name(), **goal)


def stop_signal():
    stop("sched.stop_signal", "stop", "signal", most=0.5)


def stop_poll():
    stop("sched.stop_poll", "stop_polling", "cooperative", most=0.1)


def stop_page():
    stop("sched.stop_page", "stop_polling", "page", goal="reported")


def sleeper():
    against_go("sched.sleeper", "us", "sleeper", 60, 2, most=0.1)


def jvm_ttsp(n):
    """p99 of the logged times to safepoint, of the thread dumps only."""
    def side():
        before = os.times()
        out = subprocess.run(["java", "-XX:+UseG1GC", "-Xlog:safepoint", "-cp",
                              peers.java_class("Ttsp"), "Ttsp", str(n)],
                             stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout
        after = os.times()
        us = sorted(int(ns) / 1e3 for ns in
                    re.findall(r'"ThreadDump".*?Reaching safepoint: (\d+) ns', out))
        if len(us) < n:
            raise il.Broken(f"java logged {len(us)} of {n} safepoints")
        return {"value": us[int((len(us) - 1) * 0.99)],
                "cpu_s": after.children_user + after.children_system
                         - before.children_user - before.children_system}
    return side


def ttsp_p99():
    pair = il.rounds(ours("ttsp", 500, 2), jvm_ttsp(500))
    for r in pair[0]:
        r["value"] = r["p99"]
    il.emit("sched.ttsp_p99", "us", pair, peers.java_name(), most=0.5)


def scaling(name, row, n):
    """Speed on two Ps over speed on one; each side's four programs run in turn. By the clock, which
    neighbours on the machine spoil, and by the CPU time of the busiest thread, where they do not
    count: how much less it has to do when there are two."""
    def both(side):
        def run():
            one, two = side(row, n, 1)(), side(row, n, 2)()
            return {"value": one["value"] / two["value"],
                    "of_busiest": one["busiest_s"] / two["busiest_s"],
                    "cpu_s": one["cpu_s"] + two["cpu_s"]}
        return run
    pair = il.rounds(both(ours), both(go))
    il.emit(name, "x", pair, peers.go_name(), goal="1 -> 2 Ps")
    il.emit(name + "_cpu", "x", pair, peers.go_name(), goal="1 -> 2 Ps", key="of_busiest")


def scale_spawn():
    scaling("sched.scale_spawn", "spawn_all", 4_000_000)


def scale_steal():
    scaling("sched.scale_steal", "steal", 200_000)


ROWS = (spawn, switch, roundtrip, parked_rss, parked_rss_printf, stop_signal, stop_poll, stop_page,
        sleeper, ttsp_p99, scale_spawn, scale_steal)


def main():
    for row in ROWS:
        name = "sched." + row.__name__
        if il.wanted(name):
            with il.broken_rows_are_told(name):
                row()
    sys.exit(1 if il.broken else 0)


main()
