#!/usr/bin/python3
"""What the processes of a run may do once they are confined, tried from inside them

tests/unit/test_sandbox.c enters roles in a process of its own. Here a library is preloaded into the
processes of a real run (tests/preload/forbidden.c), which tries in each, after it has entered its role,
what nobody may do; what it was told is compared with what it should have been told.
"""
import glob
import os

import crash_case
import harness

LEGS = "host lab"
SHIM = os.path.join(harness.BUILD, "tests", "forbidden.so")
TRIES = {"run": 8, "__broker": 50, "__delay": 50, "__guard": 50}  # of each role, at least
# clone3 does not exist, so that glibc takes clone, whose flags a filter sees.
WANTED = {"clone3": "ENOSYS"}


class Confined(crash_case.NetCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("without root no engine runs; the suite runs as root")
        if "asan" in harness.BUILD:
            self.skipTest("ASan wants to be the first library; the plain build's leg has it")
        self.addCleanup(crash_case.remove_pair)
        crash_case.make_pair()
        super().setUp()  # keeps what the pair is like

    def answers(self, role):
        """A dict of what was tried and the answer, for each process of the role that has tried."""
        found = []
        for path in glob.glob(os.path.join(self.tries, f"{role}.*")):
            with open(path, encoding="ascii") as f:
                lines = f.read().rstrip("\0").splitlines()
            if lines:
                self.assertEqual(lines[-1], "end", f"{role}: ended in the midst of its tries: {lines}")
                found.append(dict(line.split(": ") for line in lines[:-1]))
        return found

    def test_every_role_is_refused_what_is_forbidden(self):
        self.tries = os.path.join(self.dir, "tries")
        os.mkdir(self.tries)
        manifest = self.manifest(name="confined", fault="2s", baseline="500ms", recovery="500ms")
        out = harness.run(harness.BRUNT, "run", "--net-backend", "engine", manifest,
                          env=dict(self.env, LD_PRELOAD=SHIM, BRUNT_TEST_TRIES=self.tries))
        # Nothing sends through the delay here; what is asked is that the run reached its end.
        self.assertIn(out.returncode, (0, 5), out.stdout + out.stderr)
        self.assertTrue(self.is_clean(), self.state_of())
        wrong = []
        for role, least in TRIES.items():
            processes = self.answers(role)
            self.assertTrue(processes, f"{role}: not one process of it was ever confined")
            for answers in processes:
                self.assertGreaterEqual(len(answers), least, role)
                wrong += [f"{role}: {what}: wanted {WANTED.get(what, 'EPERM')}, seen {seen}"
                          for what, seen in answers.items() if seen != WANTED.get(what, "EPERM")]
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))


if __name__ == "__main__":
    harness.main()
