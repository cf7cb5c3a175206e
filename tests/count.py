"""count.py STATUS SECONDS LOGS... - what the suites took, what failed, how many tests passed; the exit code
   count.py --failed JUNIT.xml    - names of the programs that failed, to run once more

LOGS is a build's meson-logs folder. Beside each ROUND.junit.xml in it there may be a
ROUND-again.junit.xml: what was run once more, alone, takes the place of its first result. A program
that died or hung without a verdict counts as one failure. It is in ROUND.json, which tells of programs
what ROUND.junit.xml tells of their tests; meson's own exit status, STATUS, is the last witness.
"""
import collections
import glob
import json
import os
import sys
import xml.etree.ElementTree as ET

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


def final_results(folder):
    """Of each round of a build, {program: outcomes}, the second run of a program instead of the first."""
    for path in glob.glob(f"{folder}/*.junit.xml"):
        if path.endswith(AGAIN):
            continue
        results = programs(path)
        again = path.replace(".junit.xml", AGAIN)
        if os.path.exists(again):
            # A name of one suite may also run a program of another.
            results.update({k: v for k, v in programs(again).items() if k in results})
        yield results


def total(status, folders):
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for folder in folders:
        for results in final_results(folder):
            for program, tests in results.items():
                if "failed" in tests:
                    print(f"failed: {program.split(' / ')[-1]} ({build_of(folder)})")
                for verdict in tests:
                    count[verdict] += 1
    if status and not count["failed"]:
        count["failed"] = 1
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
    print_times(int(sys.argv[2]), sys.argv[3:])
    sys.exit(total(int(sys.argv[1]), sys.argv[3:]))
