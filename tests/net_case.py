"""net_case - two network namespaces joined by one link, and NetworkChaos faults driven by hand

a(va) 10.97.0.1, fd97::1 is the target; b(vb) is .2. Rig holds tests/rig/net_rig.c. NetCase joins the
two by a veth; TunCase by two TUN devices, which carry no Ethernet header, with this process copying
packets between them.
"""
import contextlib
import fcntl
import json
import os
import re
import select
import signal
import socket
import statistics
import struct
import subprocess
import threading
import time

import harness
from delay_pair import inside, ip

RIG = os.path.join(harness.BUILD, "tests/net_rig")
PID = os.getpid()
A, B = f"bt-net-{PID}-a", f"bt-net-{PID}-b"
FOUR, SIX = "10.97.0.2", "fd97::2"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 1, 0x1000


def tc(ns, *args):
    out = harness.run("tc", "-n", ns, *args)
    assert out.returncode == 0, f"tc {' '.join(args)}: {out.stderr}"
    return out.stdout


class Rig:
    """Faults that overlap in time, or are planned apart, driven step by step whatever was planned;
    on() says whose step it is."""

    def __init__(self, case, *specs, backend="auto", lease_ms=0, target=A, apart=False):
        self.target = target
        # Nobody renews it while the guest's one CPU begins a program for the first time.
        lease_ms = lease_ms or (9000 if harness.IN_LAB else 0)
        faults = "".join(f"""
    - name: fault-{i}
      at: {i if apart else 0}s
      duration: {1 if apart else 30}s
      networkChaos: {{mode: all, selector: {{labelSelectors: {{name: {target}}}}}, {spec}}}"""
                         for i, spec in enumerate(specs))
        manifest = case.write("fault.yaml", f"""
apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {{name: x}}
spec:
  timeline: {{fault: 30s}}
  faults:{faults}
""")
        self.proc = subprocess.Popen([RIG, manifest, f"bt-net-{PID}-", backend, str(lease_ms)],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                     start_new_session=True)
        self.turn = threading.Lock()  # one may tick it while another asks
        case.addCleanup(self.end)

    def do(self, line):
        with self.turn:
            self.proc.stdin.write(line + "\n")
            self.proc.stdin.flush()
            return json.loads(self.proc.stdout.readline() or '{"error": "the rig died"}')

    def on(self, i):
        self.do(f"fault {i}")
        return self

    def start(self):
        """plan, snapshot, inject; the state before."""
        plan = self.do("plan")
        assert "error" not in plan, plan["error"]
        self.backend = plan["backend"]
        before = self.do(f"snapshot {self.target}")
        injected = self.do("inject")
        assert "error" not in injected, injected["error"]
        return before

    def back(self):
        """off, revert; the state after."""
        self.do("off")
        out = self.do("revert")
        assert all(r == ["reverted", ""] for r in out["results"]), out
        return self.do(f"snapshot {self.target}")

    def kill(self):
        """Every process of the rig, at once: the rig, its broker and its engine."""
        os.killpg(self.proc.pid, signal.SIGKILL)
        for child in children_of(self.proc.pid):
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.proc.wait()

    def end(self):
        if self.proc.poll() is None:
            try:
                self.proc.stdin.close()
                self.proc.wait(20)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                self.proc.kill()
                self.proc.wait()
        self.proc.stdout.close()


def children_of(pid):
    out = harness.run("ps", "-o", "pid=", "-g", str(pid)).stdout
    return [int(p) for p in out.split()]


def ping(dest, count=20, interval=0.02, ns=A, wait=4, preload=1):
    """Round trips in ms, in order of arrival, and the number sent."""
    out = harness.run("ip", "netns", "exec", ns, "ping", "-n", "-c", str(count), "-i",
                      str(interval), "-W", str(wait), "-l", str(preload), dest).stdout
    return [float(t) for t in re.findall(r"time=([\d.]+) ms", out)], count


class NetCase(harness.Case):
    def setUp(self):
        super().setUp()
        if os.geteuid():
            self.skipTest("needs root")
        for ns in (A, B):
            ip("netns", "add", ns)
            self.addCleanup(harness.run, "ip", "netns", "del", ns)
            ip("-n", ns, "link", "set", "lo", "up")
        self.join()
        # Up before they have addresses: else the first neighbour solicitation is lost, and a second.
        for ns, dev in ((A, "va"), (B, "vb")):
            ip("-n", ns, "link", "set", dev, "up")
        for ns, dev, n in ((A, "va", 1), (B, "vb", 2)):
            ip("-n", ns, "addr", "add", f"10.97.0.{n}/24", "dev", dev)
            ip("-n", ns, "addr", "add", f"fd97::{n}/64", "dev", dev, "nodad")
        harness.wait_for(lambda: ping(FOUR, 1)[0] and ping(SIX, 1)[0], "the link to carry packets")

    def join(self):
        ip("link", "add", "va", "netns", A, "type", "veth", "peer", "name", "vb", "netns", B)

    def rig(self, *specs, **kw):
        return Rig(self, *specs, **kw)

    def median(self, dest, count=15, interval=0.02):
        """Two pings go first: they find the neighbour and warm the path up."""
        return statistics.median(ping(dest, count, interval)[0][2:])

    def serve(self, ns=B):
        server = subprocess.Popen(["ip", "netns", "exec", ns, "iperf3", "-s", "-1"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        harness.wait_for(lambda: ":5201" in harness.run("ip", "netns", "exec", ns, "ss",
                                                        "-ltn").stdout, "iperf3")

    def goodput(self, seconds=2, reverse=False):
        """Mbit/s of one TCP stream from a to b."""
        self.serve()
        out = harness.run("ip", "netns", "exec", A, "iperf3", "-c", FOUR, "-t", str(seconds), "-J",
                          *(["-R"] if reverse else []))
        return json.loads(out.stdout)["end"]["sum_received"]["bits_per_second"] / 1e6

    def socket(self, ns, *args):
        with inside(ns):
            s = socket.socket(*args)
        self.addCleanup(s.close)
        s.settimeout(30)
        return s

    def connection(self):
        """Both ends of a TCP stream from a to b; made before a fault, it owes nothing to a lost SYN."""
        server, client = self.socket(B), self.socket(A)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((FOUR, 0))
        server.listen()
        client.connect(server.getsockname())
        sink, _ = server.accept()
        self.addCleanup(sink.close)
        sink.settimeout(30)
        return client, sink


class TcpInfo:
    """How the kernel sees a connection: what is named here of struct tcp_info."""

    def __init__(self, sock):
        raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        self.backoff = raw[4]
        self.rto_s = struct.unpack_from("I", raw, 8)[0] / 1e6
        self.total_retrans = struct.unpack_from("I", raw, 100)[0]


def pump(client, sink, seconds):
    """Bytes that arrive while the sender sends all it can."""
    stop, arrived = threading.Event(), 0

    def send():
        client.setblocking(False)
        while not stop.is_set():
            if select.select([], [client], [], 0.05)[1]:
                with contextlib.suppress(BlockingIOError):
                    client.send(bytes(65536))

    sender = threading.Thread(target=send)
    sender.start()
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([sink], [], [], left)[0]:
            arrived += len(sink.recv(1 << 20))
    stop.set()
    sender.join()
    return arrived


def tun(ns, name):
    """The descriptor of a TUN device made in a namespace; the device goes with it."""
    with inside(ns):
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


class TunCase(NetCase):
    def join(self):
        self.ends = [tun(A, "va"), tun(B, "vb")]
        self.wake = os.eventfd(0)
        copier = threading.Thread(target=self.copy)
        copier.start()
        self.addCleanup(self.part, copier)

    def part(self, copier):
        os.eventfd_write(self.wake, 1)
        copier.join()
        for fd in (*self.ends, self.wake):
            os.close(fd)

    def copy(self):
        other = dict(zip(self.ends, reversed(self.ends)))
        while True:
            ready = select.select([*self.ends, self.wake], [], [])[0]
            if self.wake in ready:
                return
            for fd in ready:
                try:
                    os.write(other[fd], os.read(fd, 65536))
                except OSError:  # the other end is not up yet, or full: as on any wire
                    pass
