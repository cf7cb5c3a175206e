#!/usr/bin/python3
"""What the runtime tells of its heap: metrics, profiles and pages of one process (program_heap.c)."""
import os
import re
import subprocess
import tempfile
import unittest

import harness

PROGRAM = os.path.join(harness.BUILD, "tests", "program_heap")
NODES, LARGE_BYTES = 20000, 1 << 20  # as the program has them
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf'({NAME})(?:\{{((?:{NAME}="(?:[^"\\\n]|\\["\\n])*",?)*)\}})? (\S+)\Z')
SUFFIXES = {"gauge": [""], "counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}


class Metrics:
    """OpenMetrics text, read strictly: whole families, one after another, no sample twice."""

    def __init__(self, text):
        self.kinds, self.samples = {}, {}
        lines = text.split("\n")
        assert lines[-2:] == ["# EOF", ""], lines[-2:]
        family = None
        for line in lines[:-2]:
            if line.startswith("# "):
                word, name, rest = line[2:].split(" ", 2)
                if word == "TYPE":
                    assert name not in self.kinds, f"{name} twice"
                    self.kinds[name], family = rest, name
                assert word in ("TYPE", "HELP", "UNIT") and name == family, line
                assert word != "UNIT" or name.endswith("_" + rest), line
                continue
            name, labels, value = SAMPLE.match(line).groups()
            assert name in [family + s for s in SUFFIXES[self.kinds[family]]], line
            assert (name, labels) not in self.samples, line
            self.samples[name, labels] = float(value)

    def __getitem__(self, name):
        return self.samples[name, None]

    def buckets(self, name):
        return [v for (n, _), v in self.samples.items() if n == name + "_bucket"]

    def slot(self, name, kind):
        return sum(v for (n, labels), v in self.samples.items()
                   if n == name and f'type="{kind}"' in labels)


class Heap(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        subprocess.run([PROGRAM, cls.folder], check=True, timeout=120)

    def text(self, name):
        with open(os.path.join(self.folder, name), encoding="utf-8") as f:
            return f.read()

    def metrics(self, name):
        return Metrics(self.text(name + ".metrics"))

    def test_metrics_count_what_was_allocated_and_freed(self):
        empty, full, dropped = (self.metrics(n) for n in ("empty", "full", "dropped"))
        made = full["rt_heap_allocs_total"] - empty["rt_heap_allocs_total"]
        self.assertGreaterEqual(made, NODES + 1)
        self.assertLess(made, NODES * 1.05)
        self.assertGreaterEqual(full["rt_heap_allocs_bytes_total"] - empty["rt_heap_allocs_bytes_total"],
                                NODES * 64 + LARGE_BYTES)
        self.assertGreaterEqual(full["rt_heap_live_bytes"], NODES * 64 + LARGE_BYTES)
        self.assertGreaterEqual(full["rt_heap_bytes"], NODES * 64 + LARGE_BYTES)
        self.assertGreaterEqual(full["rt_heap_mapped_bytes"], full["rt_heap_bytes"])
        self.assertGreaterEqual(full["rt_heap_goal_bytes"], full["rt_heap_live_bytes"])
        self.assertGreaterEqual(dropped["rt_heap_frees_total"], NODES)
        self.assertGreaterEqual(dropped["rt_heap_frees_bytes_total"], NODES * 64)
        self.assertLess(dropped["rt_heap_live_bytes"], NODES * 64)
        self.assertLess(dropped["rt_heap_objects"], NODES)

    def test_metrics_tell_slots_apart(self):
        full, dropped = self.metrics("full"), self.metrics("dropped")
        self.assertEqual(full.slot("rt_heap_slot_objects", "struct node"), NODES)
        self.assertEqual(full.slot("rt_heap_slot_bytes", "struct node"), NODES * 64)
        self.assertEqual(full.slot("rt_heap_slot_bytes", "large"), LARGE_BYTES)
        self.assertLess(dropped.slot("rt_heap_slot_objects", "struct node"), NODES)
        self.assertEqual(dropped.slot("rt_heap_slot_objects", "large"), 0)

    def test_metrics_follow_the_collector(self):
        empty, full, dropped = (self.metrics(n) for n in ("empty", "full", "dropped"))
        self.assertEqual(empty["rt_gc_cycles_total"], 0)
        self.assertEqual(empty["rt_gc_pause_seconds_count"], 0)
        self.assertGreaterEqual(full["rt_gc_cycles_total"], 1)
        self.assertEqual(dropped["rt_gc_cycles_total"], full["rt_gc_cycles_total"] + 2)
        self.assertGreaterEqual(dropped["rt_gc_pause_seconds_count"],
                                2 * dropped["rt_gc_cycles_total"], "a cycle has two pauses at least")
        self.assertGreater(dropped["rt_gc_pause_seconds_sum"], full["rt_gc_pause_seconds_sum"])
        self.assertEqual(dropped["rt_gc_cycle_mark_cpu_seconds_count"], dropped["rt_gc_cycles_total"])
        self.assertGreater(full["rt_gc_mark_cpu_seconds_total"], 0)
        self.assertAlmostEqual(full["rt_gc_mark_cpu_seconds_total"],
                               full["rt_gc_cycle_mark_cpu_seconds_sum"], places=6)
        self.assertIn(("rt_gc_assist_seconds_count", None), full.samples)

    def test_histograms_grow_up_to_their_count(self):
        full = self.metrics("full")
        for name in ("rt_gc_pause_seconds", "rt_gc_cycle_mark_cpu_seconds", "rt_gc_assist_seconds"):
            buckets = full.buckets(name)
            self.assertEqual(buckets, sorted(buckets))
            self.assertEqual(buckets[-1], full[name + "_count"])


if __name__ == "__main__":
    harness.main()
