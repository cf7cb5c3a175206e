"""why - what a program of the suite said about its failure, from meson's record of its run

A run is a line of a round's JSON file: stdout (TAP), stderr, result, returncode, duration.
"""
import re
import signal

VERDICT = re.compile(r"^(ok|not ok)\b *\d* *-? *(.*)$")
NO_DIAGNOSTIC = re.compile(r"^(TAP version|\d+\.\.\d+|# not ok - |# (ok|fail|pass|skip)\b)")
LINES = 14  # of one test
STDERR_LINES = 6
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:")


def short(lines, most=LINES):
    """The begin and the end of a long text."""
    if len(lines) <= most:
        return lines
    head = most // 2
    return lines[:head] + [f"... {len(lines) - most} lines ..."] + lines[head - most:]


def without_callers(lines):
    """A traceback's innermost frame and its error; the frames that led there stay in the log."""
    frames = [i for i, line in enumerate(lines) if line.startswith('  File "')]
    return lines[frames[-1]:] if frames and lines[0].startswith("Traceback") else lines


def failed_tests(stdout):
    """[(test, lines)] of each "not ok": its diagnostics stand behind it, or before it since the last verdict."""
    found, pending, failing = [], [], None
    for line in stdout.splitlines():
        verdict = VERDICT.match(line)
        if verdict:
            if verdict[1] == "ok":
                failing = None
            elif "# SKIP" not in line:
                failing = (verdict[2] or "a test without a name", pending if failing is None else [])
                found.append(failing)
            pending = []
        elif line.strip() and not NO_DIAGNOSTIC.match(line):
            text = re.sub(r"^# ?", "", line)
            (failing[1] if failing else pending).append(text)
    return [(name, short(without_callers(lines))) for name, lines in found]


def last_words(text):
    """What a program said last on stderr; of a sanitizer's report, its begin."""
    lines = [line for line in text.splitlines() if line.strip()]
    for i, line in enumerate(lines):
        if SANITIZER.search(line):
            return lines[i:i + LINES]
    return lines[-STDERR_LINES:]


def end_of(run):
    """How the program ended when no test of it tells."""
    verdicts = [line for line in run.get("stdout", "").splitlines() if VERDICT.match(line)]
    after = f"after \"{verdicts[-1]}\"" if verdicts else "before its first verdict"
    code = run.get("returncode", 0)
    if run["result"] == "TIMEOUT":
        return f"wanted an end within its time limit, seen none in {run['duration']:.0f} s; it hung {after}"
    if code < 0:
        return f"wanted exit code 0, seen its death by {signal_name(-code)} {after}"
    if code:
        return f"wanted exit code 0, seen {code} {after}"
    return f"wanted a plan and a verdict for each test of it, seen {run['result']} {after}"


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def explain(run):
    """Lines for a reader who has nothing else: each failed test with what it wanted and what it saw."""
    tests = failed_tests(run.get("stdout", ""))
    lines = []
    for name, said in tests:
        lines.append(name)
        lines += ["  " + line for line in said]
    if not tests or run["result"] == "TIMEOUT" or run.get("returncode", 0) < 0:
        lines.append(end_of(run))
    said = last_words(run.get("stderr", ""))
    return lines + ["  stderr: " + line for line in said]


def in_a_line(run):
    """The same as one line: the first failed test and its last word, which is where an error's text stands."""
    tests = failed_tests(run.get("stdout", ""))
    if not tests:
        return end_of(run)
    name, said = tests[0]
    return f"{name}: {said[-1].strip()}" if said else name
