#!/usr/bin/python3
"""sched.http*: a hello over HTTP on the runtime against Go's net/http, asked by wrk.

Both servers (rt_http.c, go/http) take a port, print where they listen and answer GET / with the
same bytes, which is checked. wrk runs on the same CPUs: the ratio is of what is left.
"""
import contextlib
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
    """(host, port) of a running server and a function that tells the CPU seconds it has used."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True,
                          env=dict(os.environ, **env)) as proc:
        try:
            host, _, port = proc.stdout.readline().strip().rpartition(":")
            if not port:
                raise il.Broken(f"{' '.join(argv)} does not listen")
            yield (host, int(port)), lambda: cpu_seconds(proc.pid)
        finally:
            proc.kill()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def answer(address):
    """What GET / is answered with, the date blanked."""
    with socket.create_connection(address, timeout=10) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        text = b"".join(iter(lambda: s.recv(65536), b""))
    return re.sub(rb"\r\nDate: [^\r]*", b"\r\nDate:", text)


def wrk(address, cpu):
    before = cpu()
    out = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency",
                          f"http://{address[0]}:{address[1]}/"],
                         stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout
    if re.search(r"Socket errors|Non-2xx", out):
        raise il.Broken(f"wrk saw errors: {out}")
    p99, unit = re.search(r"99% +([0-9.]+)(us|ms|s)", out).groups()
    return {"value": float(re.search(r"Requests/sec: +([0-9.]+)", out).group(1)),
            "p99": float(p99) * {"us": 1, "ms": 1e3, "s": 1e6}[unit], "cpu_s": cpu() - before}


def ours(procs):
    return [RT_HTTP, "0"], {"RT_PROCS": str(procs)}


def go(procs):
    return [peers.go_program("http"), "0"], {"GOMAXPROCS": str(procs)}


def side(command, procs):
    def run():
        with server(*command(procs)) as (address, cpu):
            return wrk(address, cpu)
    return run


def check_same_answer():
    answers = []
    for command in (ours, go):
        with server(*command(2)) as (address, _):
            answers.append(answer(address))
    if sorted(answers[0].split(b"\r\n")) != sorted(answers[1].split(b"\r\n")):
        raise il.Broken(f"the answers differ: {answers}")


def requests():
    check_same_answer()
    pair = il.rounds(side(ours, 2), side(go, 2))
    il.emit("sched.http", "req/s", pair, peers.go_name() + " net/http", least=1.4)
    il.emit("sched.http_p99", "us", pair, peers.go_name() + " net/http", most=1.0, key="p99")


def scaling():
    def both(command):
        def run():
            one, two = side(command, 1)(), side(command, 2)()
            return {"value": two["value"] / one["value"], "cpu_s": one["cpu_s"] + two["cpu_s"]}
        return run
    il.emit("sched.scale_http", "x", il.rounds(both(ours), both(go)), peers.go_name(),
            goal="1 -> 2 Ps")


for name, row in (("sched.http", requests), ("sched.scale_http", scaling)):
    if il.wanted(name):
        with il.broken_rows_are_told(name):
            row()
sys.exit(1 if il.broken else 0)
