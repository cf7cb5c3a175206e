"""harness - integration tests as unittest cases, reported in TAP

A test file imports this module, defines unittest.TestCase classes and ends with harness.main().
A skip names the leg that covers the same thing: self.skipTest("no netem here; lab leg covers it").
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import xml.etree.ElementTree as ET

BRUNT = os.environ.get("BRUNT", "build/brunt")
BUILD = os.environ.get("BUILD_DIR", "build")
SOURCE = os.environ.get("SOURCE_DIR", os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class TapResult(unittest.TestResult):
    """Prints one TAP line a test as it ends, with the failure's text as diagnostics."""

    def _line(self, verdict, test, note=""):
        name = test.id().replace("__main__.", "").replace("#", "")
        print(f"{verdict} {self.testsRun} - {name}{note}", flush=True)

    def addSuccess(self, test):
        self._line("ok", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line("ok", test, f" # SKIP {reason}")

    def _fail(self, test, err):
        self._line("not ok", test)
        for line in self._exc_info_to_string(err, test).splitlines():
            print("# " + line, flush=True)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._fail(test, err)

    def addSubTest(self, test, subtest, err):
        """A test whose part failed has no verdict of its own from unittest."""
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._fail(subtest, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._fail(test, err)


def patient(test):
    """Marks a class or a test that waits most of its time, and whose figures leave room.

    PATIENT_JOBS of a file's patient tests run beside each other, each group in a process of its own
    (what they name by os.getpid() is theirs); then the other tests run, one at a time. A file with a
    line PATIENT = True is patient altogether, and may run beside other programs too (tests/run).
    """
    test.patient = True
    return test


def alone(test):
    """Marks a test of a patient class that measures finely or wants the whole machine."""
    test.patient = False
    return test


PATIENT_JOBS = 3
IN_LAB = os.uname().nodename == "uml"  # inside User Mode Linux (tests/lab/uml.py)


def main():
    """Runs the tests of the calling file (or those named on the command line).

    The file's LEGS ("host", "lab", "host lab"; host when absent) says on which kernels it means
    something; elsewhere it runs no test.
    """
    loader = unittest.defaultTestLoader
    module = sys.modules["__main__"]
    if ("lab" if IN_LAB else "host") not in getattr(module, "LEGS", "host").split():
        print("1..0 # SKIP the lab leg covers it")
        sys.exit(0)
    names = sys.argv[1:]
    suite = loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
    print("TAP version 13")
    print(f"1..{suite.countTestCases()}", flush=True)
    result = TapResult()
    tests = list(flat(suite))
    beside = [] if names else [t for t in tests if is_patient(t)]
    passed = run_beside(beside, result) if beside else True
    unittest.TestSuite(t for t in tests if t not in beside).run(result)
    sys.exit(0 if result.wasSuccessful() and passed else 1)


def flat(suite):
    for test in suite:
        yield from flat(test) if isinstance(test, unittest.TestSuite) else [test]


def is_patient(test):
    method = getattr(test, test._testMethodName)
    default = getattr(sys.modules["__main__"], "PATIENT", False)
    return getattr(method, "patient", getattr(test, "patient", default))


def run_beside(tests, result):
    """Runs tests in PATIENT_JOBS processes and relays what they report; true when all passed."""
    deal = [tests[i::PATIENT_JOBS] for i in range(min(PATIENT_JOBS, len(tests)))]
    lock, outcomes = threading.Lock(), []

    def work(hand):
        names = [t.id().replace("__main__.", "") for t in hand]
        with subprocess.Popen([sys.executable, sys.argv[0], *names], stdout=subprocess.PIPE,
                              text=True) as proc:
            reported = relay_tap(proc.stdout, lock, result)
        with lock:
            if proc.returncode and not reported["not ok"]:
                result.testsRun += 1
                print(f"not ok {result.testsRun} - {names[0]} and beside it: exit {proc.returncode}")
            outcomes.append(proc.returncode == 0)

    threads = [threading.Thread(target=work, args=(hand,)) for hand in deal]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return all(outcomes)


def relay_tap(lines, lock, result):
    """Prints another process's verdicts under the next numbers of our own, each with its text."""
    count = {"ok": 0, "not ok": 0}
    verdict, block = None, []

    def flush():
        """The number is given as the line is printed: TAP wants them in order."""
        with lock:
            if verdict:
                result.testsRun += 1
                print(f"{verdict[1]} {result.testsRun} - {verdict[2]}")
            print("".join(block), end="", flush=True)

    for line in lines:
        found = re.match(r"(ok|not ok) \d+ - (.*)", line)
        if found:
            flush()
            verdict, block = found, []
            count[found[1]] += 1
        elif not re.match(r"TAP version|1\.\.", line):
            block.append(line)
    flush()
    return count


def wait_for(condition, what, timeout=60.0):
    """Polls until condition() is true; its value is returned. Fails after a generous deadline."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:.0f} s in vain for {what}")
        time.sleep(0.02)


def run(*args, **kw):
    """A command with its output captured as text; never raises on the exit code."""
    kw.setdefault("timeout", 120)
    return subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)


class Case(unittest.TestCase):
    """A test with a state directory of its own; self.brunt(...) runs the binary with it."""

    maxDiff = None

    def setUp(self):
        self._tmp = tempfile.TemporaryDirectory(prefix="brunt-test-")
        self.addCleanup(self._tmp.cleanup)
        self.dir = self._tmp.name
        # A machine of its own, as far as runs know of each other: tests run beside each other.
        self.env = dict(os.environ, BRUNT_STATE_DIR=os.path.join(self.dir, "state"),
                        BRUNT_RUN_DIR=os.path.join(self.dir, "machine"),
                        PATH=f"{BUILD}:{os.environ['PATH']}")

    def brunt(self, *args, **kw):
        kw.setdefault("env", self.env)
        return run(BRUNT, *args, **kw)

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def junit(self, path):
        """The root of a JUnit file, of the one form that all of ours have (lib/report.c)."""
        subprocess.run(["xmllint", "--noout", path], check=True)
        root = ET.parse(path).getroot()
        self.assertEqual(root.tag, "testsuites")
        for suite in root:
            self.assertEqual(suite.tag, "testsuite")
            cases = suite.findall("testcase")
            self.assertEqual(int(suite.get("tests")), len(cases))
            for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
                self.assertEqual(int(suite.get(count)), sum(c.find(tag) is not None for c in cases))
            self.assertRegex(suite.get("timestamp"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
            for case in cases:
                self.assertTrue(case.get("classname") and case.get("name"))
        return root

    def json(self, path):
        with open(path, encoding="utf-8") as f:
            return json.load(f)
