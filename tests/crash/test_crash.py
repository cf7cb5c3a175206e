#!/usr/bin/python3
"""What is left when brunt is killed, interrupted or starved, anywhere in a run: nothing"""
import ctypes
import os
import pty
import signal
import subprocess

import crash_case
import harness
from crash_case import A, B, FAULT_POINTS, STEPS, dump, ip

PATIENT = True


def setUpModule():
    crash_case.make_pair()


def tearDownModule():
    crash_case.remove_pair()


class Crash(crash_case.NetCase):
    def test_sigkill_at_every_step(self):
        for point in STEPS:
            with self.subTest(point=point):
                self.kill_at(point)

    def test_sigkill_at_every_point_of_a_fault(self):
        for point in FAULT_POINTS:
            with self.subTest(point=point):
                self.kill_at(point)

    def recover(self):
        out = self.brunt("recover")
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        return True

    def test_both_killed_then_recover(self):
        for point in ("journaled", "injected", "off", "reverted"):
            with self.subTest(point=point):
                self.kill_both_at(point)

    def share_lock(self, pid):
        """A descriptor of the lock that pid holds: it is held as long as this one is open."""
        folder = f"/proc/{pid}/fd"
        # A run's file is named after it, and so after the year.
        number = next(int(fd) for fd in os.listdir(folder)
                      if "/locks/2" in os.readlink(f"{folder}/{fd}"))
        pidfd = os.pidfd_open(pid)
        fd = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, number, 0)  # pidfd_getfd
        os.close(pidfd)
        self.assertGreaterEqual(fd, 0, os.strerror(ctypes.get_errno()))
        return fd

    def test_recover_waits_for_a_process_that_is_dying(self):
        p = self.stopped("injected")
        dying = self.share_lock(p.pid)
        self.kill_both(p)
        recover = subprocess.Popen([harness.BRUNT, "recover"], env=self.env, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        # Time enough to say "is alive", which is the mistake; a slow machine only misses it.
        self.assertRaises(subprocess.TimeoutExpired, recover.wait, 1)
        os.close(dying)
        self.assertIn("recovered", recover.communicate(timeout=60)[0])
        self.assertTrue(self.is_clean(), self.state_of())

    def test_guard_reverts_with_a_relative_state_directory(self):
        p = self.start(self.manifest(fault="60s"), cwd=self.dir,
                       env=dict(self.env, BRUNT_STATE_DIR="state"))
        self.injected(p)
        p.kill()
        self.assert_clean()

    def test_guard_killed_first(self):
        p = self.injected(fault="60s")
        os.kill(self.guard_pid(), signal.SIGKILL)
        out, _ = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 3, out)
        self.assertIn("the guard process ended before the run", out)
        self.assert_clean()

    def test_guard_reverts_when_the_owner_stands_still(self):
        """Ten seconds after the end of the fault window the guard waits no longer."""
        p = self.injected(fault="1s", recovery="0s")
        p.send_signal(signal.SIGSTOP)
        harness.wait_for(self.is_clean, "the guard's revert")
        if crash_case.is_stopped(p.pid):
            p.send_signal(signal.SIGCONT)
            out, _ = p.communicate(timeout=60)
            self.assertEqual(p.returncode, 3, out)
            self.assertIn("the guard process ended before the run", out)
        else:  # it was caught in the middle of a step, which it must not end later
            p.communicate(timeout=60)
            self.assertEqual(p.returncode, -signal.SIGKILL)
        self.assertTrue(self.is_clean())

    def test_recover_leaves_a_live_run_alone(self):
        p = self.injected(fault="60s")
        self.brunt("recover")
        self.assertIsNone(p.poll())
        self.assertNotEqual(dump(), self.before)
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=60)
        self.assert_clean()

    def interrupt(self, sig):
        p = self.injected(fault="60s")
        p.send_signal(sig)
        p.send_signal(sig)
        out, _ = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 130, out)
        self.assertTrue(self.is_clean())

    def test_ctrl_c_twice(self):
        self.interrupt(signal.SIGINT)

    def test_sigterm(self):
        self.interrupt(signal.SIGTERM)

    def test_closed_terminal(self):
        master, slave = pty.openpty()
        p = self.start(self.manifest(fault="60s"), stdin=slave, stdout=slave, stderr=slave,
                       start_new_session=True,
                       preexec_fn=lambda: __import__("fcntl").ioctl(0, 0x540E, 0))
        os.close(slave)
        os.set_blocking(master, False)
        harness.wait_for(lambda: self.drain(master) or dump() != self.before, "an injection")
        os.close(master)
        self.assertEqual(p.wait(60), 130)
        self.assertTrue(self.is_clean())

    @staticmethod
    def drain(fd):
        """Reads what a terminal would show, so that the writer never blocks."""
        try:
            os.read(fd, 65536)
        except OSError:
            pass
        return False

    def test_stop_ends_a_run(self):
        p = self.injected(fault="60s")
        out = self.brunt("stop", "--all")
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        p.communicate(timeout=60)
        self.assertEqual(p.returncode, 130)
        self.assertTrue(self.is_clean())

    def test_two_runs_want_one_target(self):
        first = self.injected(fault="60s")
        rival = self.manifest(name="rival")
        out = self.brunt("run", rival)
        self.assertEqual(out.returncode, 3, out.stdout + out.stderr)
        self.assertIn(f"target default/{A} is held by run", out.stdout + out.stderr)
        self.assertIn("of experiment crash", out.stdout + out.stderr)
        again = self.brunt("run", self.manifest())
        self.assertEqual(again.returncode, 3)
        self.assertIn("experiment/crash is held by run", again.stdout + again.stderr)
        queued = self.start("--wait", rival)
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
        out, _ = queued.communicate(timeout=60)
        self.assertNotIn(queued.returncode, (3, 4), out)
        self.assert_clean()

    def test_target_dies_during_the_fault(self):
        mortal = f"bt-core-{os.getpid()}-m"
        ip("netns", "add", mortal)
        self.addCleanup(harness.run, "ip", "netns", "del", mortal)
        ip("-n", mortal, "link", "add", "va", "type", "veth", "peer", "name", "vm", "netns", B)
        ip("-n", mortal, "link", "set", "va", "up")
        p = self.start(self.manifest(fault="3s", target=mortal))
        harness.wait_for(lambda: p.poll() is not None or "clsact" in harness.run(
            "tc", "-n", mortal, "qdisc", "show").stdout, "an injection")
        ip("netns", "del", mortal)
        out, _ = p.communicate(timeout=60)
        self.assertNotIn(p.returncode, (4, -6, -11), out)
        self.assertEqual(self.pending(), 0)
        self.assertIn("target-gone", out.replace(" ", "-"))

    def test_full_disk(self):
        """The journal's disk is full when the fault's records are to be written."""
        state = os.path.join(self.dir, "small")
        os.mkdir(state)
        script = f"""
mount -t tmpfs -o size=400k,mode=0700 none {state} || exit 77
{harness.BRUNT} --state-dir {state} run {self.manifest(baseline='4s')} & pid=$!
until ls {state}/locks/*-* >/dev/null 2>&1; do sleep 0.02; done
sleep 1
dd if=/dev/zero of={state}/filler bs=4k 2>/dev/null
wait $pid
"""
        script = script.replace(f"{harness.BRUNT} --state-dir {state} run",
                                f"{harness.BRUNT} run --state-dir {state}")
        out = harness.run("unshare", "-m", "sh", "-c", script, env=self.env)
        self.assertEqual(out.returncode, 3, out.stdout + out.stderr)
        self.assertIn("No space left on device", out.stdout + out.stderr)
        self.assertIn("free some space", out.stdout + out.stderr)
        self.assertEqual(dump(), self.before)

    def test_read_only_state_directory(self):
        state = os.path.join(self.dir, "ro")
        os.mkdir(state)
        script = f"mount -t tmpfs -o ro,mode=0700 none {state} && exec {harness.BRUNT} run --state-dir {state} {self.manifest()}"
        out = harness.run("unshare", "-m", "sh", "-c", script, env=self.env)
        self.assertEqual(out.returncode, 3, out.stdout + out.stderr)
        self.assertIn("Read-only file system", out.stdout + out.stderr)
        self.assertEqual(dump(), self.before)

    def test_clsact_that_came_after_the_plan_stays(self):
        """Somebody makes an empty clsact while the baseline runs; it is not the fault's to remove."""
        p = self.stopped("baseline")
        ip("netns", "exec", A, "tc", "qdisc", "add", "dev", "va", "clsact")
        self.addCleanup(harness.run, "tc", "-n", A, "qdisc", "del", "dev", "va", "clsact")
        before = dump()
        p.send_signal(signal.SIGCONT)
        out, _ = p.communicate(timeout=60)
        self.assertNotIn(p.returncode, (3, 4), out)
        self.assertEqual(dump(), before)

    def test_namespace_that_is_only_held_open_is_recovered(self):
        """A lab's pod between two starts: no process lives in it, and it has no name."""
        held = f"bt-core-{os.getpid()}-h"
        ip("netns", "add", held)
        self.addCleanup(harness.run, "ip", "netns", "del", held)
        ip("-n", held, "link", "add", "va", "type", "veth", "peer", "name", "vh", "netns", B)
        ip("-n", held, "link", "set", "va", "up")
        p = self.start(self.manifest(fault="60s", target=held))
        harness.wait_for(lambda: p.poll() is not None or "clsact" in harness.run(
            "tc", "-n", held, "qdisc", "show").stdout, "an injection")
        self.kill_both(p)
        with open(f"/run/netns/{held}", "rb") as f:
            ip("netns", "del", held)
            self.recover()
            out = harness.run("nsenter", f"--net=/proc/self/fd/{f.fileno()}", "sh", "-c",
                              "ip -o link; tc qdisc show", pass_fds=[f.fileno()])
        self.assertEqual(out.returncode, 0, out.stderr)
        self.assertIn("va", out.stdout)
        self.assertNotRegex(out.stdout, "clsact|ifb|brunt")
        self.assertEqual(self.pending(), 0)

    def test_planted_residue_is_told(self):
        """Somebody's qdisc that comes during the fault cannot be told from brunt's own residue."""
        p = self.injected(fault="2s")
        ip("-n", A, "link", "set", "va", "txqueuelen", "500")
        self.addCleanup(ip, "-n", A, "link", "set", "va", "txqueuelen", "1000")
        harness.run("tc", "-n", A, "qdisc", "replace", "dev", "va", "root", "tbf", "rate", "1gbit",
                    "burst", "64k", "latency", "50ms")
        self.addCleanup(harness.run, "tc", "-n", A, "qdisc", "del", "dev", "va", "root")
        out, _ = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 4, out)
        self.assertIn("NOT RESTORED", out)
        self.assertIn("tbf", out)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root for network namespaces")
        raise SystemExit(77)
    harness.main()
