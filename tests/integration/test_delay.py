#!/usr/bin/python3
"""The delay engine on this kernel: delays, shapes, offloads, order, and every way it can die."""
import hashlib
import os
import signal
import socket
import statistics
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from delay_pair import Pair, ip

MS = 1_000_000
SLACK_MS = 30  # what a noisy machine may add to a median


def process_is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


class DelayCase(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("network namespaces need root")
        self.pair = Pair()
        self.addCleanup(self.pair.close)

    def assert_rtt(self, want_ms, peer="10.99.0.2", **kw):
        got = self.pair.rtt(peer, **kw)
        self.assertGreaterEqual(got, want_ms * 0.99)
        self.assertLess(got, want_ms + SLACK_MS)

    def assert_undelayed(self, less_than_ms):
        """Traffic flows, and not through the engine."""
        harness.wait_for(lambda: self.pair.ping(count=2, wait=1), "traffic to flow")
        self.assertLess(self.pair.rtt(count=5), less_than_ms)

    def tap_exists(self):
        return "bt0" in ip("-n", self.pair.a, "-o", "link")

    def one_way(self, count, pause_s, to=True):
        """One-way delays in ms of numbered datagrams, in sending order; None for a lost one."""
        src, dst = (self.pair.a, self.pair.b) if to else (self.pair.b, self.pair.a)
        host = 2 if to else 1
        with self.pair.socket(src) as tx, self.pair.socket(dst) as rx:
            rx.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            rx.bind((f"10.99.0.{host}", 5000))
            rx.settimeout(3)
            took = [None] * count

            def receive():
                for _ in range(count):
                    try:
                        n, sent = struct.unpack("!Iq", rx.recv(100))
                    except TimeoutError:
                        return
                    took[n] = (time.monotonic_ns() - sent) / MS

            t = threading.Thread(target=receive)
            t.start()
            for n in range(count):
                tx.sendto(struct.pack("!Iq", n, time.monotonic_ns()), (f"10.99.0.{host}", 5000))
                time.sleep(pause_s)
            t.join()
            return took


@harness.patient
class Delay(DelayCase):
    def round_trips(self, direction):
        rig = self.pair.rig(direction, delay_ns=0)
        for ms, count in ((1, 15), (10, 15), (100, 8), (800, 5)):
            rig.set(delay_ns=ms * MS)
            self.assert_rtt(ms, count=count)
            self.assert_rtt(ms, "fd99::2", count=count)
        rig.do("stop")
        self.assert_undelayed(less_than_ms=SLACK_MS)

    def test_round_trip_to(self):
        self.round_trips("to")

    def test_round_trip_from(self):
        self.round_trips("from")

    @harness.alone
    def test_percentile_shape_over_4000_packets(self):
        self.pair.rig("to", q50_ns=20 * MS, q95_ns=160 * MS, q99_ns=192 * MS, seed=42)
        took = sorted(self.one_way(4000, 0.001))
        for q, want, tolerance in ((0.50, 20, 0.08), (0.95, 160, 0.05), (0.99, 192, 0.05)):
            self.assertAlmostEqual(took[int(q * 4000)], want, delta=want * tolerance)

    @harness.alone
    def test_same_seed_same_delays(self):
        runs = []
        for seed in (7, 7, 8):
            rig = self.pair.rig("to", delay_ns=60 * MS, jitter_ns=50 * MS, seed=seed)
            runs.append(self.one_way(200, 0.002))
            rig.do("stop")
            ip("netns", "exec", self.pair.a, "tc", "qdisc", "del", "dev", "ea", "clsact")
        same = statistics.median(abs(x - y) for x, y in zip(runs[0], runs[1]))
        other = statistics.median(abs(x - y) for x, y in zip(runs[0], runs[2]))
        self.assertLess(same, 5)
        self.assertGreater(other, 10)

    def test_reorder_is_counted_and_order_keep_prevents_it(self):
        rig = self.pair.rig("to", delay_ns=30 * MS, jitter_ns=30 * MS)
        self.one_way(200, 0.001)
        self.assertGreater(rig.counters()["reordered"], 50)
        before = rig.counters()["reordered"]
        rig.set(order_keep=1)
        self.one_way(200, 0.001)
        self.assertEqual(rig.counters()["reordered"], before)

    def test_duplicates_arrive_twice(self):
        rig = self.pair.rig("to", delay_ns=5 * MS, duplicate_ppm=1000000)
        out = self.pair.run(self.pair.a, "ping", "-n", "-c", "5", "-i", "0.05", "10.99.0.2")
        self.assertGreaterEqual(out.stdout.count("(DUP!)"), 4)
        self.assertEqual(rig.counters()["duplicated"], rig.counters()["packets"])

    def test_corruption_is_seen_by_checksums(self):
        rig = self.pair.rig("to", corrupt_ppm=500000)
        with self.pair.socket(self.pair.a) as tx, self.pair.socket(self.pair.b) as rx:
            rx.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            rx.bind(("10.99.0.2", 5000))
            rx.settimeout(0.5)
            for _ in range(300):
                tx.sendto(bytes(400), ("10.99.0.2", 5000))
                time.sleep(0.001)
            whole = 0
            try:
                while True:
                    whole += rx.recv(2000) == bytes(400)
            except TimeoutError:
                pass
        corrupted = rig.counters()["corrupted"]
        self.assertGreater(corrupted, 100)
        # A flipped bit in a hardware address' or header's unused bits may do no harm.
        self.assertLessEqual(whole, 300 - corrupted * 0.9)
        self.assertGreater(whole, 100)

    def test_limit_drops_and_is_reported(self):
        rig = self.pair.rig("to", delay_ns=300 * MS, limit_packets=10)
        took = self.one_way(50, 0)
        self.assertEqual(sum(t is not None for t in took), 10)
        self.assertEqual(rig.counters()["dropped_limit"], 40)

    def test_nothing_of_the_taps_own_goes_out(self):
        for knob in ("ipv6.conf.all.forwarding=1", "ipv4.ip_forward=1"):
            self.pair.run(self.pair.a, "sysctl", "-q", "-w", f"net.{knob}")
        rig = self.pair.rig("to", delay_ns=MS)
        self.pair.run(self.pair.a, "ping", "-6", "-c", "2", "-i", "0.2", "-I", "bt0", "ff02::1")
        time.sleep(1.5)
        self.assertEqual(rig.counters()["packets"], 0)
        self.assertEqual(ip("-n", self.pair.a, "-6", "addr", "show", "dev", "bt0"), "")


class Traffic(DelayCase):
    """What goes through arrives whole, with offloads, tags and the target's own qdisc."""

    def transfer(self, family, src, dst):
        """Sends 48 MiB over TCP; true when it arrives unchanged."""
        size, digest = 48 << 20, hashlib.sha256()
        data = os.urandom(1 << 20)
        want = hashlib.sha256(data * 48).hexdigest()
        with self.pair.socket(dst, socket.SOCK_STREAM, family) as server, \
                self.pair.socket(src, socket.SOCK_STREAM, family) as client:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 5001))
            server.listen()
            server.settimeout(60)
            client.settimeout(60)
            host = 2 if dst == self.pair.b else 1
            client.connect((f"fd99::{host}" if family == socket.AF_INET6 else f"10.99.0.{host}",
                            5001))
            conn, _ = server.accept()

            def send():
                for _ in range(48):
                    client.sendall(data)

            t = threading.Thread(target=send)
            t.start()
            conn.settimeout(60)
            while size > 0:
                got = conn.recv(1 << 20)
                self.assertTrue(got)
                digest.update(got)
                size -= len(got)
            t.join()
            conn.close()
        return digest.hexdigest() == want

    def streams(self, direction):
        rig = self.pair.rig(direction, delay_ns=5 * MS)
        for family in (socket.AF_INET, socket.AF_INET6):
            self.assertTrue(self.transfer(family, self.pair.a, self.pair.b))
            self.assertTrue(self.transfer(family, self.pair.b, self.pair.a))
        c = rig.counters()
        self.assertEqual(c["dropped_limit"] + c["dropped_write"], 0)
        # 96 MiB of data in one direction: whole GSO packets, not MTU-sized ones.
        self.assertGreater(c["bytes"], 90 << 20)
        self.assertLess(c["packets"], 96 * 1024 * 1024 / 4000)

    def test_tcp_with_segmentation_offload_to(self):
        self.streams("to")

    def test_tcp_with_segmentation_offload_from(self):
        self.streams("from")

    def test_goodput_of_one_stream(self):
        self.pair.rig("to", delay_ns=10 * MS)
        end = self.pair.iperf("-t", "3", "-O", "1")
        self.assertGreater(end["sum_received"]["bits_per_second"], 2e8)

    def test_foreign_tbf_on_the_target_still_limits(self):
        ip("netns", "exec", self.pair.a, "tc", "qdisc", "add", "dev", "ea", "root", "tbf", "rate",
           "50mbit", "burst", "64k", "latency", "50ms")
        before = self.pair.run(self.pair.a, "tc", "qdisc", "show", "dev", "ea", "root").stdout
        self.pair.rig("to", delay_ns=10 * MS)
        rate = self.pair.iperf("-t", "4", "-O", "1")["sum_received"]["bits_per_second"]
        self.assertLess(rate, 52e6)
        self.assertGreater(rate, 10e6)
        self.assertEqual(
            self.pair.run(self.pair.a, "tc", "qdisc", "show", "dev", "ea", "root").stdout, before)

    # Tags what it has not tagged before, as a VLAN device's offload does.
    PUSH_TAG = """
        #include <linux/bpf.h>
        #include <linux/pkt_cls.h>
        #include <bpf/bpf_helpers.h>
        __attribute__((section("tc"), used)) int push(struct __sk_buff *skb)
        {
            if (!skb->vlan_present && skb->protocol == 0x0008)
                bpf_skb_vlan_push(skb, 0x0081, 42);
            return TC_ACT_UNSPEC;
        }
        char LICENSE[] __attribute__((section("license"), used)) = "GPL";
    """

    def push_tags(self):
        with tempfile.TemporaryDirectory() as d:
            clang = subprocess.run(
                ["clang", "-target", "bpf", "-O2", "-ffreestanding", "-I/usr/include/x86_64-linux-gnu",
                 "-x", "c", "-c", "-", "-o", f"{d}/push.o"], input=self.PUSH_TAG, text=True,
                stderr=subprocess.PIPE)
            self.assertEqual(clang.returncode, 0, clang.stderr)
            out = self.pair.run(self.pair.a, "tc", "filter", "add", "dev", "ea", "egress", "prio", "1",
                                "bpf", "da", "obj", f"{d}/push.o", "sec", "tc")
            self.assertEqual(out.returncode, 0, out.stderr)

    def test_vlan_tag_survives(self):
        rig = self.pair.rig("to", delay_ns=20 * MS)
        with self.pair.socket(self.pair.a) as tx, \
                self.pair.socket(self.pair.b, socket.SOCK_RAW, socket.AF_PACKET) as rx:
            rx.setsockopt(263, 8, 1)  # PACKET_AUXDATA: the tag
            rx.bind(("eb", 3))  # ETH_P_ALL
            rx.settimeout(10)
            self.push_tags()
            before = rig.counters()["packets"]
            sent = time.monotonic_ns()
            tx.sendto(b"tagged", ("10.99.0.2", 5000))
            while True:
                frame, aux, _, _ = rx.recvmsg(2000, 1000)
                if frame.endswith(b"tagged"):
                    break
            took = (time.monotonic_ns() - sent) / MS
        status, _, _, _, _, tci, _ = struct.unpack("IIIHHHH", aux[0][2])
        self.assertTrue(status & (1 << 4))  # TP_STATUS_VLAN_VALID
        self.assertEqual(tci & 0xfff, 42)
        self.assertEqual(frame[12:14], b"\x08\x00")
        self.assertGreaterEqual(took, 20)
        self.assertEqual(rig.counters()["packets"] - before, 1)


@harness.patient
class Endings(DelayCase):
    """However it ends, traffic flows again, undelayed, and no TAP is left."""

    def test_engine_killed_traffic_flows_within_the_lease(self):
        rig = self.pair.rig("to", delay_ns=200 * MS)
        self.assert_rtt(200, count=3)
        os.kill(rig.engine_pid, signal.SIGKILL)
        harness.wait_for(lambda: not self.tap_exists(), "the TAP to go")
        self.assert_undelayed(less_than_ms=150)

    def test_engine_stopped_lease_runs_out(self):
        rig = self.pair.rig("to", delay_ns=200 * MS)
        os.kill(rig.engine_pid, signal.SIGSTOP)
        try:
            self.assert_undelayed(less_than_ms=150)
        finally:
            os.kill(rig.engine_pid, signal.SIGCONT)
        harness.wait_for(lambda: self.pair.rtt(count=1) > 190, "the fault to go on")

    def test_owner_killed_held_packets_are_delivered(self):
        rig = self.pair.rig("to", delay_ns=3600 * 1000 * MS)
        with self.pair.socket(self.pair.a) as tx, self.pair.socket(self.pair.b) as rx:
            rx.bind(("10.99.0.2", 5000))
            rx.settimeout(30)
            for n in range(20):
                tx.sendto(bytes([n]), ("10.99.0.2", 5000))
            harness.wait_for(lambda: rig.counters()["queued"] == 20, "the engine to hold all")
            os.kill(rig.proc.pid, signal.SIGKILL)
            self.assertEqual([rx.recv(10)[0] for _ in range(20)], list(range(20)))
        harness.wait_for(lambda: process_is_gone(rig.engine_pid), "the engine to exit")
        harness.wait_for(lambda: not self.tap_exists(), "the TAP to go")
        self.assert_undelayed(less_than_ms=SLACK_MS)

    def test_owner_killed_under_load_loses_nothing(self):
        rig = self.pair.rig("to", delay_ns=20 * MS)
        killer = threading.Timer(1.0, os.kill, (rig.proc.pid, signal.SIGKILL))
        killer.start()
        took = self.one_way(1000, 0.002)
        killer.join()
        self.assertEqual(took.count(None), 0)
        self.assertGreater(statistics.median(took[:100]), 19)
        self.assertLess(statistics.median(took[-100:]), 15)

    def test_sigterm_ends_the_fault(self):
        rig = self.pair.rig("to", delay_ns=3600 * 1000 * MS)
        os.kill(rig.engine_pid, signal.SIGTERM)
        harness.wait_for(lambda: process_is_gone(rig.engine_pid), "the engine to exit")
        self.assert_undelayed(less_than_ms=SLACK_MS)

    def test_terminal_signals_are_the_owners(self):
        rig = self.pair.rig("to", delay_ns=100 * MS)
        for sig in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            os.kill(rig.engine_pid, sig)
        self.assert_rtt(100, count=4)

    def test_panic_switch_opens_the_gate_and_delivers(self):
        rig = self.pair.rig("to", delay_ns=3600 * 1000 * MS)
        with self.pair.socket(self.pair.a) as tx, self.pair.socket(self.pair.b) as rx:
            rx.bind(("10.99.0.2", 5000))
            rx.settimeout(30)
            tx.sendto(b"held", ("10.99.0.2", 5000))
            harness.wait_for(lambda: rig.counters()["queued"] == 1, "the engine to hold it")
            rig.do("off")
            self.assertEqual(rx.recv(10), b"held")
        self.assert_undelayed(less_than_ms=SLACK_MS)

    def test_hard_end_is_never_extended(self):
        rig = self.pair.rig("to", delay_ns=200 * MS, hard_end_ns=1500 * MS)
        self.assert_rtt(200, count=2)
        harness.wait_for(lambda: self.pair.rtt(count=1) < 150, "the hard end")
        self.assert_undelayed(less_than_ms=150)
        self.assertFalse(process_is_gone(rig.engine_pid))

    def test_remove_takes_the_tap_away(self):
        rig = self.pair.rig("to", delay_ns=100 * MS)
        rig.do("off")
        self.assertEqual(rig.do("remove"), "ok")
        self.assertFalse(self.tap_exists())
        self.assert_undelayed(less_than_ms=50)

    def test_flush_delivers_in_order_and_the_fault_goes_on(self):
        rig = self.pair.rig("to", delay_ns=3600 * 1000 * MS)
        with self.pair.socket(self.pair.a) as tx, self.pair.socket(self.pair.b) as rx:
            rx.bind(("10.99.0.2", 5000))
            rx.settimeout(30)
            for n in range(20):
                tx.sendto(bytes([n]), ("10.99.0.2", 5000))
            self.assertEqual(rig.do("flush"), "ok")
            self.assertEqual([rx.recv(10)[0] for _ in range(20)], list(range(20)))
        rig.set(delay_ns=100 * MS)
        self.assert_rtt(100, count=4)

    def test_recovery_removes_its_own_tap_only(self):
        rig = self.pair.rig("to", delay_ns=100 * MS)
        self.pair.run(self.pair.a, "ip", "tuntap", "add", "dev", "foreign", "mode", "tap")
        self.assertIn("is not brunt's", rig.do("sweep foreign delay_rig"))
        self.assertIn("is not brunt's", rig.do("sweep ea delay_rig"))
        self.assertIn("is not brunt's", rig.do("sweep bt0 other_run"))
        self.assertTrue(self.tap_exists())
        self.assertEqual(rig.do("sweep bt0 delay_rig"), "ok")
        self.assertFalse(self.tap_exists())
        self.assertEqual(rig.do("sweep bt0 delay_rig"), "ok")

    def test_removed_path_no_longer_holds_the_namespace(self):
        rig = self.pair.rig("to", delay_ns=100 * MS)
        open_files = lambda: [os.readlink(f"/proc/{rig.engine_pid}/fd/{n}")
                              for n in os.listdir(f"/proc/{rig.engine_pid}/fd")]
        self.assertIn("/dev/net/tun", open_files())
        self.assertEqual(rig.do("remove"), "ok")
        self.assertNotIn("/dev/net/tun", open_files())

    @harness.alone
    def test_tap_deleted_by_somebody_the_engine_lives_on(self):
        rig = self.pair.rig("to", delay_ns=100 * MS)
        ip("-n", self.pair.a, "link", "del", "bt0")
        before = self.cpu_ticks(rig.engine_pid)
        time.sleep(1)
        self.assertLess(self.cpu_ticks(rig.engine_pid) - before, 20, "the engine is spinning")
        self.assertEqual(rig.do("remove"), "ok")
        self.assertEqual(rig.do("stop"), "ok")

    def cpu_ticks(self, pid):
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    @harness.alone
    def test_idle_engine_costs_nothing(self):
        rig = self.pair.rig("to", delay_ns=100 * MS)
        before = self.cpu_ticks(rig.engine_pid)
        time.sleep(1)
        self.assertLess(self.cpu_ticks(rig.engine_pid) - before, 10)


if __name__ == "__main__":
    harness.main()
