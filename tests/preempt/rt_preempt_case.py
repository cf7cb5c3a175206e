"""rt_preempt_case - runs rt-preempt and reads its reports"""
import os
import re

import harness

RT_PREEMPT = os.path.join(harness.BUILD, "tests", "preempt", "rt-preempt")
WORDS = ("name", "ok", "expected", "text")  # of a line; the rest is numbers


def source(name):
    with open(os.path.join(harness.SOURCE, "tests", "preempt", name), encoding="utf-8") as f:
        return f.read()


def objectives():
    """{"workload/mode": "pass" or "fail"} of slo.def."""
    rows = re.findall(r'^SLO\("([\w-]+)", (\w+), (pass|fail)\)$', source("slo.def"), re.M)
    return {f"{workload}/{mode}": expectation for workload, mode, expectation in rows}


class RtPreemptCase(harness.Case):
    def report(self, *args, expected=(0,)):
        """The lines of a run, by name, whose exit code, JSON and JUnit tell the same."""
        json, junit = os.path.join(self.dir, "r.json"), os.path.join(self.dir, "r.xml")
        r = harness.run(RT_PREEMPT, *args, "--json", json, "--junit", junit, timeout=400)
        if r.returncode == 77:
            self.skipTest(r.stderr.strip() + "; lab leg covers it")
        self.assertIn(r.returncode, expected, r.stdout + r.stderr)
        lines = {line["name"]: line for line in self.json(json)}
        self.assertEqual(all(line["ok"] for line in lines.values()), r.returncode == 0)
        for line in lines.values():
            for name in line.keys() - set(WORDS):
                self.assertIsInstance(line[name], (int, float), name)
        self.check_junit(junit, args[0], lines)
        return lines

    def check_junit(self, path, what, lines):
        root = self.junit(path)
        self.assertEqual(root.get("name"), "rt-preempt")
        suite, = root
        self.assertEqual(suite.get("name"), what)
        cases = suite.findall("testcase")
        self.assertEqual([c.get("name") for c in cases], list(lines))
        for case in cases:
            line, failure = lines[case.get("name")], case.find("failure")
            self.assertEqual(failure is None, line["ok"])
            if failure is not None:
                self.assertEqual(failure.get("message"), line["text"])

    def check_cells(self, lines, expected):
        self.assertEqual({name: line["expected"] for name, line in lines.items()}, expected)
        for name, line in lines.items():
            self.assertEqual(line["wrong_values"], 0, name)
            self.assertGreater(line["stops"], 0, name)
            if line["expected"] == "fail":
                self.assertEqual((line["rounds"], line["rounds_kept"]), (3, 0), name)
            else:
                self.assertEqual(line["rounds_kept"], 1, name)
                self.assertLessEqual(line["p50_us"], line["limit50_us"], name)
                self.assertLessEqual(line["p99_us"], line["limit99_us"], name)
