"""liveroom's pages below /debug/, under load, as their users read them: go tool pprof, curl, protoc."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import xml.etree.ElementTree

import harness

PATIENT = True
LIVEROOM = os.path.join(harness.BUILD, "liveroom")
# What a request under way holds when the process ends is on a coroutine's stack, which LSan does not know.
NO_LEAKS = "detect_leaks=0"
SCHEMA = os.path.join(harness.SOURCE, "tests", "runtime", "perfetto.proto")


class Service:
    """liveroom with debug pages; url and debug are the two origins."""

    def __init__(self, test, *args, **env):
        self.process = subprocess.Popen([LIVEROOM, "serve", "--listen", "127.0.0.1:0", *args],
                                        stdout=subprocess.PIPE, text=True,
                                        env=dict(os.environ, ASAN_OPTIONS=NO_LEAKS, **env))
        test.addCleanup(self.close)
        self.url = "http://" + self.process.stdout.readline().split()[-1]
        self.debug = None
        if "--debug" in args:
            page = self.process.stdout.readline().split()[-1]
            self.debug = page.removesuffix("/debug/pprof/")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def curl(url):
    """Status, Content-Type, body."""
    with tempfile.NamedTemporaryFile() as f:
        said = subprocess.run(["curl", "-s", "-o", f.name, "-w", "%{http_code} %{content_type}", url],
                              stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout
        status, kind = said.split(" ", 1)
        return int(status), kind, f.read()


def text(url):
    return curl(url)[2].decode()


@contextlib.contextmanager
def viewers(service, n=300):
    """Load on the service, from when some of it has been answered."""
    load = subprocess.Popen([LIVEROOM, "load", "--target", service.url, "--viewers", str(n)],
                            stdout=subprocess.DEVNULL)
    try:
        harness.wait_for(lambda: re.search(r"^live_segments_total [1-9]",
                                           text(service.url + "/metrics"), re.M), "segments")
        yield
    finally:
        load.kill()
        load.wait()


@contextlib.contextmanager
def hammered(service):
    """As many requests as one connection takes."""
    host, port = service.url.removeprefix("http://").rsplit(":", 1)
    end = threading.Event()

    def work():
        with socket.create_connection((host, int(port))) as s:
            while not end.is_set():
                s.sendall(b"GET /segment HTTP/1.1\r\nHost: x\r\n\r\n" * 16)
                s.recv(1 << 20)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        end.set()
        worker.join()


def pprof(page, *args):
    """What go tool pprof says of a page of the running service."""
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(["go", "tool", "pprof", *args, page], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=True, timeout=120,
                              env=dict(os.environ, PPROF_TMPDIR=folder)).stdout


class Pages(harness.Case):
    def setUp(self):
        self.service = Service(self, "--debug", "0", RT_DEBUG="blockprofile=1,mutexprofile=1")
        self.pprof = self.service.debug + "/debug/pprof/"

    def test_index_leads_to_pages_that_answer(self):
        status, kind, body = curl(self.pprof)
        self.assertEqual((status, kind), (200, "text/html; charset=utf-8"))
        links = re.findall(r'href="([^"]+)"', body.decode())
        pages = {link.partition("?")[0].rpartition("/")[2] for link in links}
        self.assertLessEqual({"goroutine", "goroutineleak", "heap", "allocs", "profile", "block", "mutex",
                              "threadcreate", "trace", "sched"}, pages)
        for link in links:
            seconds = "?seconds=0" if "?" not in link else ""
            expected = (200, 501) if "leak" in link else (200,)  # not under sanitizers
            self.assertIn(curl(self.service.debug + link + seconds)[0], expected, link)

    def test_what_is_wrong_with_a_request_is_said(self):
        self.assertEqual(curl(self.pprof + "nothing")[0], 404)
        self.assertEqual(curl(self.pprof + "goroutine?debug=x")[0], 400)
        self.assertEqual(curl(self.service.debug + "/join")[0], 404)

    def test_stacks_as_text(self):
        accepting = r"\n#\t0x[0-9a-f]+\taccept_main\+0x[0-9a-f]+\t+/\S+server\.c:\d+\n"
        self.assertRegex(text(self.pprof + "goroutine?debug=1"), accepting)
        self.assertRegex(text(self.pprof + "goroutine?debug=2"),
                         r"goroutine 1 \[IO wait\]:\nrt_read\(\.\.\.\)\n\t\S+ \+0x\w+\nwait_for_signal\(")
        self.assertRegex(text(self.pprof + "threadcreate?debug=1"), r"\Athreadcreate profile: total \d")

    def test_pprof_reads_each_profile_of_the_service_under_load(self):
        with viewers(self.service):
            self.assertRegex(pprof(self.pprof + "goroutine", "-top", "-cum"), r"\bconn_main\n")
            self.assertIn("Type: threadcreate", pprof(self.pprof + "threadcreate", "-top"))
            # One who waits for a word of chat in vain for its second.
            self.assertEqual(curl(self.service.url + "/chat?room=a&wait=1")[0], 200)
            self.assertRegex(pprof(self.pprof + "block", "-top", "-cum"), r"\bchat_read\n")
            self.assertIn("Type: delay", pprof(self.pprof + "mutex", "-top"))
        with hammered(self.service):
            cpu = pprof(self.pprof + "profile?seconds=3", "-top", "-cum")
        self.assertIn("Type: cpu", cpu)
        self.assertRegex(cpu, r"\bconn_main\n")

    def test_trace_opens_in_perfetto_and_names_what_ran(self):
        with viewers(self.service):
            status, kind, body = curl(self.pprof + "trace?seconds=1")
        self.assertEqual((status, kind), (200, "application/octet-stream"))
        decoded = subprocess.run(["protoc", f"--proto_path={os.path.dirname(SCHEMA)}",
                                  "--decode=Trace", SCHEMA], input=body, stdout=subprocess.PIPE,
                                 check=True).stdout.decode()
        self.assertEqual(re.findall(r"^ *\d+[: ].*", decoded, re.M), [], "unknown to the schema")
        self.assertRegex(decoded, r'name: "(conn_main|http accept) \d+"')

    def test_flame_graph_is_an_svg(self):
        with hammered(self.service):  # whatever the machine does, there are samples
            status, kind, body = curl(self.pprof + "flame?seconds=2")
        self.assertEqual((status, kind), (200, "image/svg+xml"))
        root = xml.etree.ElementTree.fromstring(body)
        titles = [t.text for t in root.iter("{http://www.w3.org/2000/svg}title")]
        self.assertRegex(titles[0], r"all \(\d+ samples, 100.00%\)")

    def test_sched_page_and_metrics_tell_of_scheduling_latency(self):
        with viewers(self.service):
            page = text(self.service.debug + "/debug/sched?detail=1")
            metrics = text(self.service.url + "/metrics")
        self.assertRegex(page, r"\nfrom runnable to running, us\n  p50<=\d+\.\d p99<=\d+\.\d ")
        bounds = re.findall(r'^rt_sched_latency_seconds_bucket\{le="([^"]+)"\} (\d+)$', metrics, re.M)
        counts = [int(n) for _, n in bounds]
        self.assertEqual(counts, sorted(counts))
        self.assertGreater(counts[-1], 0)
        self.assertEqual(bounds[-1][0], "+Inf")
        self.assertLessEqual(float(bounds[0][0]), 1.1e-6)
        self.assertGreaterEqual(float(bounds[-2][0]), 10)
        count = re.search(r"^rt_sched_latency_seconds_count (\d+)$", metrics, re.M)
        self.assertEqual(int(count.group(1)), counts[-1])

    def test_a_profile_of_the_pages_themselves(self):
        """Stacks are named by a library's code, whose stack holds words that point beside the program's."""
        fetch = subprocess.Popen(["curl", "-s", "-o", os.devnull, self.pprof + "profile?seconds=3"])
        self.addCleanup(fetch.wait)
        self.addCleanup(fetch.kill)
        while fetch.poll() is None:
            self.assertEqual(curl(self.pprof + "goroutine?debug=2")[0], 200)
        self.assertEqual(fetch.returncode, 0)
        self.assertIsNone(self.service.process.poll())

    def test_sigterm_does_not_wait_for_a_profile(self):
        fetch = subprocess.Popen(["curl", "-s", self.pprof + "profile?seconds=600"],
                                 stdout=subprocess.DEVNULL)
        self.addCleanup(fetch.wait)
        self.addCleanup(fetch.kill)
        harness.wait_for(lambda: "take_cpu" in text(self.pprof + "goroutine?debug=2"), "the profile")
        self.service.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.service.process.wait(30), 0)


class Listener(harness.Case):
    def test_the_service_port_has_no_such_pages(self):
        for service in (Service(self), Service(self, "--debug", "0")):
            self.assertEqual(curl(service.url + "/debug/pprof/")[0], 404)
            self.assertEqual(curl(service.url + "/debug/sched")[0], 404)

    def test_it_is_loopback_unless_a_host_is_named(self):
        self.assertRegex(Service(self, "--debug", "0").debug, r"^http://127\.0\.0\.1:\d+$")
        self.assertRegex(Service(self, "--debug", "[::1]:0").debug, r"^http://\[::1\]:\d+$")

    def test_an_address_that_cannot_be_had_is_said(self):
        taken = Service(self).url.removeprefix("http://")
        r = harness.run(LIVEROOM, "serve", "--listen", "127.0.0.1:0", "--debug", taken)
        self.assertEqual(r.returncode, 1)
        self.assertIn(f"listen on {taken}: Address already in use", r.stderr)


if __name__ == "__main__":
    harness.main()
