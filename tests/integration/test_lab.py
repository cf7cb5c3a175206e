#!/usr/bin/python3
"""The lab as its user meets it: pods come up, find each other, are started again, and go away
without a trace, whatever is killed."""
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

import harness
from harness import wait_for

LEGS = "host lab"
PATIENT = True
PYTHON = "/usr/bin/python3"


def pod(name, command, kind="Pod", replicas=1, extra="", container="", spec=""):
    """A manifest with one container."""
    body = f"""containers:
  - name: app
    image: ignored
    command: {json.dumps(command)}
{indent(container, 4)}
{indent(spec, 0)}"""
    if kind == "Pod":
        return f"""apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}} {extra}}}
spec:
{indent(body, 2)}
---
"""
    return f"""apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, labels: {{app: {name}}} {extra}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
{indent(body, 6)}
---
"""


def indent(text, n):
    return "\n".join(" " * n + line for line in text.strip("\n").split("\n") if line.strip())


def gone(pid):
    """Dead; whether it was reaped is the business of whoever inherited it."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


SLEEP = ["/bin/sleep", "1000"]
SERVE = [PYTHON, "-m", "http.server", "8080"]
PROBE = "readinessProbe: {httpGet: {path: /etc/hostname, port: 8080}}"


@harness.unittest.skipUnless(os.geteuid() == 0, "a lab needs root")
class Lab(harness.Case):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.brunt, "lab", "down", "--all", "--now")
        self.links = self.root_links()

    @staticmethod
    def root_links():
        return sorted(os.listdir("/sys/class/net"))

    def lab(self, *args, **kw):
        return self.brunt("lab", *args, **kw)

    def up(self, *manifests, name="default", args=()):
        path = self.write(f"{name}.yaml", "".join(manifests))
        r = self.lab("up", "-f", path, "--name", name, *args)
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
        return r

    def state(self, name="default"):
        r = self.lab("ps", "--name", name, "-o", "json")
        self.assertEqual(r.returncode, 0, r.stderr)
        return json.loads(r.stdout)[0]

    def container(self, pod_name="p", name="default"):
        return next(p for p in self.state(name)["pods"] if p["name"] == pod_name)["containers"][0]

    def exec(self, pod_name, *command, name="default"):
        return self.lab("exec", "--name", name, pod_name, "--", *command)

    def record(self, name="default"):
        return self.json(f"{self.env['BRUNT_STATE_DIR']}/lab/{name}/record.json")

    def group(self, controller, name="default", pod_name="p"):
        """The folder of a container's group that has this file."""
        for g in self.record(name)["groups"]:
            path = f"{g['path']}/default.{pod_name}/app"
            if os.path.exists(f"{path}/{controller}"):
                return path
        return None

    def processes(self, groups):
        pids = []
        for g in groups:
            for f in glob.glob(f"{g['path']}/**/cgroup.procs", recursive=True):
                with open(f, encoding="ascii") as procs:
                    pids += procs.read().split()
        return pids

    def assert_no_trace(self, groups, pids=()):
        lab_dir = f"{self.env['BRUNT_STATE_DIR']}/lab"
        for g in groups:
            wait_for(lambda g=g: not os.path.exists(g["path"]), f"{g['path']} to go")
        wait_for(lambda: not os.path.exists(lab_dir), f"{lab_dir} to go")
        for pid in pids:
            wait_for(lambda pid=pid: gone(pid), f"process {pid} to go")
        self.assertEqual(self.root_links(), self.links)

    def sweeper(self, supervisor):
        """Its process id, once it is what it will be."""
        def find():
            with open(f"/proc/{supervisor}/task/{supervisor}/children", encoding="ascii") as f:
                for pid in f.read().split():
                    with open(f"/proc/{pid}/cmdline", encoding="ascii") as c:
                        if "__lab-sweeper" in c.read():
                            return int(pid)
            return None
        return wait_for(find, "the sweeper")

    def on_a_machine_without_hosts(self, script):
        """A minimal Debian has no /etc/hosts. The machine is a mount namespace whose /etc is an overlay."""
        fs = os.path.join(self.dir, "fs")
        os.mkdir(fs)
        script = f"""set -e
            mount -t tmpfs tmpfs {fs}; mkdir {fs}/upper {fs}/work
            mount -t overlay overlay -o lowerdir=/etc,upperdir={fs}/upper,workdir={fs}/work /etc
            rm -f /etc/hosts
            {script}
            [ ! -e /etc/hosts ]"""
        r = harness.run("unshare", "-m", "--propagation", "private", "sh", "-c", script, env=self.env)
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
        return r.stdout

    # Up, names, logs, exec, port-forward, down.

    def test_pods_and_load_have_names_where_the_machine_has_no_hosts(self):
        if harness.IN_LAB:
            self.skipTest("no folder to overlay /etc with; the host leg covers it")
        x = self.write("x.yaml", """
apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {name: named}
spec:
  lab: {manifests: [lab.yaml]}
  timeline: {baseline: 0s, fault: 1s, recovery: 0s}
  load: {command: [sh, -c, "getent hosts web > seen; sleep 100"]}
  faults:
    - name: cut
      networkChaos: {mode: all, selector: {labelSelectors: {app: web}}, action: delay, delay: {latency: 1ms}}
""")
        self.write("lab.yaml", pod("web", SLEEP))
        out = self.on_a_machine_without_hosts(f"""
            {harness.BRUNT} lab up -f {self.dir}/lab.yaml
            {harness.BRUNT} lab exec web -- getent hosts web
            {harness.BRUNT} lab down
            {harness.BRUNT} run {x} || true
            cat {self.dir}/seen""")
        answers = [line for line in out.splitlines() if line.split()[1:2] == ["web"]]
        self.assertEqual(len(answers), 2, out)  # in the pod and in the load


    def test_up_ps_exec_logs_down(self):
        self.up(pod("web", SERVE, kind="Deployment", replicas=2, container=PROBE),
                pod("client", ["/bin/sh", "-c", "echo $GREETING; exec sleep 1000"],
                    container="env: [{name: GREETING, value: 'hello from $(HOSTNAME)'}]"))
        state = self.state()
        self.assertEqual([p["name"] for p in state["pods"]], ["web-0", "web-1", "client"])
        self.assertTrue(all(p["ready"] and p["phase"] == "Running" for p in state["pods"]))
        for p in state["pods"]:
            c = p["containers"][0]
            self.assertGreaterEqual(c["ready_ns"], c["started_ns"])
            self.assertLess(c["ready_ns"], time.monotonic_ns())
            self.assertEqual(c["restarts"], 0)
        self.assertEqual(self.root_links(), self.links, "nothing in the root namespace")
        inodes = {os.stat(f"/proc/{p['containers'][0]['pid']}/ns/net").st_ino for p in state["pods"]}
        self.assertEqual(len(inodes), 3)
        self.assertEqual(self.exec("client", "hostname").stdout, "client\n")
        self.assertEqual(self.exec("client", "sh", "-c", "exit 7").returncode, 7)
        self.assertIn("lab-pod", self.exec("client", "cat", "/proc/1/comm").stdout)
        wait_for(lambda: self.lab("logs", "client").stdout == "hello from client\n", "the log")
        groups = self.record()["groups"]
        pids = self.processes(groups)
        r = self.lab("down", "--now")
        self.assertEqual((r.returncode, r.stdout), (0, "lab default is down\n"))
        self.assert_no_trace(groups, pids)

    def test_names_resolve_to_both_families_and_all_replicas(self):
        self.up(pod("web", SERVE, kind="Deployment", replicas=2, container=PROBE),
                pod("client", SLEEP))
        code = ("import socket;print(sorted({a[4][0] for a in "
                "socket.getaddrinfo('%s',80,proto=socket.IPPROTO_TCP)}))")
        addresses = {p["name"]: p["addresses"] for p in self.state()["pods"]}
        one = eval(self.exec("client", PYTHON, "-c", code % "web-1").stdout)
        self.assertEqual(one, sorted(addresses["web-1"]))
        both = eval(self.exec("client", PYTHON, "-c", code % "web").stdout)
        self.assertEqual(both, sorted(addresses["web-0"] + addresses["web-1"]))
        full = eval(self.exec("client", PYTHON, "-c", code % "web-1.default").stdout)
        self.assertEqual(full, one)
        for address in ["web-0"] + [a if ":" not in a else f"[{a}]" for a in addresses["web-0"][:1]]:
            got = self.exec("client", PYTHON, "-c", "import urllib.request as u;"
                            f"print(u.urlopen('http://{address}:8080/etc/hostname').status)")
            self.assertEqual(got.stdout, "200\n", got.stderr)

    def test_ipv6_reaches_the_other_pod(self):
        serve6 = "import socket;s=socket.create_server(('::',81),family=socket.AF_INET6);" \
                 "c,a=s.accept();c.sendall(b'six');c.close();import time;time.sleep(1000)"
        self.up(pod("six", [PYTHON, "-c", serve6]), pod("client", SLEEP))
        address = self.state()["pods"][0]["addresses"]
        if len(address) < 2:
            self.skipTest("no IPv6 on this kernel")
        ask = f"import socket;print(socket.create_connection(('{address[1]}',81),5).recv(9))"
        wait_for(lambda: self.exec("client", PYTHON, "-c", ask).stdout == "b'six'\n", "an answer")

    def test_who_asks_from_the_switch_does_not_run_out_of_ports(self):
        self.up(pod("web", SERVE, container=PROBE))
        # Ten ports; a closed connection keeps its own for a minute unless it may be used again.
        ask = """
import errno, socket, sys, time
with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as f:
    f.write("50000 50009")
made, deadline = 0, time.monotonic() + 40
while made < 30 and time.monotonic() < deadline:
    try:
        socket.create_connection((sys.argv[1], 8080)).close()
        made += 1
    except OSError as e:
        if e.errno != errno.EADDRNOTAVAIL:
            raise
        time.sleep(0.1)
print(made)
"""
        r = harness.run("nsenter", f"--net=/proc/{self.record()['pid']}/ns/net", PYTHON, "-c", ask,
                        self.state()["pods"][0]["addresses"][0])
        self.assertEqual(r.stdout, "30\n", r.stderr)

    def test_port_forward_carries_connections(self):
        self.up(pod("web", SERVE, container=PROBE))
        p = subprocess.Popen([harness.BRUNT, "lab", "port-forward", "web", "0:8080"], env=self.env,
                             stdout=subprocess.PIPE, text=True)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        port = int(p.stdout.readline().split()[0].split(":")[1])
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/usr/bin/python3", timeout=20) as got:
                self.assertEqual(len(got.read()), os.path.getsize("/usr/bin/python3"))
        with socket.create_connection(("127.0.0.1", port), 20) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            s.shutdown(socket.SHUT_WR)
            self.assertTrue(s.recv(100).startswith(b"HTTP/1.0 200"))
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(20), 0)

    def test_logs_follow_until_the_lab_is_gone(self):
        self.up(pod("p", ["/bin/sh", "-c", "i=0; while sleep 0.05; do i=$((i+1)); echo $i; done"]))
        p = subprocess.Popen([harness.BRUNT, "lab", "logs", "-f", "p"], env=self.env,
                             stdout=subprocess.PIPE, text=True)
        self.addCleanup(p.stdout.close)
        self.assertEqual([p.stdout.readline() for _ in range(3)], ["1\n", "2\n", "3\n"])
        tail = self.lab("logs", "--tail", "1", "p").stdout
        self.assertEqual(tail.count("\n"), 1, tail)
        self.lab("down", "--now")
        self.assertEqual(p.wait(20), 0)

    # Restarts and readiness.

    def test_a_killed_container_comes_back_in_the_same_pod(self):
        self.up(pod("p", SERVE, container=PROBE))
        before, netns = self.container(), self.state()["pods"][0]["netns_ino"]
        os.kill(before["pid"], signal.SIGKILL)
        wait_for(lambda: self.container()["restarts"] == 1 and self.container()["ready_ns"],
                 "the container to be ready again")
        after = self.container()
        self.assertNotEqual(after["pid"], before["pid"])
        self.assertGreater(after["started_ns"], before["ready_ns"])
        self.assertEqual(self.state()["pods"][0]["netns_ino"], netns)

    def test_a_killed_init_gives_a_new_pod_that_is_reached_again(self):
        self.up(pod("p", SERVE, container=PROBE), pod("client", SLEEP))
        first = self.state()["pods"][0]
        ns_pid = f"/proc/{first['containers'][0]['pid']}/ns/pid"
        inode = os.stat(ns_pid).st_ino
        init = next(pid for pid in self.processes(self.record()["groups"][:1])
                    if os.stat(f"/proc/{pid}/ns/pid").st_ino == inode
                    and int(pid) != first["containers"][0]["pid"])
        os.kill(int(init), signal.SIGKILL)
        wait_for(lambda: self.container()["restarts"] and self.container()["ready_ns"], "a new pod")
        self.assertEqual(self.exec("client", PYTHON, "-c", "import urllib.request as u;print("
                                   "u.urlopen('http://p:8080/etc/hostname').status)").stdout, "200\n")

    def test_what_a_container_left_running_is_killed_before_it_starts_again(self):
        self.up(pod("p", ["/bin/sh", "-c", f"{PYTHON} -m http.server 8080 & wait"], container=PROBE))
        shell = self.container()["pid"]
        with open(f"/proc/{shell}/task/{shell}/children", encoding="ascii") as f:
            server = f.read().split()[0]
        os.kill(shell, signal.SIGKILL)
        wait_for(lambda: gone(server), "the server to go")
        wait_for(lambda: self.container()["restarts"] == 1 and self.container()["ready_ns"],
                 "the container to be ready again")

    def test_containers_of_a_pod_share_its_network_and_nothing_else(self):
        two = "- name: side\n  command: [/bin/sh, -c, 'echo side; exec sleep 1000']\n" \
              "  env: [{name: WHO, value: side}]\n  resources: {limits: {memory: 32Mi}}"
        self.up(pod("p", SERVE, container=PROBE, spec=indent(two, 2)))
        ask = "import urllib.request as u;print(u.urlopen('http://localhost:8080/etc/hostname').status)"
        r = self.lab("exec", "-c", "side", "p", "--", PYTHON, "-c", ask)
        self.assertEqual(r.stdout, "200\n", r.stderr)
        r = self.lab("exec", "-c", "side", "p", "--", "printenv", "WHO", "HOSTNAME")
        self.assertEqual(r.stdout, "side\np\n")
        wait_for(lambda: self.lab("logs", "-c", "side", "p").stdout == "side\n", "the log")
        cgroups = [open(f"/proc/{c['pid']}/cgroup", encoding="ascii").read()
                   for c in self.state()["pods"][0]["containers"]]
        self.assertIn("default.p/app", cgroups[0])
        self.assertIn("default.p/side", cgroups[1])

    def test_the_shared_memory_folder_is_the_pods_own(self):
        self.up(pod("p", SLEEP), pod("q", SLEEP))
        mark = f"/dev/shm/bt-lab-{os.getpid()}"
        self.assertEqual(self.exec("p", "/bin/touch", mark).returncode, 0)
        self.assertEqual(self.exec("p", "/bin/ls", mark).returncode, 0)
        self.assertNotEqual(self.exec("q", "/bin/ls", mark).returncode, 0)
        self.assertFalse(os.path.exists(mark))

    def test_back_off_doubles(self):
        path = self.write("starts", "")
        self.up(pod("p", ["/bin/sh", "-c", f"cat /proc/uptime >> {path}; sleep 0.2; exit 3"]))

        def starts():
            with open(path, encoding="ascii") as f:
                return [float(line.split()[0]) for line in f]
        wait_for(lambda: len(starts()) >= 5, "five starts")
        gaps = [b - a for a, b in zip(starts(), starts()[1:])]
        for gap, least in zip(gaps, [0.3, 0.4, 0.6, 1.0]):
            self.assertGreaterEqual(gap, least - 0.03, gaps)
        wait_for(lambda: "exit code 3" in self.lab("ps", "-o", "json").stdout, "the cause")

    def test_restart_policies(self):
        # Without a probe it counts as ready while it runs: whether up saw that is a race.
        self.lab("up", "-f", self.write("bad.yaml", pod("bad", ["/bin/false"], spec="restartPolicy: Never")))
        wait_for(lambda: self.state()["pods"][0]["phase"] == "Failed", "failure")
        self.assertEqual(self.container("bad")["why"], "exit code 1")
        self.assertEqual(self.container("bad")["restarts"], 0)
        self.lab("down", "--now")
        self.up(pod("good", ["/bin/true"], spec="restartPolicy: OnFailure"))
        wait_for(lambda: self.state()["pods"][0]["phase"] == "Succeeded", "success")
        self.assertEqual(self.container("good")["restarts"], 0)

    def test_readiness_follows_the_probe(self):
        flag = os.path.join(self.dir, "flag")
        serve = ("import http.server as h,os\nclass H(h.BaseHTTPRequestHandler):\n"
                 " def do_GET(s): s.send_response(200 if os.path.exists(%r) else 503);s.end_headers()\n"
                 "h.HTTPServer(('',8080),H).serve_forever()" % flag)
        manifest = self.write("r.yaml", pod("p", [PYTHON, "-c", serve], container=(
            "readinessProbe: {httpGet: {path: /x, port: 8080}, periodSeconds: 1, failureThreshold: 1}")))
        r = self.lab("up", "-f", manifest, "--timeout", "2s")
        self.assertEqual(r.returncode, 3)
        self.assertIn("lab default: not ready after 2 s: p: app is running: ", r.stderr)
        self.assertFalse(self.state()["pods"][0]["ready"])
        open(flag, "w", encoding="ascii").close()
        wait_for(lambda: self.state()["pods"][0]["ready"], "readiness")
        os.unlink(flag)
        wait_for(lambda: not self.state()["pods"][0]["ready"], "readiness to end")

    def test_tcp_probe_and_named_port(self):
        self.up(pod("p", SERVE, container="ports: [{name: web, containerPort: 8080}]\n"
                    "readinessProbe: {tcpSocket: {port: web}}"))
        self.assertTrue(self.container()["ready_ns"])

    # Limits.

    def test_memory_limit_is_applied_and_kills(self):
        hog = "x=bytearray(200<<20)\nimport time;time.sleep(1000)"
        self.up(pod("p", [PYTHON, "-c", hog], container="resources: {limits: {memory: 64Mi}}"))
        path = self.group("memory.limit_in_bytes") or self.group("memory.max")
        name = "memory.limit_in_bytes" if os.path.exists(f"{path}/memory.limit_in_bytes") else "memory.max"
        with open(f"{path}/{name}", encoding="ascii") as f:
            self.assertEqual(int(f.read()), 64 << 20)
        wait_for(lambda: self.container()["restarts"] > 0, "the OOM killer")
        wait_for(lambda: "OOMKilled" in json.dumps(self.state()), "the cause")

    def test_cpu_limit_is_applied(self):
        self.up(pod("p", SLEEP, container="resources: {limits: {cpu: 250m}}"))
        v1 = self.group("cpu.cfs_quota_us")
        with open(f"{v1}/cpu.cfs_quota_us" if v1 else f"{self.group('cpu.max')}/cpu.max",
                  encoding="ascii") as f:
            self.assertEqual(f.read().split()[0], "25000")

    # Ends.

    def test_two_labs_do_not_meet(self):
        self.up(pod("p", SERVE, container=PROBE), name="one")
        self.up(pod("q", SLEEP), pod("p", SLEEP), name="two")
        self.assertEqual(self.state("one")["pods"][0]["addresses"][0],
                         self.state("two")["pods"][0]["addresses"][0])
        ask = "import socket;socket.create_connection(('%s',8080),2)"
        self.assertEqual(self.exec("p", PYTHON, "-c", ask % "p", name="one").returncode, 0)
        self.assertNotEqual(self.exec("p", PYTHON, "-c", ask % "q", name="two").returncode, 0)
        r = self.lab("up", "-f", os.path.join(self.dir, "one.yaml"), "--name", "one")
        self.assertEqual(r.returncode, 3)
        self.assertIn("lab one is up already", r.stderr)
        self.assertEqual(self.lab("down", "--name", "two", "--now").returncode, 0)
        self.assertEqual(self.exec("p", PYTHON, "-c", ask % "p", name="one").returncode, 0)

    def test_down_honours_the_grace_period(self):
        trap = "import signal,time\nsignal.signal(15,lambda *a:exit(open(%r,'w').close()))\nprint(1,flush=True)\ntime.sleep(99)"
        done = os.path.join(self.dir, "done")
        self.up(pod("p", [PYTHON, "-c", trap % done]))
        wait_for(lambda: self.lab("logs", "p").stdout == "1\n", "the handler")
        self.assertEqual(self.lab("down").returncode, 0)
        self.assertTrue(os.path.exists(done))

    def test_a_process_that_ignores_sigterm_is_killed_after_the_grace_period(self):
        self.up(pod("p", ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
                    spec="terminationGracePeriodSeconds: 1"))
        groups, pids = self.record()["groups"], self.processes(self.record()["groups"])
        self.assertEqual(self.lab("down").returncode, 0)
        self.assert_no_trace(groups, pids)

    def test_kill_of_the_supervisor_leaves_nothing(self):
        self.up(pod("web", SERVE, kind="Deployment", replicas=3, container=PROBE))
        record = self.record()
        pids = self.processes(record["groups"])
        netns = os.open(f"/proc/{self.state()['pods'][0]['containers'][0]['pid']}/ns/net", os.O_RDONLY)
        self.addCleanup(os.close, netns)
        switch = os.open(f"/proc/{record['pid']}/ns/net", os.O_RDONLY)
        self.addCleanup(os.close, switch)
        sweeper = self.sweeper(record["pid"])
        os.kill(record["pid"], signal.SIGKILL)
        self.assert_no_trace(record["groups"], pids + [str(sweeper)])
        # Namespaces that somebody holds, as a run does, have lost their links.
        held = harness.run("nsenter", f"--net=/proc/{os.getpid()}/fd/{netns}", "ip", "-o", "link")
        self.assertNotIn("eth0", held.stdout)
        self.assertEqual(self.lab("ps").stdout, "no lab is up\n")

    def test_a_lab_whose_folder_is_deleted_goes_down(self):
        self.up(pod("p", SLEEP), name="lost")
        record = self.record("lost")
        pids = self.processes(record["groups"])
        shutil.rmtree(f"{self.env['BRUNT_STATE_DIR']}/lab")
        self.assert_no_trace(record["groups"], pids + [str(record["pid"])])

    def test_the_sweeper_knows_the_groups_of_a_deleted_folder(self):
        self.up(pod("p", SLEEP), name="lost")
        record = self.record("lost")
        pids = self.processes(record["groups"])
        os.kill(record["pid"], signal.SIGSTOP)  # lest it goes down in good order
        shutil.rmtree(f"{self.env['BRUNT_STATE_DIR']}/lab")
        os.kill(record["pid"], signal.SIGKILL)
        self.assert_no_trace(record["groups"], pids)

    def test_both_killed_then_down_sweeps(self):
        self.up(pod("p", SLEEP), name="dead")
        record = self.record("dead")
        pids = self.processes(record["groups"])
        os.kill(self.sweeper(record["pid"]), signal.SIGKILL)
        os.kill(record["pid"], signal.SIGKILL)
        for pid in pids:
            wait_for(lambda pid=pid: gone(pid), "pods to die by themselves")
        self.assertTrue(os.path.exists(record["groups"][0]["path"]))
        r = self.lab("down", "--name", "dead")
        self.assertEqual((r.returncode, r.stdout), (0, "swept what 1 dead lab had left\n"), r.stderr)
        self.assert_no_trace(record["groups"], pids)

    def test_up_again_after_both_were_killed(self):
        self.up(pod("p", SLEEP))
        old = self.record()
        os.kill(self.sweeper(old["pid"]), signal.SIGKILL)
        os.kill(old["pid"], signal.SIGKILL)
        wait_for(lambda: "no lab is up" in self.lab("ps").stdout, "the lab to be dead")
        self.up(pod("p", SLEEP))
        self.assertTrue(self.container()["pid"])
        for g in old["groups"]:
            self.assertFalse(os.path.exists(g["path"]))

    def foreground(self, *manifests):
        path = self.write("fg.yaml", "".join(manifests))
        p = subprocess.Popen([harness.BRUNT, "lab", "up", "--foreground", "-f", path], env=self.env,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.stderr.close)
        while "is up" not in p.stdout.readline():
            self.assertIsNone(p.poll())
        return p

    def test_interrupt_of_the_foreground_takes_everything_down(self):
        p = self.foreground(pod("p", SERVE, container=PROBE))
        groups = self.record()["groups"]
        pids = self.processes(groups)
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(30), 0)
        self.assert_no_trace(groups, pids)

    def test_kill_of_the_foreground_takes_everything_down(self):
        p = self.foreground(pod("p", SLEEP))
        groups = self.record()["groups"]
        pids = self.processes(groups)
        p.kill()
        p.wait()
        self.assert_no_trace(groups, pids)

    def test_sigterm_to_the_supervisor_takes_everything_down(self):
        self.up(pod("p", SLEEP, spec="terminationGracePeriodSeconds: 0"))
        record = self.record()
        os.kill(record["pid"], signal.SIGTERM)
        self.assert_no_trace(record["groups"], [record["pid"]])

    def test_the_foreground_says_that_its_supervisor_died(self):
        p = self.foreground(pod("p", SLEEP))
        record = self.record()
        os.kill(record["pid"], signal.SIGKILL)
        self.assertEqual(p.wait(30), 3)
        self.assertEqual(p.stderr.read(), "brunt: lab default: its supervisor died\n")
        self.assert_no_trace(record["groups"])

    # Bad input.

    def test_a_missing_program_is_named_before_anything_is_made(self):
        r = self.lab("up", "-f", self.write("m.yaml", pod("p", ["bt-no-such-program"])))
        self.assertEqual(r.returncode, 2)
        self.assertIn("bt-no-such-program: not found in PATH or beside brunt", r.stderr)
        self.assertIn("m.yaml:8:16: containers[0].command[0]: ", r.stderr)
        self.assertFalse(os.path.exists(f"{self.env['BRUNT_STATE_DIR']}/lab"))

    def test_all_errors_of_a_manifest_at_once(self):
        r = self.lab("up", "-f", self.write("m.yaml", pod(
            "p", SLEEP, container="imagepull: x\nresources: {limits: {memory: lots}}")))
        self.assertEqual(r.returncode, 2)
        self.assertEqual(len(r.stderr.strip().split("\n")), 2, r.stderr)

    def test_verbs_on_what_is_not_there(self):
        r = self.lab("down")
        self.assertEqual((r.returncode, "lab default is not up" in r.stderr), (3, True))
        self.up(pod("p", SLEEP))
        r = self.lab("logs", "nobody")
        self.assertEqual((r.returncode, "lab default has no pod nobody" in r.stderr), (3, True))
        r = self.lab("up", "-f", "/nonexistent.yaml", "--name", "x")
        self.assertIn("/nonexistent.yaml: No such file or directory", r.stderr)
        r = self.lab("exec", "p", "--", "bt-no-such-program")
        self.assertEqual(r.returncode, 3)
        self.assertIn("not found", r.stderr)


if __name__ == "__main__":
    harness.main()
