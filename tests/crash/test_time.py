#!/usr/bin/python3
"""Clocks that jump and clocks that differ: a fault's length, its lease and the journal's order

Windows and leases are measured by CLOCK_MONOTONIC, in the kernel by its own. In a time namespace
the two differ by days; a step of the wall clock must touch neither. Only the lab's own kernel lets
a test set the clock.
"""
import json
import os
import signal
import subprocess
import time

import crash_case
import harness

LEGS = "host lab"


def setUpModule():
    crash_case.make_pair()


def tearDownModule():
    crash_case.remove_pair()


class TimeCase(crash_case.NetCase):
    def record(self):
        out = self.brunt("report", "latest", "-o", "json")
        self.assertEqual(out.returncode, 0, out.stderr)
        return json.loads(out.stdout)


class TimeNamespace(TimeCase):
    ENTER = ("unshare", "--time", "--monotonic", "1000000", "--boottime", "1000000", "--kill-child")

    def setUp(self):
        super().setUp()
        if harness.run(*self.ENTER, "true").returncode:
            self.skipTest("this kernel has no time namespaces; the other leg's has")

    def status(self, *enter):
        out = harness.run(*enter, harness.BRUNT, "status", "-o", "json", env=self.env)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        return json.loads(out.stdout)[0]["injected"][0]

    def test_lease_lives_while_its_owner_does(self):
        ping = subprocess.Popen(["ip", "netns", "exec", crash_case.A, "ping", "-i", "0.02", "10.98.0.2"],
                                stdout=subprocess.DEVNULL)
        self.addCleanup(ping.wait)
        self.addCleanup(ping.kill)
        out = harness.run(*self.ENTER, harness.BRUNT, "run", self.manifest(fault="3s", baseline="1s"),
                          env=self.env)
        self.assertNotIn(out.returncode, (3, 4), out.stdout + out.stderr)
        fault = self.record()["faults"][0]
        self.assertEqual((fault["effect"], fault["let_through"]), ("measured", 0), fault)
        self.assertTrue(self.is_clean())

    def test_lease_runs_out_when_all_are_dead(self):
        p = subprocess.Popen([*self.ENTER, harness.BRUNT, "run", self.manifest(fault="60s")],
                             env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.procs.append(p)
        harness.wait_for(lambda: self.lock().get("owner") and self.state_of() != self.before and
                         self.status()["state"] == "injected", "an injection")
        for enter in ((), self.ENTER):
            self.assertTrue(0 < self.status(*enter)["lease_ms"] <= 60000, self.status(*enter))
        owner, guard = self.lock()["owner"]["pid"], self.guard_pid()
        for pid in (guard, owner):
            os.kill(pid, signal.SIGKILL)
        p.wait()
        for enter in ((), self.ENTER):
            harness.wait_for(lambda e=enter: self.status(*e)["state"] == "without effect",
                             "the lease to run out")
        self.recover()
        self.assertTrue(self.is_clean())


if harness.IN_LAB:
    class ClockStep(TimeCase):
        def setUp(self):
            super().setUp()
            start, began = time.time(), time.monotonic()
            self.addCleanup(lambda: time.clock_settime(
                time.CLOCK_REALTIME, start + time.monotonic() - began))

        def fault(self):
            run = json.loads(self.brunt("status", "-o", "json").stdout)[0]
            self.assertGreaterEqual(run["for_ms"], 0)
            return run["injected"][0]

        def step(self, seconds):
            time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)

        def test_steps_during_the_fault(self):
            p = self.injected(fault="60s")  # the steps have to be over by then, on a busy machine too
            # What is seen in the kernel first is the device, last the lease.
            harness.wait_for(lambda: self.fault()["state"] == "injected", "the lease")
            for seconds in (86400, -2 * 86400, 3600):
                self.step(seconds)
                self.assertIsNone(p.poll(), p.poll() is not None and p.stdout.read())
                self.assertNotEqual(self.state_of(), self.before)
                self.assertEqual(self.fault()["state"], "injected")
            out, _ = p.communicate(timeout=120)
            self.assertNotIn(p.returncode, (3, 4), out)
            record = self.record()
            window = record["windows"]["fault"]
            self.assertEqual(record["faults"][0]["let_through"], 0)
            # A window that the wall clock ended or prolonged would be off by hours.
            self.assertGreaterEqual(window["end_ms"] - window["start_ms"], 60000)
            self.assertLess(window["end_ms"] - window["start_ms"], 600000)
            self.assertTrue(self.is_clean())

        def test_latest_run_is_the_last_one_also_after_a_step_back(self):
            self.brunt("run", self.manifest(name="first", fault="100ms"))
            self.step(-86400)
            self.brunt("run", self.manifest(name="second", fault="100ms"))
            self.assertEqual(self.record()["experiment"], "second")


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root for network namespaces")
        raise SystemExit(77)
    harness.main()
