#!/usr/bin/python3
"""A target dies and a stranger makes a namespace that the kernel gives the same inode number."""
import os
import signal
import sqlite3

import crash_case
import harness
from crash_case import dump, ip

TARGET, STRANGER = f"bt-core-{os.getpid()}-t", f"bt-core-{os.getpid()}-s"


def inode(ns):
    return os.stat(f"/run/netns/{ns}").st_ino


class Identity(crash_case.NetCase):
    def setUp(self):
        self.make(TARGET)
        super().setUp()
        self.number = inode(TARGET)

    def make(self, ns):
        ip("netns", "add", ns)
        self.addCleanup(harness.run, "ip", "netns", "del", ns)
        self.equip(ns)

    def equip(self, ns):
        """The same device under the same index in each."""
        ip("-n", ns, "link", "add", "va", "index", "7", "type", "veth", "peer", "name", "vp")
        for dev in ("va", "vp"):
            ip("-n", ns, "link", "set", dev, "up")

    def state_of(self):
        return dump(TARGET)

    def replace(self):
        """The target is gone; the stranger has its inode number and a clsact of its own."""
        ip("netns", "del", TARGET)

        def same_number():
            ip("netns", "add", STRANGER)
            if inode(STRANGER) == self.number:
                return True
            ip("netns", "del", STRANGER)
            return False

        self.addCleanup(harness.run, "ip", "netns", "del", STRANGER)
        harness.wait_for(same_number, "a namespace with the number of the one that died")
        self.equip(STRANGER)
        out = harness.run("tc", "-n", STRANGER, "qdisc", "add", "dev", "va", "clsact")
        self.assertEqual(out.returncode, 0, out.stderr)
        return dump(STRANGER)

    def test_recover_leaves_the_stranger_alone(self):
        p = self.injected(fault="60s", target=TARGET)
        self.kill_both(p)
        stranger = self.replace()
        out = self.recover()
        self.assertIn("recovered", out)
        self.assertEqual(dump(STRANGER), stranger)
        self.assertEqual(self.pending(), 0)

    def test_run_leaves_the_stranger_alone(self):
        p = self.injected(fault="60s", target=TARGET)
        stranger = self.replace()
        p.send_signal(signal.SIGINT)
        out, _ = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 130, out)
        self.assertEqual(dump(STRANGER), stranger)
        self.assertEqual(self.pending(), 0)

    def test_guard_leaves_the_stranger_alone(self):
        p = self.injected(fault="60s", target=TARGET)
        guard = self.guard_pid()
        stranger = self.replace()
        p.kill()
        p.wait()
        harness.wait_for(lambda: crash_case.is_gone(guard), "the guard's end")
        self.assertEqual(dump(STRANGER), stranger)
        self.assertEqual(self.pending(), 0)

    def test_record_without_cookie_is_found_by_its_number(self):
        """A kernel before 5.14, or a record of an older brunt."""
        p = self.injected(fault="60s", target=TARGET)
        self.kill_both(p)
        with sqlite3.connect(os.path.join(self.state, "brunt.db"), timeout=30) as db:
            self.assertEqual(db.execute("UPDATE undo SET netns_cookie = 0").rowcount, 1)
        self.recover()
        self.assertTrue(self.is_clean(), self.state_of())


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root for network namespaces")
        raise SystemExit(77)
    harness.main()
