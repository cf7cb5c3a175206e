#!/usr/bin/python3
"""The preemption harness can fail: each mutant of the runtime or of a workload is caught by it."""
import glob
import os
import shutil
import subprocess
import tempfile
import unittest

import harness

OBJECTS = {"runtime": os.path.join(harness.BUILD, "runtime", "librt_objects.a.p"),
           "tests/preempt": os.path.join(harness.BUILD, "tests", "librt_preempt_managed.a.p")}
SECTION = {"runtime": "rt_text", "tests/preempt": "rt_managed"}
PREEMPT_S = "runtime/sched/preempt_x86_64.S"
COMPILE = ["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-g", "-fno-omit-frame-pointer",
           "-fstack-clash-protection", "-fno-reorder-functions", "-fno-reorder-blocks-and-partition",
           "-I", os.path.join(harness.SOURCE, "runtime"), "-c"]


def source(path):
    with open(os.path.join(harness.SOURCE, path), encoding="utf-8") as f:
        return f.read()


class Mutant:
    """A build of rt-preempt in which some lines of the source read otherwise."""

    def __init__(self, *edits):
        self.edits = edits
        self.dir = tempfile.mkdtemp(prefix="rt-mutant-")

    def __enter__(self):
        parts = {part: self.part(part) for part in OBJECTS}
        self.path = os.path.join(self.dir, "rt-preempt")
        harness_objects = glob.glob(os.path.join(harness.BUILD, "tests", "rt-preempt.p", "*.o"))
        subprocess.run(["gcc", "-o", self.path, *harness_objects, *parts.values(), "-Wl,-z,now",
                        "-pthread", "-lm", "-ldl"], check=True)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir)

    def part(self, part):
        """The relocatable object of the runtime or of the kernels, with its mutated files."""
        edited = {path for path, _, _ in self.edits if path.startswith(part + "/")}
        objects = glob.glob(os.path.join(OBJECTS[part], "*.o"))
        for path in edited:
            objects = [o for o in objects if not o.endswith(path.replace("/", "_") + ".o") and
                       not o.endswith("preempt_" + os.path.basename(path) + ".o")]
            objects.append(self.compile(path))
        out = os.path.join(self.dir, SECTION[part] + ".o")
        subprocess.run([os.path.join(harness.SOURCE, "runtime", "managed"), SECTION[part], out, *objects],
                       check=True)
        return out

    def compile(self, path):
        text = source(path)
        for where, old, new in self.edits:
            if where != path:
                continue
            if text.count(old) != 1:
                raise AssertionError(f"{path}: {old!r} is there {text.count(old)} times, not once")
            text = text.replace(old, new)
        name = os.path.join(self.dir, os.path.basename(path))
        with open(name, "w", encoding="utf-8") as f:
            f.write(text)
        subprocess.run([*COMPILE, "-iquote",
                        os.path.dirname(os.path.join(harness.SOURCE, path)), "-o",
                        name + ".o", name], check=True)
        return name + ".o"

    def run(self, *args):
        """Exit code and output; a mutant that hangs is caught too."""
        try:
            r = subprocess.run([self.path, *args], capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            return "hangs", ""
        return r.returncode, r.stdout + r.stderr


class Mutants(unittest.TestCase):
    def caught(self, edits, *args):
        with Mutant(*edits) as m:
            code, text = m.run(*args)
        self.assertNotEqual(code, 0, text)

    def test_unchanged_passes(self):
        with Mutant() as m:
            code, text = m.run("exhaustive")
        self.assertEqual(code, 0, text)

    def test_register_not_saved(self):
        self.caught([(PREEMPT_S, "\tpopq\t%r11\n", "\taddq\t$8, %rsp\n")], "exhaustive", "--only", "flags")

    def test_flags_not_saved(self):
        self.caught([(PREEMPT_S, "\tpopfq\n", "\taddq\t$8, %rsp\n")], "exhaustive", "--only", "flags")

    def test_upper_vector_halves_not_saved(self):
        self.caught([("runtime/sched/preempt.c", "XSAVE_WANTED = 0xe7,", "XSAVE_WANTED = 0x3,")],
                    "exhaustive", "--only", "avx")

    def test_x87_not_saved(self):
        self.caught([("runtime/sched/preempt.c", "XSAVE_WANTED = 0xe7,", "XSAVE_WANTED = 0xe6,")],
                    "exhaustive", "--only", "x87")

    def test_red_zone_clobbered(self):
        self.caught([("runtime/sched/preempt.c", "sp -= 128 + 8;", "sp -= 8;"),
                     (PREEMPT_S, "\tret\t$128\n", "\tret\n")], "exhaustive", "--only", "red-zone")

    def test_direction_flag_left_set(self):
        self.caught([(PREEMPT_S, "\tcld\n", "")], "exhaustive", "--only", "direction-flag")

    def test_errno_of_the_handler_s_own_calls_left(self):
        self.caught([("runtime/sched/signal.c", "context, false);\n\terrno = saved;",
                      "context, false);\n\terrno = EAGAIN;")],
                    "matrix", "--only", "errno-in-flight", "--mode", "signal")

    def test_poll_removed(self):
        self.caught([("tests/preempt/workloads.c", "\t\tx = mix(x);\n\t\tRT_POLL();\n", "\t\tx = mix(x);\n")],
                    "matrix", "--only", "loop-with-polls", "--mode", "cooperative", "--stops", "20")


if __name__ == "__main__":
    harness.main()
