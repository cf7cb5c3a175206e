"""NetworkChaos where a packet does not look like Ethernet, IP, TCP: devices without Ethernet header,
frames that carry VLAN tags in line
"""
import hashlib
import os
import socket
import threading

import harness
from net_case import A, B, FOUR, SIX, NetCase, TunCase, ip, ping

LEGS = "host lab"
ETH_P_ALL, ETH_P_MARK = 3, 0x88b5  # the latter is for local experiments


class Tun(TunCase):
    """Whole scenarios through devices that carry bare IP packets."""

    def check(self, ms, direction, ways):
        base = {d: self.median(d) for d in (FOUR, SIX)}
        rig = self.rig(f"action: delay, delay: {{latency: {ms}ms}}, direction: {direction}",
                       backend="engine")
        before = rig.start()
        for dest in (FOUR, SIX):
            for last in (False, True):
                added = self.median(dest) - base[dest]
                if abs(added - ways * ms) <= 0.1 * ways * ms + 1.5 or last:
                    break
            self.assertAlmostEqual(added, ways * ms, delta=0.1 * ways * ms + 1.5,
                                   msg=f"{dest} by {rig.backend}")
        self.assertEqual(rig.back(), before)
        self.assertLess(self.median(FOUR), base[FOUR] + 1 + ms / 4)

    def test_effect_is_measured_where_nobody_is_a_neighbour(self):
        for dest in (FOUR, SIX):
            ip("-n", A, "route", "add", dest, "dev", "va")
            rig = self.rig("action: delay, delay: {latency: 40ms}, direction: to", backend="engine")
            before = rig.start()
            # The median settles: a busy guest holds the first probes back.
            harness.wait_for(lambda: "RTT +4" in self.felt(rig), "an effect of 40 ms", 30)
            self.assertEqual(rig.back(), before)
            ip("-n", A, "route", "del", dest, "dev", "va")

    @staticmethod
    def felt(rig):
        rig.do("tick")
        effect = rig.do("effect")
        return effect["measured"] if effect["state"] == "measured" else ""

    def test_delay_to(self):
        self.check(40, "to", 1)

    def test_delay_from(self):
        self.check(40, "from", 1)

    def test_delay_both(self):
        self.check(40, "both", 2)

    def send_through(self, src, dst, host, size=8 << 20):
        """True when a TCP stream arrives unchanged."""
        data = os.urandom(size)
        server, client = self.socket(dst, socket.AF_INET), self.socket(src, socket.AF_INET)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, 5001))
        server.listen()
        client.connect((host, 5001))
        conn, _ = server.accept()
        sender = threading.Thread(target=lambda: (client.sendall(data), client.close()))
        sender.start()
        digest = hashlib.sha256()
        with conn:
            conn.settimeout(30)
            while got := conn.recv(1 << 20):
                digest.update(got)
        sender.join()
        return digest.digest() == hashlib.sha256(data).digest()

    def test_streams_arrive_whole_through_the_engine(self):
        rig = self.rig("action: delay, delay: {latency: 5ms}, direction: both", backend="engine")
        before = rig.start()
        self.assertTrue(self.send_through(A, B, FOUR))
        self.assertTrue(self.send_through(B, A, "10.97.0.1"))
        self.assertEqual(rig.back(), before)

    def test_partition_each_way(self):
        for direction in ("to", "from"):
            rig = self.rig(f"action: partition, direction: {direction}")
            before = rig.start()
            for dest in (FOUR, SIX):
                self.assertEqual(ping(dest, 3, 0.02, wait=1)[0], [], f"{dest} {direction}")
            gates = rig.do("report")["targets"][0]["gates"]
            self.assertEqual([g["direction"] for g in gates], [direction])
            self.assertGreaterEqual(gates[0]["lost"], 6)
            self.assertEqual(rig.back(), before)
            self.assertEqual(len(ping(SIX, 3, 0.02)[0]), 3)

    def test_rate_needs_an_ethernet_header(self):
        out = self.rig("action: rate, rate: {rate: 10mbit}, direction: to").do("plan")
        self.assertIn("has no Ethernet header, which the veth pair", out["error"])


class Vlan(NetCase):
    """Frames of an AF_PACKET socket, which carry their tags in line."""

    def setUp(self):
        super().setUp()
        self.tx = self.packet_socket(A, "va")
        self.rx = self.packet_socket(B, "vb")
        self.macs = self.rx.getsockname()[4] + self.tx.getsockname()[4]

    def packet_socket(self, ns, device):
        s = self.socket(ns, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        s.bind((device, ETH_P_ALL))
        return s

    def udp(self, *tags, text):
        """A datagram to FOUR in these tags."""
        ports = bytes.fromhex("1388 1389") + (8 + len(text)).to_bytes(2, "big") + bytes(2)
        header = bytes.fromhex("4500") + (28 + len(text)).to_bytes(2, "big") + \
            bytes.fromhex("0000 0000 4011 0000") + socket.inet_aton("10.97.0.1") + \
            socket.inet_aton(FOUR)
        types = [*(t.to_bytes(2, "big") for t in tags), bytes.fromhex("0800")]
        chain = types[0] + b"".join((5).to_bytes(2, "big") + t for t in types[1:])
        return self.macs + chain + header + ports + text

    def arrives(self, frame, text):
        """Whether it does, before a frame sent after it that no fault touches."""
        self.tx.send(frame)
        self.tx.send(self.macs + ETH_P_MARK.to_bytes(2, "big") + b"after " + text)
        seen = False
        while True:
            got = self.rx.recv(2000)
            if b"after " + text in got:
                return seen
            seen = seen or text in got

    def test_tags_hide_nothing_from_a_partition(self):
        self.assertTrue(self.arrives(self.udp(0x8100, text=b"free"), b"free"))
        rig = self.rig(f'action: partition, direction: to, externalTargets: ["{FOUR}:5001"]')
        before = rig.start()
        for n, tags in enumerate([(), (0x8100,), (0x88a8, 0x8100)]):
            text = b"number %d" % n
            self.assertFalse(self.arrives(self.udp(*tags, text=text), text), tags)
        self.assertEqual(rig.do("report")["targets"][0]["gates"][0]["lost"], 3)
        self.assertEqual(rig.back(), before)
        self.assertTrue(self.arrives(self.udp(0x88a8, 0x8100, text=b"again"), b"again"))

    def test_tags_hide_nothing_that_is_received(self):
        rig = self.rig('action: partition, direction: from, externalTargets: ["10.97.0.1"]')
        rig.start()
        self.tx, self.rx = self.packet_socket(B, "vb"), self.packet_socket(A, "va")
        self.macs = self.rx.getsockname()[4] + self.tx.getsockname()[4]
        # Packet sockets see a frame before the gate does: what counts is the gate's own count.
        for n, tags in enumerate([(), (0x8100,), (0x88a8, 0x8100)]):
            self.arrives(self.udp(*tags, text=b"in %d" % n), b"in %d" % n)
        self.assertEqual(rig.do("report")["targets"][0]["gates"][0]["lost"], 3)


if __name__ == "__main__":
    harness.main()
