#!/usr/bin/python3
"""The game day of the collector's settings: its manifests, a short run of all four, its table's sums."""
import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import re

import harness

PATIENT = True

EXPERIMENTS = os.path.join(harness.SOURCE, "experiments")
DAY = os.path.join(EXPERIMENTS, "gc-settings.yaml")
SETTINGS = {"default": {}, "gogc-50": {"RT_GOGC": "50"},
            "memlimit": {"RT_GOGC": "50", "RT_MEMLIMIT": "48MiB"}, "adaptive": {"RT_GCTUNE": "on"}}


def script():
    loader = importlib.machinery.SourceFileLoader("gc_days", os.path.join(EXPERIMENTS, "gc-days"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("gc_days", loader))
    loader.exec_module(module)
    return module


def shortened():
    """The game day with short windows, at rates that a build with sanitizers keeps up with, and with
    bounds that it cannot miss: a day without a steady state has no figures."""
    with open(DAY, encoding="utf-8") as f:
        text = f.read()
    for old, new, times in ((r"timeline: .*", "timeline: {baseline: 5s, fault: 3s, recovery: 0s}", 1),
                            (r"rate: 1GiB", "rate: 128MiB", 1), (r"rate: 500/s", "rate: 50/s", 1),
                            (r"rate >= 400", "rate >= 40", 1), (r"<= \d+m?s\b", "<= 1h", 6),
                            (r"<= 256MiB", "<= 4GiB", 1),
                            (r"lab/gc-default.yaml", rf"{EXPERIMENTS}/\g<0>", 1)):
        text, n = re.subn(old, new, text)
        assert n == times, (old, n)
    return text


def report(measured, verdict="passed", window="fault"):
    """A run's record as far as the table reads it; measured: {slo: {stat: (value, samples)}}."""
    slos = [{"name": slo, "objectives": [
        {"objective": f"{stat} <= 1", "window": w, "value": v if w == window else 1e12, "samples": n}
        for stat, (v, n) in stats.items() for w in ("baseline", window)]}
            for slo, stats in measured.items()]
    return {"run": "r", "verdict": verdict, "sentence": "as it was", "slos": slos, "exit_code": 0,
            "windows": {"baseline": {"start_ms": 0, "end_ms": 1000},
                        "fault": {"start_ms": 1000, "end_ms": 6000}},
            "faults": [{"requested": "a storm"}]}


def made_up(pauses=(1e6, 2e6, 9e6), n=100, joins=(1e6, 2e6, 3e6), served=100.0, cpu=0.5, gc=0.1, rss=50e6,
            live=30e6):
    return {"join": {stat: (v, 2500) for stat, v in zip(("p50", "p99", "p99.9"), joins)},
            "pause": {stat: (v, n) for stat, v in zip(("mean", "p99", "max"), pauses)},
            "collector": {"rate": (gc, 9)}, "percent": {"mean": (gc * 1000, 9)}, "live": {"mean": (live, 9)},
            "memory": {"max": (rss, 9)}, "served": {"rate": (served, 9)}, "cpu": {"rate": (cpu, 9)}}


class Sums(harness.Case):
    def setUp(self):
        super().setUp()
        self.days = script()

    def lines(self, got):
        head, lines = self.days.table(got)
        return {line[0]: dict(zip(head, line)) for line in lines}

    def test_rounds_come_together_as_the_caption_says(self):
        default = [report(made_up(served=100, cpu=0.5)), report(made_up(served=300, cpu=1.0))]
        other = [report(made_up((1e6, 2e6, 9e6), 100, (1e6, 10e6, 100e6), 90, 0.5, 0.1, 50e6, 30e6)),
                 report(made_up((4e6, 6e6, 7e6), 300, (3e6, 30e6, 300e6), 240, 1.0, 0.3, 70e6, 34e6),
                        "failed")]
        lines = self.lines({"default": default, "gogc-50": other})
        self.assertEqual(lines["default"]["throughput %"], 0)
        want = {"mean pause ms": (1 * 100 + 4 * 300) / 400, "p99 pause ms": 4, "max pause ms": 9,
                "pauses": 400, "join p50 ms": 2, "p99 ms": 20, "p99.9 ms": 200,
                "throughput %": -15, "GC CPUs": 0.2, "GOGC": 200, "RSS MB": 60, "live MB": 32}
        for column, value in want.items():
            self.assertAlmostEqual(lines["gogc-50"][column], value, msg=column)
        self.assertEqual(lines["gogc-50"]["verdict"], "passed, failed")
        self.assertEqual(set(want), set(self.days.COLUMNS), "each column was tried")

    def test_throughput_compares_with_the_default_of_the_same_round(self):
        default = [report(made_up(served=100)), report(made_up(served=50))]
        other = [report(made_up(served=110)), report(made_up(served=55))]
        lines = self.lines({"default": default, "adaptive": other})
        self.assertAlmostEqual(lines["adaptive"]["throughput %"], 10)

    def test_what_was_published_stands_beside_its_setting(self):
        lines = self.lines({name: [report(made_up())] for name in SETTINGS})
        self.assertEqual([lines[name]["Go's p99 ms"] for name in SETTINGS], [86, 41, 29, None])

    def test_a_run_without_a_fault_window_is_no_figure(self):
        unsteady = report(made_up(), "inconclusive", window="recovery")
        with self.assertRaisesRegex(self.days.Broken, "no .* was measured: as it was"):
            self.days.table({"default": [unsteady]})

    def test_a_run_without_a_steady_state_is_run_again_and_no_other(self):
        steady, other = report(made_up()), report(made_up(), "failed")
        unsteady = dict(steady, windows={"baseline": {}}, sentence="no steady state")
        for runs, want, used in (([unsteady, steady, other], steady, 2), ([other, steady], other, 1),
                                 ([unsteady] * 4, unsteady, 3)):
            days = self.days.Days(self.dir, DAY, self.dir)
            days.run = lambda *_, left=runs: left.pop(0)
            before = len(runs)
            with contextlib.redirect_stdout(io.StringIO()):  # the test's own is TAP
                self.assertIs(days.day("default", 1), want)
            self.assertEqual(before - len(runs), used)

    def test_the_caption_tells_the_rounds_and_the_rates(self):
        text = self.days.caption({"default": [report(made_up())] * 3}, 0.25)
        self.assertIn("3 rounds of the four", text)
        self.assertIn("a storm beside 500 joins a second, for 5 s", text)
        self.assertIn("Others used 0.25 CPUs", text)


@harness.unittest.skipUnless(os.geteuid() == 0, "a lab needs root")
class Days(harness.Case):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.brunt, "lab", "down", "--all", "--now")

    def test_each_setting_is_planned_and_reaches_the_server(self):
        r = self.brunt("validate", DAY)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        for name, env in SETTINGS.items():
            r = self.brunt("lab", "up", "--name", name, "-f", f"{EXPERIMENTS}/lab/gc-{name}.yaml")
            self.assertEqual(r.returncode, 0, r.stderr)
            r = self.brunt("plan", "--lab", name, DAY)
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertIn("alloc-storm", r.stdout)
            self.assertIn("default/live", r.stdout)
            lab = json.loads(self.brunt("lab", "ps", "--name", name, "-o", "json").stdout)[0]
            pid = lab["pods"][0]["containers"][0]["pid"]
            with open(f"/proc/{pid}/environ", encoding="ascii") as f:
                given = dict(v.split("=", 1) for v in f.read().split("\0") if v.startswith("RT_"))
            self.assertEqual(given, env)

    def test_a_short_run_fills_every_column(self):
        document = self.write("doc.md", "# Mine\n\nkept\n")
        r = harness.run(os.path.join(EXPERIMENTS, "gc-days"), harness.BUILD, "--rounds", "1",
                        "--experiment", self.write("short.yaml", shortened()), "--markdown", document,
                        env=self.env, timeout=300)
        self.assertIn(r.returncode, (0, 1, 5), r.stdout + r.stderr)
        self.assertRegex(r.stdout, r"alloc-storm 128 MiB a second by 4 beside \d+ joins a second, for 3 s")
        with open(document, encoding="utf-8") as f:
            rows = [[c.strip() for c in line.strip("|\n").split("|")] for line in f if line[0] in "|#k"]
        self.assertEqual(rows[:2], [["# Mine"], ["kept"]])
        head, _, *lines = [row for row in rows if len(row) > 1]
        self.assertEqual([line[0] for line in lines], list(SETTINGS))
        for line in lines:
            figures = dict(zip(head, line))
            for column in script().COLUMNS:
                value = float(figures[column])
                self.assertTrue(value > 0 or column == "throughput %", (column, line))
            self.assertIn(figures["verdict"], ("passed", "failed", "inconclusive", "ineffective"))
        self.assertEqual(self.brunt("lab", "ps").stdout, "no lab is up\n")


if __name__ == "__main__":
    harness.main()
