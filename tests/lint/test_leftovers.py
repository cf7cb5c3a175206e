#!/usr/bin/python3
"""tests/leftovers.py names what a suite left on the machine, and only that."""
import os
import subprocess
import unittest

import harness

PATIENT = True

LEFTOVERS = os.path.join(harness.SOURCE, "tests", "leftovers.py")
NAME = f"bt-left-{os.getpid()}"

# In network and mount namespaces of its own, with a small patience: SNAPSHOT, what the test leaves, COMPARE.
SCRIPT = """
mount -t tmpfs tmpfs /run && mkdir /run/netns
sed 's/^PATIENCE = .*/PATIENCE = 0.5/' {leftovers} > {dir}/leftovers.py
python3 {dir}/leftovers.py snapshot {dir}/before {dir}/build
{made}
python3 {dir}/leftovers.py compare {dir}/before {dir}/build
{undone}
"""


@unittest.skipUnless(os.geteuid() == 0, "links and groups need root; every leg of the suite runs as root")
class Leftovers(harness.Case):
    def found(self, made, undone=""):
        script = SCRIPT.format(leftovers=LEFTOVERS, dir=self.dir, made=made, undone=undone)
        r = harness.run("unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script,
                        env=dict(os.environ, BRUNT_SUITE=NAME))
        self.assertEqual((r.returncode, r.stderr), (0, ""), r.stdout)
        # Others at work beside us make control groups too.
        return [line for line in r.stdout.splitlines() if not line.startswith("control group") or NAME in line]

    def test_nothing_left_is_no_line(self):
        self.assertEqual(self.found(":"), [])

    def test_links_and_qdiscs(self):
        self.assertEqual(self.found("ip link add bt-l type veth peer name bt-m; tc qdisc add dev lo clsact"),
                         ["link bt-l", "link bt-m", "qdisc clsact dev lo parent ffff:fff1"])

    def test_namespaces(self):
        self.assertEqual(self.found(f"ip netns add {NAME}", f"ip netns del {NAME}"),
                         [f"network namespace {NAME}"])

    def group_root(self):
        """A hierarchy in which groups can be made: v1's or v2's."""
        with open("/proc/mounts", encoding="ascii") as f:
            return next(line.split()[1] for line in f if line.split()[2] in ("cgroup", "cgroup2"))

    def test_control_groups(self):
        folder = f"{self.group_root()}/{NAME}"
        self.addCleanup(lambda: os.path.isdir(folder) and os.rmdir(folder))
        self.assertEqual(self.found(f"mkdir {folder}", f"rmdir {folder}"), [f"control group {folder}"])

    def test_a_group_of_somebody_elses_process_is_not_ours(self):
        folder = f"{self.group_root()}/{NAME}"
        self.addCleanup(lambda: os.path.isdir(folder) and os.rmdir(folder))
        with subprocess.Popen(["sleep", "1000"], env={}) as other:
            try:
                self.assertEqual(self.found(f"mkdir {folder}; echo {other.pid} > {folder}/cgroup.procs"), [])
            finally:
                other.kill()

    def test_processes_by_the_mark_and_by_the_build(self):
        os.mkdir(os.path.join(self.dir, "build"))
        with open("/bin/sleep", "rb") as program:
            copy = os.path.join(self.dir, "build", "sleeper")
            with open(copy, "wb") as f:
                f.write(program.read())
        os.chmod(copy, 0o755)
        found = self.found(f"sleep 1001 >/dev/null & a=$!; env -i {copy} 1002 >/dev/null & b=$!", "kill $a $b")
        self.assertEqual(sorted(line.partition(": ")[2] for line in found), [f"{copy} 1002", "sleep 1001"])


if __name__ == "__main__":
    harness.main()
