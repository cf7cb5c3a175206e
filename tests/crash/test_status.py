#!/usr/bin/python3
"""brunt status tells what is injected, by whom, since when and for how long, whoever is dead."""
import datetime
import json
import os
import signal
import sqlite3

import crash_case
import harness
from crash_case import A


def setUpModule():
    crash_case.make_pair()


def tearDownModule():
    crash_case.remove_pair()


class Status(crash_case.NetCase):
    def status(self, **kw):
        out = self.brunt("status", "-o", "json", **kw)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        return [r for r in json.loads(out.stdout) if r["state_dir"] == self.state]

    def table(self):
        out = self.brunt("status")
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        return out.stdout

    def in_force(self):
        p = self.injected(fault="60s")
        # What is seen in the kernel first is the device, last the lease.
        harness.wait_for(lambda: self.status()[0]["injected"][0]["state"] == "injected", "the lease")
        return p

    def test_nothing(self):
        self.assertNotIn(self.state, self.table())
        self.assertEqual(self.status(), [])

    def test_live_run(self):
        p = self.in_force()
        run, = self.status()
        self.assertEqual((run["experiment"], run["state"], run["live"]), ("crash", "running", True))
        self.assertEqual((run["owner"], run["owner_alive"]), (p.pid, True))
        self.assertEqual((run["guard"], run["guard_alive"]), (self.guard_pid(), True))
        fault, = run["injected"]
        self.assertEqual((fault["fault"], fault["kind"], fault["target"], fault["has_lease"]),
                         ("slow", "NetworkChaos", f"default/{A}", True))
        self.assertTrue(0 < fault["lease_ms"] <= 2000, fault)
        began, since = (datetime.datetime.fromisoformat(t.replace("Z", "+00:00"))
                        for t in (run["since"], fault["since"]))
        self.assertLessEqual(began, since)
        self.assertLessEqual(since, datetime.datetime.now(datetime.timezone.utc))
        table = self.table()
        for text in ("LEASE LEFT", f"pid {p.pid}", "slow", f"default/{A}"):
            self.assertIn(text, table)
        self.assertNotIn("brunt recover", table)

    def test_owner_dead_guard_at_work(self):
        p = self.in_force()
        guard = self.guard_pid()
        os.kill(guard, signal.SIGSTOP)
        try:
            p.kill()
            p.wait()
            run, = self.status()
            self.assertEqual((run["live"], run["owner_alive"], run["guard_alive"]), (True, False, True))
            self.assertIn(f"dead, guard {guard}", self.table())
            # Nobody renews the lease: the fault ends before anybody has put anything back.
            harness.wait_for(lambda: self.status()[0]["injected"][0]["state"] == "without effect",
                             "the lease to run out")
            self.assertNotEqual(self.state_of(), self.before)
        finally:
            os.kill(guard, signal.SIGCONT)
        self.assert_clean()
        harness.wait_for(lambda: self.status() == [], "the end of the run")

    def test_both_dead(self):
        p = self.in_force()
        self.kill_both(p)
        run, = self.status()
        self.assertEqual((run["live"], run["owner_alive"], run["guard_alive"]), (False, False, False))
        self.assertEqual(len(run["injected"]), 1)
        self.assertIn(f"brunt recover {run['run']}", self.table())

    def test_run_of_another_state_directory(self):
        self.in_force()
        other = dict(self.env, BRUNT_STATE_DIR=os.path.join(self.dir, "other"))
        run, = self.status(env=other)
        self.assertEqual([f["state"] for f in run["injected"]], ["injected"])
        out = self.brunt("status", env=other)
        self.assertIn(f"is of state directory {self.state}", out.stdout)

    def test_record_of_a_kind_that_this_brunt_does_not_know(self):
        p = self.in_force()
        self.kill_both(p)
        with sqlite3.connect(os.path.join(self.state, "brunt.db"), timeout=30) as db:
            db.execute("UPDATE undo SET driver = 'SolarFlare'")
        fault = self.status()[0]["injected"][0]
        self.assertEqual((fault["kind"], fault["has_lease"]), ("unknown to this brunt", False))
        self.assertIn("slow", self.table())
        with sqlite3.connect(os.path.join(self.state, "brunt.db"), timeout=30) as db:
            db.execute("UPDATE undo SET driver = 'NetworkChaos'")
        self.recover()


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root for network namespaces")
        raise SystemExit(77)
    harness.main()
