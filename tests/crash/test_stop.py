#!/usr/bin/python3
"""brunt stop and recover end a run whatever has become of its processes"""
import json
import os
import signal
import subprocess
import sys

import crash_case
import harness

PATIENT = True

# Longer than any test waits: what ends earlier was ended by stop.
LONG = "300s"


def setUpModule():
    crash_case.make_pair()


def tearDownModule():
    crash_case.remove_pair()


class Stop(crash_case.NetCase):
    def stand_still(self, pid):
        os.kill(pid, signal.SIGSTOP)
        harness.wait_for(lambda: crash_case.is_stopped(pid), f"{pid} to stand still")

    def kill_all(self):
        for p in self.procs:
            if p.poll() is None:
                p.send_signal(signal.SIGCONT)
        super().kill_all()

    def assert_ended(self, p, out):
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        self.assertIn("stopped, restored", out.stdout)
        harness.wait_for(lambda: p.poll() is not None, "the owner's end")
        self.assertTrue(self.is_clean(), self.state_of())
        self.assertEqual(json.loads(self.brunt("status", "-o", "json").stdout), [])

    def test_stopped_owner(self):
        p = self.injected(fault=LONG)
        self.stand_still(p.pid)
        out = self.brunt("stop", "--all")
        self.assert_ended(p, out)
        # On a full machine the guard may be passed over too, which is stop's to decide.
        self.assertRegex(out.stdout, "its owner (did not answer and was|and its guard did not answer and were) killed")

    def test_stopped_owner_and_stopped_guard(self):
        p = self.injected(fault=LONG)
        self.stand_still(p.pid)
        self.stand_still(self.guard_pid())
        out = self.brunt("stop", "--all")
        self.assert_ended(p, out)
        self.assertIn("its owner and its guard did not answer and were killed", out.stdout)

    def test_owner_stopped_at_every_step(self):
        for point in [*crash_case.STEPS[1:], *crash_case.FAULT_POINTS]:
            with self.subTest(point=point):
                p = self.stopped(point)
                out = self.brunt("stop", "--all")
                self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
                harness.wait_for(lambda: p.poll() is not None, "the owner's end")
                self.assert_clean()

    def test_two_stops_at_once(self):
        p = self.injected(fault=LONG)
        self.stand_still(p.pid)
        stops = [subprocess.Popen([harness.BRUNT, "stop", "--all"], env=self.env, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                 for _ in range(2)]
        said = [s.communicate(timeout=60)[0] for s in stops]
        self.assertEqual([s.returncode for s in stops], [0, 0], said)
        harness.wait_for(lambda: p.poll() is not None, "the owner's end")
        self.assertTrue(self.is_clean(), self.state_of())

    def test_several_runs_that_do_not_answer_are_ended_side_by_side(self):
        """One after the other they would take twice the time that one takes."""
        p = self.injected(fault=LONG)
        other = dict(self.env, BRUNT_STATE_DIR=os.path.join(self.dir, "other"))
        q = self.start("--wait", self.manifest(name="queued", fault=LONG), env=other)
        harness.wait_for(lambda: len(json.loads(self.brunt("status", "-o", "json").stdout)) == 2,
                         "the second run")
        for run in (p, q):
            self.stand_still(run.pid)
        out = self.brunt("stop", "--all")
        self.assertEqual(out.stdout.count("stopped, restored"), 2, out.stdout + out.stderr)
        self.assert_ended(p, out)
        harness.wait_for(lambda: q.poll() is not None, "the other owner's end")

    def test_recover_takes_over_from_a_stopped_guard(self):
        p = self.injected(fault=LONG)
        guard = self.guard_pid()
        self.stand_still(guard)
        p.kill()
        p.wait()
        out = self.brunt("recover")
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        self.assertIn("its guard did not answer and was killed", out.stdout)
        self.assertIn("recovered, 1 change undone", out.stdout)
        self.assertTrue(self.is_clean(), self.state_of())
        harness.wait_for(lambda: crash_case.is_gone(guard), "the guard's end")

    def test_recover_leaves_a_stopped_owner_alone(self):
        p = self.injected(fault=LONG)
        self.stand_still(p.pid)
        out = self.brunt("recover")
        self.assertIn("is alive", out.stdout)
        self.assertNotEqual(self.state_of(), self.before)
        self.brunt("stop", "--all")
        self.assertTrue(self.is_clean(), self.state_of())

    def test_a_stranger_with_the_recorded_number_is_not_signalled(self):
        """The owner is dead, its number and start time now those of a process of ours."""
        p = self.injected(fault=LONG)
        self.kill_both(p)
        stranger = subprocess.Popen(["sleep", "300"])
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        with open(f"/proc/{stranger.pid}/stat", encoding="ascii") as f:
            start = int(f.read().rsplit(")", 1)[1].split()[19])
        folder = os.path.join(self.state, "locks")
        name, = [n for n in os.listdir(folder) if n != "names"]
        about = self.json(os.path.join(folder, name))
        about["owner"] = about["guard"] = {"pid": stranger.pid, "start": start}
        with open(os.path.join(folder, name), "w", encoding="ascii") as f:
            json.dump(about, f)
        out = self.brunt("stop", "--all")
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        self.assertIsNone(stranger.poll(), "a process that has nothing to do with the run was killed")
        self.assertTrue(self.is_clean(), self.state_of())

    def test_stop_of_what_has_ended(self):
        p = self.injected(fault=LONG)
        run = self.brunt("status", "-o", "name").stdout.strip()
        self.assert_ended(p, self.brunt("stop", run))
        again = self.brunt("stop", run)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertIn("has ended already", again.stdout)
        self.assertIn("nothing is running", self.brunt("stop", "--all").stdout)


HOLDER = """
import fcntl, json, os, signal, struct, sys, time
os.setgid(65534); os.setuid(65534)
path = sys.argv[1]
fd = os.open(path, os.O_RDWR)
lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
fcntl.fcntl(fd, 37, lock)  # F_OFD_SETLK
start = int(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19])
me = {"pid": os.getpid(), "start": start}
os.write(fd, json.dumps({"run": "R", "experiment": "x", "owner": me, "guard": me}).encode())
signal.signal(signal.SIGTERM, lambda *a: os._exit(7))
print("ready", flush=True)
time.sleep(600)
"""


class OtherUser(harness.Case):
    """A run of another user's, that the machine's folder lists."""

    def setUp(self):
        super().setUp()
        os.chmod(self.dir, 0o755)
        self.theirs = os.path.join(self.dir, "theirs")
        self.lock = os.path.join(self.theirs, "locks", "20300101-000000-beef")
        os.makedirs(os.path.dirname(self.lock))
        os.makedirs(self.env["BRUNT_RUN_DIR"])
        for path in (self.lock, os.path.join(self.theirs, "brunt.db")):
            with open(path, "w", encoding="ascii"):
                pass
        for path in (self.theirs, os.path.dirname(self.lock), self.lock):
            os.chown(path, 65534, 65534)
        os.symlink(self.lock, os.path.join(self.env["BRUNT_RUN_DIR"], os.path.basename(self.lock)))

    def holder(self):
        p = subprocess.Popen([sys.executable, "-c", HOLDER, self.lock], stdout=subprocess.PIPE,
                             text=True)
        self.addCleanup(p.communicate)
        self.addCleanup(p.kill)
        self.assertEqual(p.stdout.readline(), "ready\n")
        return p

    def test_its_processes_are_told_and_its_database_stays_closed(self):
        p = self.holder()
        out = self.brunt("stop", "--all")
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        self.assertIn("of user 65534: has ended", out.stdout)
        self.assertEqual(p.wait(60), 7)
        # A database that root had opened would have got tables, or a log beside it.
        self.assertEqual(os.listdir(self.theirs).sort(), ["brunt.db", "locks"].sort())
        self.assertEqual(os.path.getsize(os.path.join(self.theirs, "brunt.db")), 0)

    def test_a_process_that_only_the_file_names_is_left_alone(self):
        stranger = subprocess.Popen(["sleep", "300"])
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        with open(f"/proc/{stranger.pid}/stat", encoding="ascii") as f:
            start = int(f.read().rsplit(")", 1)[1].split()[19])
        with open(self.lock, "w", encoding="ascii") as f:
            who = {"pid": stranger.pid, "start": start}
            json.dump({"run": "R", "experiment": "x", "owner": who, "guard": who}, f)
        self.brunt("stop", "--all")
        self.assertIsNone(stranger.poll())

    def test_links_that_lead_nowhere_do_not_matter(self):
        folder = self.env["BRUNT_RUN_DIR"]
        for i, text in enumerate(("x", "/", "//", "/x", "x/y", "/locks/", "/locks/x", "../../x",
                                  "/proc/self/fd/0", "a" * 200, "/" + "b/" * 300)):
            os.symlink(text, os.path.join(folder, f"link{i}"))
        os.mkfifo(os.path.join(folder, "pipe"))
        for verb in ("status", "stop --all", "recover"):
            out = self.brunt(*verb.split(), timeout=60)
            self.assertEqual(out.returncode, 0, f"{verb}: {out.returncode} {out.stdout} {out.stderr}")


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root for network namespaces")
        raise SystemExit(77)
    harness.main()
