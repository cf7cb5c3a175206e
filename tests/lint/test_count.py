#!/usr/bin/python3
"""tests/count.py on what this meson writes: a program that fails, dies or hangs is named with what was wanted and
seen, its second run counts in place of the first, and what it failed by at first is shown as flaky."""
import os
import subprocess
import tempfile
import unittest

import harness

PATIENT = True

COUNT = os.path.join(harness.SOURCE, "tests", "count.py")

PROJECT = """
project('p')
foreach name : ['fine', 'skips', 'fails', 'dies', 'dies_after_one', 'exits', 'hangs', 'recovers',
                'expects', 'traces', 'misses']
  test(name, find_program('program.sh'), args: name, suite: ['a', 'b'], protocol: 'tap',
       timeout: name == 'hangs' ? 1 : 60)
endforeach
test('whole', find_program('program.sh'), args: 'fine', suite: 'c')
"""

PROGRAM = """#!/bin/sh
case $1 in
fine) echo "ok 1 - a"; echo "ok 2 - b"; echo 1..2;;
skips) echo "1..0 # SKIP not here";;
fails) echo "not ok 1 - a"; echo 1..1; exit 1;;
dies) kill -SEGV $$;;
dies_after_one) echo "ok 1 - a"; kill -SEGV $$;;
exits) echo "ok 1 - a"; echo 1..1; exit 3;;
hangs) echo "ok 1 - a"; exec sleep 1000;;
expects) echo "# t.c:7: n is 3, want 4"; echo "not ok 1 - counts"; echo "ok 2 - b"; echo "# t.c:9: noise"
	echo 1..2; echo "the server said no" >&2; exit 1;;
traces) echo "not ok 1 - T.test_sum"; echo "# Traceback (most recent call last):"
	for n in 1 2 3; do echo "#   File \\"a.py\\", line $n, in f"; echo "#     call_$n()"; done
	echo "# AssertionError: 5 != 6 : apples"; echo 1..1; exit 1;;
misses) echo "ok 1 - a"; echo 1..3;;
recovers) mkdir was_here && { echo "not ok 1 - a"; echo "# x is 7, want 8"; echo 1..1; exit 1; }
	echo "ok 1 - a"; echo 1..1;;
esac
"""


class Count(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory(prefix="count-")
        cls.addClassCleanup(cls.dir.cleanup)
        for name, text in (("meson.build", PROJECT), ("program.sh", PROGRAM)):
            with open(os.path.join(cls.dir.name, name), "w", encoding="utf-8") as f:
                f.write(text)
        os.chmod(os.path.join(cls.dir.name, "program.sh"), 0o755)
        cls.build = os.path.join(cls.dir.name, "build")
        cls.logs = os.path.join(cls.build, "meson-logs")
        subprocess.run(["meson", "setup", cls.build, cls.dir.name], check=True, stdout=subprocess.DEVNULL)
        cls.meson_test("round")
        cls.named = cls.count("--failed", os.path.join(cls.logs, "round.junit.xml")).stdout.split()
        cls.meson_test("round-again", *cls.named)

    @classmethod
    def meson_test(cls, log, *names):
        subprocess.run(["meson", "test", "-C", cls.build, "--no-rebuild", "--logbase", log, *names],
                       check=False, capture_output=True, cwd=cls.dir.name)

    @staticmethod
    def count(*args):
        return subprocess.run(["/usr/bin/python3", COUNT, *args], check=False, capture_output=True, text=True)

    def counted(self, *left):
        path = os.path.join(self.dir.name, "left")
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(line + "\n" for line in left)
        return self.count("1", "0", path, self.logs)

    def test_what_failed_died_or_hung_is_named(self):
        self.assertEqual(self.named, ["dies", "dies_after_one", "exits", "expects", "fails", "hangs", "misses",
                                      "recovers", "traces"])

    def test_the_second_run_counts(self):
        r = self.counted()
        # Of those that die after a test the test counts, and so does the death.
        self.assertEqual(r.stdout.splitlines()[-1], "9 passed, 8 failed, 1 skipped")
        named = [line.split(":")[1].strip() for line in r.stdout.splitlines() if line.startswith("failed: ")]
        self.assertEqual(sorted(named), [f"{name} (build)" for name in
                                         ("dies", "dies_after_one", "exits", "expects", "fails", "hangs",
                                          "misses", "traces")])
        self.assertEqual(r.returncode, 1)

    def test_each_failure_says_what_was_wanted_and_seen(self):
        out = self.counted().stdout
        for name, words in (("dies", "wanted exit code 0, seen its death by SIGSEGV before its first verdict"),
                            ("dies_after_one", "seen its death by SIGSEGV after \"ok 1 - a\""),
                            ("exits", "wanted exit code 0, seen 3 after \"ok 1 - a\""),
                            ("hangs", "wanted an end within its time limit, seen none in "),
                            ("misses", "wanted a plan and a verdict for each test of it, seen ERROR"),
                            ("expects", "counts\n      t.c:7: n is 3, want 4\n      stderr: the server said no"),
                            ("traces", "T.test_sum\n        File \"a.py\", line 3, in f\n          call_3()\n"
                                       "      AssertionError: 5 != 6 : apples"),
                            ("fails", "a")):
            block = out.partition(f"failed: {name} (build)")[2].partition("\nfailed: ")[0]
            self.assertIn(words, block, f"of {name}, in\n{out}")
        self.assertNotIn("noise", out)
        self.assertNotIn("line 2, in f", out)

    def test_what_passed_when_it_ran_again_is_flaky(self):
        lines = self.counted().stdout.splitlines()
        at = lines.index("flaky: recovers (build): a: x is 7, want 8")
        self.assertIn("1 flaky: failed once, and passed when run again, alone", lines[at:])
        self.assertNotIn("failed: recovers", "\n".join(lines))

    def test_what_is_left_on_the_machine_fails(self):
        lines = self.counted("link br-x").stdout.splitlines()
        self.assertEqual(lines[-1], "9 passed, 9 failed, 1 skipped")
        self.assertIn("failed: the end of the suite: wanted a machine as before, seen link br-x", lines)


harness.main()
