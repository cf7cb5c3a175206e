#!/usr/bin/python3
"""What is left when brunt is killed, interrupted or starved, anywhere in a run: nothing

BRUNT_TEST_STOP_AT makes a run stop itself (SIGSTOP) at a named point, so that it can be killed
exactly there. The target is a network namespace of this test's own.
"""
import os
import pty
import re
import signal
import sqlite3
import subprocess

import harness

PATIENT = True
A, B = f"bt-core-{os.getpid()}-a", f"bt-core-{os.getpid()}-b"

# Every step of lib/engine.c, and the points inside a fault's life (lib/engine_fault.c).
STEPS = ["claim", "begin", "guard", "place", "plan", "measure", "baseline", "steady", "fault",
         "revert", "recovery", "judge", "leave", "record", "finish"]
FAULT_POINTS = ["captured", "journaled", "armed", "injected", "off", "reverted"]


def ip(*args):
    out = harness.run("ip", *args)
    assert out.returncode == 0, f"ip {' '.join(args)}: {out.stderr}"
    return out.stdout


def setUpModule():
    for ns in (A, B):
        ip("netns", "add", ns)
    ip("-n", A, "link", "add", "va", "type", "veth", "peer", "name", "vb", "netns", B)
    for ns, dev, addr in ((A, "va", "10.98.0.1/24"), (B, "vb", "10.98.0.2/24")):
        ip("-n", ns, "addr", "add", addr, "dev", dev)
        ip("-n", ns, "link", "set", dev, "up")
        ip("-n", ns, "link", "set", "lo", "up")


def tearDownModule():
    for ns in (A, B):
        harness.run("ip", "netns", "del", ns)


def dump():
    """What a fault could leave in the target: links, qdiscs, filters of both hooks."""
    # Without the flags: the carrier of a new veth comes a moment late.
    text = [re.sub(r"<.*?>|state.*", "", line) for line in ip("-n", A, "-o", "link").splitlines()]
    for args in (("qdisc", "show"), ("filter", "show", "dev", "va", "egress"),
                 ("filter", "show", "dev", "va", "ingress")):
        text.append(harness.run("tc", "-n", A, *args).stdout)
    return "\n".join(text)


def is_stopped(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        return f.read().rsplit(")", 1)[1].split()[0] == "T"


class Crash(harness.Case):
    def setUp(self):
        super().setUp()
        self.state = self.env["BRUNT_STATE_DIR"]
        self.before = dump()
        self.procs = []
        self.addCleanup(self.kill_all)

    def kill_all(self):
        for p in self.procs:
            if p.poll() is None:
                p.kill()
            p.communicate()
        self.brunt("recover")

    def manifest(self, name="crash", fault="1s", baseline="200ms", target=A):
        return self.write(f"{name}.yaml", f"""
apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {{name: {name}}}
spec:
  source: netns
  timeline: {{baseline: {baseline}, fault: {fault}, recovery: 200ms}}
  faults:
    - name: slow
      networkChaos: {{mode: all, selector: {{labelSelectors: {{name: {target}}}}}, action: delay,
                      direction: both, delay: {{latency: 20ms}}}}
""")

    def start(self, *args, stop_at=None, **kw):
        env = dict(self.env, BRUNT_TEST_STOP_AT=stop_at) if stop_at else self.env
        p = subprocess.Popen([harness.BRUNT, "run", *args], env=env, text=True,
                             stdout=kw.pop("stdout", subprocess.PIPE),
                             stderr=kw.pop("stderr", subprocess.STDOUT), **kw)
        self.procs.append(p)
        return p

    def stopped(self, point, **kw):
        """A run that stands still at a point; None when it ended without having come there."""
        # A killed run's last process may hold its name for a moment longer.
        p = self.start("--wait", self.manifest(**kw), stop_at=point)
        harness.wait_for(lambda: p.poll() is not None or is_stopped(p.pid), f"a stop at {point}")
        self.assertIsNone(p.poll(), f"never came to {point}: {p.poll() is None or p.stdout.read()}")
        return p

    def injected(self, p=None, **kw):
        p = p or self.start(self.manifest(**kw))
        harness.wait_for(lambda: p.poll() is not None or dump() != self.before, "an injection")
        self.assertIsNone(p.poll(), p.poll() is not None and p.stdout.read())
        return p

    def lock(self):
        folder = os.path.join(self.state, "locks")
        names = [n for n in os.listdir(folder) if n != "names"] if os.path.isdir(folder) else []
        return self.json(os.path.join(folder, names[0])) if names else {}

    def guard_pid(self):
        return self.lock().get("guard", {}).get("pid")

    def pending(self):
        path = os.path.join(self.state, "brunt.db")
        if not os.path.exists(path):
            return 0
        with sqlite3.connect(path, timeout=30) as db:
            tables = db.execute("SELECT count(*) FROM sqlite_master WHERE name='undo'").fetchone()[0]
            return db.execute("SELECT count(*) FROM undo WHERE undone_ns=0").fetchone()[0] if tables else 0

    def is_clean(self):
        return self.pending() == 0 and dump() == self.before

    def assert_clean(self):
        try:
            harness.wait_for(self.is_clean, "the target to be as before, no record pending", 30)
        except AssertionError:
            self.assertEqual(dump(), self.before)
            raise

    def kill_at(self, point):
        p = self.stopped(point)
        guard = self.guard_pid()
        p.kill()
        p.wait()
        if guard:
            harness.wait_for(lambda: not os.path.exists(f"/proc/{guard}"), "the guard's end", 60)
        self.assert_clean()
        out = self.brunt("recover")
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        self.assert_clean()

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
                p = self.stopped(point)
                os.kill(self.guard_pid(), signal.SIGKILL)
                p.kill()
                p.wait()
                self.assertGreater(self.pending(), 0)
                # While its last process dies the run counts as live, and recover leaves it alone.
                harness.wait_for(lambda: self.recover() and self.is_clean(), "recover's work")

    def test_guard_killed_first(self):
        p = self.injected(fault="60s")
        os.kill(self.guard_pid(), signal.SIGKILL)
        out, _ = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 3, out)
        self.assertIn("the guard process ended before the run", out)
        self.assert_clean()

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
        self.assertIn("is held by run", out.stdout + out.stderr)
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
mount -t tmpfs -o size=400k none {state} || exit 77
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
        script = f"mount -t tmpfs -o ro none {state} && exec {harness.BRUNT} run --state-dir {state} {self.manifest()}"
        out = harness.run("unshare", "-m", "sh", "-c", script, env=self.env)
        self.assertEqual(out.returncode, 3, out.stdout + out.stderr)
        self.assertIn("Read-only file system", out.stdout + out.stderr)
        self.assertEqual(dump(), self.before)

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
