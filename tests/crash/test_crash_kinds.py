#!/usr/bin/python3
"""Memory, CPU and pod faults on a lab's pods, killed at every point; on v1, v2 and with real netem

Limits have no kernel lease: what the owner's death leaves is the guard's to revert, and
both deaths' is recover's. A killed pod has nothing to put back; what is asked is that nobody is left
frozen or half-ended, and that the journal holds nothing.
"""
import json
import os
import signal

import crash_case
import harness
from crash_case import FAULT_POINTS, SHORT, STEPS

LEGS = "host lab"
PATIENT = True
LAB = f"crash-{os.getpid()}"
# What comes before the fault is the same for every kind (test_crash.py); and the lab's kernel is
# slow: the points around the change are what it has code of its own for.
POINTS = ["injected", "off"] if harness.IN_LAB else \
    STEPS[STEPS.index("steady"):] + FAULT_POINTS
BOTH_POINTS = ["injected"] if harness.IN_LAB else ["journaled", "injected", "off", "reverted"]


def pod(name):
    # A process that outlives SIGTERM, so that a grace period has something to wait for.
    command = json.dumps(["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1000; done"])
    return f"""apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: app, command: {command}, resources: {{limits: {{memory: 128Mi}}}}}}]
---
"""


class LabCase(crash_case.CrashCase):
    n_pods = 1

    def setUp(self):
        super().setUp()
        self.addCleanup(self.brunt, "lab", "down", "--all", "--now")
        manifest = self.write("lab.yaml", "".join(pod(f"p{i}") for i in range(self.n_pods)))
        out = self.brunt("lab", "up", "-f", manifest, "--name", LAB)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        self.before = self.state_of()

    def start(self, *args, **kw):
        return super().start("--lab", LAB, *args, **kw)

    def group(self, file, name="p0"):
        """The folder of a container's group that has this file; None where no controller has it."""
        record = self.json(f"{self.state}/lab/{LAB}/record.json")
        found = [f"{g['path']}/default.{name}/app" for g in record["groups"]]
        return next((path for path in found if os.path.exists(f"{path}/{file}")), None)

    def read(self, file):
        with open(f"{self.group(file)}/{file}", encoding="ascii") as f:
            return f.read().strip()

    def experiment(self, fault, length):
        return self.write("crash.yaml", f"""
apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {{name: crash}}
spec:
  timeline: {{baseline: 50ms, fault: {length}, recovery: 50ms}}
  faults: [{{name: it, {fault}}}]
""")


class Killed:
    """What a kind of fault must stand; a case has manifest() and state_of()."""

    def test_owner_killed(self):
        for point in POINTS:
            with self.subTest(point=point):
                self.kill_at(point)

    def test_both_killed_then_recover(self):
        for point in BOTH_POINTS:
            with self.subTest(point=point):
                self.kill_both_at(point)

    def test_guard_killed(self):
        p = self.injected(fault="60s")
        os.kill(self.guard_pid(), signal.SIGKILL)
        out, _ = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 3, out)
        self.assert_clean()


class Limit(Killed):
    """A value in a file of a control group (FILES)."""

    def state_of(self):
        return {file: self.read(file) for file in self.FILES if self.group(file)}

    def check_killed_stays(self, kind, written):
        """What no kernel lease ends, and the journal does."""
        p = self.injected(fault="60s")
        during = self.state_of()
        self.assertTrue(written & set(during.values()), during)
        self.kill_both(p)
        self.assertEqual(self.state_of(), during)
        status = json.loads(self.brunt("status", "-o", "json").stdout)[0]
        self.assertEqual([(f["kind"], f["has_lease"]) for f in status["injected"]], [(kind, False)])
        self.recover()
        self.assertTrue(self.is_clean(), self.state_of())


class Memory(Limit, LabCase):
    FILES = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max", "memory.high",
             "memory.swap.max")

    def manifest(self, fault=SHORT, action="limit"):
        return self.experiment(f"memoryChaos: {{mode: one, selector: {{pods: {{default: [p0]}}}}, "
                               f"action: {action}, size: 64MiB}}", fault)

    def test_both_killed_stays_until_recover(self):
        self.check_killed_stays("MemoryChaos", {str(64 << 20)})

    def change_meanwhile(self, action, file, value):
        """Somebody sets a file that the fault does not write; the file written is put back."""
        if not self.group(file):
            self.skipTest("needs cgroup v2; the lab leg covers it")
        p = self.start(self.manifest(fault="60s", action=action))
        written = "memory.max" if action == "limit" else "memory.high"
        harness.wait_for(lambda: self.read(written) == str(64 << 20) or p.poll() is not None,
                         "the fault")
        with open(f"{self.group(file)}/{file}", "w", encoding="ascii") as f:
            f.write(value)
        p.send_signal(signal.SIGINT)
        out, _ = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 130, out)
        self.assertEqual(self.state_of(), dict(self.before, **{file: value}))
        self.assertEqual(self.pending(), 0)

    def test_somebody_elses_high_is_left(self):
        self.change_meanwhile("limit", "memory.high", str(100 << 20))

    def test_somebody_elses_max_is_left(self):
        self.change_meanwhile("high", "memory.max", str(200 << 20))


class Cpu(Limit, LabCase):
    FILES = ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.max")

    def manifest(self, fault=SHORT, cpu="100m"):
        return self.experiment(f"cpuChaos: {{mode: one, selector: {{pods: {{default: [p0]}}}}, "
                               f"action: quota, cpu: {cpu}}}", fault)

    def test_both_killed_stays_until_recover(self):
        self.check_killed_stays("CPUChaos", {"10000", "10000 100000"})

    def test_somebody_elses_quota_is_left(self):
        p = self.injected(fault="60s")
        file = next(f for f in ("cpu.max", "cpu.cfs_quota_us") if self.group(f))
        theirs = "70000 100000" if file == "cpu.max" else "70000"
        with open(f"{self.group(file)}/{file}", "w", encoding="ascii") as f:
            f.write(theirs)
        p.send_signal(signal.SIGINT)
        out, _ = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 130, out)
        self.assertEqual(self.state_of(), dict(self.before, **{file: theirs}))
        self.assertEqual(self.pending(), 0)


@harness.unittest.skipIf(harness.IN_LAB, "nothing of it is this kernel's own; the host leg covers it")
class PodKill(LabCase):
    # Each part has a pod of its own: one killed twice waits longer and longer for its restart.
    OWNER_POINTS = [p for p in POINTS if p not in ("off", "reverted")] # has nothing to undo
    n_pods = len(OWNER_POINTS)

    def setUp(self):
        self.next = -1
        super().setUp()

    def state_of(self):
        """No group is frozen, no pod is missing."""
        out = self.brunt("lab", "ps", "--name", LAB, "-o", "json")
        self.assertEqual(out.returncode, 0, out.stderr)
        return sorted((p["name"], self.is_frozen(p["name"])) for p in json.loads(out.stdout)[0]["pods"])

    def is_frozen(self, name):
        path = self.group("cgroup.freeze", name) or self.group("freezer.state", name)
        for file in ("cgroup.freeze", "freezer.state"):
            if path and os.path.exists(f"{path}/{file}"):
                with open(f"{path}/{file}", encoding="ascii") as f:
                    return f.read().strip() not in ("0", "THAWED")
        return False

    def manifest(self, fault=SHORT, grace=1):
        self.next += 1
        return self.experiment(f"podChaos: {{mode: one, selector: {{pods: {{default: "
                               f"[p{self.next}]}}}}, action: pod-kill, gracePeriod: {grace}}}", fault)

    def test_owner_killed(self):
        for point in self.OWNER_POINTS:
            with self.subTest(point=point):
                self.kill_at(point)

    def test_both_killed_then_recover(self):
        self.kill_both(self.stopped("injected"))
        self.recover()
        self.assertTrue(self.is_clean(), self.state_of())

    def test_guard_killed_in_the_grace_period(self):
        """The owner aborts; the process that was told to end is not left half-told."""
        p = self.start(self.manifest(fault="60s", grace=30))
        harness.wait_for(lambda: p.poll() is not None or "injected" in p.stdout.readline(), "SIGTERM")
        os.kill(self.guard_pid(), signal.SIGKILL)
        out, _ = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 3, out)
        self.assert_clean()


if harness.IN_LAB:
    class Net(Killed, crash_case.NetCase):
        """Delays by IFB and netem, which the host of most machines that test this lacks."""

        @classmethod
        def setUpClass(cls):
            crash_case.make_pair()

        @classmethod
        def tearDownClass(cls):
            crash_case.remove_pair()


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root for a lab")
        raise SystemExit(77)
    harness.main()
