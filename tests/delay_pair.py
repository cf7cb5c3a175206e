"""delay_pair - two network namespaces joined by a veth, and a delay engine on one end

a(ea) ---- veth ---- b(eb): 10.99.0.1/2, fd99::1/2. Engine runs hold delay_rig (tests/rig), which
puts the gate and an engine on ea.
"""
import contextlib
import ctypes
import json
import os
import re
import socket
import statistics
import subprocess

import harness

_libc = ctypes.CDLL(None, use_errno=True)


def ip(*args):
    out = harness.run("ip", *args)
    assert out.returncode == 0, f"ip {' '.join(args)}: {out.stderr}"
    return out.stdout


@contextlib.contextmanager
def inside(netns):
    """Sockets made in this block belong to the namespace."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{netns}", os.O_RDONLY)
    try:
        assert _libc.setns(there, 0x40000000) == 0
        yield
    finally:
        _libc.setns(home, 0x40000000)
        os.close(home)
        os.close(there)


class Rig:
    """A running delay_rig; every key of its command line is a keyword here."""

    def __init__(self, pair, direction, **keys):
        args = [f"{k}={int(v)}" for k, v in keys.items()]
        self.proc = subprocess.Popen(
            [os.path.join(harness.BUILD, "tests/delay_rig"), f"/run/netns/{pair.a}", "ea",
             direction, "bt0", *args],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.proc.stdout.readline()
        assert line.startswith("ready"), f"the rig did not start: {line!r}"
        self.engine_pid, self.tap_ifindex = map(int, line.split()[1:])

    def do(self, line):
        self.proc.stdin.write(line + "\n")
        self.proc.stdin.flush()
        return self.proc.stdout.readline().strip()

    def set(self, **keys):
        answer = self.do("set " + " ".join(f"{k}={int(v)}" for k, v in keys.items()))
        assert answer == "ok", answer

    def counters(self):
        return json.loads(self.do("counters"))

    def close(self):
        if self.proc.poll() is None:
            self.proc.stdin.close()
            self.proc.wait(60)
        self.proc.stdout.close()


class Pair:
    def __init__(self, prefix="bt-engine"):
        self.a, self.b = f"{prefix}-{os.getpid()}a", f"{prefix}-{os.getpid()}b"
        self.rigs = []
        try:
            ip("netns", "add", self.a)
            ip("netns", "add", self.b)
            ip("-n", self.a, "link", "add", "ea", "type", "veth", "peer", "name", "eb",
               "netns", self.b)
            # Up before they have addresses: else the first neighbour solicitation is lost.
            for ns, dev in ((self.a, "ea"), (self.b, "eb")):
                ip("-n", ns, "link", "set", "lo", "up")
                ip("-n", ns, "link", "set", dev, "up")
            for ns, dev, host in ((self.a, "ea", 1), (self.b, "eb", 2)):
                ip("-n", ns, "addr", "add", f"10.99.0.{host}/24", "dev", dev)
                ip("-n", ns, "addr", "add", f"fd99::{host}/64", "dev", dev, "nodad")
            harness.wait_for(lambda: self.ping(count=1) and self.ping("fd99::2", count=1),
                             "the pair to answer")
        except BaseException:
            self.close()
            raise

    def close(self):
        for rig in self.rigs:
            rig.close()
        for ns in (self.a, self.b):
            harness.run("ip", "netns", "del", ns)

    def rig(self, direction="to", **keys):
        rig = Rig(self, direction, **keys)
        self.rigs.append(rig)
        return rig

    def run(self, ns, *args, **kw):
        return harness.run("ip", "netns", "exec", ns, *args, **kw)

    def ping(self, peer="10.99.0.2", count=10, interval=0.02, wait=10):
        """Round trips in ms, one a reply."""
        out = self.run(self.a, "ping", "-n", "-c", str(count), "-i", str(interval), "-W", str(wait),
                       peer)
        return [float(t) for t in re.findall(r"time=([0-9.]+)", out.stdout)]

    def rtt(self, peer="10.99.0.2", **kw):
        """Median round trip in ms."""
        return statistics.median(self.ping(peer, **kw))

    def socket(self, ns, kind=socket.SOCK_DGRAM, family=socket.AF_INET):
        with inside(ns):
            return socket.socket(family, kind)

    def iperf(self, *args):
        """The JSON of one iperf3 client run in a, with its server in b."""
        server = subprocess.Popen(["ip", "netns", "exec", self.b, "iperf3", "-s", "-1", "--forceflush"],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            for line in server.stdout:
                if "listening" in line:
                    break
            else:
                raise AssertionError("iperf3 did not start")
            out = self.run(self.a, "iperf3", "-J", "-c", "10.99.0.2", *args)
            return json.loads(out.stdout)["end"]
        finally:
            server.kill()
            server.wait()
            server.stdout.close()
