#!/usr/bin/python3
"""tests/count.py on what this meson writes: a program that fails, dies or hangs is named, and its second run
counts in place of the first."""
import os
import subprocess
import tempfile
import unittest

import harness

PATIENT = True

COUNT = os.path.join(harness.SOURCE, "tests", "count.py")

PROJECT = """
project('p')
foreach name : ['fine', 'skips', 'fails', 'dies', 'dies_after_one', 'exits', 'hangs', 'recovers']
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
recovers) mkdir was_here && kill -SEGV $$; echo "ok 1 - a"; echo 1..1;;
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

    @classmethod
    def meson_test(cls, log, *names):
        subprocess.run(["meson", "test", "-C", cls.build, "--no-rebuild", "--logbase", log, *names],
                       check=False, capture_output=True, cwd=cls.dir.name)

    @staticmethod
    def count(*args):
        return subprocess.run(["/usr/bin/python3", COUNT, *args], check=False, capture_output=True, text=True)

    def test_what_failed_died_or_hung_is_named(self):
        self.assertEqual(self.named, ["dies", "dies_after_one", "exits", "fails", "hangs", "recovers"])

    def test_the_second_run_counts(self):
        self.meson_test("round-again", *self.named)
        r = self.count("1", "0", self.logs)
        # Of those that die after a test the test counts, and so does the death.
        self.assertEqual(r.stdout.splitlines()[-1], "7 passed, 5 failed, 1 skipped")
        named = [line for line in r.stdout.splitlines() if line.startswith("failed: ")]
        self.assertEqual(sorted(named), [f"failed: {name} (build)" for name in
                                         ("dies", "dies_after_one", "exits", "fails", "hangs")])
        self.assertEqual(r.returncode, 1)


harness.main()
