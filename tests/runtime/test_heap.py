#!/usr/bin/python3
"""What the runtime tells of its heap: metrics, profiles and pages of one process (program_heap.c)."""
import math
import os
import re
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

import harness

PROGRAM = os.path.join(harness.BUILD, "tests", "program_heap")
RATE = 16384
# As the program has them.
NODES, LARGE_BYTES = 20000, 1 << 20
SMALLS, SMALL_BYTES = 400000, 32
MEDIUMS, MEDIUM_BYTES = 6000, 4096
HUGES, HUGE_BYTES = 200, 100000
ESCAPES = 20
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

    def bounds(self, name):
        return [float(re.search('le="([^"]+)"', labels)[1]) for n, labels in self.samples
                if n == name + "_bucket"]

    def cpu(self, name):
        return self.samples["rt_gc_cpu_seconds_total", f'class="{name}"']

    def slot(self, name, kind):
        return sum(v for (n, labels), v in self.samples.items()
                   if n == name and f'type="{kind}"' in labels)


def output(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout


class Profile:
    """What go tool pprof reads: values of each stack, functions the innermost first."""

    def __init__(self, path):
        self.raw = output("go", "tool", "pprof", "-raw", path)
        samples, rest = self.raw.split("\nLocations\n")
        locations, names = {}, None
        for line in rest.split("\nMappings\n")[0].split("\n"):
            first = re.match(r" +(\d+): 0x[0-9a-f]+ M=\d+ ?(.*)", line)
            if first:
                names = locations[first.group(1)] = []
            names += (first.group(2) if first else line).split()[:1]
        self.stacks = []
        for values, ids in re.findall(r"^ +((?:\d+ +)+\d+): ([\d ]+)$", samples, re.M):
            self.stacks.append(([int(v) for v in values.split()],
                                [name for i in ids.split() for name in locations[i]]))

    def of(self, function):
        """Sums of the four values."""
        found = [values for values, names in self.stacks if function in names]
        return [sum(column) for column in zip(*found)] or [0, 0, 0, 0]


def spread(n, size):
    """Six standard deviations of an estimate of n objects: one run in 500 million is beyond."""
    p = 1 - math.exp(-size / RATE)
    return 6 * math.sqrt(n * (1 - p) / p) + 1


class Heap(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        subprocess.run([PROGRAM, cls.folder], check=True, timeout=120,
                       env=dict(os.environ, RT_DEBUG=f"heapprofile={RATE}", RT_GOGC="77",
                                RT_MEMLIMIT="1GiB"))

    def text(self, name):
        with open(os.path.join(self.folder, name), encoding="utf-8") as f:
            return f.read()

    def metrics(self, name):
        return Metrics(self.text(name + ".metrics"))

    def profile(self, name):
        return Profile(os.path.join(self.folder, name))

    def assert_about(self, objects, space, n, size):
        self.assertAlmostEqual(objects, n, delta=spread(n, size))
        self.assertAlmostEqual(space, n * size, delta=spread(n, size) * size)

    def test_allocated_is_what_was_allocated_within_the_bounds_of_chance(self):
        p = self.profile("full.pb.gz")
        self.assert_about(*p.of("make_smalls")[:2], SMALLS, SMALL_BYTES)
        self.assert_about(*p.of("make_mediums")[:2], MEDIUMS, MEDIUM_BYTES)
        self.assert_about(*p.of("make_huges")[:2], HUGES, HUGE_BYTES)
        self.assert_about(*p.of("make_nodes")[:2], NODES, 64)

    def test_in_use_is_what_stays(self):
        full, half, none = (self.profile(n + ".pb.gz") for n in ("full", "half", "none"))
        self.assert_about(*full.of("make_mediums")[2:], MEDIUMS, MEDIUM_BYTES)
        self.assert_about(*half.of("make_mediums")[2:], MEDIUMS / 2, MEDIUM_BYTES)
        # A stale word may keep one, or the array of which it is an element.
        self.assertLess(none.of("make_mediums")[3], MEDIUMS * MEDIUM_BYTES / 50)
        self.assertLess(full.of("make_smalls")[3], SMALLS * SMALL_BYTES / 50)
        self.assertLess(full.of("make_huges")[3], HUGES * HUGE_BYTES / 50)
        self.assertEqual(none.of("make_mediums")[:2], full.of("make_mediums")[:2])

    def test_stacks_begin_with_who_called_the_runtime(self):
        tops = {tuple(names[:2]) for _, names in self.profile("full.pb.gz").stacks}
        for pair in (("make_smalls", "save_profiles"), ("make_mediums", "save_profiles"),
                     ("make_huges", "save_profiles"), ("make_nodes", "everything")):
            self.assertIn(pair, tops)
        self.assertEqual([top for top in tops if top[0].startswith(("rt_", "new_"))], [])

    def test_profiles_have_gos_four_values(self):
        heap, allocs = self.profile("full.pb.gz").raw, self.profile("allocs.pb.gz").raw
        kinds = r"alloc_objects/count alloc_space/bytes{} inuse_objects/count inuse_space/bytes{}\n"
        self.assertRegex(heap, kinds.format("", r"\[dflt\]"))
        self.assertRegex(allocs, kinds.format(r"\[dflt\]", ""))
        for raw in heap, allocs:
            self.assertIn("PeriodType: space bytes\n", raw)
            self.assertIn(f"Period: {RATE}\n", raw)

    def test_debug_1_is_gos_text_and_pprof_scales_it_alike(self):
        text = self.text("full1.txt")
        self.assertRegex(text, rf"\Aheap profile: \d+: \d+ \[\d+: \d+\] @ heap/{2 * RATE}\n"
                               r"\d+: \d+ \[\d+: \d+\] @( 0x[0-9a-f]+)+\n#\t0x[0-9a-f]+\t+make_mediums\+0x")
        self.assertIn("\n# runtime.MemStats\n", text)
        total = [int(n) for n in re.findall(r"\d+", text.split("@")[0])]
        rows = re.findall(r"^(\d+): (\d+) \[(\d+): (\d+)\] @ 0x", text, re.M)
        self.assertEqual(total, [sum(int(n) for n in column) for column in zip(*rows)])
        read = Profile(os.path.join(self.folder, "full1.txt"))
        whole = self.profile("full.pb.gz")
        # pprof names no functions of a text: all stacks together, but for rounding.
        for column in range(4):
            sums = [sum(values[column] for values, _ in p.stacks) for p in (read, whole)]
            self.assertAlmostEqual(sums[0] / sums[1], 1, places=2)

    def test_page_has_a_row_for_each_slot(self):
        text = self.text("heap.txt")
        rows = {name: [int(n) for n in numbers.split()]
                for numbers, name in re.findall(r"^((?: +\d+){7})  (.+)$", text, re.M)}
        number, cell, blocks, in_use, in_bytes, allocs, frees = rows["struct node"]
        self.assertEqual((cell, allocs, in_bytes), (64, NODES, in_use * 64))
        self.assertEqual(in_use, allocs - frees)
        self.assertGreater(number, 0)
        # 16 of 4096 bytes fill a block.
        self.assertGreaterEqual(rows["pointers"][2], MEDIUMS // 16)
        self.assertEqual(rows["large"][:2], [0, 0])
        self.assertEqual(rows["large"][5], HUGES + 1)

    def test_page_tells_sizes_settings_and_pauses(self):
        text = self.text("heap.txt")
        live = float(re.search(r"live ([0-9.]+) \(of the last", text).group(1))
        self.assertAlmostEqual(live, MEDIUMS * MEDIUM_BYTES / 2 ** 20, delta=3)
        self.assertRegex(text, r"\n  RT_GOGC +77\n  RT_MEMLIMIT +1024\.0 MiB\n  heap may have +\d+\.\d MiB\n")
        self.assertIn(f"heapprofile  {RATE} bytes\n", text)
        cycles = int(re.search(r"\n  (\d+) complete", text).group(1))
        self.assertGreaterEqual(int(re.search(r"\n  pause +n=(\d+) p50=", text).group(1)), 2 * cycles)
        self.assertGreaterEqual(len(re.search(r"last pauses, us\n (( [0-9.]+)+)\n", text).group(1).split()), 6)
        self.assertIn("heap samples 0\n", text)

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
        self.assertEqual(empty["rt_gc_percent"], 77)
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

    def test_the_collectors_cpu_is_told_by_class(self):
        full = self.metrics("full")
        cpu = {name: full.cpu(name) for name in ("assist", "mark", "pause")}
        self.assertAlmostEqual(cpu["mark"], full["rt_gc_mark_cpu_seconds_total"], places=6)
        self.assertAlmostEqual(cpu["pause"], full["rt_gc_pause_seconds_sum"], places=6)
        self.assertGreaterEqual(cpu["assist"], 0)

    def test_pauses_are_told_to_an_eighth(self):
        bounds = self.metrics("full").bounds("rt_gc_pause_seconds")
        self.assertEqual(bounds[0], 1024e-9)
        self.assertEqual(bounds[-1], math.inf)
        self.assertGreater(bounds[-2], 1)
        for low, high in zip(bounds, bounds[1:-1]):
            self.assertLessEqual(high, low * 1.126)
            self.assertGreater(high, low)

    def test_histograms_grow_up_to_their_count(self):
        full = self.metrics("full")
        for name in ("rt_gc_pause_seconds", "rt_gc_cycle_mark_cpu_seconds", "rt_gc_assist_seconds"):
            buckets = full.buckets(name)
            self.assertEqual(buckets, sorted(buckets))
            self.assertEqual(buckets[-1], full[name + "_count"])


class Escape(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([PROGRAM, folder], check=True, timeout=120,
                           env=dict(os.environ, RT_DEBUG="heapprofile=1,escape=1", ESCAPE="1"))
            with open(os.path.join(folder, "escape.txt"), encoding="utf-8") as f:
                cls.report = f.read()
            cls.html = xml.etree.ElementTree.parse(os.path.join(folder, "escape.html"))
        cls.parts = re.split(r"^(candidates|unknown|escape)(?::.*)?\n", cls.report, flags=re.M)

    def numbers(self, function):
        """(where it stands, died, kept, outlived, stored)"""
        for part, text in zip(self.parts[1::2], self.parts[2::2]):
            for head, top in re.findall(r"^(\d+ sampled of .*)\n#\t\S+\t(\w+)", text, re.M):
                if top == function:
                    return (part, *(int(n) for n in re.findall(r"\d+", head)[2:]))
        raise AssertionError(f"no {function} in {self.report}")

    def test_candidate_is_what_dies_in_its_frame(self):
        part, died, kept, outlived, stored = self.numbers("stays_in_its_frame")
        self.assertEqual((part, outlived, stored), ("candidates", 0, 0))
        self.assertGreaterEqual(kept, ESCAPES - 1)
        self.assertGreaterEqual(died, ESCAPES - 1)
        tops = re.findall(r" stored\n#\t\S+\t(\w+)", self.parts[2])
        self.assertEqual(tops, ["stays_in_its_frame"])

    def test_returned_or_in_a_global_has_outlived_its_frame(self):
        for function in "is_returned", "is_in_a_global":
            part, _, kept, outlived, stored = self.numbers(function)
            self.assertEqual((part, kept, stored), ("escape", 0, 0))
            self.assertGreaterEqual(outlived, ESCAPES - 1)

    def test_heat_map_colours_the_lines_that_allocate(self):
        source = os.path.join(harness.SOURCE, "tests", "runtime", "program_heap.c")
        self.assertEqual([h.text for h in self.html.iter("h2")], [source])
        lines = list(self.html.iter("div"))
        with open(source, encoding="utf-8") as f:
            self.assertEqual(len(lines), len(f.readlines()))
        hot = [(line.get("class"), line.text.split()) for line in lines if line.get("class")]
        self.assertIn(("candidate", str(ESCAPES * 512), "void *p = rt_new_bytes(ESCAPE_BYTES);"),
                      [(kind, words[1], " ".join(words[3:])) for kind, words in hot])
        self.assertIn(("escapes", "last = rt_new_bytes(ESCAPE_BYTES);"),
                      [(kind, " ".join(words[3:])) for kind, words in hot])

    def test_stored_or_sent_escapes_whatever_comes_of_it(self):
        for function in "is_stored", "is_sent":
            part, _, kept, _, stored = self.numbers(function)
            self.assertEqual((part, stored), ("escape", ESCAPES))
            self.assertGreaterEqual(kept, ESCAPES - 1)


class Stress(unittest.TestCase):
    def test_allocator_holds_when_every_object_is_sampled(self):
        for program in "test_alloc", "test_alloc_stress":
            run = subprocess.run([os.path.join(harness.BUILD, "tests", program)], text=True, timeout=300,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 env=dict(os.environ, RT_DEBUG="heapprofile=1"))
            self.assertEqual(run.returncode, 0, run.stdout)
            self.assertNotRegex(run.stdout, r"(?m)^not ok")


if __name__ == "__main__":
    harness.main()
