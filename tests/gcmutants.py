"""gcmutants - mutants of the collector and a program of cases, each of which may be run alone"""
import os
import re
import unittest

import harness
import rtmutant

main = harness.main


class Case(unittest.TestCase):
    patient = True
    program = None  # of tests/runtime

    def objects(self):
        return [os.path.join(harness.BUILD, "tests", self.program + ".o")]

    def caught(self, edits, *cases):
        """By each of the cases alone, which tells how much is wrong, or dies by the verifier."""
        with rtmutant.Mutant(edits, self.objects()) as m:
            for case in cases:
                code, text = m.run(case, timeout=30)
                self.assertNotEqual(code, "hangs", case)
                self.assertNotEqual(code, 0, f"{case}:\n{text}")
                self.assertRegex(text, re.compile(rf"^not ok 1 - {case}: .* \([1-9]\d* (lost|wrong)\)|"
                                                  r"collector missed", re.M))

    def passes(self):
        with rtmutant.Mutant((), self.objects()) as m:
            code, text = m.run(timeout=120)
        self.assertEqual(code, 0, text)
