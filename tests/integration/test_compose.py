#!/usr/bin/python3
"""NetworkChaos faults that overlap on one target: each in force in its own time, and all together

The first class drives several faults by hand (tests/rig/net_rig.c), the second goes through whole
runs and measures every sub-window. The namespaces are those of net_case.
"""
import datetime
import math
import os
import re
import signal
import statistics
import subprocess
import time

import harness
import net_case
from net_case import A, B, FOUR, SIX, ip, ping, tc

LEGS = "host lab"
DELAY = "action: delay, delay: {latency: %dms}, direction: %s"


@harness.patient
class Together(net_case.NetCase):
    def start(self, *specs, **kw):
        """All planned before any is injected, in a run's manner; the state before."""
        rig = self.rig(*specs, **kw)
        for i in range(len(specs)):
            plan = rig.on(i).do("plan")
            self.assertNotIn("error", plan)
        before = rig.do(f"snapshot {A}")
        for i in range(len(specs)):
            self.assertNotIn("error", rig.on(i).do("inject"))
        return rig, before

    def end(self, rig, *which):
        for i in which:
            rig.on(i).do("off")
            out = rig.do("revert")
            self.assertEqual(out["results"], [["reverted", ""]])
        return rig.do(f"snapshot {A}")

    def assert_rtt(self, want, dest=FOUR, count=15):
        # One retry under contention; the medians are of few packets.
        for last in (False, True):
            got = self.median(dest, count)
            if abs(got - want) <= 0.1 * want + 2 or last:
                break
        self.assertAlmostEqual(got, want, delta=0.1 * want + 2, msg=dest)

    def test_delays_add_up_and_each_ends_by_itself(self):
        for direction in ("to", "from"):
            rig, before = self.start(DELAY % (30, direction), DELAY % (20, direction),
                                     DELAY % (15, direction))
            for dest in (FOUR, SIX):
                self.assert_rtt(65, dest)
            self.assertNotEqual(self.end(rig, 1), before)
            self.assert_rtt(45)
            self.end(rig, 0)
            self.assert_rtt(15)
            self.assertEqual(self.end(rig, 2), before)
            self.assert_rtt(0)

    def test_directions_differ(self):
        rig, before = self.start(DELAY % (20, "to"), DELAY % (30, "from"), DELAY % (10, "both"))
        self.assert_rtt(70)
        self.end(rig, 2)
        self.assert_rtt(50)
        self.end(rig, 0)
        self.assert_rtt(30)
        self.assertEqual(self.end(rig, 1), before)

    def test_peers_differ(self):
        ip("-n", B, "addr", "add", "10.97.0.3/24", "dev", "vb")
        for first in (0, 1):
            specs = [DELAY % (30, "to") + ', externalTargets: ["10.97.0.3"]', DELAY % (20, "both")]
            rig, before = self.start(*specs[first:], *specs[:first])
            self.assert_rtt(40)
            self.assert_rtt(70, "10.97.0.3")
            self.assertEqual(self.end(rig, 0, 1), before)

    def test_losses_come_first_and_spare_what_passes_no_delay(self):
        rig, before = self.start(DELAY % (30, "to"), 'action: loss, loss: {loss: "20"}',
                                 'action: loss, loss: {loss: "10"}')
        def gates():
            return [rig.on(i).do("report")["targets"][0]["gates"][0] for i in range(3)]

        ping(FOUR, 3, 0.01, wait=1)  # a target at which nothing was seen is not listed
        n, then = 1500, gates()
        rtts = ping(FOUR, n, 0.004, wait=1)[0]
        lost = 1 - 0.8 * 0.9
        self.assertAlmostEqual(n - len(rtts), n * lost, delta=4 * math.sqrt(n * lost * (1 - lost)))
        self.assertAlmostEqual(statistics.median(rtts), 30, delta=5)
        delay, *losses = [{k: now[k] - was[k] for k in ("matched", "lost")}
                          for now, was in zip(gates(), then)]
        # What the losses took never came to the delay, and no packet met a loss twice.
        self.assertEqual(delay["matched"], max(l["matched"] for l in losses) -
                         sum(l["lost"] for l in losses))
        self.assertLessEqual(max(l["matched"] for l in losses), n + 10)
        self.end(rig, 0)
        self.assert_rtt(0, count=40)
        self.assertEqual(self.end(rig, 1, 2), before)
        self.assertEqual(len(ping(FOUR, 50, 0.002)[0]), 50)

    def test_delay_and_rate(self):
        for specs in ((DELAY % (20, "to"), "action: rate, rate: {rate: 10mbit}"),
                      ("action: rate, rate: {rate: 10mbit}", DELAY % (20, "to"))):
            rig, before = self.start(*specs)
            self.assert_rtt(20)
            mbit = self.goodput(3)
            self.assertGreater(mbit, 4)
            self.assertLess(mbit, 11.5)
            self.assertEqual(self.end(rig, 0, 1), before)

    def test_smallest_rate_prevails(self):
        rig, before = self.start("action: rate, rate: {rate: 40mbit}",
                                 "action: rate, rate: {rate: 8mbit}",
                                 "action: bandwidth, bandwidth: {rate: 20mbit, limit: 200000, "
                                 "buffer: 65536}")
        self.assertLess(self.goodput(3), 9.5)
        self.end(rig, 1)
        mbit = self.goodput(3)
        self.assertGreater(mbit, 10)
        self.assertLess(mbit, 23)
        self.assertEqual(self.end(rig, 0, 2), before)

    def test_shapes_add_up(self):
        """Jitter and percentiles: least, middle and most of the sum."""
        rig, before = self.start("action: delay, delay: {latency: 30ms, jitter: 10ms}",
                                 "action: delay, delay: {percentiles: {p0: 10ms, p50: 20ms, "
                                 "p100: 30ms}}")
        rtts = sorted(ping(FOUR, 800, 0.004)[0][20:])
        self.assertGreater(rtts[0], 29)
        self.assertAlmostEqual(rtts[len(rtts) // 2], 50, delta=6)
        # Both at their longest: one in 100 is within a fifth of both ranges.
        self.assertGreater(rtts[int(0.99 * len(rtts))], 58)
        self.assertEqual(self.end(rig, 0, 1), before)

    def test_duplicates_multiply(self):
        twice = 'action: duplicate, duplicate: {duplicate: "100"}'
        rig, before = self.start(twice, twice)
        # ping says DUP! for each answer beyond the first.
        out = harness.run("ip", "netns", "exec", A, "ping", "-n", "-c", "5", "-i", "0.3", "-W", "2",
                          FOUR).stdout
        self.assertGreaterEqual(len(re.findall("DUP!", out)), 3 * 4, out)
        self.assertLessEqual(len(re.findall("DUP!", out)), 3 * 5, out)
        self.assertEqual(self.end(rig, 0, 1), before)

    def test_delay_and_damage(self):
        rig, before = self.start(DELAY % (20, "to"),
                                 'action: corrupt, corrupt: {corrupt: "50"}')
        n = 400
        rtts = ping(FOUR, n, 0.005, wait=1)[0]
        # A flipped bit in the Ethernet header's source does no harm to an echo.
        self.assertGreater(len(rtts), 0.4 * n)
        self.assertLess(len(rtts), 0.65 * n)
        self.assertAlmostEqual(statistics.median(rtts), 20, delta=5)
        self.end(rig, 1)
        self.assertEqual(len(ping(FOUR, 50, 0.005)[0]), 50)
        self.assertEqual(self.end(rig, 0), before)

    def test_the_other_end_has_faults_of_its_own(self):
        """The token of a chain stays in its namespace, or the peer's gates would pass the packet."""
        rig, before = self.start(DELAY % (20, "to"), DELAY % (30, "to"))
        other = net_case.Rig(self, DELAY % (15, "from"), target=B)
        other.start()
        self.assert_rtt(65)
        self.end(rig, 0)
        self.assert_rtt(45)
        self.assertEqual(self.end(rig, 1), before)
        self.assert_rtt(15)
        other.do("off")
        other.do("revert")

    def test_clsact_goes_with_the_last_also_when_planned_meanwhile(self):
        rig = self.rig(DELAY % (20, "to"), 'action: loss, loss: {loss: "0.001"}')
        before = rig.start()
        rig.on(1).do("plan")
        rig.do("inject")
        self.end(rig, 0)
        self.assertEqual(self.end(rig, 1), before)

    def test_each_effect_is_measured_alone(self):
        rig, before = self.start(DELAY % (40, "to"), DELAY % (15, "from"),
                                 'action: loss, loss: {loss: "10"}')
        for turn in range(24):
            for i in range(3):
                rig.on(i).do("tick")
            if turn == 12:  # what another does must not count
                self.end(rig, 0)
            time.sleep(0.08)
        want = {1: 15}
        for i in want:
            effect = rig.on(i).do("effect")
            self.assertEqual(effect["state"], "measured", effect)
            got = float(re.search(r"RTT \+([\d.]+) ms", effect["measured"])[1])
            self.assertAlmostEqual(got, want[i], delta=4, msg=effect)
        self.assertEqual(self.end(rig, 1, 2), before)

    def test_effect_on_a_port_is_measured_by_handshakes_alone(self):
        server = subprocess.Popen(["ip", "netns", "exec", B, "/usr/bin/python3", "-m", "http.server",
                                   "8000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        harness.wait_for(lambda: ":8000" in harness.run("ip", "netns", "exec", B, "ss", "-ltn").stdout,
                         "the server")
        rig, before = self.start(DELAY % (25, "to") + f', externalTargets: ["{FOUR}:8000"]',
                                 DELAY % (30, "from"))
        for _ in range(40):
            rig.on(0).do("tick")
            time.sleep(0.08)
        effect = rig.do("effect")
        self.assertEqual(effect["state"], "measured", effect)
        got = float(re.search(r"RTT \+([\d.]+) ms", effect["measured"])[1])
        self.assertAlmostEqual(got, 25, delta=5, msg=effect)
        self.assertEqual(self.end(rig, 0, 1), before)

    def test_target_that_leaves_keeps_what_is_under_way_and_the_other_fault(self):
        rig, before = self.start(DELAY % (400, "to"), DELAY % (20, "to"))
        pings = subprocess.Popen(["ip", "netns", "exec", A, "ping", "-n", "-c", "40", "-i", "0.02",
                                  "-W", "3", FOUR], stdout=subprocess.PIPE, text=True)
        harness.wait_for(lambda: [g for t in rig.on(0).do("report")["targets"] for g in t["gates"]
                                  if g["matched"] > 10], "packets under way")
        rig.do("retarget")
        # Some 20 were held; one that the engine wrote back as its TAP closed may be lost.
        self.assertGreaterEqual(pings.communicate()[0].count("time="), 39)
        self.assert_rtt(20)
        self.assertEqual(self.end(rig, 1), before)

    def test_no_packet_goes_round_for_ever_where_two_have_one_order(self):
        """One fault's end that is late, or two runs that see each other too late."""
        rig, before = self.start(DELAY % (20, "both"), DELAY % (20, "both"), apart=True)
        self.assert_rtt(40)
        matched = [sum(g["matched"] for g in rig.on(i).do("report")["targets"][0]["gates"])
                   for i in range(2) if rig.on(i).do("report")["targets"]]
        # Each packet meets one of them, once: at most two retries of 17 echoes and answers.
        self.assertLess(sum(matched), 200)
        self.assertEqual(self.end(rig, 0, 1), before)

    def test_more_than_a_packet_can_pass_is_refused(self):
        rig = self.rig(*[DELAY % (1, "to")] * 17)
        for i in range(16):
            self.assertNotIn("error", rig.on(i).do("plan"))
        self.assertIn("number 17 of the network faults that overlap", rig.on(16).do("plan")["error"])


class Runs(net_case.NetCase):
    FAULTS = f"""
    - {{name: slow, at: 0s, duration: 8s, networkChaos: {{mode: all,
       selector: {{labelSelectors: {{name: {A}}}}}, action: delay, delay: {{latency: 40ms}}}}}}
    - {{name: cut, at: 2s, duration: 4s, networkChaos: {{mode: all,
       selector: {{labelSelectors: {{name: {A}}}}}, action: loss, loss: {{loss: "25"}}}}}}
    - {{name: back, at: 4s, duration: 6s, networkChaos: {{mode: all, direction: from,
       selector: {{labelSelectors: {{name: {A}}}}}, action: delay, delay: {{latency: 30ms}}}}}}
    - {{name: more, at: 4s, networkChaos: {{mode: all, direction: both,
       selector: {{labelSelectors: {{name: {A}}}}}, action: delay, delay: {{latency: 10ms}}}}}}
"""
    # (from, to) in the fault window: round trip, share lost.
    WINDOWS = {(0, 2): (40, 0), (2, 4): (40, 0.25), (4, 6): (90, 0.25), (6, 8): (90, 0),
               (8, 10): (50, 0), (10, 12): (20, 0)}

    def manifest(self, faults=FAULTS, name="compose"):
        return self.write(f"{name}.yaml", f"""
apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {{name: {name}}}
spec:
  source: netns
  timeline: {{baseline: 0s, fault: 12s, recovery: 0s}}
  faults:{faults}""")

    def dump(self):
        """What a fault could leave: links (without their flags), qdiscs, filters of both hooks."""
        text = [re.sub(r"<.*?>|state.*", "", l) for l in ip("-n", A, "-o", "link").splitlines()]
        for args in (("qdisc", "show"), ("filter", "show", "dev", "va", "egress"),
                     ("filter", "show", "dev", "va", "ingress")):
            text.append(harness.run("tc", "-n", A, *args).stdout)
        return "\n".join(text)

    def test_plan_shows_how_they_compose(self):
        out = self.brunt("plan", self.manifest())
        self.assertEqual(out.returncode, 0, out.stderr)
        text = re.sub(r"\s+", " ", out.stdout)
        for want in (
                "with fault slow on default/" + A + ": a packet that matches both meets the loss of "
                "cut, then the delay device of slow",
                "one is for packets sent, the other for packets received",
                "the delay device of slow, then the delay device of more",
                "the delay device of back, then the delay device of more"):
            self.assertIn(want, text)
        prefs = re.findall(r"egress, pref (\d+) handle \S+ redirect", text)
        self.assertEqual(len(set(prefs)), len(prefs), "delay stages need places of their own")

    def delays(self, targets, more=""):
        """A plan of one delay for each target named."""
        return self.brunt("plan", self.manifest(more + "".join(f"""
    - {{name: d{i}, networkChaos: {{mode: all, selector: {{labelSelectors: {{name: {t}}}}},
       action: delay, delay: {{latency: 1ms}}}}}}""" for i, t in enumerate(targets))))

    def test_delays_are_counted_at_each_target(self):
        out = self.delays([A, B] * 16)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        out = self.delays([A] * 17)
        self.assertEqual(out.returncode, 3, out.stdout + out.stderr)
        self.assertIn("number 17 of the network faults that overlap", out.stdout + out.stderr)

    def test_what_only_drops_takes_no_place_among_delays(self):
        drops = "".join(f"""
    - {{name: p{i}, networkChaos: {{mode: all, selector: {{labelSelectors: {{name: {A}}}}},
       action: partition}}}}""" for i in range(16))
        out = self.delays([A] * 16, drops)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)

    def test_every_sub_window_has_what_was_asked_for(self):
        # One retry: a machine that stalls for seconds shifts what the windows hold.
        for last in (False, True):
            try:
                self.check_sub_windows()
                return
            except AssertionError:
                if last:
                    raise

    def check_sub_windows(self):
        before = self.dump()
        report = os.path.join(self.dir, "report.json")
        pings = subprocess.Popen(["ip", "netns", "exec", A, "ping", "-n", "-D", "-i", "0.02", "-W",
                                  "2", FOUR], stdout=subprocess.PIPE, text=True)
        self.addCleanup(pings.wait)
        self.addCleanup(pings.kill)
        out = self.brunt("run", self.manifest(), "--report", f"json={report}")
        pings.send_signal(signal.SIGINT)
        text = pings.communicate()[0]
        record = self.json(report)
        self.assertEqual(record["verdict"], "passed", out.stdout + out.stderr)
        self.assertEqual(self.dump(), before)
        self.check_effects(record)
        start = datetime.datetime.fromisoformat(record["started"].replace("Z", "+00:00"))
        zero = start.timestamp() + record["windows"]["fault"]["start_ms"] / 1000
        answers = {int(n): (float(at) - float(rtt) / 1000 - zero, float(rtt)) for at, n, rtt in
                   re.findall(r"\[([\d.]+)\] .*icmp_seq=(\d+) .*time=([\d.]+) ms", text)}
        for (first, end), (rtt, lost) in self.WINDOWS.items():
            self.check_window(answers, first + 0.4, end - 0.2, rtt, lost)

    def check_effects(self, record):
        want = {"slow": 40, "back": 30, "more": 20}
        for fault in record["faults"]:
            self.assertEqual(fault["effect"], "measured", fault)
            if fault["name"] in want:
                got = float(re.search(r"RTT \+([\d.]+) ms", fault["measured"])[1])
                self.assertAlmostEqual(got, want[fault["name"]], delta=5, msg=fault["measured"])
            else:
                got = float(re.search(r"([\d.]+) % of", fault["measured"])[1])
                self.assertGreater(got, 10, fault["measured"])

    def check_window(self, answers, first, end, rtt, lost):
        got = {n: r for n, (at, r) in answers.items() if first <= at <= end}
        where = f"{first:.1f} s to {end:.1f} s"
        self.assertGreater(len(got), 15, where)
        self.assertAlmostEqual(statistics.median(got.values()), rtt, delta=0.1 * rtt + 4, msg=where)
        sent = max(got) - min(got) + 1
        sigma = math.sqrt(sent * lost * (1 - lost))
        self.assertAlmostEqual(sent - len(got), sent * lost, delta=4 * sigma + 1, msg=where)

    def test_killed_in_the_middle_leaves_nothing(self):
        before = self.dump()
        for both in (False, True):
            self.env["BRUNT_STATE_DIR"] = os.path.join(self.dir, f"state-{both}")
            run = subprocess.Popen([harness.BRUNT, "run", "--wait", self.manifest()], env=self.env,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.addCleanup(run.wait)
            self.addCleanup(run.kill)
            harness.wait_for(lambda: len(re.findall("redirect|mirred", self.dump())) >= 4,
                             "all four faults")
            if both:
                os.kill(self.guard_pid(), signal.SIGKILL)
            run.kill()
            run.communicate()
            # The lease is at most 2 s; a guard that lives is faster.
            harness.wait_for(lambda: [t for t in ping(FOUR, 1, wait=1)[0] if t < 15],
                             "the faults to end")
            if both:
                out = self.brunt("recover")
                self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
            harness.wait_for(lambda: self.dump() == before, "the guard to put everything back")
            self.assertEqual(len(ping(FOUR, 30, 0.01)[0]), 30)

    def guard_pid(self):
        folder = os.path.join(self.env["BRUNT_STATE_DIR"], "locks")
        for name in os.listdir(folder):
            if name != "names" and self.json(os.path.join(folder, name)).get("guard"):
                return self.json(os.path.join(folder, name))["guard"]["pid"]
        raise AssertionError("no run holds a lock")


if __name__ == "__main__":
    harness.main()
