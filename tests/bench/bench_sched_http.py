#!/usr/bin/python3
"""sched.http*: a hello over HTTP on the runtime against Go's net/http, asked by wrk.

Both servers (rt_http.c, go/http) take a port, print where they listen and answer GET / with the
same bytes, which is checked. wrk runs on the same CPUs: the ratio is of what is left.
"""
import contextlib
import glob
import os
import re
import socket
import subprocess
import sys

import interleaved as il
import peers

RT_HTTP = os.path.join(os.environ["BUILD_DIR"], "tests", "rt_http")
CONNECTIONS, SECONDS = 64, 3


@contextlib.contextmanager
def server(argv, env):
    """(host, port) of a running server and functions that tell the CPU seconds it has used, and
    its busiest thread."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True,
                          env=dict(os.environ, **env)) as proc:
        try:
            host, _, port = proc.stdout.readline().strip().rpartition(":")
            if not port:
                raise il.Broken(f"{' '.join(argv)} does not listen")
            yield ((host, int(port)), lambda: cpu_seconds(proc.pid),
                   lambda: busiest_thread(proc.pid))
        finally:
            proc.kill()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busiest_thread(pid):
    def seconds(path):
        with open(path, encoding="ascii") as f:
            return int(f.read().split()[0]) / 1e9
    return max(seconds(p) for p in glob.glob(f"/proc/{pid}/task/*/schedstat"))


def answer(address):
    """What GET / is answered with, the date blanked."""
    with socket.create_connection(address, timeout=10) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        text = b"".join(iter(lambda: s.recv(65536), b""))
    return re.sub(rb"\r\nDate: [^\r]*", b"\r\nDate:", text)


def wrk(address, cpu, busiest):
    before = cpu()
    out = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency",
                          f"http://{address[0]}:{address[1]}/"],
                         stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout
    if re.search(r"Socket errors|Non-2xx", out):
        raise il.Broken(f"wrk saw errors: {out}")
    p99, unit = re.search(r"99% +([0-9.]+)(us|ms|s)", out).groups()
    answered = int(re.search(r"(\d+) requests in", out).group(1))
    return {"value": float(re.search(r"Requests/sec: +([0-9.]+)", out).group(1)),
            "per_busiest_s": answered / busiest(),
            "p99": float(p99) * {"us": 1, "ms": 1e3, "s": 1e6}[unit], "cpu_s": cpu() - before}


def ours(procs):
    return [RT_HTTP, "0"], {"RT_PROCS": str(procs)}


def go(procs):
    return [peers.go_program("http"), "0"], {"GOMAXPROCS": str(procs)}


def side(command, procs):
    def run():
        with server(*command(procs)) as (address, cpu, busiest):
            return wrk(address, cpu, busiest)
    return run


def check_same_answer():
    answers = []
    for command in (ours, go):
        with server(*command(2)) as (address, *_):
            answers.append(answer(address))
    if sorted(answers[0].split(b"\r\n")) != sorted(answers[1].split(b"\r\n")):
        raise il.Broken(f"the answers differ: {answers}")


def requests():
    check_same_answer()
    pair = il.rounds(side(ours, 2), side(go, 2))
    il.emit("sched.http", "req/s", pair, peers.go_name() + " net/http", least=1.4)
    il.emit("sched.http_p99", "us", pair, peers.go_name() + " net/http", most=1.0, key="p99")


def scaling():
    """By the clock, where wrk takes its part of the CPUs, and in answers for a CPU second of the
    busiest thread, where neither it nor neighbours count."""
    def both(command):
        def run():
            one, two = side(command, 1)(), side(command, 2)()
            return {"value": two["value"] / one["value"],
                    "of_busiest": two["per_busiest_s"] / one["per_busiest_s"],
                    "cpu_s": one["cpu_s"] + two["cpu_s"]}
        return run
    pair = il.rounds(both(ours), both(go))
    il.emit("sched.scale_http", "x", pair, peers.go_name(), goal="1 -> 2 Ps")
    il.emit("sched.scale_http_cpu", "x", pair, peers.go_name(), goal="1 -> 2 Ps", key="of_busiest")


for name, row in (("sched.http", requests), ("sched.scale_http", scaling)):
    if il.wanted(name):
        with il.broken_rows_are_told(name):
            row()
sys.exit(1 if il.broken else 0)
