"""count.py STATUS SECONDS LEFT LOGS... - what the suites took, what failed and why, how many tests passed
   count.py --failed JUNIT.xml         - names of the programs that failed, to run once more

LOGS is a build's meson-logs folder. Beside each ROUND.junit.xml in it there may be a
ROUND-again.junit.xml: what was run once more, alone, takes the place of its first result, and is shown as
flaky when it passed then. A program that died or hung without a verdict counts as one failure. It is in
ROUND.json, which tells of programs what ROUND.junit.xml tells of their tests; meson's own exit status,
STATUS, is the last witness. LEFT is a file with a line for each thing that the suite left on the machine
(leftovers.py): each is a failure.
"""
import collections
import glob
import json
import os
import sys
import xml.etree.ElementTree as ET

import why

AGAIN = "-again.junit.xml"
BAD = {"FAIL", "ERROR", "TIMEOUT", "INTERRUPT", "UNEXPECTEDPASS"}


def outcome(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def runs(path):
    """What meson tells of each program."""
    with open(path.replace(".junit.xml", ".json"), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def programs(path):
    """{program: [outcome of each of its tests]}"""
    found = collections.defaultdict(list)
    for suite in ET.parse(path).getroot().iter("testsuite"):
        program = suite.get("name").partition(".")[2]
        for case in suite.iter("testcase"):
            # A program that told of no test is one of its project's.
            found[program or case.get("name")].append(outcome(case))
    for run in runs(path):
        if run["result"] in BAD and "failed" not in found[run["name"]]:
            found[run["name"]].append("failed")
    return found


def failed(path):
    bad = [name for name, tests in programs(path).items() if "failed" in tests]
    print(" ".join(sorted({name.split(" / ")[-1] for name in bad})))


def rounds(folder):
    """Of each round of a build, ({program: outcomes}, {program: outcomes} of those that ran again, {program: its
    last run}, {program: its first run})."""
    for path in sorted(glob.glob(f"{folder}/*.junit.xml")):
        if path.endswith(AGAIN):
            continue
        first, again = programs(path), {}
        said = {run["name"]: run for run in runs(path)}
        said_last = dict(said)
        if os.path.exists(path.replace(".junit.xml", AGAIN)):
            # A name of one suite may also run a program of another.
            second = path.replace(".junit.xml", AGAIN)
            again = {k: v for k, v in programs(second).items() if k in first}
            said_last.update({run["name"]: run for run in runs(second)})
        yield first, again, said, said_last


def show(word, program, folder, lines):
    name = f"{program.split(' / ')[-1]} ({build_of(folder)})"
    print(f"{word}: {name}" + (f": {lines[0]}" if len(lines) == 1 else ""))
    for line in lines if len(lines) > 1 else []:
        print("    " + line)


def flaky(folder, first, again, said):
    """Shows the programs that failed and passed when they ran again; how many they are."""
    names = [k for k, tests in again.items() if "failed" in first[k] and "failed" not in tests]
    for program in names:
        show("flaky", program, folder, [why.in_a_line(said[program])] if program in said else [])
        for line in why.explain(said[program]) if program in said else []:
            print("    " + line)
    return len(names)


def left_behind(path):
    """Shows what the suite left on the machine; how many things they are."""
    with open(path, encoding="utf-8") as f:
        lines = f.read().splitlines()
    for line in lines:
        print(f"failed: the end of the suite: wanted a machine as before, seen {line}")
    return len(lines)


def total(status, left, folders):
    count = {"passed": 0, "failed": 0, "skipped": 0}
    n_flaky = 0
    results = [(folder, *r) for folder in folders for r in rounds(folder)]
    for folder, first, again, said, _ in results:
        n_flaky += flaky(folder, first, again, said)
    if n_flaky:
        print(f"{n_flaky} flaky: failed once, and passed when run again, alone")
    for folder, first, again, _, said in results:
        for program, tests in {**first, **again}.items():
            if "failed" in tests:
                show("failed", program, folder, why.explain(said[program]) if program in said else [])
            for verdict in tests:
                count[verdict] += 1
    count["failed"] += left_behind(left)
    if status and not count["failed"]:
        count["failed"] = 1
        print(f"failed: meson or a build: wanted exit code 0, seen {status}; see the lines above the times")
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**count))
    return 1 if count["failed"] or not count["passed"] else 0


def build_of(folder):
    return os.path.basename(os.path.dirname(os.path.abspath(folder)))


def durations(folder):
    """(suite, program, seconds) of every program of a build that ran."""
    for path in glob.glob(f"{folder}/*.junit.xml"):
        for run in runs(path):
            suites, program = run["name"].split(" / ")
            yield f"{build_of(folder)} {suites.split(':')[1].split('+')[0]}", program, run["duration"]


def print_times(seconds, folders):
    rows = [row for folder in folders for row in durations(folder)]
    suites = collections.Counter()
    for suite, _, took in rows:
        suites[suite] += took
    print(f"{seconds} s altogether; a suite's programs, some of which ran beside each other, took")
    for suite, took in suites.most_common():
        print(f"  {took:6.1f} s  {suite}")
    print("the slowest ten programs:")
    for suite, program, took in sorted(rows, key=lambda r: -r[2])[:10]:
        print(f"  {took:6.1f} s  {program} ({suite})")


if sys.argv[1] == "--failed":
    failed(sys.argv[2])
else:
    print_times(int(sys.argv[2]), sys.argv[4:])
    sys.exit(total(int(sys.argv[1]), sys.argv[3], sys.argv[4:]))
