#!/usr/bin/python3
"""What each process of a run has given up, while the run does its work

That a role refuses what is forbidden is tried call by call in tests/unit/test_sandbox.c, and from inside a
run in test_confined.py. Here a whole run with the delay engine is looked at from outside.
"""
import os
import subprocess

import crash_case
import harness

LEGS = "host lab"
NOBODY = "65534"


def children(pid):
    """Every process below pid, by the name of its role."""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/status", encoding="utf-8") as f:
                status = dict(line.rstrip("\n").split(":", 1) for line in f if ":" in line)
            with open(f"/proc/{entry}/cmdline", encoding="utf-8") as f:
                words = f.read().split("\0")
        except OSError:
            continue
        status = {k: v.strip() for k, v in status.items()}
        if status["PPid"] == str(pid) and len(words) > 1 and words[1].startswith("__"):
            found[words[1]] = status
    return found


class Roles(crash_case.NetCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("without root there is nothing to give up; the suite runs as root")
        self.addCleanup(crash_case.remove_pair)
        crash_case.make_pair()
        super().setUp()  # keeps what the pair is like

    def test_run_with_the_delay_engine_works_and_is_confined(self):
        manifest = self.manifest(name="confined", fault="3s", baseline="500ms", recovery="500ms")
        run = subprocess.Popen([harness.BRUNT, "run", "--net-backend", "engine", "-o", "json", manifest],
                               env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(run.stdout.close)
        self.addCleanup(run.stderr.close)
        self.addCleanup(run.wait)
        self.addCleanup(run.kill)

        def confined():
            """All three roles behind their filters, not only the owner's; they enter them a moment after their start."""
            found = children(run.pid)
            wanted = {"__broker", "__delay", "__guard"}
            return found if wanted <= set(found) and all(
                found[role]["Seccomp"] == "2" and found[role]["NoNewPrivs"] == "1" for role in wanted) else None

        roles = harness.wait_for(confined, "broker, guard and delay engine with seccomp filters")
        with open(f"/proc/{run.pid}/status", encoding="utf-8") as f:
            owner = dict(line.split(":\t", 1) for line in f.read().splitlines())
        self.assertEqual(owner["Seccomp"], "2")
        self.assertEqual(owner["NoNewPrivs"], "0", "what it runs could not be sudo")
        out, err = run.communicate(timeout=60)
        delay = roles["__delay"]
        if "asan" not in harness.BUILD:  # its leak checker reads /proc at the end: the plain build's leg has it
            self.assertEqual(delay["Uid"].split(), [NOBODY] * 4)
            self.assertEqual(delay["Gid"].split(), [NOBODY] * 4)
            self.assertEqual(delay["Groups"], "")
        for held in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
            self.assertEqual(int(delay[held], 16), 0, held)
        # Nothing sends through the delay here; what is asked is that the run reached its end.
        self.assertIn(run.returncode, (0, 5), out + err)
        self.assertTrue(self.is_clean(), self.state_of())


if __name__ == "__main__":
    harness.main()
