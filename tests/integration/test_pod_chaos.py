#!/usr/bin/python3
"""MemoryChaos, CPUChaos and PodChaos on pods of the lab: cgroup v1 on this machine, v2 in the UML lab

What the kernel holds is read from the pod's own control group while the fault is on and after it.
"""
import json
import os
import subprocess
import time

import harness
from harness import wait_for

LEGS = "host lab"
PATIENT = True
MIB = 1 << 20

# Every limit that a fault could leave behind, on either version.
LIMITS = ["memory.max", "memory.high", "memory.swap.max", "memory.limit_in_bytes",
          "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes"]

HOLD = "x = bytearray(%d << 20); import time; time.sleep(1000)"
# Takes memory and gives it back, over and over.
PULSE = "import time\nwhile 1:\n x = bytearray(%d << 20); time.sleep(.2); del x; time.sleep(.2)"


@harness.unittest.skipUnless(os.geteuid() == 0, "a lab needs root")
class PodCase(harness.Case):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.brunt, "lab", "down", "--all", "--now")

    def pod(self, code, limit="128Mi"):
        """A lab of one pod p that runs a line of Python; its control group's folder."""
        manifest = self.write("p.yaml", f"""
apiVersion: v1
kind: Pod
metadata: {{name: p, labels: {{app: p}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: app
      command: [/usr/bin/python3, -c, {json.dumps(code)}]
      resources: {{limits: {{memory: {limit}}}}}
""")
        r = self.brunt("lab", "up", "-f", manifest)
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
        record = self.json(f"{self.env['BRUNT_STATE_DIR']}/lab/default/record.json")
        folders = [f"{g['path']}/default.p/app" for g in record["groups"]]
        self.group = next(g for g in folders if self.limit_file(g))
        self.before = self.limits()

    @staticmethod
    def limit_file(group):
        names = [n for n in ("memory.max", "memory.limit_in_bytes") if os.path.exists(f"{group}/{n}")]
        return names[0] if names else None

    def on_v2(self):
        return self.limit_file(self.group) == "memory.max"

    def read(self, name):
        with open(f"{self.group}/{name}", encoding="ascii") as f:
            return f.read().strip()

    def limit(self):
        return int(self.read(self.limit_file(self.group)))

    def usage(self):
        return int(self.read("memory.current" if self.on_v2() else "memory.usage_in_bytes"))

    def limits(self):
        return {n: self.read(n) for n in LIMITS if os.path.exists(f"{self.group}/{n}")}

    def container(self):
        return json.loads(self.brunt("lab", "ps", "-o", "json").stdout)[0]["pods"][0]["containers"][0]

    def start(self, fault, seconds=3):
        """A run with this fault on the pod; wait with finish()."""
        path = self.write("x.yaml", f"""
apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {{name: pod-chaos}}
spec:
  timeline: {{baseline: 0s, fault: {seconds}s, recovery: 0s}}
  faults:
    - {{name: fault, {fault}}}
""")
        self.record = os.path.join(self.dir, "record.json")
        self.proc = subprocess.Popen([harness.BRUNT, "run", "--lab", "default", path, "--report",
                                      f"json={self.record}"], env=self.env, text=True,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(self.proc.stdout.close)
        self.addCleanup(self.proc.kill)

    def wait_injected(self):
        """Until the run has read back what it wrote: from then on a change is a gap."""
        for line in self.proc.stdout:
            if "injected and read back" in line:
                return
        self.fail(f"the run ended before its injection, with exit code {self.proc.wait()}")

    def gap(self):
        """What the first gap of a run says; it must be inconclusive."""
        fault = self.finish()
        self.assertEqual(self.proc.returncode, 5)
        self.assertLess(fault["presence"]["share"], 1)
        return fault["presence"]["gaps"][0]["what"]

    def finish(self):
        """The fault's part of the record."""
        out = self.proc.communicate(timeout=120)[0]
        self.assertIn(self.proc.returncode, (0, 5), out)
        record = self.json(self.record)
        return (record[0] if isinstance(record, list) else record)["faults"][0]


def memory(spec):
    return f"memoryChaos: {{mode: all, selector: {{labelSelectors: {{app: p}}}}, {spec}}}"


class Memory(PodCase):
    def squeeze(self, spec, want, **kw):
        """Runs a fault that brings the limit to `want` bytes; the group's part of the report."""
        self.start(memory(spec), **kw)
        wait_for(lambda: self.limit() == want or self.proc.poll() is not None, f"a limit of {want}")
        self.assertEqual(self.limit(), want)
        fault = self.finish()
        self.assertEqual(self.limits(), self.before)
        return fault["detail"]["groups"][0]

    def test_bytes_and_exact_restore(self):
        self.pod(HOLD % 16)
        group = self.squeeze("action: limit, size: 64MiB", 64 * MIB)
        self.assertEqual(group["version"], 2 if self.on_v2() else 1)
        self.assertEqual(group["oom_kills"], 0)

    def test_a_limit_that_somebody_lifts_is_a_gap(self):
        self.pod(HOLD % 16)
        self.start(memory("action: limit, size: 64MiB"), seconds=4)
        self.wait_injected()
        file = self.limit_file(self.group)
        for name in ("memory.memsw.limit_in_bytes", file):
            if os.path.exists(f"{self.group}/{name}"):
                with open(f"{self.group}/{name}", "w", encoding="ascii") as f:
                    f.write(str(100 * MIB))
        self.assertIn(f'to "{100 * MIB}", where "{64 * MIB}" had been written', self.gap())

    def test_percentage_of_the_limit(self):
        self.pod(HOLD % 16, limit="100Mi")
        self.squeeze("action: limit, size: 75%", 75 * MIB)

    def test_percentage_of_the_usage(self):
        self.pod(HOLD % 16)
        wait_for(lambda: self.usage() > 16 * MIB, "the pod to hold its memory")
        self.start(memory("action: limit, size: 100%, of: usage"))
        wait_for(lambda: self.limit() < 128 * MIB or self.proc.poll() is not None, "a new limit")
        wanted = self.usage()
        group = self.finish()["detail"]["groups"][0]
        self.assertAlmostEqual(group["goal_bytes"], wanted, delta=8 * MIB)
        self.assertEqual(group["reached_bytes"], group["goal_bytes"])
        self.assertEqual(self.limits(), self.before)

    def test_steps_go_down_one_after_the_other(self):
        self.pod(HOLD % 16)
        over = 8 if harness.IN_LAB else 2  # its one CPU is this loop's as well
        self.start(memory(f"action: limit, size: 64MiB, steps: 4, over: {over}s"), seconds=2 * over)
        seen = []
        while self.proc.poll() is None and (not seen or seen[-1] != 64 * MIB):
            if not seen or seen[-1] != self.limit():
                seen.append(self.limit())
            time.sleep(0.005)
        self.assertEqual([n // MIB for n in seen], [128, 112, 96, 80, 64])
        self.finish()
        self.assertEqual(self.limits(), self.before)

    def test_a_limit_below_use_kills_and_is_counted(self):
        self.pod(PULSE % 60)
        self.start(memory("action: limit, size: 32MiB"), seconds=40 if harness.IN_LAB else 6)
        wait_for(lambda: self.container()["restarts"] or self.proc.poll() is not None, "an OOM kill")
        fault = self.finish()
        self.assertGreaterEqual(fault["detail"]["groups"][0]["oom_kills"], 1, fault["measured"])
        self.assertGreaterEqual(self.container()["restarts"], 1)
        self.assertEqual(self.limits(), self.before)

    def test_high_stalls_and_does_not_kill(self):
        self.pod(PULSE % 24)
        spec = "action: high, size: 16MiB"
        if not self.on_v2():
            self.start(memory(spec))
            out = self.proc.communicate(timeout=60)[0]
            self.assertEqual(self.proc.returncode, 3, out)
            self.assertIn("memory.high", out)
            self.assertEqual(self.limits(), self.before)
            return
        self.start(memory(spec), seconds=12)
        wait_for(lambda: self.read("memory.high") == str(16 * MIB) or self.proc.poll() is not None,
                 "memory.high")
        self.assertEqual(self.limit(), 128 * MIB, "the hard limit is not high's business")
        fault = self.finish()
        self.assertGreater(fault["detail"]["groups"][0]["met"], 0)
        self.assertEqual(fault["detail"]["groups"][0]["oom_kills"], 0)
        self.assertEqual(fault["effect"], "measured", fault["measured"])
        self.assertEqual(self.limits(), self.before)


class Cpu(PodCase):
    """The quota of a pod that wants all it can get, and of one that wants nothing."""

    def pod(self, code, limit="128Mi"):
        super().pod(code, limit)
        record = self.json(f"{self.env['BRUNT_STATE_DIR']}/lab/default/record.json")
        folders = [f"{g['path']}/default.p/app" for g in record["groups"]]
        self.group, self.file = next((g, f) for g in folders for f in ("cpu.max", "cpu.cfs_quota_us")
                                     if os.path.exists(f"{g}/{f}"))
        self.before = self.read(self.file)

    def quota(self, spec, want):
        self.start(f"cpuChaos: {{mode: all, selector: {{labelSelectors: {{app: p}}}}, action: quota, {spec}}}",
                   seconds=4)
        wait_for(lambda: self.read(self.file).split()[0] == want or self.proc.poll() is not None,
                 f"a quota of {want}")
        fault = self.finish()
        self.assertEqual(self.read(self.file), self.before)
        return fault

    def test_a_busy_pod_is_throttled_and_gets_back_what_it_had(self):
        self.pod("while 1: pass")
        fault = self.quota("cpu: 200m", "20000")
        self.assertEqual(fault["effect"], "measured", fault["measured"])
        group = fault["detail"]["groups"][0]
        self.assertGreater(group["throttled"], 0)
        self.assertEqual((group["quota_us"], group["period_us"]), (20000, 100000))

    def throttled(self):
        self.pod("while 1: pass")
        self.start("cpuChaos: {mode: all, selector: {labelSelectors: {app: p}}, action: quota, "
                   "cpu: 200m}", seconds=4)
        self.wait_injected()

    def write_quota(self, us):
        period = " 100000" if self.file == "cpu.max" else ""
        with open(f"{self.group}/{self.file}", "w", encoding="ascii") as f:
            f.write(us + period)

    def test_a_quota_that_somebody_changes_is_a_gap(self):
        self.throttled()
        self.write_quota("90000")
        self.assertRegex(self.gap(), rf'somebody set {self.file} of .* to "90000.*where "20000')

    def test_a_quota_that_is_back_before_the_next_look_is_a_gap(self):
        self.throttled()
        self.write_quota("90000")
        self.write_quota("20000")
        # A look on a slow machine may come between the two.
        self.assertRegex(self.gap(), "somebody (wrote to the CPU limit of .*; it is 20000.* again|set .* to \"90000)")

    @staticmethod
    def move(pid, group):
        with open(f"{group}/cgroup.procs", "w", encoding="ascii") as f:
            f.write(pid)

    def test_a_process_that_is_moved_out_is_a_gap(self):
        self.throttled()
        pid = self.read("cgroup.procs").split()[0]
        aside = os.path.join(os.path.dirname(self.group), f"aside-{os.getpid()}")
        os.mkdir(aside)
        self.addCleanup(os.rmdir, aside)
        self.addCleanup(self.move, pid, self.group)
        self.move(pid, aside)
        self.assertRegex(self.gap(), f"process {pid} .app. is in another control group now: "
                                     f".*{os.path.basename(aside)}")

    def test_a_quota_that_nobody_uses_up_is_ineffective(self):
        self.pod(HOLD % 1)
        wait_for(lambda: self.read("cgroup.procs"), "the pod's process")
        self.start("at: 1s, cpuChaos: {mode: all, selector: {labelSelectors: {app: p}}, action: quota, "
                   "cpu: 500m}", seconds=3)
        fault = self.finish()
        self.assertEqual((self.proc.returncode, fault["effect"]), (5, "none"), fault["measured"])

    def refused(self, spec, text):
        self.start(f"cpuChaos: {{mode: all, selector: {{labelSelectors: {{app: p}}}}, action: quota, {spec}}}")
        out = self.proc.communicate(timeout=60)[0]
        self.assertEqual(self.proc.returncode, 3, out)
        self.assertIn(text, out)
        self.assertEqual(self.read(self.file), self.before)

    def test_what_would_not_throttle_is_refused(self):
        self.pod(HOLD % 1)
        self.refused(f"cpu: {os.cpu_count()}", "would not throttle it")
        self.refused("cpu: 5m", "the kernel's least is 1000 us")
        with open(f"{self.group}/{self.file}", "w", encoding="ascii") as f:
            f.write("30000 100000" if self.file == "cpu.max" else "30000")
        self.before = self.read(self.file)
        self.refused("cpu: 300m", "may use 300m already")
        self.quota("cpu: 50%", "15000")


class Kill(PodCase):
    def test_without_a_lab_the_next_step_is_told(self):
        path = self.write("x.yaml", self.brunt("new", "PodChaos").stdout)
        r = self.brunt("plan", "--source", "lab", path)
        self.assertEqual(r.returncode, 3, r.stdout)
        self.assertIn("no lab is given\nnext step: name a running one with --lab", r.stderr)

    def test_a_killed_container_is_started_again_and_timed(self):
        self.pod(HOLD % 1)
        before = self.container()
        self.start("podChaos: {mode: all, selector: {labelSelectors: {app: p}}, action: pod-kill}", seconds=4)
        fault = self.finish()
        killed = fault["detail"]["processes"][0]
        self.assertTrue(killed["killed"], fault)
        self.assertEqual(killed["pid"], before["pid"])
        after = self.container()
        self.assertNotEqual(after["pid"], before["pid"])
        self.assertEqual(after["restarts"], 1)
        self.assertGreater(killed["restartNs"], 0)

    OBJECTS = """
apiVersion: chaos-mesh.org/v1alpha1
kind: PodChaos
metadata: {name: p}
spec: {action: pod-kill, mode: all, selector: {labelSelectors: {app: p}}}
---
apiVersion: brunt.dev/v1alpha1
kind: MemoryChaos
metadata: {name: p}
spec: {mode: all, selector: {labelSelectors: {app: p}}, action: limit, size: 64Mi, duration: 3s}
"""

    def run_objects(self, text):
        path, record = self.write("objects.yaml", text), os.path.join(self.dir, "record.json")
        r = self.brunt("run", "--lab", "default", path, "--report", f"json={record}", timeout=120)
        self.assertIn(r.returncode, (0, 5), r.stdout + r.stderr)
        return r, self.json(record)

    def test_an_object_alone_is_over_when_its_target_is_ready(self):
        self.pod("import time; time.sleep(1000)")
        _, record = self.run_objects(self.OBJECTS.split("---")[0])
        # Nobody gave a duration: 30 s, were it not over before.
        window = record["windows"]["fault"]
        self.assertLess(window["end_ms"] - window["start_ms"], 25000)
        self.assertIsNotNone(record["faults"][0]["detail"]["processes"][0]["readyNs"], record["faults"])

    def test_objects_of_one_file_run_together(self):
        self.pod("import time; time.sleep(1000)")
        r, record = self.run_objects(self.OBJECTS)
        self.assertIn("its 2 chaos objects run together", r.stderr)
        self.assertEqual([f["name"] for f in record["faults"]], ["p", "p-2"])


    def test_where_selectors_without_namespaces_look(self):
        pods = "---".join(f"""
apiVersion: v1
kind: Pod
metadata: {{name: p, namespace: {ns}, labels: {{app: p}}}}
spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: app, command: [sleep, "1000"]}}]}}
""" for ns in ("one", "two"))
        r = self.brunt("lab", "up", "-f", self.write("pods.yaml", pods))
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
        without = self.OBJECTS.split("---")[0]
        of_two = without.replace("name: p}", "name: p, namespace: two}")
        for text, options, want in ((without, ["-n", "one"], ["one/p"]), (without, ["-A"], ["one/p", "two/p"]),
                                    (of_two, [], ["two/p"]), (of_two, ["-n", "one"], ["two/p"]),
                                    (without, [], None)):
            path = self.write("x.yaml", text)
            r = self.brunt("plan", "--lab", "default", "-o", "json", *options, path)
            seen = sorted(json.loads(r.stdout)["faults"][0]["targets"]) if r.returncode == 0 else None
            self.assertEqual(seen, want, f"{options}: {r.stdout}{r.stderr}")


if __name__ == "__main__":
    harness.main()
