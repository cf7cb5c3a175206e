#!/usr/bin/python3
"""The supervisor killed with -9 at any moment of its life, and its sweeper with it or not."""
import glob
import os
import signal
import subprocess
import time

import harness
from harness import wait_for

LEGS = "host lab"
PATIENT = True
MANIFEST = """apiVersion: apps/v1
kind: Deployment
metadata: {name: s}
spec:
  replicas: 4
  template:
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: app, command: [/bin/sleep, "1000"]}]
"""


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return [int(p) for p in f.read().split()]
    except OSError:
        return []


def role(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().split(b"\0")[1:2]
    except OSError:
        return []


def gone(pid):
    """Dead; whether it was reaped is the business of whoever inherited it."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


@harness.unittest.skipUnless(os.geteuid() == 0, "a lab needs root")
class LabKill(harness.Case):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.brunt, "lab", "down", "--all", "--now")
        self.name = f"kill-{os.getpid()}"
        self.manifest = self.write("m.yaml", MANIFEST)

    def groups(self):
        roots = [line.split()[1] for line in open("/proc/mounts", encoding="ascii")
                 if line.split()[2] in ("cgroup", "cgroup2")]
        return [g for r in roots for g in glob.glob(f"{r}/**/brunt-lab-{self.name}-*", recursive=True)]

    def kill_after(self, seconds, sweeper_too):
        """Kills what runs of the lab this long after its start; the pids that were seen."""
        p = subprocess.Popen([harness.BRUNT, "lab", "up", "-q", "-f", self.manifest, "--name", self.name],
                             env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        supervisor = wait_for(lambda: children(p.pid) or p.poll() is not None, "the supervisor")
        supervisor = supervisor[0] if supervisor is not True else 0
        time.sleep(seconds)
        seen = children(supervisor)
        if sweeper_too:
            for pid in seen:
                if role(pid) == [b"__lab-sweeper"]:
                    kill(pid)
        if supervisor:
            kill(supervisor)
        p.wait(60)
        return seen

    def check(self, sweeper_too):
        for ms in (0, 2, 4, 6, 8, 10, 13, 16, 20, 25, 30, 40, 60, 100):
            with self.subTest(ms=ms):
                seen = self.kill_after(ms / 1000, sweeper_too)
                for pid in seen:
                    wait_for(lambda pid=pid: gone(pid), f"process {pid} to go")
                if sweeper_too:
                    self.assertEqual(self.brunt("lab", "ps").returncode, 0)
                wait_for(lambda: not self.groups(), "the groups to go")

    def test_supervisor_killed_at_any_moment(self):
        self.check(sweeper_too=False)

    def test_both_killed_at_any_moment_then_ps(self):
        self.check(sweeper_too=True)


if __name__ == "__main__":
    harness.main()
