#!/usr/bin/python3
"""The house's own rules: who may include whom, the shape of files, words that must not stay."""
import os
import re
import subprocess
import unittest

import harness

PATIENT = True

# Who may include whom (ARCHITECTURE.md). A stage may include earlier stages; only the engine
# and the guard, which acts for it when it is gone, see all of them.
STAGES = ["experiment", "plan", "journal", "inject", "observe", "recover", "verdict", "report"]
FOUNDATIONS = {"kernel": {"base"}, "client": {"base", "kernel"}, "base": set()}
FAMILIES = {
    "fault": {"kernel", "client", "base", "target"},
    "target": {"kernel", "client", "base", "lab"},
    "slo": {"kernel", "client", "base", "target"},
    "lab": {"kernel", "client", "base"},
}
# What cmd sees of a family: its registry and the types that the records name.
FRONT_HEADERS = {
    "lib/lab/lab.h", "lib/fault/driver.h", "lib/fault/capability.h", "lib/slo/slo.h",
    "lib/slo/objective.h", "lib/target/target.h", "lib/target/selector.h", "lib/kernel/broker.h",
    "lib/kernel/sandbox.h",
}
FUNCTION_LIMIT = 100
FILE_LIMIT = 700
COLUMN_LIMIT = 110  # 100 is the aim; a string that is grepped for is not split


def tracked(*suffixes):
    out = subprocess.run(["git", "-C", harness.SOURCE, "ls-files", "-co", "--exclude-standard"],
                         capture_output=True, text=True, check=True).stdout.split("\n")
    return [f for f in out
            if f.endswith(suffixes) and os.path.exists(os.path.join(harness.SOURCE, f))]


def text_of(path):
    with open(os.path.join(harness.SOURCE, path), encoding="utf-8") as f:
        return f.read()


def lines_of(path):
    return enumerate(text_of(path).split("\n"), 1)


def includes(path):
    """Project headers that a file includes, as paths from the root."""
    for name in re.findall(r'^#include "([^"]+)"', text_of(path), re.M):
        for base in (os.path.dirname(path), "lib"):
            full = os.path.normpath(os.path.join(base, name))
            if os.path.exists(os.path.join(harness.SOURCE, full)):
                yield full
                break


def place(path):
    """("stage", name) for a top-level file of lib, (folder, file) below lib, (top, "") elsewhere."""
    parts = path.split("/")
    if parts[0] == "lib" and len(parts) == 2:
        return "stage", re.split(r"[_.]", parts[1])[0]
    if parts[0] == "lib":
        return parts[1], parts[-1]
    return "/".join(parts[:2]) if len(parts) > 2 else parts[0], ""


def include_error(path, header):
    src, name = place(path)
    dst, dst_name = place(header)
    if src.startswith("tests"):
        return None
    if src == "stage" and dst == "stage" and name in STAGES and dst_name in STAGES:
        return "a stage includes a later stage" if STAGES.index(dst_name) > STAGES.index(name) else None
    if dst == src:
        return None
    if src == "cmd/liveroom" and header == "tests/preempt/preempt.h":
        return None  # the harness is a verb of liveroom
    if src == "cmd/liveroom" or src.startswith("runtime"):
        return None if dst.startswith("runtime") else "the victim shares no code with lib"
    if src == "cmd/brunt":
        return None if dst in ("stage", "base") or header in FRONT_HEADERS else \
            "cmd includes stage headers, families' front headers and base only"
    if src in FOUNDATIONS:
        return None if dst in FOUNDATIONS[src] else f"{src} may include {FOUNDATIONS[src] or 'nothing'}"
    if src in FAMILIES:
        return None if dst in FAMILIES[src] else f"{src} may include {sorted(FAMILIES[src])}"
    return None


class House(unittest.TestCase):
    maxDiff = None

    def test_includes_follow_the_architecture(self):
        bad = [f"{p}: {h}: {why}" for p in tracked(".c", ".h") for h in includes(p)
               if (why := include_error(p, h))]
        self.assertEqual(bad, [])

    def test_the_include_rule_can_fail(self):
        self.assertTrue(include_error("lib/base/err.c", "lib/engine.h"))
        self.assertTrue(include_error("lib/plan.c", "lib/verdict.h"))
        self.assertTrue(include_error("cmd/liveroom/main.c", "lib/base/err.h"))
        self.assertTrue(include_error("lib/kernel/tc.c", "lib/fault/driver.h"))
        self.assertTrue(include_error("cmd/brunt/main.c", "lib/kernel/nl.h"))

    def test_files_hold_one_idea(self):
        bad = [f"{p}: {n} lines" for p in tracked(".c", ".h", ".py")
               if (n := text_of(p).count("\n")) > FILE_LIMIT]
        self.assertEqual(bad, [])

    def test_functions_fit_a_screen_or_two(self):
        bad = []
        for p in tracked(".c"):
            start = None
            for i, line in lines_of(p):
                if line == "{":
                    start = i
                elif line == "}" and start:
                    if i - start > FUNCTION_LIMIT:
                        bad.append(f"{p}:{start}: {i - start} lines")
                    start = None
        self.assertEqual(bad, [])

    def test_lines_are_tabbed_and_short(self):
        bad = [f"{p}:{i}" for p in tracked(".c", ".h") for i, line in lines_of(p)
               if len(line.expandtabs(8)) > COLUMN_LIMIT or line != line.rstrip()
               or line.startswith("        ")]
        self.assertEqual(bad, [])

    def test_nothing_confesses_to_be_unfinished(self):
        words = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK|not imple" r"mented|st" r"ub)\b")
        bad = [f"{p}:{i}" for p in tracked(".c", ".h", ".py", ".sh", ".build", ".def")
               for i, line in lines_of(p) if words.search(line)]
        self.assertEqual(bad, [])

    def test_the_library_is_quiet(self):
        loud = re.compile(r"(^|[^a-z_])(v?printf|puts|perror|fprintf\s*\(\s*std(out|err))\s*[(,]")
        bad = [f"{p}:{i}" for p in tracked(".c") if p.startswith("lib/")
               for i, line in lines_of(p) if loud.search(line)]
        self.assertEqual(bad, [])

    def test_tables_are_sorted(self):
        for name in ("lib/fault/drivers.def", "lib/target/sources.def", "lib/slo/indicators.def",
                     "cmd/brunt/roles.def"):
            rows = re.findall(r"^[A-Z]+\((.*)\)", text_of(name), re.M)
            self.assertEqual(rows, sorted(rows), name)

    def test_every_header_states_its_contract(self):
        bad = [p for p in tracked(".h")
               if p.startswith(("lib/", "cmd/")) and "/*" not in text_of(p)[:40]]
        self.assertEqual(bad, [])


if __name__ == "__main__":
    harness.main()
