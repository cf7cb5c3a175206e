"""liveroom by itself: its endpoints, its three roles, bad requests, draining, and its viewers."""
import concurrent.futures
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import harness

LIVEROOM = os.path.join(harness.BUILD, "liveroom")


class Server:
    """A liveroom process on a free port."""

    def __init__(self, test, *args, listen="127.0.0.1:0", env=None):
        self.process = subprocess.Popen([LIVEROOM, "serve", "--listen", listen, *args],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env=dict(os.environ, **(env or {})))
        test.addCleanup(self.close)
        line = self.process.stdout.readline()
        self.address = line.split()[-1]
        self.url = "http://" + self.address
        host, self.port = self.address.rsplit(":", 1)
        self.host = host.strip("[]")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def get(self, path, timeout=10):
        """Status and body, also of error answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=timeout) as r:
                return r.status, r.read()
        except urllib.error.HTTPError as e:
            return e.code, e.read()

    def post(self, path, body=b""):
        """Status, body and headers, also of error answers."""
        request = urllib.request.Request(self.url + path, data=body, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as r:
                return r.status, r.read(), r.headers
        except urllib.error.HTTPError as e:
            return e.code, e.read(), e.headers

    def join(self, room="a"):
        """The room and the session as parameters of the requests that follow."""
        return f"room={room}&session={json.loads(self.get('/join?room=' + room)[1])['session']}"

    def metric(self, name):
        text = self.get("/metrics")[1].decode()
        return float(re.search(rf"^{name} (\S+)$", text, re.M).group(1))

    def raw(self, data, timeout=10):
        """Everything the server answers to these bytes until it closes or falls silent."""
        with socket.create_connection((self.host, int(self.port)), timeout=timeout) as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            parts = []
            while True:
                try:
                    part = s.recv(65536)
                except ConnectionResetError:
                    break
                if not part:
                    break
                parts.append(part)
            return b"".join(parts)


def load(*args):
    return harness.run(LIVEROOM, "load", *args)


def load_in_background(test, *args):
    """Viewers that run until the test ends them; the summary comes as JSON."""
    process = subprocess.Popen([LIVEROOM, "load", "--json", *args], stdout=subprocess.PIPE,
                               text=True)
    test.addCleanup(process.communicate)
    test.addCleanup(process.kill)
    return process


@harness.patient
class Serve(harness.Case):
    def test_all_roles_in_one_process(self):
        s = Server(self)
        self.assertEqual(s.get("/healthz"), (200, b"ok\n"))
        self.assertEqual(s.get("/readyz"), (200, b"ready\n"))
        status, body = s.get("/join?room=a")
        join = json.loads(body)
        self.assertEqual((status, join["room"], join["url"]), (200, "a", s.url))
        status, body = s.get(f"/segment?room=a&seq={join['seq']}")
        self.assertEqual((status, len(body)), (200, 32768))
        self.assertTrue(body.startswith(f"a/{join['seq']}\0".encode()))
        self.assertEqual(s.metric("live_joins_total"), 1)
        self.assertEqual(s.metric("live_segments_total"), 1)

    def test_metrics_are_openmetrics(self):
        s = Server(self)
        s.get("/join")
        with urllib.request.urlopen(s.url + "/metrics") as r:
            text = r.read().decode()
            self.assertTrue(r.headers["Content-Type"].startswith("application/openmetrics-text"))
        self.assertTrue(text.endswith("# EOF\n"))
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        for name, _, value in re.findall(r"^([a-z_]+)(\{[^}]*\})? (\S+)$", text, re.M):
            family = re.sub("_(total|bucket|count|sum)$", "", name)
            self.assertIn(family, kinds)
            self.assertEqual(name.endswith("_total"), kinds[family] == "counter")
            float(value)
        self.assertIn('live_request_duration_seconds_bucket{path="/join",le="+Inf"} 1', text)

    def test_errors_have_their_status(self):
        s = Server(self)
        self.assertEqual(s.get("/nothing")[0], 404)
        self.assertEqual(s.get("/join?room=a/b")[0], 400)
        self.assertEqual(s.get("/join?room=" + "x" * 40)[0], 400)
        self.assertEqual(s.get("/segment?room=a&seq=1")[0], 404)
        self.assertEqual(s.get("/chunk?room=a")[0], 400)

    def test_ipv6(self):
        s = Server(self, listen="[::1]:0")
        self.assertEqual(s.get("/healthz")[0], 200)

    def test_stalls_are_counted_as_told(self):
        s = Server(self)
        s.get("/segment?room=a&stalled=2")
        self.assertEqual(s.metric("live_stalls_total"), 2)
        self.assertEqual(s.metric("live_segments_total"), 3)

    def test_usage_errors(self):
        for args in ([], ["serve"], ["serve", "--listen", "x"], ["load", "--viewers", "5"],
                     ["serve", "--listen", "127.0.0.1:0", "--role", "king"],
                     ["serve", "--listen", "127.0.0.1:0", "--threads", "0"],
                     ["load", "--viewers", "5", "--target", "ftp://x/y"], ["dance"]):
            r = harness.run(LIVEROOM, *args, timeout=20)
            self.assertIn(r.returncode, (1, 2), args)
            self.assertTrue(r.stderr, args)

    def test_port_in_use_is_said(self):
        s = Server(self)
        r = harness.run(LIVEROOM, "serve", "--listen", s.address)
        self.assertEqual(r.returncode, 1)
        self.assertEqual(r.stderr, f"liveroom: listen on {s.address}: Address already in use\n")

    def test_a_control_socket_that_cannot_be_is_said(self):
        for path, why in (("/etc/hosts", "something else than a socket is there"),
                          ("/nowhere/x", "No such file or directory"),
                          ("/tmp/" + "x" * 200, "File name too long")):
            r = harness.run(LIVEROOM, "serve", "--listen", "127.0.0.1:0", "--control", path)
            self.assertEqual((r.returncode, r.stderr), (1, f"liveroom: control socket {path}: {why}\n"))

    def test_chat_is_read_in_order_after_what_was_seen(self):
        s = Server(self)
        for i in range(1, 4):
            self.assertEqual(s.post("/chat?room=a", b"word %d" % i)[:2],
                             (200, b'{"id":%d}\n' % i))
        self.assertEqual(s.get("/chat?room=a&after=1"), (200, b"2 word 2\n3 word 3\n"))
        self.assertEqual(s.get("/chat?room=b"), (200, b""))
        self.assertEqual(s.post("/chat?room=a", b"two\nlines")[0], 400)
        self.assertEqual(s.post("/chat?room=a", b"x" * 201)[0], 400)
        self.assertEqual(s.metric("live_chat_messages_total"), 3)

    def test_a_chat_reader_waits_for_the_next_word(self):
        s = Server(self)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            # Who is not woken would answer too, but after the client has given up.
            readers = [pool.submit(s.get, "/chat?room=a&wait=20", 12) for _ in range(5)]
            harness.wait_for(lambda: s.metric("live_connections") >= 6, "five readers")
            s.post("/chat?room=a", b"at last")
            self.assertEqual([r.result() for r in readers], [(200, b"1 at last\n")] * 5)

    def test_a_chat_reader_does_not_hold_a_drain(self):
        s = Server(self)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            reader = pool.submit(s.get, "/chat?room=a&wait=20", 60)
            harness.wait_for(lambda: s.metric("live_connections") >= 2, "the reader")
            s.process.send_signal(signal.SIGTERM)
            self.assertEqual(reader.result(), (200, b""))
        self.assertEqual(s.process.wait(30), 0)

    def test_who_chats_too_fast_is_told_to_wait(self):
        s = Server(self)
        answers = [s.post("/chat?room=a", b"x") for _ in range(30)]
        refused = [a for a in answers if a[0] == 429]
        self.assertGreater(len(refused), 0)
        self.assertEqual(refused[0][2]["Retry-After"], "1")
        self.assertEqual({a[0] for a in answers[:5]}, {200})
        self.assertEqual(s.metric("live_chat_refusals_total"), len(refused))

    def test_leaving_is_counted(self):
        s = Server(self)
        self.assertEqual(s.post("/leave?room=a", b"")[0], 200)
        self.assertEqual(s.get("/leave?room=a")[0], 405)
        self.assertEqual(s.metric("live_leaves_total"), 1)

    def test_requests_and_connections_beyond_their_bounds(self):
        s = Server(self, "--threads", "1", "--per-client", "3")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            reader = pool.submit(s.get, "/chat?room=a&wait=20", 60)
            harness.wait_for(lambda: s.metric("live_connections") >= 2, "the reader")
            harness.wait_for(lambda: s.get("/join")[0] == 503, "the bound of requests")
            self.assertEqual(s.get("/healthz")[0], 200)
            self.assertGreater(s.metric("live_refused_requests_total"), 0)
            idle = [socket.create_connection((s.host, int(s.port))) for _ in range(2)]
            harness.wait_for(lambda: s.get("/healthz")[0] == 429, "the bound of connections")
            for c in idle:
                c.close()
            harness.wait_for(lambda: s.get("/healthz")[0] == 200, "room for a connection")
            s.process.send_signal(signal.SIGTERM)
            reader.result()

    def test_the_runtime_shows_its_numbers(self):
        s = Server(self)
        self.assertGreater(s.metric("rt_coroutines"), 2)
        self.assertGreater(s.metric("rt_threads"), 0)
        self.assertGreater(s.metric("rt_procs"), 0)

    def test_the_collector_keeps_to_the_limit_that_it_was_given(self):
        s = Server(self, env={"RT_GOGC": "off", "RT_MEMLIMIT": "32MiB"})
        s.get("/join?room=a")
        harness.wait_for(lambda: s.metric("live_rooms") == 1, "looks at the memory limit")
        self.assertGreater(s.metric("rt_heap_goal_bytes"), 16 << 20)
        self.assertLess(s.metric("rt_heap_goal_bytes"), 32 << 20)

    def test_the_process_shows_its_memory_and_the_collectors_cpu(self):
        s = Server(self)
        with open(f"/proc/{s.process.pid}/statm", encoding="ascii") as f:
            resident = int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        self.assertAlmostEqual(s.metric("process_resident_memory_bytes") / resident, 1, delta=0.5)
        for name in ("assist", "mark", "pause"):
            self.assertGreaterEqual(s.metric(f'rt_gc_cpu_seconds_total{{class="{name}"}}'), 0)


@harness.patient
class Sessions(harness.Case):
    GONE = 410, b"the session has ended, join again\n"

    def counts(self, s):
        return tuple(int(s.metric(n)) for n in ("live_sessions", "live_sessions_finished_total",
                                                "live_sessions_expired_total"))

    def test_it_lasts_from_the_join_to_the_good_bye(self):
        s = Server(self)
        me, other = s.join(), s.join()
        self.assertNotEqual(me, other)
        self.assertEqual(self.counts(s), (2, 0, 0))
        for path in ("/segment?", "/chat?"):
            self.assertEqual(s.get(path + me)[0], 200)
        self.assertEqual(s.post("/chat?" + me, b"hello")[0], 200)
        self.assertEqual(s.post("/leave?" + me)[0], 200)
        self.assertEqual(self.counts(s), (1, 1, 0))
        for path in ("/segment?", "/chat?"):
            self.assertEqual(s.get(path + me), self.GONE)
            self.assertEqual(s.get(path + other)[0], 200)
        self.assertEqual(s.post("/chat?" + me, b"hello")[:2], self.GONE)
        self.assertEqual(s.post("/leave?" + me)[:2], self.GONE)
        self.assertEqual((self.counts(s), s.metric("live_leaves_total")), ((1, 1, 0), 1))

    def test_who_names_none_is_served_without(self):
        s = Server(self)
        self.assertEqual(s.get("/segment?room=a")[0], 200)
        self.assertEqual(s.get("/chat?room=a")[0], 200)
        self.assertEqual(s.post("/leave?room=a")[0], 200)
        self.assertEqual(self.counts(s), (0, 0, 0))

    def test_what_is_none_names_none(self):
        s = Server(self)
        name = next(n for n in iter(lambda: s.join().split("=")[-1], None) if n.upper() != n)
        for bad in ("", "0" * 16, name[:-1], name + "0", "+" + name[1:], name.upper(), name + "%00", "x" * 200):
            self.assertEqual(s.get("/segment?room=a&session=" + bad), self.GONE, bad)
        self.assertEqual(s.get(f"/segment?room=b&session={name}"), self.GONE)
        self.assertEqual(s.get(f"/segment?room=a&session={name}")[0], 200)

    def test_one_that_is_not_heard_of_ends(self):
        s = Server(self, "--session-idle", "5")
        idle, watching = s.join(), s.join()

        def idle_has_ended():
            self.assertEqual(s.get("/segment?" + watching)[0], 200)
            return self.counts(s) == (1, 1, 1)

        harness.wait_for(idle_has_ended, "the end of the idle session")
        self.assertEqual(s.get("/segment?" + idle), self.GONE)
        harness.wait_for(lambda: self.counts(s) == (0, 2, 2), "the end of the other one")

    def test_a_room_that_is_full_sends_away(self):
        s = Server(self, "--sessions", "2")
        first, _ = s.join(), s.join()
        with self.assertRaises(urllib.error.HTTPError) as full:
            urllib.request.urlopen(s.url + "/join?room=a")
        self.assertEqual((full.exception.code, full.exception.headers["Retry-After"]), (503, "1"))
        self.assertEqual(full.exception.read(), b"the room is full\n")
        self.assertEqual([s.metric(f"live_{n}_total") for n in ("session_refusals", "join_failures", "joins")],
                         [1, 1, 2])
        self.assertEqual(s.get("/join?room=b")[0], 200)
        s.post("/leave?" + first)
        self.assertEqual(s.get("/join?room=a")[0], 200)
        self.assertEqual(s.get("/join?room=a")[0], 503)

    def test_chat_goes_on_where_the_session_was(self):
        s = Server(self)
        me, other = s.join(), s.join()
        s.post("/chat?" + me, b"one")
        self.assertEqual(s.get("/chat?" + me), (200, b"1 one\n"))
        s.post("/chat?" + me, b"two")
        self.assertEqual(s.get("/chat?" + me), (200, b"2 two\n"))
        self.assertEqual(s.get("/chat?" + me), (200, b""))
        self.assertEqual(s.get("/chat?" + other), (200, b"1 one\n2 two\n"))
        self.assertEqual(s.get("/chat?after=0&" + me), (200, b"1 one\n2 two\n"))

    def test_those_that_stalled_are_told(self):
        s = Server(self)
        smooth, stalled = s.join(), s.join()
        s.get("/segment?" + smooth)
        s.get("/segment?stalled=2&" + stalled)
        self.assertEqual(s.metric("live_sessions_stalled_total"), 0)
        for session in (smooth, stalled):
            s.post("/leave?" + session)
        self.assertEqual(s.metric("live_sessions_stalled_total"), 1)

    def test_a_gateway_passes_the_name_on(self):
        room = Server(self, "--role", "room", "--sessions", "1")
        gateway = Server(self, "--role", "gateway", "--room", room.url)
        me = gateway.join()
        self.assertEqual(room.get("/segment?" + me)[0], 200)
        self.assertEqual(gateway.get("/join?room=a"), (503, b"no room server answers\n"))
        room.post("/leave?" + me)
        self.assertEqual(gateway.get("/join?room=a")[0], 200)

    def test_what_has_ended_is_collected(self):
        control = os.path.join(self.dir, "control")
        s = Server(self, "--debug", "0", "--control", control)
        debug = s.process.stdout.readline().split()[-1].split("/debug/")[0]

        def objects():
            """Sessions on the heap, by its page."""
            with urllib.request.urlopen(debug + "/debug/heap") as r:
                return int(re.search(r"^ *\d+ +\d+ +\d+ +(\d+) .* struct session$", r.read().decode(), re.M)[1])

        sessions = [s.join() for _ in range(60)]
        self.assertEqual(objects(), 60)
        for session in sessions[10:]:
            s.post("/leave?" + session)
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(control)
            c.sendall(b"gc-force tag=test lease_ms=60000 interval_us=10000\n")
            # A word left over on a stack may keep one, and only that one.
            harness.wait_for(lambda: objects() < 20, "most of the fifty to be collected")
            self.assertGreaterEqual(objects(), 10)
            for session in sessions[:10]:
                self.assertEqual(s.get("/segment?" + session)[0], 200)


@harness.patient
class BadRequests(harness.Case):
    def test_each_is_refused_and_the_server_lives(self):
        s = Server(self)
        rows = [
            (b"\0\0\0\0\r\n\r\n", b"400"),
            (b"POST /join HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", b"405"),
            (b"GET /join HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", b"413"),
            (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", b"505"),
            (b"GET /" + b"a" * 300 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
            (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 2000 + b"\r\n", b"431"),
            (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"501"),
            (b"x" * 100000, b"431"),
        ]
        for data, status in rows:
            self.assertTrue(s.raw(data).startswith(b"HTTP/1.1 " + status), data[:60])
        self.assertEqual(s.raw(b"GET / HT"), b"")
        self.assertEqual(s.raw(b""), b"")
        self.assertEqual(s.metric("live_refused_requests_total"), len(rows))

    def test_noise_does_not_crash_it(self):
        s = Server(self)
        noise = os.urandom(4096)
        for i in range(200):
            s.raw(noise[i:i + 37 + i * 7] + (b"\r\n\r\n" if i % 2 else b""))
        self.assertEqual(s.get("/healthz")[0], 200)

    def test_pipelined_requests_are_answered_in_order(self):
        s = Server(self)
        one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        text = s.raw(one + b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n" + one)
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", text), [b"200", b"404", b"200"])

    def test_head_has_no_body(self):
        s = Server(self)
        text = s.raw(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"Content-Length: 3\r\n", text)
        self.assertTrue(text.endswith(b"\r\n\r\n"))


@harness.patient
class Drain(harness.Case):
    def test_request_under_way_is_answered_and_idle_connections_close(self):
        s = Server(self)
        idle = socket.create_connection((s.host, int(s.port)))
        self.addCleanup(idle.close)
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"200", idle.recv(4096))
        half = socket.create_connection((s.host, int(s.port)))
        self.addCleanup(half.close)
        half.sendall(b"GET /readyz HTTP/1.1\r\nHo")
        harness.wait_for(lambda: s.metric("live_connections") >= 3, "three connections")
        s.process.send_signal(signal.SIGTERM)
        self.assertEqual(idle.recv(4096), b"")
        half.sendall(b"st: x\r\n\r\n")
        answer = b""
        while part := half.recv(4096):
            answer += part
        self.assertIn(b"503", answer)
        self.assertIn(b"Connection: close", answer)
        self.assertTrue(answer.endswith(b"draining\n"))
        self.assertEqual(s.process.wait(30), 0)
        with self.assertRaises(OSError):
            socket.create_connection((s.host, int(s.port)), timeout=5).close()

    def test_a_client_that_never_finishes_does_not_hold_it(self):
        s = Server(self)
        half = socket.create_connection((s.host, int(s.port)))
        self.addCleanup(half.close)
        half.sendall(b"GET /re")
        harness.wait_for(lambda: s.metric("live_connections") >= 2, "the connection")
        s.process.send_signal(signal.SIGTERM)
        self.assertEqual(s.process.wait(30), 1)

    @harness.alone
    def test_sigterm_under_load_fails_no_request_that_was_taken(self):
        s = Server(self)
        viewers = load_in_background(self, "--target", s.url, "--viewers", "50")
        harness.wait_for(lambda: s.metric("live_joins_total") > 5, "joins")
        s.process.send_signal(signal.SIGTERM)
        self.assertEqual(s.process.wait(30), 0)
        viewers.send_signal(signal.SIGTERM)
        self.assertEqual(viewers.wait(30), 0)


@harness.patient
class Roles(harness.Case):
    def setUp(self):
        super().setUp()
        self.store = Server(self, "--role", "store")
        self.room = Server(self, "--role", "room", "--store", self.store.url)

    def test_join_passes_through_to_the_room(self):
        gateway = Server(self, "--role", "gateway", "--room", self.room.url)
        self.assertEqual(gateway.get("/readyz")[0], 200)
        join = json.loads(gateway.get("/join?room=q")[1])
        self.assertEqual((join["url"], join["tries"]), (self.room.url, 1))
        status, body = self.room.get(f"/segment?room=q&seq={join['seq']}")
        self.assertEqual((status, body[:2]), (200, b"q/"))
        self.assertEqual(gateway.get("/segment?room=q")[0], 404)
        self.assertEqual(self.room.metric("live_joins_total"), 1)
        self.assertEqual(gateway.metric("live_joins_total"), 1)

    def test_readiness_follows_what_is_behind(self):
        gateway = Server(self, "--role", "gateway", "--room", self.room.url)
        self.store.process.kill()
        self.store.process.wait()
        self.assertEqual(self.room.get("/readyz"), (503, b"the store is not reachable\n"))
        self.assertEqual(self.room.get("/join?room=q")[0], 503)
        self.assertEqual(self.room.get("/healthz")[0], 200)
        self.room.process.kill()
        self.room.process.wait()
        self.assertEqual(gateway.get("/readyz"), (503, b"no room server is reachable\n"))
        self.assertEqual(gateway.get("/join?room=q"), (503, b"no room server answers\n"))

    def test_gateway_goes_on_to_another_address(self):
        # "localhost" has two addresses here, of which only one is served.
        gateway = Server(self, "--role", "gateway", "--room", f"http://localhost:{self.room.port}")
        if len(socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)) < 2:
            self.skipTest("localhost has one address; the lab's experiments cover this")
        tries = {json.loads(gateway.get("/join")[1])["tries"] for _ in range(4)}
        self.assertEqual(tries, {1, 2})
        self.assertGreater(gateway.metric("live_upstream_retries_total"), 0)

    def test_a_hung_room_is_given_up_within_its_time(self):
        self.room.process.send_signal(signal.SIGSTOP)
        self.addCleanup(self.room.process.send_signal, signal.SIGCONT)
        gateway = Server(self, "--role", "gateway", "--room", self.room.url)
        start = time.monotonic()
        self.assertEqual(gateway.get("/join", timeout=60)[0], 503)
        self.assertGreater(time.monotonic() - start, 1.5)

    def test_past_window_is_filled_and_bounded(self):
        room = Server(self, "--role", "room", "--store", self.store.url,
                      "--window", "50", "--cache-bytes", "600000")
        room.get("/join?room=w")
        harness.wait_for(lambda: room.metric("live_cache_bytes") >= 18 * 32768, "a full cache")
        self.assertLessEqual(room.metric("live_cache_bytes"), 600000)


class Load(harness.Case):
    def test_report_adds_up_with_the_server(self):
        s = Server(self)
        r = load("--target", s.url, "--viewers", "20", "--rate", "10", "--duration", "4", "--json")
        self.assertEqual(r.returncode, 0, r.stderr)
        seen = json.loads(r.stdout)
        self.assertEqual(seen["joins"]["failed"] + seen["segments"]["failed"], 0)
        self.assertEqual(seen["joins"]["done"], s.metric("live_joins_total"))
        self.assertGreaterEqual(seen["joins"]["done"], 20)
        self.assertGreater(seen["segments"]["done"], 0)
        self.assertEqual(seen["leaves"]["done"], s.metric("live_leaves_total"))
        self.assertGreater(seen["leaves"]["done"], 0)
        self.assertEqual(seen["leaves"]["done"], s.metric("live_sessions_finished_total"))
        self.assertEqual(seen["joins"]["done"] - seen["leaves"]["done"], s.metric("live_sessions"))
        self.assertEqual(seen["segments"]["done"], s.metric("live_cache_hits_total") +
                         s.metric("live_cache_misses_total"))
        self.assertGreaterEqual(seen["joins"]["p99_ns"], seen["joins"]["p50_ns"])

    def test_viewers_come_by_name_over_both_families(self):
        if os.geteuid() != 0:
            self.skipTest("names of one's own need root; the lab's experiments cover this")
        s = Server(self, listen="*:0")
        hosts = self.write("hosts", "127.0.0.1 both\n::1 both\n")
        r = harness.run("unshare", "-m", "sh", "-c", 'mount --bind "$1" /etc/hosts && shift && exec "$@"',
                        "sh", hosts, LIVEROOM, "load", "--target", f"http://both:{s.port}",
                        "--viewers", "20", "--rate", "10", "--duration", "4", "--json")
        seen = json.loads(r.stdout)
        self.assertGreaterEqual(seen["joins"]["done"], 20, r.stdout)
        self.assertGreater(seen["segments"]["done"], 0, r.stdout)
        self.assertEqual(seen["joins"]["failed"] + seen["segments"]["failed"], 0, r.stdout)

    def test_a_stopped_room_shows_as_stalls(self):
        s = Server(self)
        viewers = load_in_background(self, "--target", s.url, "--viewers", "10", "--rate", "2",
                                     "--timeout", "1", "--metrics-listen", "127.0.0.1:0")
        harness.wait_for(lambda: s.metric("live_segments_total") > 5, "segments")
        s.process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        s.process.send_signal(signal.SIGCONT)
        harness.wait_for(lambda: s.metric("live_stalls_total") > 0, "stalls told to the server")
        viewers.send_signal(signal.SIGTERM)
        seen = json.loads(viewers.communicate(timeout=30)[0])
        self.assertGreater(seen["stalls"], 0)

    def test_nobody_let_in_is_a_failure(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            r = load("--target", "http://127.0.0.1:%d" % s.getsockname()[1], "--viewers", "3",
                     "--duration", "2")
        self.assertEqual(r.returncode, 1)
        self.assertIn("0 done", r.stdout)


harness.main()
