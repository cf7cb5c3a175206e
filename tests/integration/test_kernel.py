#!/usr/bin/python3
"""What each leg of the suite stands on: if its kernel lost a feature, say so before anything else."""
import os

import harness

LEGS = "host lab"


class Kernel(harness.Case):
    def qdisc(self, *args):
        """Adds a qdisc to one end of a veth pair in a scratch namespace; the exit code."""
        ns = f"bt-kernel-{os.getpid()}"
        harness.run("ip", "netns", "add", ns)
        self.addCleanup(harness.run, "ip", "netns", "del", ns)
        harness.run("ip", "-n", ns, "link", "add", "eth0", "up", "type", "veth", "peer", "name", "eth1")
        return harness.run("tc", "-n", ns, "qdisc", "add", "dev", "eth0", *args).returncode

    def test_clsact_is_here(self):
        self.assertEqual(self.qdisc("clsact"), 0)

    def test_tbf_is_here(self):
        self.assertEqual(self.qdisc("root", "tbf", "rate", "1mbit", "burst", "10k", "latency", "1s"), 0)

    def test_netem_is_here(self):
        if not harness.IN_LAB and self.qdisc("root", "netem", "delay", "1ms") != 0:
            self.skipTest("no netem on this kernel; the lab leg covers it")
        self.assertEqual(self.qdisc("root", "netem", "delay", "1ms"), 0)

    def test_memory_controller_of_each_version(self):
        if harness.IN_LAB:
            with open("/sys/fs/cgroup/cgroup.controllers", encoding="utf-8") as f:
                self.assertIn("memory", f.read())
        else:
            with open("/proc/cgroups", encoding="utf-8") as f:
                self.assertRegex(f.read(), r"(?m)^memory\s")


if __name__ == "__main__":
    harness.main()
