#!/usr/bin/python3
"""Devices that stand on each other in one target: a packet meets the fault once, whatever it passes"""
import harness
from delay_pair import ip
from net_case import A, B, FOUR, NetCase, ping

LEGS = "host lab"
PATIENT = True
DELAY = "action: delay, delay: {latency: 60ms}"


class Stacked(NetCase):
    """A's address moves from va to a device above it; B answers as before, or at its own such device."""

    def add(self, ns, name, kind, *args):
        out = harness.run("ip", "-n", ns, "link", "add", "name", name, "type", kind, *args)
        if out.returncode:
            self.skipTest(f"no {kind} in this kernel: {out.stderr.strip()}; the other leg may")

    def above(self, ns, lower, kind, *args):
        """A device that names its lower one as it is made."""
        out = harness.run("ip", "-n", ns, "link", "add", "link", lower, "name", "up0", "type", kind,
                          *args)
        if out.returncode:
            self.skipTest(f"no {kind} in this kernel: {out.stderr.strip()}; the other leg may")
        ip("-n", ns, "link", "set", "up0", "up")

    def move(self, ns, n, device):
        dev = "va" if ns == A else "vb"
        ip("-n", ns, "addr", "flush", "dev", dev)
        ip("-n", ns, "addr", "add", f"10.97.0.{n}/24", "dev", device)
        ip("-n", ns, "link", "set", device, "up")

    def answers(self, dest=FOUR):
        harness.wait_for(lambda: ping(dest, 1)[0], "the devices to carry packets")

    def once(self, left_out, dest=FOUR, spec=DELAY, way="to"):
        """60 ms are added, not more, at one gate; the plan names who is left out."""
        self.answers(dest)
        base = self.median(dest)
        rig = self.rig(f"{spec}, direction: {way}")
        plan = "\n".join(rig.do("plan")["ops"])
        for name in left_out:
            self.assertIn(f"{name} is left out: its packets pass", plan)
        rig.end()
        rig = self.rig(f"{spec}, direction: {way}")
        before = rig.start()
        added = self.median(dest) - base
        self.assertGreater(added, 55)
        self.assertLess(added, 100, f"+{added:.0f} ms for 60: the fault was met more than once")
        self.assertEqual(rig.back(), before)

    def bridge(self):
        self.add(A, "br0", "bridge")
        ip("-n", A, "link", "set", "va", "master", "br0")
        self.move(A, 1, "br0")

    def test_port_of_its_own_bridge(self):
        self.bridge()
        self.once(["br0"])

    def test_port_of_its_own_bridge_received(self):
        self.bridge()
        self.once(["br0"], way="from")

    def test_bridge_that_is_named(self):
        self.bridge()
        self.once([], spec=f"{DELAY}, device: br0")

    def test_macvlan(self):
        self.above(A, "va", "macvlan", "mode", "bridge")
        self.move(A, 1, "up0")
        self.once(["up0"])

    def test_macvlan_received(self):
        self.above(A, "va", "macvlan", "mode", "bridge")
        self.move(A, 1, "up0")
        self.once(["up0"], way="from")

    def test_macvlan_above_a_bridge(self):
        self.bridge()
        self.above(A, "br0", "macvlan", "mode", "bridge")
        ip("-n", A, "addr", "flush", "dev", "br0")
        self.move(A, 1, "up0")
        self.once(["br0", "up0"])

    def test_vlan(self):
        for ns, dev, n in ((A, "va", 1), (B, "vb", 2)):
            self.above(ns, dev, "vlan", "id", "7")
            self.move(ns, n, "up0")
        self.once(["up0"])

    def test_bond(self):
        self.add(A, "bond0", "bond", "mode", "active-backup", "miimon", "20")
        ip("-n", A, "link", "set", "va", "down")
        ip("-n", A, "link", "set", "va", "master", "bond0")
        self.move(A, 1, "bond0")
        ip("-n", A, "link", "set", "va", "up")
        self.once(["bond0"])

    def tunnel(self):
        for ns, dev, me, peer in ((A, "va", 1, 2), (B, "vb", 2, 1)):
            self.add(ns, "vx0", "vxlan", "id", "7", "local", f"10.97.0.{me}", "remote",
                     f"10.97.0.{peer}", "dstport", "4789", "dev", dev)
            ip("-n", ns, "addr", "add", f"10.96.0.{me}/24", "dev", "vx0")
            ip("-n", ns, "link", "set", "vx0", "up")

    def test_vxlan(self):
        self.tunnel()
        self.once(["vx0"], dest="10.96.0.2")

    def test_vxlan_received(self):
        self.tunnel()
        self.once(["vx0"], dest="10.96.0.2", way="from")

    def test_vxlan_by_the_peer_that_it_carries(self):
        self.tunnel()
        self.once([], dest="10.96.0.2", spec=f'{DELAY}, externalTargets: ["10.96.0.2"]')

    def test_loss_is_decided_once(self):
        self.bridge()
        self.answers()
        rig = self.rig('action: loss, loss: {loss: "50"}, direction: to')
        before = rig.start()
        n = 400
        lost = n - len(ping(FOUR, n, 0.005, wait=1)[0])
        gates = rig.do("report")["targets"][0]["gates"]
        self.assertEqual([g["device"] for g in gates], ["va"])
        # 200 on average; 300 were two decisions. 8 standard deviations.
        self.assertTrue(120 < lost < 280, f"{lost} of {n} lost for 50 %")
        self.assertEqual(rig.back(), before)

    def test_device_that_comes_above_is_no_gap(self):
        rig = self.rig(DELAY)
        rig.start()
        self.above(A, "va", "macvlan", "mode", "bridge")
        self.assertEqual(rig.do("check"), "")


if __name__ == "__main__":
    harness.main()
