#!/usr/bin/python3
"""inject.*: a rate fault on 200 network namespaces, in, off and out again

The peer reaches the same end state with iproute2: nsenter with one `ip` or `tc` for each command.
"""
import fnmatch
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import namespaces

ONLY = sys.argv[1] if len(sys.argv) > 1 else "*"
BUILD = os.environ.get("BUILD_DIR", "build")
N, PEER_N, ROUNDS = 200, 25, 3
PREFIX = "bt-inject"
ROWS = ("inject.target", "inject.target_ifb", "inject.off_200", "inject.cleanup_200")

# The same devices, qdiscs and filters as ours; no packet flows, or it would go round for ever, since
# u32 knows no token.
PEER = (
    "ip link add brunt0 type veth peer name brunt1",
    "ip link set brunt0 up",
    "ip link set brunt1 up",
    "tc qdisc add dev brunt0 root tbf rate 100mbit burst 125kb limit 625kb",
    "tc qdisc add dev brunt1 clsact",
    "tc filter add dev brunt1 ingress protocol all u32 match u32 0 0 "
    "action mirred egress redirect dev eth0",
    "tc qdisc add dev eth0 clsact",
    "tc filter add dev eth0 egress pref 2 protocol all u32 match u32 0 0 "
    "action mirred egress redirect dev brunt0",
)
# What a person would type who does not mind that the packets skip other filters: an IFB.
SHORT_PEER = (
    "ip link add brunt0 type ifb",
    "ip link set brunt0 up",
    "tc qdisc add dev brunt0 root tbf rate 100mbit burst 125kb limit 625kb",
    "tc qdisc add dev eth0 clsact",
    "tc filter add dev eth0 egress pref 2 protocol all u32 match u32 0 0 "
    "action mirred egress redirect dev brunt0",
)


def emit(name, unit, ours, peer, peer_name, goal, ok):
    print(json.dumps({"name": name, "unit": unit, "ours": ours, "peer": peer,
                      "peer_name": peer_name, "ratio": round(ours / peer, 4) if peer else None,
                      "goal": goal, "ok": ok}), flush=True)


def peer_times(commands, names):
    """Milliseconds for each of the namespaces; what was made is taken away again."""
    times = []
    for name in names:
        enter = ["nsenter", f"--net=/run/netns/{name}"]
        start = time.monotonic()
        for command in commands:
            subprocess.run(enter + command.split(), check=True)
        times.append((time.monotonic() - start) * 1e3)
        subprocess.run(enter + "ip link del brunt0".split(), check=True)
        subprocess.run(enter + "tc qdisc del dev eth0 clsact".split(), check=True)
    return times


class Rig:
    """One life of the fault; each answer of the rig says how long the step took."""

    def __init__(self, folder):
        manifest = os.path.join(folder, "rate.yaml")
        with open(manifest, "w", encoding="utf-8") as f:
            f.write("apiVersion: chaos-mesh.org/v1alpha1\nkind: NetworkChaos\n"
                    "metadata: {name: x}\nspec: {mode: all, selector: {}, action: rate, "
                    "rate: {rate: 100mbit}}\n")
        self.proc = subprocess.Popen([os.path.join(BUILD, "tests/net_rig"), manifest, PREFIX],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, line):
        self.proc.stdin.write(line + "\n")
        self.proc.stdin.flush()
        answer = json.loads(self.proc.stdout.readline())
        if "error" in answer:
            sys.exit(f"net_rig {line}: {answer['error']}")
        return answer

    def life(self):
        self.do("plan")
        inject = self.do("inject")
        off = self.do("off")["off_ns"]
        revert = self.do("revert")
        self.proc.stdin.close()
        self.proc.wait()
        left = [r for r in revert["results"] if r != ["reverted", ""]]
        if left:
            sys.exit(f"not restored: {left[0]}")
        return (inject["prepare_ns"] + inject["inject_ns"]) / 1e6 / N, off / 1e6, \
            revert["revert_ns"] / 1e9


if not any(fnmatch.fnmatch(row, ONLY) for row in ROWS):
    sys.exit(0)
if os.geteuid() != 0:
    sys.exit("inject.*: network namespaces need root")
with namespaces.many(N, PREFIX) as group, tempfile.TemporaryDirectory() as d:
    peer, short, lives = [], [], []
    for i in range(ROUNDS):
        names = group.names[i * PEER_N:(i + 1) * PEER_N]
        peer += peer_times(PEER, names)
        short += peer_times(SHORT_PEER, names)
        lives.append(Rig(d).life())
    ours, off, cleanup = (statistics.median(column) for column in zip(*lives))
    theirs, shorter = statistics.median(peer), statistics.median(short)
    emit("inject.target", "ms", round(ours, 3), round(theirs, 2), "nsenter ip, tc", "<= 1/20",
         theirs / ours >= 20)
    emit("inject.target_ifb", "ms", round(ours, 3), round(shorter, 2), "an IFB in 5 commands", "", True)
    emit("inject.off_200", "ms", round(off, 4), None, "", "< 10 ms", off < 10)
    emit("inject.cleanup_200", "s", round(cleanup, 2), None, "", "< 5 s", cleanup < 5)
