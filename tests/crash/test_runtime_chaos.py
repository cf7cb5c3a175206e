#!/usr/bin/python3
"""RuntimeChaos on a liveroom in the lab: felt, judged, and gone whoever dies

What is under way is asked of the service itself, through its control socket. The other kernel has one
CPU, where no P can be parked.
"""
import json
import os
import re
import signal
import socket
import subprocess

import crash_case
import harness
from harness import wait_for

PATIENT = True
LAB = f"rtchaos-{os.getpid()}"
CONTROL = "/dev/shm/live.control"

POD = """apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: p}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: app
      command: %s
      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
"""
LIVEROOM = ["liveroom", "serve", "--listen", "*:8080", "--control", CONTROL]


class ServiceCase(crash_case.CrashCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.brunt, "lab", "down", "--all", "--now")

    def up(self, command=None):
        manifest = self.write("lab.yaml", POD % json.dumps(command or LIVEROOM))
        out = self.brunt("lab", "up", "-f", manifest, "--name", LAB)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        self.pid = self.service_pid()

    def service_pid(self):
        out = self.brunt("lab", "ps", "--name", LAB, "-o", "json").stdout
        return json.loads(out)[0]["pods"][0]["containers"][0]["pid"]

    def path(self):
        return f"/proc/{self.pid}/root{CONTROL}"

    def ask(self, command="status"):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(60)
            s.connect(self.path())
            with s.makefile("rw", newline="\n") as f:
                self.assertTrue(f.readline().startswith("rt-control 1 pid="))
                f.write(command + "\n")
                f.flush()
                return f.readline().strip()

    def state_of(self):
        """What a fault could leave behind."""
        status = self.ask()
        return {"parked": re.search(r"parked=(\d+)", status)[1], "actions": status.split("actions=")[1]
                .split(":")[0], "percent": re.search(r" percent=(-?\d+)", status)[1]}

    def experiment(self, fault, seconds=60, more="", baseline="100ms"):
        return self.write("x.yaml", f"""
apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {{name: runtime-chaos}}
spec:
  timeline: {{baseline: {baseline}, fault: {seconds}s, recovery: 100ms}}
  {more}
  faults: [{{name: it, runtimeChaos: {{mode: all, selector: {{}}, {fault}}}}}]
""")

    def start(self, *args, **kw):
        return super().start("--lab", LAB, *args, **kw)

    def ends(self, p, code):
        out = p.communicate(timeout=120)[0]
        self.assertEqual(p.returncode, code, out)
        return out

    def run_it(self, fault, code, **kw):
        """The run's record and what it said."""
        record = os.path.join(self.dir, "record.json")
        p = self.start(self.experiment(fault, **kw), "--report", f"json={record}")
        out = self.ends(p, code)
        doc = self.json(record)
        return (doc[0] if isinstance(doc, list) else doc), out


STALL = f"action: stall-safepoint, control: {CONTROL}, stall: 40ms, interval: 100ms"
GC_PAUSE = f"action: gc-pause, control: {CONTROL}"
SLOW = f"action: slow-syscalls, control: {CONTROL}, latency: 5ms"
PARK = f"action: park-p, control: {CONTROL}"


class Felt(ServiceCase):
    def setUp(self):
        super().setUp()
        self.up()

    @harness.alone
    def test_a_stall_raises_the_time_to_safepoint_and_the_run_judges_it(self):
        slo = """slos:
    - name: safepoint
      indicator: {runtime: {metric: ttsp, interval: 100ms}}
      objectives: [p50 <= 9ms]"""
        # Most stops of the world meet a stall: a busy machine makes some of them wait as long.
        record, out = self.run_it(STALL.replace("40ms", "95ms"), 1, seconds=8, more=slo, baseline="3s")
        fault = record["faults"][0]
        self.assertIn("time to safepoint up to", json.dumps(fault))
        self.assertGreater(fault["detail"]["targets"][0]["worst_ttsp_ns"], 40e6)
        self.assertEqual(fault["detail"]["targets"][0]["lost"], "")
        self.assertIn("p50 <= 9ms is not kept", out)
        self.assertEqual(self.state_of(), {"parked": "0", "actions": "-", "percent": "100"})

    def test_parked_ps_are_missing_and_come_back(self):
        if os.cpu_count() < 2:
            self.skipTest("one CPU, so one P: tests/runtime/test_control.c parks some of three")
        p = self.start(self.experiment(PARK, seconds=3))
        wait_for(lambda: "parked=1 " in self.ask() or p.poll() is not None, "a parked P")
        self.assertRegex(self.ask(), f"procs={os.cpu_count() - 1} ")
        self.ends(p, 0)
        self.assertRegex(self.ask(), f"procs={os.cpu_count()} live={os.cpu_count()} parked=0 .*actions=-$")

    def test_the_memory_is_disturbed_and_let_go(self):
        before = self.state_of()
        for action, measured in {
                "gc-force, interval: 50ms": r"\d+ collections",
                "gc-pause": r"\d+ collections while they were off",
                "alloc-storm, rate: 8MiB, count: 2": r"allocated, \d+ collections",
                "coroutine-leak, count: 500": r"coroutines \d+ to \d+",
                "slow-syscalls, latency: 5ms, jitter: 1ms":
                    r"[1-9]\d* system calls \S+ ms longer on average"}.items():
            with self.subTest(action=action):
                record, _ = self.run_it(f"action: {action}, control: {CONTROL}", 0, seconds=2)
                self.assertRegex(json.dumps(record["faults"][0]), measured + ", felt on 1 of 1 targets")
                self.assertEqual(self.state_of(), before)

    def test_one_p_stays(self):
        out = self.ends(self.start(self.experiment(PARK + ", count: 64")), 3)
        self.assertRegex(out, r"default/p: /dev/shm/live.control: it has \d+ Ps, and parking 64 would "
                              "leave none")

    def test_the_plan_names_process_socket_and_lease(self):
        out = self.brunt("plan", "--lab", LAB, self.experiment(STALL)).stdout
        self.assertIn(f"process {self.pid} (default/p) by {CONTROL}: stall-safepoint 40.0 ms every "
                      "100 ms", out)
        self.assertIn("lease 2.00 s", out)

    def test_an_action_that_the_service_ends_is_told(self):
        p = self.start("-v", self.experiment(STALL, seconds=6))
        wait_for(lambda: "stall-safepoint:" in self.ask() or p.poll() is not None, "the stalls")
        tag = self.ask().split("actions=stall-safepoint:")[1].split(":")[0]
        self.assertEqual(self.ask(f"end tag={tag}"), "ok 1")
        out = p.communicate(timeout=120)[0]
        self.assertRegex(out, "warning: .*default/p: (no action of this connection|the service ended it)")


class Gone(ServiceCase):
    def setUp(self):
        super().setUp()
        self.up()
        self.before = self.state_of()

    def manifest(self, fault="60s", **kw):
        return self.experiment(STALL, seconds=int(fault[:-1]))

    def test_ctrl_c_ends_it(self):
        p = self.injected()
        p.send_signal(signal.SIGINT)
        self.ends(p, 130)
        self.assert_clean()

    def test_owner_killed(self):
        for point in ("journaled", "injected", "off", "reverted"):
            with self.subTest(point=point):
                self.kill_at(point, fault="1s")

    def test_both_killed_and_the_action_ends_by_itself(self):
        p = self.injected(self.start("--lease", "60s", self.manifest()))
        self.kill_both(p)
        wait_for(lambda: self.state_of() == self.before, "the action to end with its connection", 30)
        self.assertGreater(self.pending(), 0)
        self.assertIn("recovered, 1 change undone", self.recover())
        self.assertTrue(self.is_clean())

    def test_paused_collections_go_on_when_both_are_killed(self):
        p = self.injected(self.start(self.experiment(GC_PAUSE)))
        self.assertEqual(self.state_of()["percent"], "-1")
        self.kill_both(p)
        wait_for(lambda: self.state_of() == self.before, "collections to be as before", 30)
        self.recover()
        self.assertTrue(self.is_clean())

    def test_slow_system_calls_are_fast_again_when_both_are_killed(self):
        self.assertEqual(self.delayed_of_a_request(), 0)
        p = self.injected(self.start(self.experiment(SLOW)))
        self.assertGreater(self.delayed_of_a_request(), 0)
        self.kill_both(p)
        wait_for(lambda: self.state_of() == self.before, "the calls to be as before", 30)
        # One call may have been in its delay when that ended.
        wait_for(lambda: self.delayed_of_a_request() == 0, "the calls to be fast", 30)
        self.recover()
        self.assertTrue(self.is_clean())

    def slow_calls(self):
        return int(re.search(r" slow_calls=(\d+)", self.ask())[1])

    def delayed_of_a_request(self):
        """How many of its system calls, and of those that the service made meanwhile."""
        before = self.slow_calls()
        code = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz').read()"
        subprocess.run(["nsenter", "-n", "-t", str(self.pid), "/usr/bin/python3", "-c", code], check=True,
                       timeout=60)
        return self.slow_calls() - before

    def test_recover_does_not_believe_what_it_could_not_ask(self):
        p = self.injected()
        self.kill_both(p)
        os.kill(self.pid, signal.SIGSTOP)
        try:
            out = self.brunt("recover")
        finally:
            os.kill(self.pid, signal.SIGCONT)
        self.assertEqual(out.returncode, 4, out.stdout + out.stderr)
        self.assertIn("no answer within 2 s", out.stdout + out.stderr)
        self.assertGreater(self.pending(), 0)
        self.recover()
        self.assert_clean()

    def test_both_stand_still_and_the_lease_ends_it(self):
        p = self.injected()
        guard = self.guard_pid()
        os.kill(guard, signal.SIGSTOP)
        p.send_signal(signal.SIGSTOP)
        try:
            wait_for(lambda: self.state_of() == self.before, "the lease to run out")
        finally:
            os.kill(guard, signal.SIGCONT)
            p.send_signal(signal.SIGCONT)
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=120)
        self.assert_clean()

    def test_status_tells_the_lease(self):
        p = self.injected()
        fault = json.loads(self.brunt("status", "-o", "json").stdout)[0]["injected"][0]
        self.assertEqual((fault["kind"], fault["has_lease"]), ("RuntimeChaos", True))
        self.assertTrue(0 < fault["lease_ms"] <= 2000, fault)
        p.send_signal(signal.SIGINT)
        self.ends(p, 130)

    def test_a_service_that_dies_takes_it_along(self):
        p = self.injected(fault="5s")
        os.kill(self.pid, signal.SIGKILL)
        wait_for(lambda: self.service_pid() not in (0, self.pid), "a new start")
        out = p.communicate(timeout=120)[0]
        self.assertNotEqual(p.returncode, 4, out)
        self.pid = self.service_pid()
        wait_for(lambda: os.path.exists(self.path()), "the new socket")
        self.assertEqual(self.state_of(), self.before)
        self.assertEqual(self.pending(), 0)

    def test_an_action_that_stays_is_residue(self):
        """Planted: somebody keeps one alive under the run's tag."""
        p = self.stopped("off", fault="1s")
        run = os.listdir(os.path.join(self.state, "locks"))
        run = next(n for n in run if n != "names")
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.path())
            s.sendall(f"park-p tag={run}/planted lease_ms=60000\n".encode())
            wait_for(lambda: "planted" in self.ask(), "the planted action")
            p.send_signal(signal.SIGCONT)
            out = p.communicate(timeout=120)[0]
            self.assertEqual(p.returncode, 4, out)
            self.assertIn("planted", out)
        wait_for(lambda: self.state_of() == self.before, "the planted action to go")


class Refused(ServiceCase):
    def refused(self, text, fault=STALL):
        out = self.ends(self.start(self.experiment(fault)), 3)
        self.assertIn(text, out)
        return out

    def test_no_socket(self):
        self.up(LIVEROOM[:-2])
        self.refused(f"has no control socket {CONTROL}")

    def test_a_file_and_a_link_are_no_socket(self):
        self.up()
        self.refused("/etc/hosts of process", fault="action: park-p, control: /etc/hosts")
        os.symlink(CONTROL, f"/proc/{self.pid}/root/dev/shm/link")
        self.refused("link of process", fault="action: park-p, control: /dev/shm/link")

    def python(self, code):
        self.up(["/usr/bin/python3", "-c", f"import socket, threading, time\n"
                 f"http = socket.create_server(('', 8080))\n"
                 f"s = socket.socket(socket.AF_UNIX)\ns.bind('{CONTROL}')\n{code}\ntime.sleep(1000)"])

    def test_a_stale_socket(self):
        self.python("s.listen(1); s.close()")
        self.refused(f"{CONTROL} is stale: nobody listens on it")

    def test_another_version(self):
        self.python("s.listen(9)\nwhile 1: s.accept()[0].sendall(b'rt-control 2 pid=1\\n')")
        self.refused("speaks version 2 of the protocol, this brunt speaks 1")

    def test_no_control_socket_at_all(self):
        self.python("s.listen(9)\nwhile 1: s.accept()[0].sendall(b'220 smtp\\n')")
        self.refused('"220 smtp" is no greeting of a control socket')

    def test_a_peer_that_is_not_the_target(self):
        """Somebody outside the pod listens in the pod's folder."""
        self.up(LIVEROOM[:-2])
        code = ("import os, socket, sys\nos.chdir(sys.argv[1])\ns = socket.socket(socket.AF_UNIX)\n"
                "s.bind('live.control')\ns.listen(9)\nprint('up', flush=True)\n"
                "held = []\nwhile 1: held.append(s.accept()[0])")
        stranger = subprocess.Popen(["/usr/bin/python3", "-c", code, f"/proc/{self.pid}/root/dev/shm"],
                                    stdout=subprocess.PIPE, text=True)
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        self.addCleanup(stranger.stdout.close)
        self.assertEqual(stranger.stdout.readline(), "up\n")
        self.refused(f"process {stranger.pid} answers there, which is not of the target")


class Beside(ServiceCase):
    """A service that does not answer, and another pod's fault."""

    def up(self, command=None):
        quiet = json.dumps(["/bin/sh", "-c", "while :; do sleep 1000; done"])
        manifest = self.write("lab.yaml", POD % json.dumps(LIVEROOM) + f"""---
apiVersion: v1
kind: Pod
metadata: {{name: quiet}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: app, command: {quiet}}}]
""")
        out = self.brunt("lab", "up", "-f", manifest, "--name", LAB)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        pods = json.loads(self.brunt("lab", "ps", "--name", LAB, "-o", "json").stdout)[0]["pods"]
        self.pid = next(p for p in pods if p["name"] == "p")["containers"][0]["pid"]

    def test_a_stopped_service_does_not_keep_another_pods_quota(self):
        self.up()
        manifest = self.write("x.yaml", f"""
apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {{name: beside}}
spec:
  timeline: {{baseline: 100ms, fault: 4s, recovery: 100ms}}
  faults:
    - {{name: stall, duration: 2s, runtimeChaos: {{mode: all, selector: {{pods: {{default: [p]}}}}, {STALL}}}}}
    - {{name: quota, duration: 3s, cpuChaos: {{mode: all, selector: {{pods: {{default: [quiet]}}}},
        action: quota, cpu: 100m}}}}
""")
        p = self.start(manifest)
        wait_for(lambda: "stall-safepoint" in self.ask() or p.poll() is not None, "the stall")
        os.kill(self.pid, signal.SIGSTOP)
        try:
            out, _ = p.communicate(timeout=120)
        finally:
            os.kill(self.pid, signal.SIGCONT)
        self.assertEqual(p.returncode, 4, out)
        self.assertIn("no answer within", out)
        self.assertLess(out.index("quota: taken back"), out.index("no answer within"), out)
        wait_for(lambda: "actions=-" in self.ask(), "the lease to run out")
        self.recover()
        self.assertEqual(self.pending(), 0)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root for a lab")
        raise SystemExit(77)
    harness.main()
