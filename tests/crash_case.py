"""crash_case - runs that are stopped and killed at named points, on namespaces of the test's own

BRUNT_TEST_STOP_AT makes a run stop itself (SIGSTOP) at a point, so that it can be killed exactly
there. CrashCase knows the run's processes and its journal; NetCase has a target, namespace A, whose
veth ends in B.
"""
import os
import re
import signal
import sqlite3
import subprocess

import harness

A, B = f"bt-core-{os.getpid()}-a", f"bt-core-{os.getpid()}-b"

# Every step of lib/engine.c, and the points inside a fault's life (lib/engine_fault.c).
STEPS = ["claim", "begin", "guard", "place", "plan", "measure", "baseline", "steady", "fault",
         "revert", "recovery", "judge", "leave", "record", "finish"]
FAULT_POINTS = ["captured", "journaled", "armed", "injected", "off", "reverted"]

# The lab's kernel takes seconds for what takes the host's milliseconds: a window of a test ends there
# before the fault is injected, and longer ones before the test has looked.
PACE = 10 if harness.IN_LAB else 1
SHORT = "10s" if harness.IN_LAB else "300ms"


def ip(*args):
    out = harness.run("ip", *args)
    assert out.returncode == 0, f"ip {' '.join(args)}: {out.stderr}"
    return out.stdout


def is_stopped(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        return f.read().rsplit(")", 1)[1].split()[0] == "T"


def is_gone(pid):
    """Dead; whether it was reaped is the business of whoever inherited it."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def make_pair():
    for ns in (A, B):
        ip("netns", "add", ns)
    ip("-n", A, "link", "add", "va", "type", "veth", "peer", "name", "vb", "netns", B)
    for ns, dev, addr in ((A, "va", "10.98.0.1/24"), (B, "vb", "10.98.0.2/24")):
        ip("-n", ns, "addr", "add", addr, "dev", dev)
        ip("-n", ns, "link", "set", dev, "up")
        ip("-n", ns, "link", "set", "lo", "up")


def remove_pair():
    for ns in (A, B):
        harness.run("ip", "netns", "del", ns)


def dump(ns=A):
    """What a fault could leave in the target: links, qdiscs, filters of both hooks."""
    # Without the flags: the carrier of a new veth comes a moment late.
    text = [re.sub(r"<.*?>|state.*", "", line) for line in ip("-n", ns, "-o", "link").splitlines()]
    for args in (("qdisc", "show"), ("filter", "show", "dev", "va", "egress"),
                 ("filter", "show", "dev", "va", "ingress")):
        text.append(harness.run("tc", "-n", ns, *args).stdout)
    return "\n".join(text)


class CrashCase(harness.Case):
    """state_of() is the target's state, which must be the same before and after."""

    def setUp(self):
        super().setUp()
        self.state = self.env["BRUNT_STATE_DIR"]
        self.procs = []
        self.addCleanup(self.kill_all)

    def kill_all(self):
        for p in self.procs:
            if p.poll() is None:
                p.kill()
            p.communicate()
        # A guard may still be at work; the next test must not begin before.
        harness.wait_for(lambda: "is alive" not in self.brunt("recover").stdout, "the guards to go")

    def state_of(self):
        raise NotImplementedError

    def start(self, *args, stop_at=None, **kw):
        env = dict(kw.pop("env", self.env))
        if stop_at:
            env["BRUNT_TEST_STOP_AT"] = stop_at
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
        harness.wait_for(lambda: p.poll() is not None or self.state_of() != self.before,
                         "an injection")
        self.assertIsNone(p.poll(), p.poll() is not None and p.stdout.read())
        return p

    def lock(self):
        folder = os.path.join(self.state, "locks")
        names = [n for n in os.listdir(folder) if n != "names"] if os.path.isdir(folder) else []
        return self.json(os.path.join(folder, names[0])) if names else {}

    def guard_pid(self):
        return self.lock().get("guard", {}).get("pid")

    def kill_both(self, p):
        """Neither is to see the other's death: it would put everything back."""
        guard = self.guard_pid()
        p.send_signal(signal.SIGSTOP)
        harness.wait_for(lambda: is_stopped(p.pid), "the owner to stand still")
        os.kill(guard, signal.SIGKILL)
        p.kill()
        p.wait()
        harness.wait_for(lambda: is_gone(guard), "the guard's end")

    def pending(self):
        path = os.path.join(self.state, "brunt.db")
        if not os.path.exists(path):
            return 0
        with sqlite3.connect(path, timeout=30) as db:
            tables = db.execute("SELECT count(*) FROM sqlite_master WHERE name='undo'").fetchone()[0]
            return db.execute("SELECT count(*) FROM undo WHERE undone_ns=0").fetchone()[0] if tables else 0

    def is_clean(self):
        return self.pending() == 0 and self.state_of() == self.before

    def assert_clean(self):
        try:
            harness.wait_for(self.is_clean, "the target to be as before, no record pending", 30)
        except AssertionError:
            self.assertEqual(self.state_of(), self.before)
            raise

    def recover(self):
        out = self.brunt("recover")
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        return out.stdout

    def kill_at(self, point, **kw):
        p = self.stopped(point, **kw)
        guard = self.guard_pid()
        p.kill()
        p.wait()
        if guard:
            harness.wait_for(lambda: not os.path.exists(f"/proc/{guard}"), "the guard's end", 60)
        self.assert_clean()
        self.recover()
        self.assert_clean()

    def kill_both_at(self, point, **kw):
        p = self.stopped(point, **kw)
        self.kill_both(p)
        self.assertGreater(self.pending(), 0)
        self.recover()
        self.assertTrue(self.is_clean(), self.state_of())


class NetCase(CrashCase):
    def setUp(self):
        super().setUp()
        self.before = self.state_of()

    def state_of(self):
        return dump()

    def manifest(self, name="crash", fault=f"{PACE}s", baseline="200ms", target=A,
                 recovery="200ms"):
        return self.write(f"{name}.yaml", f"""
apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {{name: {name}}}
spec:
  source: netns
  timeline: {{baseline: {baseline}, fault: {fault}, recovery: {recovery}}}
  faults:
    - name: slow
      networkChaos: {{mode: all, selector: {{labelSelectors: {{name: {target}}}}}, action: delay,
                      direction: both, delay: {{latency: 20ms}}}}
""")
