#!/usr/bin/python3
"""Loops of managed code have a poll, or a reason in polls.allow why not."""
import fnmatch
import glob
import os
import subprocess
import tempfile
import unittest

import harness
import polls

ALLOW = os.path.join(harness.SOURCE, "tests", "lint", "polls.allow")
PROGRAM = r"""
#include "rt.h"
extern volatile long n;
void foreign(void);
void bare(void) { while (n) foreign(); }
void one_way_only(void) { while (n) { foreign(); if (n > 3) RT_POLL(); } }
void switched(void) { for (;;) switch (n) { case 0: foreign(); break; case 1: n = 3; break;
	case 2: n++; break; case 3: n = 7; break; case 4: n--; break; case 5: return; } }
void no_safepoint(void) { while (n) rt_now(); }
void polled(void) { while (n) { foreign(); RT_POLL(); } }
void called(void) { while (n) rt_yield(); }
static __attribute__((noinline)) void polls_always(void) { foreign(); RT_POLL(); }
void by_callee(void) { while (n) polls_always(); }
void straight(void) { if (n) foreign(); }
"""


def managed_objects():
    """Ours: the peers' toolchains, which make bench unpacks below the build, hold objects as well."""
    found = glob.glob(os.path.join(harness.BUILD, "**", "*.o"), recursive=True)
    for path in sorted(f for f in found if ".p/" not in f and "/go-toolchain/" not in f):
        sections = subprocess.run(["objdump", "-h", path], capture_output=True, text=True, check=True)
        if " rt_managed " in sections.stdout:
            yield path


def allowed():
    with open(ALLOW, encoding="utf-8") as f:
        rows = [line.split(None, 2) for line in f if line.strip() and not line.startswith("#")]
    for row in rows:
        if len(row) != 3 or len(row[2].split()) < 2:
            raise AssertionError(f"{ALLOW}: {row} has no reason")
    return [tuple(row[:2]) for row in rows]


class Polls(unittest.TestCase):
    def test_what_it_finds(self):
        with tempfile.TemporaryDirectory() as tmp:
            for options in ([], ["-fPIC"], ["-O1"], ["-fno-jump-tables"]):
                source, plain = os.path.join(tmp, "p.c"), os.path.join(tmp, "p.o")
                out = os.path.join(tmp, "managed.o")
                with open(source, "w", encoding="utf-8") as f:
                    f.write(PROGRAM)
                runtime = os.path.join(harness.SOURCE, "runtime")
                subprocess.run(["gcc", "-O2", "-fno-reorder-blocks-and-partition", *options, "-I", runtime,
                                "-c", "-o", plain, source], check=True)
                subprocess.run([os.path.join(runtime, "managed"), "rt_managed", out, plain], check=True)
                self.assertEqual(polls.without_poll(out),
                                 ["bare", "no_safepoint", "one_way_only", "switched"], options)

    def test_the_managed_objects(self):
        objects = list(managed_objects())
        self.assertTrue({"liveroom.o", "rt_preempt_managed.o"} <= {os.path.basename(o) for o in objects})
        rows, used, bad = allowed(), set(), []
        for path in objects:
            for name in polls.without_poll(path):
                row = next((r for r in rows if fnmatch.fnmatch(os.path.basename(path), r[0]) and
                            fnmatch.fnmatch(name, r[1])), None)
                used.add(row)
                if row is None:
                    bad.append(f"{os.path.relpath(path, harness.BUILD)}: {name} loops without a poll: add "
                               f"RT_POLL(), or a line with the reason to {os.path.basename(ALLOW)}")
        self.assertEqual(bad, [])
        self.assertEqual([r for r in rows if r not in used], [], "lines that nothing needs any more")


if __name__ == "__main__":
    harness.main()
