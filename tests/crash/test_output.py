#!/usr/bin/python3
"""Output that nobody reads holds nothing up: faults end in time, Ctrl-C works, the last lines come"""
import fcntl
import os
import pty
import re
import signal
import subprocess
import termios
import time

import crash_case
import harness

PATIENT = True


def setUpModule():
    crash_case.make_pair()


def tearDownModule():
    crash_case.remove_pair()


class Output(crash_case.NetCase):
    def full_pipe(self):
        """A pipe in which a writer finds no room, and its reading end."""
        r, w = os.pipe()
        self.addCleanup(self.close, r)
        os.set_blocking(w, False)
        try:
            while True:
                os.write(w, b"." * 4096)
        except BlockingIOError:
            pass
        os.set_blocking(w, True)
        return r, w

    @staticmethod
    def close(fd):
        try:
            os.close(fd)
        except OSError:
            pass

    def start_on(self, fd, *args, **kw):
        p = self.start(*args, stdout=fd, stderr=fd, **kw)
        os.close(fd)
        return p

    def assert_fault_ends(self, p):
        """The run's own end is awaited, not the guard's, which acts ten seconds later."""
        harness.wait_for(lambda: self.state_of() != self.before, "an injection")
        harness.wait_for(lambda: self.state_of() == self.before, "the end of the fault")
        harness.wait_for(lambda: p.poll() is not None, "the end of the run")
        self.assertNotIn(p.returncode, (3, 4), "the guard had to revert")
        self.assertEqual(self.pending(), 0)

    def test_fault_ends_in_time_though_nobody_reads(self):
        for args in (["-v"], ["-q"], ["-o", "json"]):
            with self.subTest(args=args):
                _, w = self.full_pipe()
                p = self.start_on(w, *args, self.manifest(fault="3s", baseline="0s"))
                self.assert_fault_ends(p)

    def test_ctrl_c_though_nobody_reads(self):
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(sig=sig):
                _, w = self.full_pipe()
                p = self.start_on(w, "-v", self.manifest(fault="300s"))
                self.injected(p)
                p.send_signal(sig)
                p.send_signal(sig)
                self.assertEqual(p.wait(60), 130)
                self.assertTrue(self.is_clean(), self.state_of())

    def test_a_reader_that_comes_late_gets_the_last_lines(self):
        r, w = self.full_pipe()
        p = self.start_on(w, "-v", self.manifest(fault="3s", baseline="0s", recovery="0s"))
        harness.wait_for(lambda: self.state_of() != self.before, "an injection")
        harness.wait_for(lambda: self.pending() == 0, "the end of the fault")
        with os.fdopen(r, "rb") as f:
            text = f.read().decode().lstrip(".")
        self.assertIn("inconclusive", text.splitlines()[-2] + text.splitlines()[-1])
        self.assertEqual(p.wait(60), 5)

    def test_stalled_terminal(self):
        """Ctrl-S: the live view's writes wait in the kernel."""
        master, slave = pty.openpty()
        self.addCleanup(self.close, master)
        p = self.start(self.manifest(fault="3s", baseline="0s"), stdin=slave, stdout=slave, stderr=slave,
                       start_new_session=True, env=dict(self.env, TERM="xterm"),
                       preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        termios.tcflow(slave, termios.TCOOFF)
        self.assert_fault_ends(p)
        termios.tcflow(slave, termios.TCOON)
        os.close(slave)

    def test_ctrl_c_on_a_stalled_terminal(self):
        master, slave = pty.openpty()
        self.addCleanup(self.close, master)
        p = self.start(self.manifest(fault="300s"), stdin=slave, stdout=slave, stderr=slave,
                       start_new_session=True, env=dict(self.env, TERM="xterm"),
                       preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        termios.tcflow(slave, termios.TCOOFF)
        self.injected(p)
        os.write(master, b"\x03")
        self.assertEqual(p.wait(60), 130)
        self.assertTrue(self.is_clean(), self.state_of())
        termios.tcflow(slave, termios.TCOON)
        os.close(slave)

    def test_reader_that_leaves(self):
        r, w = os.pipe()
        p = self.start_on(w, "-v", self.manifest(fault="3s", baseline="0s"))
        os.close(r)
        self.assert_fault_ends(p)

    def test_the_shells_descriptor_keeps_its_flags(self):
        r, w = os.pipe()
        self.addCleanup(self.close, r)
        p = self.start("-q", self.manifest(fault="3s", baseline="0s"), stdout=w, stderr=w)
        flags = {fcntl.fcntl(w, fcntl.F_GETFL)}
        while p.poll() is None:
            flags.add(fcntl.fcntl(w, fcntl.F_GETFL))
            time.sleep(0.01)
        os.close(w)
        self.assertEqual(flags, {os.O_WRONLY})

    def test_stop_and_lab_do_not_wait_for_a_reader(self):
        p = self.injected(fault="300s")
        _, w = self.full_pipe()
        with subprocess.Popen([harness.BRUNT, "stop", "--all"], env=self.env, stdout=w, stderr=w) as stop:
            os.close(w)
            self.assertNotEqual(stop.wait(60), 0)  # what it had to say is lost
        self.assertEqual(p.wait(60), 130)
        self.assertTrue(self.is_clean(), self.state_of())

    def report_to(self, path):
        return self.brunt("run", "-q", self.manifest(fault="300ms", baseline="0s", recovery="0s"),
                          "--report", f"junit={path}")

    def test_a_report_on_a_device_leaves_the_device(self):
        """A node of our own: an error would replace the machine's."""
        full = os.path.join(self.dir, "full")
        os.mknod(full, 0o20666, os.makedev(1, 7))
        out = self.report_to(full)
        self.assertEqual(out.returncode, 3, out.stdout + out.stderr)
        self.assertIn("No space left on device", out.stderr)
        self.assertTrue(os.stat(full).st_rdev == os.makedev(1, 7), "the device was replaced by a file")
        self.assertTrue(self.is_clean(), self.state_of())

    def test_a_report_into_a_pipe_without_a_reader_waits_for_none(self):
        pipe = os.path.join(self.dir, "pipe")
        os.mkfifo(pipe)
        out = self.report_to(pipe)
        self.assertEqual(out.returncode, 3, out.stdout + out.stderr)
        self.assertRegex(out.stderr, re.escape(pipe))
        self.assertTrue(self.is_clean(), self.state_of())


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root for network namespaces")
        raise SystemExit(77)
    harness.main()
