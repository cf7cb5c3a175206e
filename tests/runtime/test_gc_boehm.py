#!/usr/bin/python3
"""Random programs on object graphs do the same on the runtime's heap and on Boehm's.

Each seed runs on both, beside a model that tells what can be reached; RT_GRAPH_SECONDS (8) bounds the whole, and
RT_GRAPH_SEED chooses the first seed.
"""
import os
import re
import subprocess
import time
import unittest

import harness

PROGRAMS = {heap: os.path.join(harness.BUILD, "tests", name)
            for heap, name in (("runtime", "program_graph"), ("boehm", "graph_boehm"))}
ROUNDS = 12
KEPT_MAX = 5.0  # percent of the garbage that words left over somewhere may keep; 0.3 is usual


def run(heap, seed):
    r = subprocess.run([PROGRAMS[heap], str(seed), str(ROUNDS)], capture_output=True, text=True, timeout=240,
                       check=False)
    if r.returncode != 0:
        raise AssertionError(f"{heap}, seed {seed}: {r.returncode}\n{r.stdout[-2000:]}{r.stderr[-4000:]}")
    return r.stdout


def garbage(text):
    m = re.search(r"garbage: (\d+) freed, (\d+) beside roots, (\d+) kept", text)
    return [int(n) for n in m.groups()]


class Graphs(unittest.TestCase):
    def test_same_objects_on_both_heaps(self):
        seed = int(os.environ.get("RT_GRAPH_SEED", "1"))
        until = time.monotonic() + float(os.environ.get("RT_GRAPH_SECONDS", "8"))
        totals = {heap: [0, 0, 0] for heap in PROGRAMS}
        first = True
        while first or time.monotonic() < until:
            rounds = {}
            for heap in PROGRAMS:
                text = run(heap, seed)
                rounds[heap] = re.findall(r"round (\d+): (\d+) reachable, digest ([0-9a-f]+)", text)
                totals[heap] = [a + b for a, b in zip(totals[heap], garbage(text))]
            self.assertEqual(len(rounds["runtime"]), ROUNDS)
            self.assertEqual(rounds["runtime"], rounds["boehm"], f"seed {seed}")
            seed, first = seed + 1, False
        print(f"# seeds up to {seed - 1}", flush=True)
        for heap, (freed, near, kept) in totals.items():
            print(f"# {heap}: {freed} objects freed; kept at a look: {near} by the end of an object that is another's "
                  f"start, {kept} by other words ({100 * kept / (freed + kept):.3f} %)", flush=True)
        freed, _, kept = totals["runtime"]
        self.assertGreater(freed, 1000)
        self.assertLess(100 * kept / (freed + kept), KEPT_MAX)


if __name__ == "__main__":
    harness.main()
