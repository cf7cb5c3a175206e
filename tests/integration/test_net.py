"""NetworkChaos on two namespaces joined by a veth, through the driver itself (tests/net_case.py)

Runs on this machine's kernel (delay engine) and in the UML lab (netem): the backend is the one that
preflight chooses.
"""
import contextlib
import ctypes
import math
import multiprocessing.pool
import os
import re
import select
import socket
import statistics
import struct
import subprocess
import threading
import time

import harness
from delay_pair import inside
from net_case import A, B, FOUR, SIX, NetCase, TcpInfo, ip, ping, pump, tc

LEGS = "host lab"


@harness.patient
class Delay(NetCase):
    def check(self, ms, direction, ways):
        count, interval = (6, 0.2) if ms >= 500 else (15, 0.02)
        base = {d: self.median(d) for d in (FOUR, SIX)}
        rig = self.rig(f"action: delay, delay: {{latency: {ms}ms}}, direction: {direction}")
        before = rig.start()
        for dest in (FOUR, SIX):
            # One retry under contention; the medians are of few packets.
            for last in (False, True):
                added = self.median(dest, count, interval) - base[dest]
                if abs(added - ways * ms) <= 0.1 * ways * ms + 1.5 or last:
                    break
            self.assertAlmostEqual(added, ways * ms, delta=0.1 * ways * ms + 1.5,
                                   msg=f"{dest} by {rig.backend}")
        self.assertEqual(rig.back(), before)
        self.assertLess(self.median(FOUR), base[FOUR] + 1 + ms / 4)

    @harness.alone
    def test_1ms_to(self):
        self.check(1, "to", 1)

    @harness.alone
    def test_10ms_from(self):
        self.check(10, "from", 1)

    @harness.alone
    def test_10ms_to(self):
        self.check(10, "to", 1)

    def test_100ms_both(self):
        self.check(100, "both", 2)

    def test_100ms_from(self):
        self.check(100, "from", 1)

    def test_800ms_to(self):
        self.check(800, "to", 1)

    def test_800ms_from(self):
        self.check(800, "from", 1)

    def test_effect_is_measured_by_probes(self):
        rig = self.rig("action: delay, delay: {latency: 20ms}, direction: to")
        rig.start()
        for _ in range(8):
            rig.do("tick")
            time.sleep(0.05)
        effect = rig.do("effect")
        self.assertEqual(effect["state"], "measured", effect)
        self.assertIn("RTT +2", effect["measured"])

    @harness.alone
    def test_percentiles_shape_the_delay(self):
        rig = self.rig("action: delay, direction: to, "
                       "delay: {percentiles: {p50: 20ms, p90: 60ms, p99: 90ms}}")
        before = rig.start()
        ping(FOUR, 200, 0.002)
        # ping waits 10 ms at least: four of them send as many packets in a quarter of the time.
        with multiprocessing.pool.ThreadPool(4) as pings:
            rtts = sorted(sum(pings.map(lambda _: ping(FOUR, 550, 0.01)[0], range(4)), []))
        self.assertGreater(len(rtts), 2000)
        for q, want in ((0.5, 20), (0.9, 60), (0.99, 90)):
            got = rtts[int(q * len(rtts))]
            self.assertAlmostEqual(got, want, delta=0.15 * want + 1.5, msg=f"p{q * 100:g}")
        self.assertEqual(rig.back(), before)

    def test_packets_under_way_arrive_after_the_end(self):
        rig = self.rig("action: delay, delay: {latency: 400ms}")
        before = rig.start()
        pings = subprocess.Popen(["ip", "netns", "exec", A, "ping", "-n", "-c", "40", "-i", "0.02",
                                  "-W", "3", FOUR], stdout=subprocess.PIPE, text=True)
        harness.wait_for(lambda: rig.do("report")["targets"][0]["gates"][0]["matched"] > 10
                         if rig.do("report")["targets"] else False, "packets under way")
        self.assertEqual(rig.back(), before)
        # Some 20 were held; one that the engine wrote back as its TAP closed may be lost.
        answered = pings.communicate()[0].count("time=")
        self.assertGreaterEqual(answered, 39)

    def test_only_peers_are_delayed(self):
        ip("-n", B, "addr", "add", "10.97.0.3/24", "dev", "vb")
        rig = self.rig('action: delay, delay: {latency: 50ms}, externalTargets: ["10.97.0.3"]')
        rig.start()
        self.assertLess(self.median(FOUR), 20)
        self.assertGreater(self.median("10.97.0.3"), 45)

    def test_peers_by_selector_have_all_addresses(self):
        rig = self.rig("action: delay, delay: {latency: 50ms}, direction: both, "
                       f"target: {{mode: all, selector: {{labelSelectors: {{name: {B}}}}}}}")
        rig.start()
        self.assertGreater(self.median(FOUR), 95)
        self.assertGreater(self.median(SIX), 95)


def binomial_interval(n, p, outside=1e-6):
    """The narrowest [low, high] that leaves at most outside/2 on each side of the binomial."""
    pmf = [math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) +
                    k * math.log(p) + (n - k) * math.log(1 - p)) for k in range(n + 1)]

    def tail(probabilities):
        total = 0.0
        for k, q in enumerate(probabilities):
            total += q
            if total > outside / 2:
                return k
        return n

    return tail(pmf), n - tail(reversed(pmf))


@contextlib.contextmanager
def netem(spec):
    """The kernel's own fault, to compare with."""
    tc(A, "qdisc", "add", "dev", "va", "root", "netem", *spec.split())
    try:
        yield
    finally:
        tc(A, "qdisc", "del", "dev", "va", "root")


@harness.patient
class Loss(NetCase):
    def lose(self, spec):
        """Round trips lost of 2000, which must lie in the interval of 20 %, and the gate's count."""
        rig = self.rig(f'action: loss, loss: {{loss: "20"}}, {spec}')
        before = rig.start()
        n = 2000
        lost = n - len(ping(FOUR, n, 0.002, wait=1)[0])
        gate = rig.do("report")["targets"][0]["gates"][0]
        self.assertEqual((gate["matched"], gate["lost"]), (n, lost))
        low, high = binomial_interval(n, 0.2)
        self.assertTrue(low <= lost <= high, f"{lost} of {n} lost; want {low} to {high}")
        self.assertEqual(rig.do("effect")["state"], "measured")
        self.assertEqual(rig.back(), before)
        self.assertEqual(len(ping(FOUR, 50, 0.002)[0]), 50)

    def test_few_packets_do_not_tell_how_many_are_lost(self):
        rig = self.rig('action: loss, loss: {loss: "50"}, direction: to')
        rig.start()
        ping(FOUR, 6, 0.02, wait=1)
        effect = rig.do("effect")
        self.assertEqual(effect["state"], "unknown", effect)
        self.assertEqual((effect["figures"][0]["asked"], effect["figures"][0]["samples"]), (50, 6))

    def test_a_partition_that_probes_get_around_is_less_than_asked(self):
        """Half of the time there is another way, by a device that the fault was not for."""
        ip("link", "add", "va2", "netns", A, "type", "veth", "peer", "name", "vb2", "netns", B)
        for ns, dev in ((A, "va2"), (B, "vb2")):
            ip("-n", ns, "link", "set", dev, "up")
        ip("-n", B, "addr", "add", "10.98.0.2/24", "dev", "vb2")
        rig = self.rig("action: partition, direction: to, device: va")
        rig.start()
        with looking(rig, 0.03):
            time.sleep(1)
            ip("-n", A, "route", "add", FOUR, "dev", "va2")
            harness.wait_for(lambda: self.probes(rig)["value"] < 85, "probes to be answered", 30)
        effect = rig.do("effect")
        self.assertEqual(effect["state"], "less than asked", effect)

    def probes(self, rig):
        return next((g for g in rig.do("effect")["figures"]
                     if g["name"] == "probes without an answer" and g["value"] is not None),
                    {"value": 100})

    def test_20_percent_lies_in_its_interval_to(self):
        self.lose("direction: to")

    def test_20_percent_lies_in_its_interval_from(self):
        self.lose("direction: from")

    @harness.alone
    def test_tcp_feels_the_loss(self):
        free = self.goodput(1)
        rig = self.rig('action: loss, loss: {loss: "20"}, direction: to')
        rig.start()
        lossy = self.goodput(3)
        self.assertLess(lossy, min(free / 5, 300), "a dropped packet must look lost, not refused")

    def lossy_bytes(self, fault, seconds=3):
        client, sink = self.connection()
        with fault:
            arrived = pump(client, sink, seconds)
            self.assertGreater(TcpInfo(client).total_retrans, 10)
        return arrived

    def test_tcp_carries_as_much_as_under_netems_own_loss(self):
        if not harness.IN_LAB:
            self.skipTest("no netem here; the lab leg compares")
        ours, theirs = [], []
        for _ in range(3):
            ours.append(self.lossy_bytes(self.fault('action: loss, loss: {loss: "20"}')))
            theirs.append(self.lossy_bytes(netem("loss 20%")))
        ratio = statistics.median(ours) / statistics.median(theirs)
        # Refused packets would carry some hundred times as much.
        self.assertTrue(1 / 4 < ratio < 4, f"ours {ours}, netem's {theirs}")

    @contextlib.contextmanager
    def fault(self, spec):
        rig = self.rig(spec)
        before = rig.start()
        yield
        self.assertEqual(rig.back(), before)

    def back_off(self, fault):
        """Seconds until the retransmission time-out is beyond four, and retransmissions by then;
        afterwards everything arrives."""
        client, sink = self.connection()
        client.sendall(b"first")
        self.assertEqual(sink.recv(100), b"first")
        with fault:
            started = time.monotonic()
            client.sendall(b"second")
            harness.wait_for(lambda: TcpInfo(client).rto_s > 4, "the time-out to grow", 60)
            info, took = TcpInfo(client), time.monotonic() - started
            self.assertEqual(select.select([sink], [], [], 0)[0], [])
        self.assertGreaterEqual(info.backoff, 4)
        # One for each doubling, besides the tail probe: not hundreds, as when it is told at once.
        self.assertLessEqual(info.total_retrans, info.backoff + 2)
        self.assertGreater(took, 2)
        self.assertEqual(sink.recv(100), b"second")
        return took, info.total_retrans

    def test_time_out_backs_off_under_a_partition(self):
        took, retrans = self.back_off(self.fault("action: partition, direction: both"))
        if harness.IN_LAB:
            with_netem, retrans_netem = self.back_off(netem("loss 100%"))
            self.assertAlmostEqual(took, with_netem, delta=0.5 * with_netem)
            self.assertAlmostEqual(retrans, retrans_netem, delta=1)

    def test_partition_both_ways_backs_off_and_heals(self):
        rig = self.rig("action: partition, direction: both")
        before = rig.start()
        for dest in (FOUR, SIX):
            self.assertEqual(ping(dest, 5, 0.02, wait=1)[0], [])
        self.assertEqual(ping("10.97.0.1", 5, 0.02, ns=B, wait=1)[0], [])
        # ARP still passes: no EHOSTUNREACH, the handshake is retried with growing pauses.
        started = time.monotonic()
        out = harness.run("ip", "netns", "exec", A, "timeout", "5", "nc", "-w", "4", FOUR, "9")
        self.assertGreater(time.monotonic() - started, 3, out.stderr)
        self.assertEqual(rig.do("effect")["state"], "measured")
        self.assertEqual(rig.back(), before)
        self.assertEqual(len(ping(FOUR, 5)[0]), 5)

    def test_partition_one_way(self):
        rig = self.rig("action: partition, direction: from")
        rig.start()
        self.assertEqual(ping(FOUR, 3, 0.02, wait=1)[0], [])
        report = rig.do("report")["targets"][0]["gates"]
        self.assertEqual([g["direction"] for g in report], ["from"])
        self.assertGreaterEqual(report[0]["lost"], 3)

    def test_port_rule_leaves_other_ports(self):
        rig = self.rig(f'action: partition, externalTargets: ["{FOUR}:5201"]')
        rig.start()
        self.assertEqual(len(ping(FOUR, 5)[0]), 5)
        out = harness.run("ip", "netns", "exec", A, "nc", "-w", "2", "-z", FOUR, "5202")
        self.assertIn("refused", out.stderr + "refused" * (out.returncode == 1))
        report = rig.do("report")["targets"][0]["gates"][0]
        self.assertEqual(report["matched"], 0)


@contextlib.contextmanager
def looking(rig, every=0.1):
    """The fault is looked after, as the engine does, while something else goes on."""
    stop = threading.Event()

    def look():
        while not stop.wait(every):
            rig.do("tick")
    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@harness.patient
class Rate(NetCase):
    def check(self, spec, reverse=False):
        rig = self.rig(spec)
        before = rig.start()
        with looking(rig):
            mbit = self.goodput(3, reverse)
        self.assertGreater(mbit, 5)
        self.assertLess(mbit, 11.5)
        effect = rig.do("effect")
        self.assertEqual(effect["state"], "measured", effect)
        self.assertEqual(effect["figures"][0]["asked"], 1.25e6, effect)
        self.assertEqual(rig.back(), before)

    def changed(self, tbf):
        """The effect after somebody changed the token bucket to this, and traffic met it."""
        rig = self.rig("action: rate, rate: {rate: 10mbit}, direction: to")
        rig.start()
        found = re.search(r"qdisc tbf (\w+:) dev (\S+) (root|parent \S+)", tc(A, "qdisc", "show"))
        tc(A, "qdisc", "change", "dev", found[2], *found[3].split(), "handle", found[1], "tbf",
           *tbf.split())
        with looking(rig):
            self.flood(3)
        return rig.do("effect")

    def flood(self, seconds):
        """Datagrams of 1200 bytes at some 20 Mbit/s, which wait for no answer."""
        s, until = self.socket(A, socket.AF_INET, socket.SOCK_DGRAM), time.monotonic() + seconds
        while time.monotonic() < until:
            for _ in range(20):
                s.sendto(bytes(1200), (FOUR, 9))
            time.sleep(0.01)

    def test_a_bucket_that_lets_nothing_through_is_more_than_asked(self):
        effect = self.changed("rate 10mbit burst 200 limit 1000")
        self.assertEqual(effect["state"], "more than asked", effect)
        self.assertLess(effect["figures"][0]["value"], 0.1 * 1.25e6, effect)

    def test_a_bucket_that_lets_too_much_through_is_less_than_asked(self):
        if harness.IN_LAB:
            self.skipTest("the guest's one CPU does not send faster than 10 Mbit/s for long; the host's leg does")
        effect = self.changed("rate 100mbit burst 64kb limit 200000")
        self.assertEqual(effect["state"], "less than asked", effect)

    def test_a_rate_that_the_traffic_does_not_fill_cannot_be_told(self):
        rig = self.rig("action: rate, rate: {rate: 10mbit}, direction: to")
        rig.start()
        with looking(rig):
            ping(FOUR, 20, 0.05)
        effect = rig.do("effect")
        self.assertEqual(effect["state"], "unknown", effect)
        self.assertIn("did not fill the rate", effect["measured"])

    def test_rate_to(self):
        self.check("action: rate, rate: {rate: 10mbit}, direction: to")

    def test_rate_from(self):
        self.check("action: rate, rate: {rate: 10mbit}, direction: from", reverse=True)

    def test_bandwidth(self):
        self.check("action: bandwidth, bandwidth: {rate: 10mbit, limit: 200000, buffer: 65536}")


@harness.patient
class Lease(NetCase):
    def check(self, spec):
        rig = self.rig(spec, lease_ms=1000)
        rig.start()
        harness.wait_for(lambda: not ping(FOUR, 1, wait=1)[0] or ping(FOUR, 1)[0][0] > 200,
                         "the fault to be felt")
        left = rig.do("leases")
        self.assertGreater(left[0], 0)
        rig.kill()
        started = time.monotonic()
        harness.wait_for(lambda: [t for t in ping(FOUR, 1, wait=1)[0] if t < 100],
                         "the lease to run out", 15)
        self.assertLess(time.monotonic() - started, 6)

    def test_closing_the_gates_ends_it_though_the_owner_renews(self):
        """What brunt stop does to a run whose owner does not answer: the lease goes on."""
        rig = self.rig("action: partition", lease_ms=60000)
        rig.start()
        harness.wait_for(lambda: not ping(FOUR, 1, wait=1)[0], "the partition to be felt")
        self.assertEqual(rig.do("close"), "closed")
        self.assertTrue(ping(FOUR, 3)[0], "the gate still drops")
        self.assertEqual(rig.do("leases"), [0])
        rig.back()

    def test_partition_ends_when_every_process_is_killed(self):
        self.check("action: partition")

    def test_delay_ends_when_every_process_is_killed(self):
        self.check("action: delay, delay: {latency: 300ms}")


def bpf(command, attr):
    """The system call itself: no library of Debian 12 knows TCX."""
    buf = ctypes.create_string_buffer(attr, 128)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(321, command, buf, 128)
    return fd if fd >= 0 else None


def tcx_link(ifindex, attach_type):
    """A program named "theirs" that answers TCX_PASS: the descriptor of its link, or None."""
    code = ctypes.create_string_buffer(bytes.fromhex("b700000000000000 9500000000000000"), 16)
    licence = ctypes.create_string_buffer(b"GPL")
    prog = bpf(5, struct.pack("IIQQIIQII16s", 3, 2, ctypes.addressof(code),
                              ctypes.addressof(licence), 0, 0, 0, 0, 0, b"theirs"))
    assert prog is not None, "load a BPF program"
    link = bpf(28, struct.pack("IIII", prog, ifindex, attach_type, 0))
    os.close(prog)
    return link


@harness.patient
class Foreign(NetCase):
    def setUp(self):
        super().setUp()
        tc(A, "qdisc", "add", "dev", "va", "root", "handle", "1:", "htb", "default", "10")
        tc(A, "class", "add", "dev", "va", "parent", "1:", "classid", "1:10", "htb", "rate", "50mbit",
           "burst", "64k")

    def test_htb_root_and_later_egress_filters_stay_and_work(self):
        tc(A, "qdisc", "add", "dev", "va", "clsact")
        tc(A, "filter", "add", "dev", "va", "egress", "pref", "100", "protocol", "ip", "u32", "match",
           "ip", "dst", "10.97.0.9/32", "action", "mirred", "egress", "redirect", "dev", "lo")
        before = tc(A, "qdisc", "show", "dev", "va") + tc(A, "filter", "show", "dev", "va", "egress")
        rig = self.rig("action: delay, delay: {latency: 10ms}, direction: to")
        dump = rig.start()
        self.assertGreater(self.median(FOUR), 9)
        mbit = self.goodput(2)
        self.assertLess(mbit, 60, "the target's own htb no longer limits")
        self.assertEqual(rig.back(), dump)
        self.assertEqual(tc(A, "qdisc", "show", "dev", "va") +
                         tc(A, "filter", "show", "dev", "va", "egress"), before)

    def test_filter_before_the_gate_is_refused_by_name(self):
        tc(A, "qdisc", "add", "dev", "va", "clsact")
        tc(A, "filter", "add", "dev", "va", "egress", "pref", "1", "protocol", "ip", "u32", "match",
           "ip", "dst", "10.97.0.9/32", "flowid", "1:10")
        out = self.rig("action: partition").do("plan")
        self.assertIn("u32 filter at pref 1", out["error"])

    def test_legacy_ingress_qdisc_takes_received_packets_only(self):
        tc(A, "qdisc", "add", "dev", "va", "ingress")
        out = self.rig("action: partition, direction: both").do("plan")
        self.assertIn("ingress", out["error"])
        rig = self.rig("action: partition, direction: from")
        before = rig.start()
        self.assertEqual(ping(FOUR, 3, 0.02, wait=1)[0], [])
        self.assertEqual(rig.back(), before)

    def test_ingress_filter_behind_the_gate_still_drops(self):
        ip("-n", B, "addr", "add", "10.97.0.3/24", "dev", "vb")
        # What comes out of the sink is for another host: nobody takes it.
        ip("-n", A, "link", "add", "sink", "type", "veth", "peer", "name", "sunk")
        for dev in ("sink", "sunk"):
            ip("-n", A, "link", "set", dev, "up")
        tc(A, "qdisc", "add", "dev", "va", "clsact")
        tc(A, "filter", "add", "dev", "va", "ingress", "pref", "100", "protocol", "ip", "u32",
           "match", "ip", "src", "10.97.0.3/32", "action", "mirred", "egress", "redirect", "dev",
           "sink")
        self.assertEqual(ping("10.97.0.3", 2, 0.02, wait=1)[0], [])
        for spec in ("action: rate, rate: {rate: 1mbit}", "action: delay, delay: {latency: 10ms}"):
            rig = self.rig(f"{spec}, direction: from, device: va")
            before = rig.start()
            self.assertEqual(len(ping(FOUR, 3)[0]), 3, spec)
            self.assertEqual(ping("10.97.0.3", 3, 0.02, wait=1)[0], [], spec)
            report = rig.do("report")["targets"][0]["gates"][0]
            self.assertGreaterEqual(report["matched"], 6, spec)
            self.assertEqual(rig.back(), before)

    def refuse(self, source):
        """Somebody else's way to refuse what comes from source: a u32 filter after the gate."""
        tc(A, "qdisc", "add", "dev", "va", "clsact")
        tc(A, "filter", "add", "dev", "va", "ingress", "pref", "100", "protocol", "ip", "u32",
           "match", "ip", "src", f"{source}/32", "action", "mirred", "egress", "redirect", "dev", "lo")

    def refuse_by_nft(self, source):
        self.add_netdev_table()
        self.nft("add chain netdev theirs wall "
                 "{ type filter hook ingress device va priority 0; }")
        self.nft(f"add rule netdev theirs wall ip saddr {source} drop")

    def add_netdev_table(self):
        if harness.IN_LAB:
            self.skipTest("the lab's kernel has no netdev tables; the host leg covers them")
        self.nft("add table netdev theirs")

    def nft(self, *args):
        out = harness.run("ip", "netns", "exec", A, "nft", *args)
        self.assertEqual(out.returncode, 0, out.stderr)
        return out.stdout

    def settings(self):
        """All of them, without counters."""
        return [tc(A, "qdisc", "show", "dev", "va"), tc(A, "class", "show", "dev", "va"),
                *(tc(A, "filter", "show", "dev", "va", hook) for hook in ("egress", "ingress")),
                self.nft("list", "ruleset")]

    def stays_shut(self, wall):
        """A wall before 10.97.0.3 holds before, during and after faults on what is received."""
        ip("-n", B, "addr", "add", "10.97.0.3/24", "dev", "vb")
        self.assertTrue(ping("10.97.0.3", 2)[0])
        wall("10.97.0.3")
        shut = lambda: ping("10.97.0.3", 3, 0.02, wait=1)[0] == []
        self.assertTrue(shut())
        theirs = self.settings()
        for spec, backend in (("action: delay, delay: {latency: 30ms}", "engine"),
                              ('action: loss, loss: {loss: "1"}', "auto"),
                              ("action: rate, rate: {rate: 50mbit}", "auto")):
            rig = self.rig(f"{spec}, direction: from", backend=backend)
            before = rig.start()
            self.assertTrue(shut(), spec)
            self.assertTrue(ping(FOUR, 5)[0])
            if "delay" in spec:
                self.assertGreater(self.median(FOUR), 29)
            self.assertEqual(rig.back(), before)
            self.assertEqual(self.settings(), theirs)
            self.assertTrue(shut(), spec)
        self.assertLess(self.goodput(1), 60, "the target's own htb no longer limits")

    def test_ingress_filter_stays_shut(self):
        self.stays_shut(self.refuse)

    def test_nft_netdev_hook_stays_shut(self):
        self.stays_shut(self.refuse_by_nft)

    def test_tcx_program_is_refused_by_name_and_stays(self):
        for direction, hook, attach in (("to", "egress", 47), ("from", "ingress", 46)):
            with inside(A):
                link = tcx_link(socket.if_nametoindex("va"), attach)
            if link is None:
                self.skipTest("this kernel has no TCX; the host leg covers it")
            try:
                out = self.rig(f"action: partition, direction: {direction}").do("plan")
                self.assertRegex(out["error"], rf"TCX program \d+ \(theirs\) at {hook}")
                self.assertIn("bpftool prog show id", out["hint"])
                self.assertEqual(len(ping(FOUR, 3)[0]), 3)
            finally:
                os.close(link)
        rig = self.rig("action: partition")
        before = rig.start()
        self.assertEqual(rig.back(), before)

    def test_queue_length_of_0_comes_back(self):
        ip("-n", A, "link", "set", "va", "txqueuelen", "0")
        for spec in ("action: partition", "action: delay, delay: {latency: 1ms}"):
            rig = self.rig(spec)
            before = rig.start()
            self.assertIn("queue 0 ", before)
            self.assertEqual(rig.back(), before)

    def test_queue_length_of_0_comes_back_with_the_last_of_two_faults(self):
        ip("-n", A, "link", "set", "va", "txqueuelen", "0")
        rig = self.rig("action: partition", "action: loss, loss: {loss: \"5\"}")
        before = rig.on(0).start()
        rig.on(1).start()
        rig.on(0).do("off")
        rig.do("revert")
        rig.on(1).do("off")
        out = rig.do("revert")
        self.assertEqual(out["results"], [["reverted", ""]])
        self.assertEqual(rig.do(f"snapshot {A}"), before)

    def test_filter_added_meanwhile_keeps_clsact_and_is_reported(self):
        rig = self.rig("action: partition")
        rig.start()
        tc(A, "filter", "add", "dev", "va", "ingress", "pref", "7", "protocol", "ip", "u32", "match",
           "ip", "src", "10.97.0.9/32", "flowid", "1:1")
        rig.do("off")
        outcome, text = rig.do("revert")["results"][0]
        self.assertEqual(outcome, "foreign")
        self.assertIn("clsact stays", text)
        self.assertIn("pref 7", tc(A, "filter", "show", "dev", "va", "ingress"))
        self.assertEqual(len(ping(FOUR, 3)[0]), 3)


@harness.patient
class Residue(NetCase):
    """One of each kind, planted; each must make the dump differ."""

    PLANTS = {
        "device": ["ip", "-n", A, "link", "add", "leftover", "type", "ifb"],
        "qdisc": ["tc", "-n", A, "qdisc", "add", "dev", "va", "root", "handle", "9:", "htb"],
        "class": ["tc", "-n", A, "class", "add", "dev", "va", "parent", "9:", "classid", "9:1",
                  "htb", "rate", "1mbit"],
        "clsact": ["tc", "-n", A, "qdisc", "add", "dev", "va", "clsact"],
        "filter": ["tc", "-n", A, "filter", "add", "dev", "va", "egress", "pref", "5", "protocol",
                   "ip", "u32", "match", "ip", "dst", "10.97.0.9/32", "flowid", "1:1"],
        "chain": ["tc", "-n", A, "chain", "add", "dev", "va", "ingress", "chain", "3"],
        "alias": ["ip", "-n", A, "link", "set", "va", "alias", "x"],
        "mtu": ["ip", "-n", A, "link", "set", "va", "mtu", "1400"],
    }

    def test_each_kind_is_seen(self):
        rig = self.rig("action: partition")
        rig.do("plan")
        before = rig.do(f"snapshot {A}")
        self.assertEqual(rig.do(f"snapshot {A}"), before)
        for kind, command in self.PLANTS.items():
            self.assertEqual(harness.run(*command).returncode, 0, kind)
            after = rig.do(f"snapshot {A}")
            self.assertNotEqual(after, before, kind)
            before = after

    def test_counters_do_not_count(self):
        rig = self.rig("action: partition")
        rig.do("plan")
        harness.run(*self.PLANTS["qdisc"])
        harness.run(*self.PLANTS["clsact"])
        harness.run(*self.PLANTS["filter"])
        before = rig.do(f"snapshot {A}")
        ping(FOUR, 20, 0.002)
        self.assertEqual(rig.do(f"snapshot {A}"), before)


@harness.patient
class Backend(NetCase):
    def test_netem_where_missing_is_refused_with_the_reason(self):
        rig = self.rig("action: delay, delay: {latency: 10ms}", backend="netem")
        out = rig.do("plan")
        if "error" not in out:
            self.assertIn("netem", out["backend"])
        else:
            self.assertIn("no netem", out["error"])
            self.assertIn("--net-backend", out["hint"])

    def test_engine_when_asked_for(self):
        rig = self.rig("action: delay, delay: {latency: 30ms}", backend="engine")
        before = rig.start()
        self.assertIn("delay engine", rig.backend)
        self.assertGreater(self.median(FOUR), 29)
        self.assertEqual(rig.back(), before)


if __name__ == "__main__":
    harness.main()
