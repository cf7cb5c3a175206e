#!/usr/bin/python3
"""Memory errors and leaks of the verbs

Valgrind watches those that work in one process. Debian 12's valgrind knows no pidfd_open, without
which no helper process is started: plan and doctor are watched by the sanitizers of the other build,
which look for leaks at their end too.
"""
import os
import shutil
import subprocess

import harness

PATIENT = True
UNDER_ASAN = "asan" in harness.BUILD
NS = f"bt-vg-{os.getpid()}"
MANIFEST = f"""
apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {{name: watched}}
spec:
  source: netns
  timeline: {{baseline: 0s, fault: 60s, recovery: 0s}}
  faults:
    - {{name: cut, networkChaos: {{mode: all, selector: {{labelSelectors: {{name: {NS}}}}},
                                 action: partition}}}}
"""


class Watched(harness.Case):
    def setUp(self):
        super().setUp()
        self.manifest = self.write("x.yaml", MANIFEST)

    def watch(self, *args, code=0):
        """A verb's output; its exit code is valgrind's 99 when there was an error or a leak."""
        command = [harness.BRUNT, *args]
        if not UNDER_ASAN:
            self.assertTrue(shutil.which("valgrind"), "missing: packaging/debian-packages test")
            command = ["valgrind", "-q", "--vgdb=no", "--error-exitcode=99", "--leak-check=full",
                       "--errors-for-leak-kinds=definite,indirect", *command]
        r = harness.run(*command, env=dict(self.env, ASAN_OPTIONS="detect_leaks=1"))
        self.assertEqual(r.returncode, code, r.stdout + r.stderr)
        self.assertNotIn("Sanitizer", r.stderr)
        return r.stdout

    def namespace(self):
        if os.geteuid():
            self.skipTest("network namespaces need root")
        self.assertEqual(harness.run("ip", "netns", "add", NS).returncode, 0)
        self.addCleanup(harness.run, "ip", "netns", "del", NS)
        harness.run("ip", "-n", NS, "link", "add", "eth0", "up", "type", "veth", "peer", "name", "eth1")


class Words(Watched):
    def test_version_and_help(self):
        self.watch("version")
        self.watch("help")
        self.watch("run", "--help")

    def test_usage_errors(self):
        self.watch("version", "--nonsense", code=2)
        self.watch("vresion", code=2)
        self.watch(code=2)

    def test_completion(self):
        for shell in ("bash", "fish", "zsh"):
            self.watch("completion", shell)

    def test_validate(self):
        self.watch("validate", os.path.join(harness.SOURCE, "experiments"))
        self.watch("validate", "-o", "json", self.manifest)

    def test_validate_what_is_wrong(self):
        broken = self.write("broken.yaml", MANIFEST.replace("timeline", "timelin")
                            .replace("partition", "partitoin") + "  slos: [{name: a}, 7]\n---\nkind: 5\n")
        self.watch("validate", broken, code=2)
        self.watch("validate", "-o", "json", broken, code=2)

    def test_explain_and_new(self):
        self.watch("explain")
        self.watch("explain", "Experiment", "NetworkChaos", "MemoryChaos", "PodChaos", "CPUChaos",
                   "RuntimeChaos")
        self.watch("new", "Experiment")
        self.watch("explain", "Experiment.timline", code=2)
        self.watch("new", "Experimant", code=2)


class State(Watched):
    def test_report_and_status_of_nothing(self):
        self.assertEqual(self.watch("report"), "no runs yet\n")
        self.assertEqual(self.watch("status"), "nothing is injected\n")
        self.watch("report", "latest", code=3)

    def test_report_and_status_of_a_run(self):
        """The run stands still with its fault on, so that status has something to tell."""
        self.namespace()
        run = subprocess.Popen([harness.BRUNT, "run", self.manifest], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL,
                               env=dict(self.env, BRUNT_TEST_STOP_AT="injected"))
        self.addCleanup(run.wait)
        self.addCleanup(run.kill)
        harness.wait_for(lambda: os.waitid(os.P_PID, run.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT),
                         "the run to stop with its fault on")
        self.assertIn(NS, self.watch("status"))
        self.assertIn(NS, self.watch("status", "-o", "json"))
        run.kill()
        run.wait()
        harness.wait_for(lambda: "nothing is injected" in self.brunt("status").stdout, "the guard's work")
        self.assertIn("watched", self.watch("report"))
        self.watch("report", "-o", "json")

    def test_report_of_a_record(self):
        self.brunt("run", "--allow-empty", self.manifest)
        for form in ("table", "json", "junit"):
            self.assertIn("watched", self.watch("report", "latest", "-o", form))


class Helpers(Watched):
    """Verbs that start a helper process."""

    def setUp(self):
        super().setUp()
        if not UNDER_ASAN:
            self.skipTest("valgrind 3.19 knows no pidfd_open; the sanitizers' leg covers it")

    def test_plan(self):
        self.namespace()
        self.assertIn(NS, self.watch("plan", self.manifest))
        self.watch("plan", "-o", "json", self.manifest)

    def test_plan_that_is_refused(self):
        self.watch("plan", self.manifest, code=3)

    def test_doctor(self):
        self.watch("doctor")
        self.watch("doctor", "-o", "json")


if __name__ == "__main__":
    harness.main()
