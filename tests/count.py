"""count.py STATUS JUNIT.xml... - the suites' last line, and its exit code
   count.py --failed JUNIT.xml  - names of the programs that failed, to run once more

Beside each testlog.junit.xml there may be an again.junit.xml: what was run once more, alone, takes
the place of its first result. A program that died without a verdict counts as one failure: meson's
own exit status is the second witness.
"""
import os
import sys
import xml.etree.ElementTree as ET


def outcome(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def programs(path):
    """{program: [outcome of each of its tests]}"""
    return {suite.get("name"): [outcome(c) for c in suite.iter("testcase")]
            for suite in ET.parse(path).getroot().iter("testsuite")}


def failed(path):
    bad = [name for name, tests in programs(path).items() if "failed" in tests]
    print(" ".join(sorted({name.split(" / ")[-1] for name in bad})))


def total(status, paths):
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for path in paths:
        results = programs(path)
        again = os.path.join(os.path.dirname(path), "again.junit.xml")
        if os.path.exists(again):
            results.update(programs(again))
        for tests in results.values():
            for verdict in tests:
                count[verdict] += 1
    if status and not count["failed"]:
        count["failed"] = 1
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**count))
    return 1 if count["failed"] or not count["passed"] else 0


if sys.argv[1] == "--failed":
    failed(sys.argv[2])
else:
    sys.exit(total(int(sys.argv[1]), sys.argv[2:]))
