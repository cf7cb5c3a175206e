#!/usr/bin/python3
"""A fault that somebody changes while it is on: each look names it, and the run is inconclusive"""
import json
import os
import signal
import subprocess

import harness
from delay_pair import ip
from net_case import A, B, NetCase, tc

LEGS = "host lab"
PATIENT = True
DELAY = "action: delay, delay: {latency: 20ms}, direction: both"
RATE = "action: bandwidth, bandwidth: {rate: 10mbit, limit: 100000, buffer: 20000}"


class Check(NetCase):
    """What one look of the driver says, through tests/rig/net_rig.c."""

    def spoil(self, spec, *commands, **kw):
        """The lines of a look after the commands, and the rig; a look before must find nothing."""
        rig = self.rig(spec, **kw)
        rig.start()
        rig.do("tick")
        self.assertEqual(rig.do("check"), "")
        for command in commands:
            out = harness.run(*(c.replace("DEV", self.delay_device()) for c in command))
            self.assertEqual(out.returncode, 0, f"{command}: {out.stderr}")
        return rig.do("check"), rig

    def delay_device(self):
        names = [link["ifname"] for link in json.loads(ip("-n", A, "-j", "link"))]
        return next((n for n in names if n.startswith("brunt")), "none")

    def test_gate_removed(self):
        lines, _ = self.spoil("action: partition", ("tc", "-n", A, "qdisc", "del", "dev", "va",
                                                    "clsact"))
        self.assertRegex(lines, "the gate's filter at egress of va .* was removed")

    def test_one_of_several_filters_removed(self):
        lines, _ = self.spoil(DELAY, ("tc", "-n", A, "filter", "del", "dev", "va", "ingress",
                                      "pref", "2"))
        self.assertRegex(lines, r"^the gate's filter at ingress of va \(pref 2\) was removed\n$")

    def test_clsact_made_anew(self):
        lines, _ = self.spoil("action: partition",
                              ("tc", "-n", A, "qdisc", "del", "dev", "va", "clsact"),
                              ("tc", "-n", A, "qdisc", "add", "dev", "va", "clsact"))
        self.assertIn("the gate's filter at egress", lines)

    def test_foreign_filter_before_the_gate(self):
        lines, _ = self.spoil(DELAY, ("tc", "-n", A, "filter", "add", "dev", "va", "egress", "pref",
                                      "1", "protocol", "ip", "u32", "match", "u32", "0", "0",
                                      "flowid", "1:1"))
        self.assertRegex(lines, "^the u32 filter at pref 1 .* came before the gate at egress of va")

    def test_foreign_filter_behind_the_gate_is_no_gap(self):
        lines, _ = self.spoil(DELAY, ("tc", "-n", A, "filter", "add", "dev", "va", "egress", "pref",
                                      "99", "protocol", "ip", "u32", "match", "u32", "0", "0",
                                      "flowid", "1:1"))
        self.assertEqual(lines, "")

    def test_foreign_filter_that_came_and_went(self):
        add = ("tc", "-n", A, "filter", "add", "dev", "va", "egress", "pref", "1", "protocol", "ip", "u32", "match",
               "u32", "0", "0", "flowid", "1:1")
        lines, rig = self.spoil(DELAY, add, ("tc", "-n", A, "filter", "del", "dev", "va", "egress", "pref", "1"))
        self.assertRegex(lines, r"^a filter before the gate at egress of va \(pref 1\) was added meanwhile, by "
                                r"(process|netlink port) \d+.*\na filter .* was removed meanwhile")
        self.assertEqual(rig.do("check"), "")
        # Behind the gate it is nobody's business.
        behind = [c if c != "1" else "99" for c in add]
        self.assertEqual(harness.run(*behind).returncode, 0)
        self.assertEqual(rig.do("check"), "")

    def test_another_fault_of_the_run_is_no_stranger(self):
        rig = self.rig(DELAY, "action: loss, loss: {loss: '10'}", backend="auto")
        rig.start()
        rig.do("tick")
        self.assertEqual(rig.do("check"), "")

    def test_rate_changed_and_changed_back(self):
        set_to = ["tc", "-n", A, "qdisc", "change", "dev", "DEV", "root", "handle", "2:", "tbf", "rate", "10mbit",
                  "burst", "20000b", "limit", "100000b"]
        lines, _ = self.spoil(RATE, [w if w != "10mbit" else "1gbit" for w in set_to], set_to)
        self.assertRegex(lines, r"^qdisc tbf of brunt\w+ was added or changed meanwhile, by ")

    def test_device_set_down_and_up(self):
        lines, _ = self.spoil("action: partition, direction: both", ("ip", "-n", A, "link", "set", "va", "down"),
                              ("ip", "-n", A, "link", "set", "va", "up"))
        self.assertRegex(lines, r"^device va was set down meanwhile")

    def test_root_qdisc_that_came_and_went(self):
        lines, _ = self.spoil("action: partition", ("tc", "-n", A, "qdisc", "add", "dev", "va", "root", "tbf", "rate",
                                                    "1mbit", "burst", "10kb", "limit", "20000"),
                              ("tc", "-n", A, "qdisc", "del", "dev", "va", "root"))
        self.assertRegex(lines, r"\bqdisc tbf of va was added or changed meanwhile")

    def test_rate_changed(self):
        lines, _ = self.spoil(RATE, ("tc", "-n", A, "qdisc", "change", "dev", "DEV", "root",
                                     "handle", "2:", "tbf", "rate", "1gbit", "burst", "100kb",
                                     "limit", "200000"))
        self.assertRegex(lines, r"^qdisc brunt\w+ tbf was changed")

    def test_delay_devices_qdisc_replaced(self):
        lines, _ = self.spoil(RATE, ("tc", "-n", A, "qdisc", "replace", "dev", "DEV", "root",
                                     "handle", "9:", "htb"))
        self.assertRegex(lines, r"qdisc brunt\w+ tbf was removed")

    def test_netem_changed(self):
        if not harness.IN_LAB:
            self.skipTest("no netem here; the lab leg covers it")
        lines, _ = self.spoil(DELAY, ("tc", "-n", A, "qdisc", "change", "dev", "DEV", "root",
                                      "handle", "1:", "netem", "delay", "1ms"))
        self.assertRegex(lines, r"^qdisc brunt\w+ netem was changed")

    def test_targets_own_root_qdisc_replaced(self):
        lines, _ = self.spoil("action: partition",
                              ("tc", "-n", A, "qdisc", "add", "dev", "va", "root", "tbf", "rate",
                               "1mbit", "burst", "10kb", "limit", "20000"))
        self.assertRegex(lines, "qdisc va (noqueue was removed|tbf was added)")

    def test_delay_device_set_down(self):
        lines, _ = self.spoil(DELAY, ("ip", "-n", A, "link", "set", "DEV", "down"))
        self.assertRegex(lines, r"delay device brunt\w+ of va was set down")

    def test_delay_device_removed(self):
        lines, _ = self.spoil(DELAY, ("ip", "-n", A, "link", "del", "DEV"))
        self.assertRegex(lines, r"delay device brunt\w+ of va was removed")

    def test_filters_of_a_delay_device_removed(self):
        lines, _ = self.spoil(DELAY, ("tc", "-n", A, "qdisc", "del", "dev", "DEV", "clsact"))
        self.assertRegex(lines, r"(filter|qdisc) brunt\w+ \w+ was removed")

    def test_device_set_down(self):
        lines, _ = self.spoil(DELAY, ("ip", "-n", A, "link", "set", "va", "down"))
        self.assertIn("device va was set down", lines)

    def test_device_made_anew(self):
        lines, _ = self.spoil(DELAY, ("ip", "-n", A, "link", "del", "va"),
                              ("ip", "link", "add", "va", "netns", A, "type", "veth", "peer", "name",
                               "vb", "netns", B), ("ip", "-n", A, "link", "set", "va", "up"))
        self.assertRegex(lines, r"^device va was made anew: it is number \d+ now, and was \d+")

    def test_device_that_came(self):
        lines, _ = self.spoil(DELAY, ("ip", "-n", A, "link", "add", "late", "type", "veth", "peer",
                                      "name", "late2", "netns", B),
                              ("ip", "-n", A, "link", "set", "late", "up"))
        self.assertEqual(lines, "device late came: its packets do not meet the fault\n")

    @staticmethod
    def engine_of(rig):
        """The youngest process that the rig made: its broker is older."""
        pids = harness.run("ps", "--ppid", str(rig.proc.pid), "-o", "pid=", "--sort",
                           "start_time").stdout.split()
        return int(pids[-1])

    def test_delay_engine_killed(self):
        rig = self.rig(DELAY, backend="engine")
        rig.start()
        self.assertEqual(rig.do("check"), "")
        os.kill(self.engine_of(rig), signal.SIGKILL)
        harness.wait_for(lambda: "the delay engine's process has died" in rig.do("check"),
                         "a look that sees it")


class Runs(NetCase):
    """Whole runs: the verdict, who is named, and the share."""

    def spoiled(self, fault, spoil, name=A, seconds=6):
        """The record of a run that was spoiled after its injection."""
        manifest = self.write("x.yaml", f"""
apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {{name: spoiled}}
spec:
  source: netns
  timeline: {{fault: {seconds}s}}
  faults:
    - name: it
      networkChaos: {{mode: all, selector: {{labelSelectors: {{name: {name}}}}}, {fault}}}
""")
        report = os.path.join(self.dir, "record.json")
        with subprocess.Popen([harness.BRUNT, "run", "-v", "--report", f"json={report}", manifest],
                              env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True) as run:
            seen = []
            for line in run.stdout:
                seen.append(line)
                if spoil and "inject" in line and "it" in line:
                    spoil()
                    spoil = None
            self.assertIsNone(spoil, "never injected: " + "".join(seen))
        with open(report, encoding="utf-8") as f:
            return json.load(f)

    def check(self, record, what):
        self.assertEqual(record["verdict"], "inconclusive", record["sentence"])
        self.assertRegex(record["sentence"], rf"it was on for \d+ % of its time only: .*{what}")
        self.assertGreater(record["faults"][0]["presence"]["longest_unseen_ms"], 0)

    def test_foreign_filter(self):
        record = self.spoiled(DELAY, lambda: tc(A, "filter", "add", "dev", "va", "egress", "pref",
                                                "1", "protocol", "ip", "u32", "match", "u32", "0",
                                                "0", "flowid", "1:1"))
        self.check(record, "u32 filter at pref 1 .* came before the gate")

    def test_gate_removed_has_a_share(self):
        record = self.spoiled("action: partition", lambda: tc(A, "qdisc", "del", "dev", "va",
                                                              "clsact"))
        self.check(record, "the gate's filter")
        self.assertLess(record["faults"][0]["presence"]["share"], 0.5)

    def test_namespace_with_two_names(self):
        other = A + "-too"
        ip("netns", "attach", other, str(self.holder()))
        self.addCleanup(harness.run, "ip", "netns", "del", other)
        record = self.spoiled("action: partition", lambda: tc(A, "qdisc", "del", "dev", "va",
                                                              "clsact"), name=A)
        self.check(record, "the gate's filter")

    def holder(self):
        p = subprocess.Popen(["ip", "netns", "exec", A, "sleep", "1000"])
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        wanted = os.stat(f"/run/netns/{A}").st_ino
        harness.wait_for(lambda: os.stat(f"/proc/{p.pid}/ns/net").st_ino == wanted, "ip netns exec")
        return p.pid

    def test_device_made_anew_leaves_nothing(self):
        def anew():
            ip("-n", A, "link", "del", "va")
            self.join()
            ip("-n", A, "link", "set", "va", "up")

        record = self.spoiled(DELAY, anew)
        self.check(record, "device va was (made anew|removed)")  # by what a look met first
        self.assertNotIn("brunt", ip("-n", A, "-o", "link"))

    def test_device_that_went_leaves_nothing(self):
        record = self.spoiled(DELAY, lambda: ip("-n", A, "link", "del", "va"))
        self.check(record, "device va was removed")
        self.assertNotIn("brunt", ip("-n", A, "-o", "link"))

    def test_only_target_deleted(self):
        record = self.spoiled("action: partition", lambda: ip("netns", "del", A))
        self.check(record, "the target is gone")


if __name__ == "__main__":
    harness.main()
