#!/usr/bin/python3
"""SLOs through whole runs: verdicts, exit codes, abort in time, metrics that a fault cannot disturb."""
import json
import os
import subprocess
import sys

import harness

# What becomes of the metrics page: "lives", or after some pages it "exits" with the server or "hangs".
SERVER = r"""
import http.server, os, socketserver, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    count = 0
    def do_GET(self):
        Handler.count += self.path == "/metrics"
        if self.path == "/metrics" and Handler.count > int(sys.argv[2]):
            if sys.argv[1] == "exits":
                os._exit(0)
            if sys.argv[1] == "hangs":
                time.sleep(3600)
        body = b"# TYPE pages_total counter\npages_total %d\n" % Handler.count
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    request_queue_size, daemon_threads = 512, True
server = Server(("0.0.0.0", 8080), Handler)
print("ready", flush=True)
server.serve_forever()
"""

EXPERIMENT = """
apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {name: slo-run}
spec:
  source: netns
  timeline: {baseline: %(baseline)s, fault: %(fault)s, recovery: %(recovery)s}
  slos:
%(slos)s
%(extra)s
  faults:
    - {name: fault, networkChaos: {mode: all, selector: {labelSelectors: {name: %(target)s}},
       direction: both, %(chaos)s}}
"""
DELAY = "action: delay, delay: {latency: 100ms}"
HTTP = ('{name: join, indicator: {http: {url: "http://10.99.0.2:8080/", rate: 50/s, timeout: 2s}}, '
        "objectives: [%s]%s}")


class SloRun(harness.Case):
    """A server in one namespace, brunt in another, a veth pair between; nothing in the root one."""

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("network namespaces need root")
        self.here, self.there = (f"bt-slo-{side}-{os.getpid()}" for side in "ab")
        for ns in (self.here, self.there):
            self.ip("netns", "add", ns)
            self.addCleanup(self.ip, "netns", "del", ns)
        self.ip("-n", self.here, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0",
                "netns", self.there)
        for host, ns in ((1, self.here), (2, self.there)):
            self.ip("-n", ns, "addr", "add", f"10.99.0.{host}/24", "dev", "eth0")
            self.ip("-n", ns, "link", "set", "lo", "up")
            self.ip("-n", ns, "link", "set", "eth0", "up")
        self.server = None
        self.addCleanup(self.stop_server)
        self.serve("lives")

    def ip(self, *args):
        subprocess.run(["ip", *args], check=True)

    def serve(self, life, pages=0):
        self.stop_server()
        self.server = subprocess.Popen(["ip", "netns", "exec", self.there, sys.executable, "-c",
                                        SERVER, life, str(pages)], stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL, text=True)
        self.assertEqual(self.server.stdout.readline(), "ready\n")

    def stop_server(self):
        if self.server:
            self.server.kill()
            self.server.communicate()

    def run_slos(self, slos, chaos=DELAY, baseline="1500ms", fault="2s", recovery="0s", extra=""):
        """The exit code and the record of a run with these items of spec.slos.

        At 50 requests a second the windows hold several times the 20 samples that a median needs.
        """
        text = EXPERIMENT % {"slos": "\n".join("    - " + s for s in slos), "chaos": chaos,
                             "baseline": baseline, "fault": fault, "recovery": recovery,
                             "extra": extra, "target": self.there}
        record = os.path.join(self.dir, "record.json")
        result = harness.run("ip", "netns", "exec", self.here, harness.BRUNT, "run",
                             self.write("x.yaml", text), "--report", f"json={record}", env=self.env)
        self.output = result.stdout + result.stderr
        self.assertTrue(os.path.exists(record), self.output)
        self.record = self.json(record)
        if isinstance(self.record, list):
            self.record = self.record[0]
        return result.returncode, {s["name"]: s for s in self.record["slos"]}

    def test_held_and_the_interval_stands_beside_the_value(self):
        code, slos = self.run_slos([HTTP % ("p50 <= 5s", "")])
        self.assertEqual(code, 0, self.output)
        result = slos["join"]["objectives"][0]
        self.assertEqual(result["state"], "held")
        self.assertGreaterEqual(result["value"], 390e6)  # 100 ms, two ways, two round trips
        self.assertLessEqual(result["low"], result["value"])
        self.assertGreaterEqual(result["high"], result["value"])

    def test_what_goes_another_way_says_nothing_of_the_fault(self):
        near = subprocess.Popen(["ip", "netns", "exec", self.here, sys.executable, "-c", SERVER, "lives", "0"],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.addCleanup(near.communicate)
        self.addCleanup(near.kill)
        self.assertEqual(near.stdout.readline(), "ready\n")
        # A neighbour that brunt's probes find.
        self.ip("netns", "exec", self.there, sys.executable, "-c",
                "import socket; socket.create_connection(('10.99.0.1', 8080))")
        code, slos = self.run_slos([(HTTP % ("p50 <= 5s", "")).replace("10.99.0.2", "127.0.0.1")], fault="6s")
        self.assertEqual(slos["join"]["objectives"][0]["state"], "held")
        self.assertIn("nothing but brunt's own probes met fault (delay 100 ms), so what the SLOs measured "
                      "went another way", self.record["sentence"])
        self.assertEqual(code, 5, self.output)

    def test_breached_then_recovered(self):
        code, slos = self.run_slos([HTTP % ("p50 <= 200ms", ", recovers: within 2500ms")],
                                   recovery="5s")
        self.assertEqual(code, 1, self.output)
        self.assertEqual(slos["join"]["state"], "breached")
        self.assertFalse(slos["join"]["recovery_breached"], self.output)
        self.assertGreaterEqual(slos["join"]["recovered_after_ms"], 0)
        self.assertIn("breached: join: p50 <= 200ms", self.output)

    def test_expected_breach_passes(self):
        code, slos = self.run_slos([HTTP % ("p50 <= 200ms", ", expect: breach")])
        self.assertEqual(code, 0, self.output)
        self.assertEqual(slos["join"]["state"], "held")

    def test_too_few_samples_do_not_pass(self):
        code, slos = self.run_slos([HTTP % ("p99 <= 5s", "")])
        self.assertEqual(code, 5, self.output)
        self.assertIn("p99 needs 1000 samples, has ", slos["join"]["objectives"][0]["why"])
        warned = self.output.index("p99 needs 1000 samples and will get about 100")
        self.assertLess(warned, self.output.index("  fault\n"), self.output)

    def test_too_few_samples_for_any_statistic_do_not_pass(self):
        """Seen passed: two answers, and success >= 99.9 %."""
        slos = [HTTP.replace("50/s", "4/s").replace("join", name) % (objective, "")
                for name, objective in (("a", "success >= 99.9%"), ("b", "mean <= 5s"), ("c", "max <= 5s"))]
        code, slos = self.run_slos(slos)
        self.assertEqual(code, 5, self.output)
        for slo in slos.values():
            self.assertEqual(slo["state"], "inconclusive", self.output)
            self.assertRegex(slo["objectives"][0]["why"], r" needs \d+ samples, has \d+")
        validated = harness.run(harness.BRUNT, "validate", os.path.join(self.dir, "x.yaml"), env=self.env)
        self.assertEqual(validated.returncode, 0, validated.stderr)
        self.assertIn("success needs 3000 samples and will get about 8 in the fault window", validated.stderr)

    def test_no_steady_state_injects_nothing(self):
        code, _ = self.run_slos([HTTP % ("p50 <= 1us", "")])
        self.assertEqual(code, 5, self.output)
        self.assertIn("no steady state", self.output)
        self.assertNotIn("injected and read back", self.output)

    def test_compared_with_the_baseline(self):
        code, slos = self.run_slos([HTTP % ("mean <= 300% of baseline", "")])
        self.assertEqual(code, 1, self.output)
        result = slos["join"]["objectives"][0]
        self.assertGreater(result["value"], 3 * result["baseline"])

    def test_abort_acts_long_before_the_window_ends(self):
        code, _ = self.run_slos([HTTP % ("p50 <= 60s", "")], fault="60s",
                                extra='  abort: [{slo: join, when: "p50 > 200ms", for: 500ms}]')
        self.assertNotIn(code, (0, 2, 3, 4), self.output)
        self.assertEqual(self.record["verdict"], "aborted", self.output)
        times = {}
        for line in self.output.splitlines():
            words = line.split()
            if len(words) > 2 and words[1] == "s":
                times.setdefault(words[2].rstrip(":"), float(words[0]))
        # 0.4 s until the first slow answers, 0.5 s for:, a period; ten times that for the machine
        self.assertLess(times["aborted"] - times["fault"], 12, self.output)

    def test_metrics_are_read_through_a_partition(self):
        metrics = ("{name: pages, indicator: {metrics: {selector: {labelSelectors: {name: %s}}, "
                   "value: pages_total, interval: 100ms}}, objectives: [success >= 80%%, count >= 10]}"
                   % self.there)
        code, slos = self.run_slos([HTTP % ("success >= 99%", ", expect: breach"), metrics],
                                   chaos="action: partition", baseline="3s", fault="3s",
                                   recovery="3s")
        self.assertIn("join", slos, self.output)
        self.assertEqual(slos["join"]["state"], "held", self.output)
        # Who came in the last second got through when the SYN was sent again after the fault.
        self.assertLess(slos["join"]["objectives"][0]["value"], 0.6, self.output)
        self.assertEqual(slos["pages"]["state"], "held", json.dumps(slos["pages"], indent=1))
        self.assertEqual(code, 0, self.output)

    def test_metrics_that_fall_silent_in_the_fault_are_inconclusive(self):
        """Seen passed: /metrics exits or hangs at 2.5 s of 12 s, and what was counted till then was fine."""
        metrics = ("{name: pages, indicator: {metrics: {selector: {labelSelectors: {name: %s}}, "
                   "value: pages_total, interval: 100ms, timeout: 500ms}}, objectives: [count <= 100]}"
                   % self.there)
        for life in ("exits", "hangs"):
            with self.subTest(life):
                self.serve(life, 20)  # 15 rounds of the baseline, and a few of 30
                code, slos = self.run_slos([metrics], fault="3s")
                self.assertEqual(code, 5, self.output)
                why = slos["pages"]["objectives"][0]["why"]
                self.assertRegex(why, r"/%s answered \d+ of \d+ rounds in the fault window, silent since "
                                 % self.there)
                self.assertIn(why, self.output)
                self.assertNotIn("raise the rate", self.record["sentence"])

    def test_a_service_that_dies_breaks_latency_and_success(self):
        self.serve("exits", 8)
        metrics = ("{name: pages, indicator: {metrics: {selector: {labelSelectors: {name: %s}}, "
                   "value: pages_total, interval: 250ms}}, objectives: [count >= 0]}" % self.there)
        code, slos = self.run_slos([HTTP % ("p90 <= 5s, success >= 99%", ""), metrics], fault="4s")
        self.assertEqual(code, 1, self.output)
        self.assertEqual([o["state"] for o in slos["join"]["objectives"]], ["breached", "breached"],
                         self.output)


if __name__ == "__main__":
    harness.main()
