#!/usr/bin/python3
"""A short run of every fuzz target under ASan and UBSan; `make fuzz` or tests/fuzz/run SECONDS go on longer."""
import os
import shutil

import harness

PATIENT = True


class Fuzz(harness.Case):
    def test_no_input_breaks_a_parser(self):
        if not shutil.which("clang"):
            self.skipTest("no clang here; the parser's tables run under sanitizers in test_experiment_bad")
        script = os.path.join(harness.SOURCE, "tests", "fuzz", "run")
        result = harness.run("nice", script, "8", timeout=500)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("fuzzing manifest", result.stdout)


if __name__ == "__main__":
    harness.main()
