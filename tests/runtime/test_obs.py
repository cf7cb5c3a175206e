#!/usr/bin/python3
"""What the runtime tells of itself, read by others: go tool pprof, protoc, gdb, an XML parser.

One process (program_obs.c) has coroutines in known places and writes every page of /debug/.
"""
import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
import unittest
import xml.etree.ElementTree

import harness

# Leaked coroutines are what the program is for, and LSan does not know coroutines' stacks.
os.environ["ASAN_OPTIONS"] = "detect_leaks=0"
NO_SEARCH = "needs the garbage collector"  # of leaked coroutines, in sanitizers' builds
PROGRAM = os.path.join(harness.BUILD, "tests", "program_obs")
GDB_SCRIPT = os.path.join(harness.SOURCE, "runtime", "gdb", "rt-gdb.py")
SCHEMA = os.path.join(harness.SOURCE, "tests", "runtime", "perfetto.proto")
SCHED_LINE = re.compile(  # as Go 1.26 prints it
    r"^SCHED \d+ms: gomaxprocs=\d+ idleprocs=\d+ threads=\d+ spinningthreads=\d+ "
    r"needspinning=\d+ idlethreads=\d+ runqueue=\d+ \[ \d+( \d+)* \] schedticks=\[ (\d+ )+\]$", re.M)
DETAIL_LINES = [re.compile(text, re.M) for text in (
    r"^SCHED \d+ms: gomaxprocs=\d+ .* runqueue=\d+ gcwaiting=(true|false) nmidlelocked=\d+ "
    r"stopwait=\d+ sysmonwait=(true|false)$",
    r"^  P\d+: status=\d schedtick=\d+ syscalltick=\d+ m=(\d+|nil) runqsize=\d+ gfreecnt=\d+ "
    r"timerslen=\d+$",
    r"^  M\d+: p=(\d+|nil) curg=(\d+|nil) mallocing=\d+ throwing=\d+ preemptoff= locks=\d+ "
    r"dying=\d+ spinning=(true|false) blocked=(true|false) lockedg=nil$",
    r"^  G\d+: status=4\(chan receive\) m=nil lockedm=nil$")]


def output(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout


class Process:
    """program_obs on a folder of its own, ready; its stderr goes to a file."""

    def __init__(self, folder, **env):
        self.folder = folder
        self.err_path = os.path.join(folder, "stderr")
        with open(self.err_path, "wb") as err:
            self.proc = subprocess.Popen([PROGRAM, folder], stdin=subprocess.PIPE, text=True,
                                         stdout=subprocess.PIPE, stderr=err,
                                         env=dict(os.environ, **env))
        self.pages = {}
        for line in self.proc.stdout:
            if line == "ready\n":
                return
            name, status, kind = line.rstrip("\n").split(" ", 2)
            self.pages[name] = (int(status), kind)
        raise AssertionError("it ended early: " + self.stderr())

    def stderr(self):
        with open(self.err_path, encoding="utf-8") as f:
            return f.read()

    def wait_for_stderr(self, pattern, seconds=30):
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.stderr(), re.M):
            if time.monotonic() > deadline:
                raise AssertionError(f"no {pattern} in: {self.stderr()[-4000:]}")
            time.sleep(0.05)
        return self.stderr()

    def path(self, name):
        return os.path.join(self.folder, name)

    def text(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            return f.read()

    def end(self):
        self.proc.stdin.close()
        code = self.proc.wait(60)
        self.proc.stdout.close()
        return code

    def kill(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        self.proc.stdin.close()
        self.proc.stdout.close()


@contextlib.contextmanager
def running(**env):
    with tempfile.TemporaryDirectory() as folder:
        process = Process(folder, **env)
        try:
            yield process
        finally:
            process.kill()


def stacks(profile):
    """[(value, [function, ...])] as go tool pprof -traces shows them, the innermost first."""
    found = []
    for block in output("go", "tool", "pprof", "-traces", profile).split("-" * 11 + "+")[1:]:
        lines = [line for line in block.split("\n")[1:] if line.strip()]
        if lines:
            names = [re.sub(r" \(inline\)$", "", line[13:]) for line in lines]
            found.append((lines[0][:10].strip(), names))
    return found


def contains(names, *wanted):
    """Whether the wanted functions are next to each other, callers after callees."""
    return any(tuple(names[i:i + len(wanted)]) == wanted for i in range(len(names)))


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.process = Process(folder.name)
        cls.addClassCleanup(cls.process.kill)

    def raw(self, name):
        return output("go", "tool", "pprof", "-raw", self.process.path(name))

    def has_stack(self, profile, *functions):
        found = stacks(self.process.path(profile))
        self.assertTrue(any(contains(names, *functions) for _, names in found), found)

    def test_each_page_answers_with_its_type(self):
        binary, text = "application/octet-stream", "text/plain; charset=utf-8"
        leak = (501, text) if NO_SEARCH in self.process.text("leak") else (200, text)
        for name, answer in {
                "goroutine.pb.gz": (200, binary), "goroutine1.txt": (200, text),
                "cpu.pb.gz": (200, binary), "flame.svg": (200, "image/svg+xml"),
                "trace.pb": (200, binary), "sched.txt": (200, text), "cmdline": (200, text),
                "index.html": (200, "text/html; charset=utf-8"),
                "busy": (409, text), "leak": leak, "missing": (404, text),
                "wrong": (400, text)}.items():
            self.assertEqual(self.process.pages[name], answer, name)

    def test_index_links_every_page(self):
        links = re.findall(r'href="(/debug/[^?"]*)', self.process.text("index.html"))
        self.assertIn("/debug/pprof/goroutine", links)
        self.assertIn("/debug/sched", links)
        self.assertEqual(len(links), 15)

    def test_leak_page_names_who_nobody_can_wake(self):
        page = self.process.text("leak")
        if NO_SEARCH in page:
            self.skipTest("not under sanitizers; the plain build's leg has it")
        self.assertRegex(page, r"^goroutineleak profile: total 2\n")
        groups = re.findall(r"^(\d+) coroutines? \(one is \d+\), created at\n(\w+)", page, re.M)
        self.assertEqual({where for _, where in groups}, {"leak_pair"})
        self.assertEqual(sum(int(n) for n, _ in groups), 2)
        self.assertIn("leaked_partner", page)
        self.assertNotIn("parked_forever", page, "a global names their channel")

    def test_goroutine_profile_counts_equal_stacks(self):
        self.assertIn("goroutine/count", self.raw("goroutine.pb.gz"))
        found = stacks(self.process.path("goroutine.pb.gz"))
        parked = [n for n, names in found if contains(names, "rt_recv", "wait_for_nothing",
                                                      "parked_forever")]
        self.assertEqual(parked, ["7"], found)

    def test_goroutine_profile_sees_those_that_run_and_those_in_system_calls(self):
        self.has_stack("goroutine.pb.gz", "burn_cpu", "burner")
        self.has_stack("goroutine.pb.gz", "inlined_into_burner", "inlining_burner")
        self.has_stack("goroutine.pb.gz", "save_all", "everything")
        self.has_stack("goroutine.pb.gz", "read_what_never_comes", "blocked_reader")

    def test_pprof_top_has_functions_and_lines(self):
        top = output("go", "tool", "pprof", "-top", "-cum", "-lines",
                     self.process.path("goroutine.pb.gz"))
        self.assertRegex(top, r"wait_for_nothing \S*/program_obs\.c:\d+")
        self.assertNotIn("0x", top)

    def test_debug_1_is_gos_legacy_text(self):
        text = self.process.text("goroutine1.txt")
        self.assertRegex(text, r"\Agoroutine profile: total 1[0-9]\n7 @( 0x[0-9a-f]+)+\n#\t0x")
        self.assertRegex(text, r"\n#\t0x[0-9a-f]+\twait_for_nothing\+0x[0-9a-f]+\t+/\S+program_obs\.c:\d+\n")
        total = int(text.split("total ")[1].split()[0])
        self.assertEqual(sum(int(n) for n in re.findall(r"^(\d+) @", text, re.M)), total)

    def test_debug_1_is_read_by_pprof(self):
        raw = self.raw("goroutine1.txt")
        self.assertIn("goroutine/count", raw)

    def test_debug_2_is_gos_panic_text(self):
        blocks = self.process.text("goroutine2.txt").strip().split("\n\n")
        for block in blocks:
            self.assertRegex(block, r"\Agoroutine \d+ \[[^\]]+\]:")
        parked = [b for b in blocks if "parked_forever(...)" in b]
        self.assertEqual(len(parked), 7)
        self.assertRegex(parked[0], r"\Agoroutine \d+ \[chan receive\]:\nrt_recv\(\.\.\.\)\n"
                                    r"\t/\S+chan\.c:\d+ \+0x[0-9a-f]+\nwait_for_nothing\(\.\.\.\)")
        self.assertRegex(parked[0], r"created by everything in goroutine 1\n"
                                    r"\t\S+program_obs\.c:\d+ \+0x[0-9a-f]+\Z")

    def test_threadcreate_counts_threads(self):
        text = self.process.text("threadcreate1.txt")
        self.assertRegex(text, r"\Athreadcreate profile: total \d+\n")
        self.assertGreaterEqual(int(text.split("total ")[1].split()[0]), 3)
        self.assertIn("threadcreate/count", self.raw("threadcreate.pb.gz"))

    def test_cpu_profile_says_who_burned_it(self):
        raw = self.raw("cpu.pb.gz")
        self.assertIn("samples/count cpu/nanoseconds", raw)
        self.assertIn("Period: 10000000", raw)
        samples = [(int(n), int(ns)) for n, ns in re.findall(r"^ +(\d+) +(\d+): ", raw, re.M)]
        self.assertGreater(sum(n for n, _ in samples), 20)
        self.assertTrue(all(ns == n * 10000000 for n, ns in samples))
        self.has_stack("cpu.pb.gz", "burn_cpu", "burner")
        self.has_stack("cpu.pb.gz", "inlined_into_burner", "inlining_burner")

    def test_block_profile_says_where_and_how_long(self):
        self.assertIn("contentions/count delay/nanoseconds", self.raw("block.pb.gz"))
        self.has_stack("block.pb.gz", "rt_lock", "hold_the_mutex", "contender")
        text = self.process.text("block1.txt")
        self.assertRegex(text, r"\A--- contention:\ncycles/second=1000000000\n\d+ \d+ @ 0x")
        # Three take turns of 5 ms, five times each: the last waits at least 5 ms a turn.
        delay = sum(int(ns) for ns in re.findall(r"^(\d+) \d+ @", text, re.M))
        self.assertGreater(delay, 15 * 5e6)

    def test_mutex_profile_says_who_made_others_wait(self):
        self.assertIn("contentions/count delay/nanoseconds", self.raw("mutex.pb.gz"))
        self.has_stack("mutex.pb.gz", "rt_unlock", "hold_the_mutex", "contender")
        self.assertIn("--- mutex:\ncycles/second=1000000000\nsampling period=1\n",
                      self.process.text("mutex1.txt"))

    def test_mappings_carry_build_ids(self):
        build_id = re.search(r"Build ID: ([0-9a-f]+)", output("readelf", "-n", PROGRAM)).group(1)
        self.assertRegex(self.raw("cpu.pb.gz"), rf"program_obs {build_id}")

    def test_flame_graph_is_an_svg_of_the_samples(self):
        root = xml.etree.ElementTree.fromstring(self.process.text("flame.svg"))
        titles = [t.text for t in root.iter("{http://www.w3.org/2000/svg}title")]
        self.assertTrue(any(t.startswith("burn_cpu (") for t in titles), titles)
        self.assertRegex(titles[0], r"all \(\d+ samples, 100.00%\)")
        for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
            if rect.get("x"):
                self.assertLessEqual(float(rect.get("x")) + float(rect.get("width")), 1191)

    def trace(self):
        with open(self.process.path("trace.pb"), "rb") as f:
            return subprocess.run(["protoc", f"--proto_path={os.path.dirname(SCHEMA)}",
                                   "--decode=Trace", SCHEMA], stdin=f, stdout=subprocess.PIPE,
                                  text=True, check=True).stdout

    def test_trace_follows_perfettos_schema(self):
        text = self.trace()
        self.assertEqual(re.findall(r"^ *\d+[: ].*", text, re.M), [], "fields unknown to the schema")
        for name in ("P0", "P1", "stop the world", "program_obs"):
            self.assertIn(f'name: "{name}"', text)

    def test_trace_slices_open_and_close_in_order(self):
        open_slices, times, named = {}, [], 0
        for packet in re.split(r"^packet \{", self.trace(), flags=re.M)[1:]:
            kind = re.search(r"type: (TYPE_\w+)", packet)
            if not kind:
                continue
            times.append(int(re.search(r"^  timestamp: (\d+)", packet, re.M).group(1)))
            track = re.search(r"track_uuid: (\d+)", packet).group(1)
            step = {"TYPE_SLICE_BEGIN": 1, "TYPE_SLICE_END": -1}.get(kind.group(1), 0)
            open_slices[track] = open_slices.get(track, 0) + step
            self.assertIn(open_slices[track], (0, 1) if int(track) >= 16 else (0, 1, 2), packet)
            named += 'name: "burner ' in packet
        self.assertGreater(named, 0, "slices carry the names of what coroutines began in")
        self.assertEqual(times, sorted(times))
        self.assertEqual({t: n for t, n in open_slices.items() if n}, {})

    def test_sched_page_shows_states(self):
        text = self.process.text("sched.txt")
        self.assertRegex(text, r"chan receive +9\n")
        self.assertRegex(text, r"goroutine profile +n=3 p50=[0-9.]+ p99=")
        self.assertIn("CPU samples 0, waits 0, mutex contentions 0\n", text)
        for pattern in DETAIL_LINES:
            self.assertRegex(text, pattern)


class Live(unittest.TestCase):
    def test_sigquit_dumps_every_coroutine_and_the_process_goes_on(self):
        with running() as p:
            p.proc.send_signal(signal.SIGQUIT)
            text = p.wait_for_stderr(r"system_caller\(\.\.\.\)")
            self.assertEqual(len(re.findall(r'^coroutine \d+ "parked <&>" \[chan receive, [0-9.]+ s\]:$',
                                            text, re.M)), 7)
            self.assertRegex(text, r"created by everything in coroutine 1 at \S+program_obs\.c:\d+\n")
            self.assertRegex(text, r"(?s)burn_cpu\(\.\.\.\).*?burner\(\.\.\.\)")
            self.assertEqual(p.end(), 0)

    def test_schedtrace_lines_are_gos(self):
        with running(RT_DEBUG="schedtrace=100") as p:
            p.wait_for_stderr(SCHED_LINE.pattern)
            self.assertEqual(p.end(), 0)
            lines = p.stderr().splitlines()
        self.assertGreater(len(lines), 10)
        self.assertEqual([line for line in lines if not SCHED_LINE.match(line)], [])

    def test_scheddetail_lines_are_gos(self):
        with running(RT_DEBUG="schedtrace=200,scheddetail=1") as p:
            for pattern in DETAIL_LINES:
                p.wait_for_stderr(pattern.pattern)

    def test_leak_watch_tells_of_growth_with_its_creation_site(self):
        with running(LEAK="1", RT_DEBUG="leakwatch=200,leakwindow=3600") as p:
            text = p.wait_for_stderr(r"^LEAKWATCH \d+ coroutines more than ")
            text = p.wait_for_stderr(r"^and now at")
        groups = re.findall(r"^(\d+) coroutines? \(one is \d+\), created at\n(\w+)\(\.\.\.\)\n", text,
                            re.M)
        self.assertEqual(groups[0][1], "leak_some", "the largest group comes first")
        # It may be told while they are still being started; some others grew the number too.
        self.assertGreater(sum(int(n) for n, where in groups if where == "leak_some"), 100)

    def test_leak_watch_tells_what_is_leaked_for_sure(self):
        """Of those that leak_some made a global knows the channel, of those of lose_some nobody."""
        with running(LEAK="1", LOSE="1", RT_DEBUG="leakwatch=500,leakwindow=3600") as p:
            text = p.wait_for_stderr(r"^LEAKSEARCH .*\n\n")
            if NO_SEARCH in text:
                self.skipTest(f"{NO_SEARCH}; the plain build covers it")
            self.assertEqual(p.end(), 0)
        before, after = text.split("LEAKSEARCH ")
        self.assertNotIn(", leaked", before, "the growth alone proves nothing")
        found, grown, more = re.match(r"(\d+) of (\d+) are leaked: nobody can wake them(.*)\n", after).groups()
        self.assertGreaterEqual(int(grown), 600)
        self.assertEqual(more, "; the others may be needed")
        of = self.leaked_of(after)
        self.assertNotIn("serve_posts", of, "who searches is not meant")
        self.assertEqual(of["leak_some"], (300, 0))
        self.assertEqual(of["lose_some"][0], 300)
        # A word that is left over somewhere hides a leak, but it hides one.
        self.assertGreater(of["lose_some"][1], 250)
        self.assertEqual(sum(leaked for _, leaked in of.values()), int(found))

    def leaked_of(self, text):
        """By where they were created: how many there are, and how many of them are leaked."""
        of = {}
        for n, leaked, where in re.findall(r"^(\d+) coroutines? \(one is \d+\)(|, leaked|, \d+ of them leaked), "
                                           r"created at\n(\w+)", text, re.M):
            before = of.get(where, (0, 0))
            leaked = n if leaked == ", leaked" else re.sub(r"\D", "", leaked) or 0
            of[where] = (before[0] + int(n), before[1] + int(leaked))
        return of

    def test_leak_watch_claims_nothing_of_what_may_be_woken(self):
        with running(LEAK="1", RT_DEBUG="leakwatch=200,leakwindow=3600") as p:
            text = p.wait_for_stderr(r"^LEAKSEARCH .*\n\n")
        if NO_SEARCH not in text:
            of = self.leaked_of(text.split("LEAKSEARCH ")[1])
            self.assertEqual({where for where, (_, leaked) in of.items() if leaked} - {"leak_pair"}, set(),
                             "the pair is what the program leaks always")
            # Without any the groups are not told again.
            self.assertEqual(of.get("leak_some", (300, 0)), (300, 0))

    def test_leak_watch_is_silent_without_growth(self):
        with running(RT_DEBUG="leakwatch=200,leakwindow=3600") as p:
            self.assertEqual(p.end(), 0)
            self.assertEqual(p.stderr(), "")

    def test_gdb_lists_and_backtraces_coroutines(self):
        with running() as p:
            text = output("gdb", "-nx", "-batch", "-p", str(p.proc.pid), "-x", GDB_SCRIPT,
                          "-ex", "info coroutines", "-ex", "coroutine 3 bt",
                          "-ex", "coroutine 99999 bt", "-ex", "detach")
            self.assertEqual(len(re.findall(r'^ +\d+ "parked <&>" \[chan recv\] wait_for_nothing at '
                                            r'\S+program_obs\.c:\d+, created by everything at ',
                                            text, re.M)), 7, text)
            backtrace = text[text.index("coroutine 3 "):]
            self.assertRegex(backtrace, r"(?s)#\d+ .*rt_recv .*#\d+ .*wait_for_nothing .*"
                                        r"#\d+ .*parked_forever .*#\d+ .*co_entry ")
            self.assertEqual(p.end(), 0, "it goes on with its own registers")


if __name__ == "__main__":
    harness.main()
