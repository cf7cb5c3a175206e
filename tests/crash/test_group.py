#!/usr/bin/python3
"""What a run starts ends with it: load, SLO commands and what they left behind, whoever dies"""
import glob
import json
import os
import signal

import crash_case
import harness
from crash_case import PACE

PATIENT = True
LEGS = "host lab"

# A daemon as daemons are made: a session of its own, and a second fork.
DAEMON = "setsid sh -c 'sleep %s & exec sleep %s' </dev/null >/dev/null 2>&1 &"


def setUpModule():
    crash_case.make_pair()


def tearDownModule():
    crash_case.remove_pair()


class Group(crash_case.NetCase):
    def setUp(self):
        super().setUp()
        self.mark = f"98{os.getpid():07d}{abs(hash(self.id())) % 10000:04d}"
        self.addCleanup(self.end_marked)

    def end_marked(self):
        """Only what a failed test left: the numbers are this test's alone."""
        for pid in self.marked():
            os.kill(pid, signal.SIGKILL)

    def marked(self):
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as f:
                    words = f.read().split(b"\0")
            except OSError:
                continue
            if words[0] == b"sleep" and words[1].startswith(self.mark.encode()):
                found.append(int(path.split("/")[2]))
        return found

    def groups(self):
        names = os.listdir(os.path.join(self.state, "locks")) if os.path.isdir(self.state) else []
        return [os.path.join(folder, d) for folder, dirs, _ in os.walk("/sys/fs/cgroup")
                for d in dirs if d.startswith("brunt-run-") and d[10:] in (*names, *self.runs)]

    def manifest(self, load=True, fault="300s", baseline="0s", **kw):
        path = super().manifest(fault=fault, baseline=baseline, **kw)
        with open(path, encoding="utf-8") as f:
            text = f.read()
        one, two = (DAEMON % (self.mark + i, self.mark + i) for i in "12")
        extra = f"""
  load: {{command: [sh, -c, "{one} sleep {self.mark}3"]}}""" if load else ""
        extra += f"""
  slos:
    - name: check
      indicator: {{command: {{command: [sh, -c, "{two} exit 0"], interval: 30s}}}}
      objectives: [success >= 0%]
"""
        return self.write("group.yaml", text.replace("\n  faults:", extra + "\n  faults:"))

    runs = ()

    def begun(self, n=5, **kw):
        """A run whose load and command have detached themselves."""
        p = self.injected(**kw)
        self.runs = (self.brunt("status", "-o", "name").stdout.strip(),)
        harness.wait_for(lambda: len(self.marked()) >= n, f"{n} processes")
        return p

    def assert_all_gone(self):
        harness.wait_for(lambda: not self.marked(), f"the end of {self.marked()}")
        harness.wait_for(lambda: not self.groups(), f"the end of {self.groups()}")
        self.assert_clean()

    def test_normal_end(self):
        p = self.begun(fault=f"{12 * PACE}s")
        self.assertEqual(len(self.groups()), 1)
        out, _ = p.communicate(timeout=120)
        self.assertNotIn(p.returncode, (3, 4), out)
        self.assert_all_gone()

    def test_ctrl_c(self):
        p = self.begun()
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=60)
        self.assert_all_gone()

    def test_owner_killed(self):
        p = self.begun()
        p.kill()
        p.wait()
        self.assert_all_gone()

    def test_owner_and_guard_killed_then_recover(self):
        p = self.begun()
        self.kill_both(p)
        self.assertTrue(self.marked(), "nothing outlived the two: the test says nothing")
        self.recover()
        self.assert_all_gone()

    def test_owner_and_guard_stopped_then_stop(self):
        p = self.begun()
        for pid in (p.pid, self.guard_pid()):
            os.kill(pid, signal.SIGSTOP)
        out = self.brunt("stop", "--all")
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        self.assert_all_gone()

    def test_command_without_load(self):
        p = self.begun(n=2, load=False, fault=f"{12 * PACE}s")
        p.communicate(timeout=120)
        self.assert_all_gone()

    def test_bad_bytes_of_a_program_neither_lose_the_record_nor_reach_the_terminal(self):
        path = self.manifest(fault="300s")
        with open(path, encoding="utf-8") as f:
            text = f.read()
        out = r"printf '\\377\\033[2Jbad\\n'; exit 1"
        text = text.replace(text[text.index("  load:"):text.index("  slos:")],
                            f'  load: {{command: [sh, -c, "sleep 1; {out}"]}}\n')
        record = os.path.join(self.dir, "record.json")
        ran = self.brunt("run", "--report", f"json={record}", self.write("bad.yaml", text))
        self.assertEqual(ran.returncode, 3, ran.stdout + ran.stderr)
        self.assertIn("??[2Jbad", ran.stdout)
        self.assertNotIn("\033", ran.stdout + ran.stderr)
        self.assertIn("??[2Jbad", self.json(record)["sentence"])
        self.assert_all_gone()

    def test_a_group_that_is_not_the_runs_is_not_ended(self):
        """A lock file that names another group: recover refuses, and nothing in it is killed."""
        p = self.begun()
        self.kill_both(p)
        folder = os.path.join(self.state, "locks")
        name, = [n for n in os.listdir(folder) if n != "names"]
        about = self.json(os.path.join(folder, name))
        group = about["group"]
        about["group"] = os.path.dirname(group)
        with open(os.path.join(folder, name), "w", encoding="ascii") as f:
            json.dump(about, f)
        out = self.brunt("recover")
        self.assertEqual(out.returncode, 3, out.stdout + out.stderr)
        self.assertIn("is not the control group of run", out.stderr)
        with open(os.path.join(group, "cgroup.kill"), "w", encoding="ascii") as f:
            f.write("1")
        harness.wait_for(lambda: not self.marked(), "their end")
        os.rmdir(group)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root for network namespaces")
        raise SystemExit(77)
    harness.main()
