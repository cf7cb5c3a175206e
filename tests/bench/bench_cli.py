#!/usr/bin/python3
"""cli.*: start-up time, size of the binary, memory of a run on 1000 namespaces."""
import fnmatch
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import namespaces

BRUNT = os.environ["BRUNT"]
ONLY = sys.argv[1] if len(sys.argv) > 1 else "*"


def wanted(name):
    return fnmatch.fnmatch(name, ONLY)


def emit(name, unit, ours, peer, peer_name, goal, ok):
    print(json.dumps({"name": name, "unit": unit, "ours": ours, "peer": peer,
                      "peer_name": peer_name, "ratio": ours / peer if peer else None,
                      "goal": goal, "ok": ok}), flush=True)


def wall_ms(argv):
    start = time.perf_counter_ns()
    subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return (time.perf_counter_ns() - start) / 1e6


def bench_version():
    """A bare verb, interleaved with `tc -V`: medians of 41 pairs of whole processes."""
    pairs = [(wall_ms([BRUNT, "version"]), wall_ms(["tc", "-V"])) for _ in range(41)]
    ours, peer = (statistics.median(column) for column in zip(*pairs))
    emit("cli.version", "ms", round(ours, 3), round(peer, 3), "tc -V", "< 5 ms", ours < 5)


def bench_size():
    with tempfile.TemporaryDirectory() as d:
        path = shutil.copy(BRUNT, d)
        subprocess.run(["strip", path], check=True)
        mb = os.path.getsize(path) / 1e6
    tc = os.path.getsize(shutil.which("tc")) / 1e6
    emit("cli.size_stripped", "MB", round(mb, 3), round(tc, 3), "tc", "< 2 MB", mb < 2)




def peak_of(argv):
    """Exit code and VmHWM in KiB. wait4's ru_maxrss would be this interpreter's own: a child
    counts the memory it had before exec."""
    kib = 0
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as proc:
        while proc.poll() is None:
            with open(f"/proc/{proc.pid}/status", encoding="ascii") as f:
                kib = max([kib] + [int(line.split()[1]) for line in f if line.startswith("VmHWM")])
            time.sleep(0.02)
    return proc.returncode, kib


def bench_rss():
    """Peak resident memory of the owner process of a run on 1000 bare namespaces."""
    with namespaces.many(1000, "bt-rss") as group, tempfile.TemporaryDirectory() as d:
        manifest = os.path.join(d, "many.yaml")
        with open(manifest, "w", encoding="utf-8") as f:
            f.write(group.manifest("rate", "rate: {rate: 100mbit}", "2s"))
        code, kib = peak_of([BRUNT, "run", "--quiet", "--state-dir", d, manifest])
    # No traffic and no SLO: a run on bare namespaces is inconclusive (5) or passed, not an error.
    if code not in (0, 5):
        sys.exit(f"brunt run on 1000 namespaces ended with {code}")
    mb = kib / 1024
    emit("cli.run_rss_1000", "MiB", round(mb, 1), None, "", "< 20 MB", mb * 1.048576 < 20)


for row, fn in (("cli.version", bench_version), ("cli.size_stripped", bench_size),
                ("cli.run_rss_1000", bench_rss)):
    if wanted(row):
        fn()
