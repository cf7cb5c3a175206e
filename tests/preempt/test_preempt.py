#!/usr/bin/python3
"""rt-preempt passes, and its reports say what they should (test_mutants.py: that it can fail)."""
import os
import re

import harness
from rt_preempt_case import RT_PREEMPT, RtPreemptCase, objectives, source

MODES = ("all", "cooperative", "page", "signal")
# every instruction is reached
STRAIGHT = ("avx", "direction-flag", "flags", "heap-register", "heap-vector", "red-zone", "sse", "x87")


def lines_expected():
    """{"kernel/action"}: those that collect are for kernels that allocate."""
    kernels = re.findall(r'^\t{"([\w-]+)", \w+, \w+, (\w+)},$', source("kernels.c"), re.M)
    actions = re.findall(r'^\t{"([\w-]+)", \d, \w+, \w+, (\w+),$', source("actions.c"), re.M)
    assert len(kernels) >= 19 and len(actions) >= 8
    return {f"{k}/{a}" for k, allocates in kernels for a, collects in actions
            if allocates == "true" or collects == "false"}


def instructions_of(function):
    text = harness.run("objdump", "-d", "--no-show-raw-insn", f"--disassemble={function}", RT_PREEMPT).stdout
    body = re.search(rf"<{function}>:\n(.*?)(\n\n|$)", text, re.S).group(1)
    return len(re.findall(r"^\s+[0-9a-f]+:", body, re.M))


class RtPreempt(RtPreemptCase):
    def test_every_instruction(self):
        lines = self.report("exhaustive")
        self.assertEqual(set(lines), lines_expected())
        self.assertIn("heap-move/mark-away", lines)
        for name, line in lines.items():
            self.assertGreater(line["instructions"], 40, name)
            self.assertGreaterEqual(line["passes"],
                                    line["instructions"] + line["foreign_instructions"], name)
        for kernel in ("libc", "syscall", "errno"):
            self.assertGreater(lines[f"{kernel}/stop"]["foreign_instructions"], 20, kernel)
        for kernel in STRAIGHT:
            there = instructions_of("kernel_" + {"direction-flag": "direction"}.get(kernel, kernel)
                                    .replace("-", "_"))
            for name in lines:
                if name.startswith(kernel + "/"):
                    self.assertEqual(lines[name]["addresses"], there, name)

    def test_every_cell(self):
        self.assertEqual(len(objectives()), len(source("slo.def").split("\nSLO(")) - 1)
        self.check_cells(self.report("matrix", "--stops", "100"), objectives())

    def test_soak(self):
        lines = self.report("random", "--seconds", "6", "--seed", str(os.getpid()))
        self.assertEqual(set(lines), {f"soak/{mode}" for mode in MODES})
        for name, line in lines.items():
            for count in ("turns", "asks", "stops", "proc_changes"):
                self.assertGreater(line[count], 0, f"{name}: {count}")

    def test_usage_and_unknown_names(self):
        for args in ((), ("matrix", "--only", "nothing"), ("matrix", "--fault", "flood"), ("dance",)):
            self.assertEqual(harness.run(RT_PREEMPT, *args).returncode, 2, args)


class Verb(harness.Case):
    """The same of the runtime as liveroom was linked with it."""

    def preempt(self, *args):
        return harness.run(os.path.join(harness.BUILD, "liveroom"), "preempt", *args)

    def test_exhaustive(self):
        args = "exhaustive", "--only", "red-zone"
        r, own = self.preempt(*args), harness.run(RT_PREEMPT, *args)
        self.assertEqual(r.returncode, 0, r.stdout)
        actions = re.findall(r"^ok +red-zone/(\S+)", r.stdout, re.M)
        self.assertGreater(len(actions), 3)
        self.assertEqual(actions, re.findall(r"^ok +red-zone/(\S+)", own.stdout, re.M))

    def test_signals_reach_it(self):
        r = self.preempt("random", "--mode", "signal", "--seconds", "1")
        self.assertEqual(r.returncode, 0, r.stdout)
        self.assertRegex(r.stdout, r"^ok +soak/signal .* [1-9]\d* stops")

    def test_usage_names_the_verb(self):
        self.assertTrue(self.preempt("--help").stdout.startswith("usage: liveroom preempt matrix|"))
        r = self.preempt("matrix", "--only", "nothing")
        self.assertEqual((r.returncode, r.stderr), (2, "liveroom preempt: nothing is named so\n"))


if __name__ == "__main__":
    harness.main()
