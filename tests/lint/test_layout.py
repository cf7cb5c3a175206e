#!/usr/bin/python3
"""The runtime's hot structs have no holes, as pahole sees them.

Room before a member with an alignment of its own is there on purpose (a cache line that nobody
shares), and so is the rest of a struct's last unit. pahole 1.24 does not know _Atomic, and counts a
member of it as of any size: the headers are compiled without the word, which changes no layout (the
offsets are compared with the real ones).
"""
import os
import re
import subprocess
import tempfile
import unittest

import harness

PATIENT = True

HEADERS = ["runtime/sched/sched.h", "runtime/mem/mark.h"]
HOT = {  # and a few members, by which the layout without _Atomic is compared with the real one
    "block": ["kind", "next", "sampled", "mark"],
    "run": ["end", "n_cut"],
    "cache": ["tiny", "shaded"],
    "p": ["tail", "ring", "cache"],
    "rt_co": ["state", "searched", "ticket", "stack_class"],
    "m": ["locks", "held_context", "exited"],
    "marker": ["candidates", "found", "at_object"],
}


VARIABLES = "".join(f"struct {name} {name}_;\n" for name in HOT)


def compile_c(folder, text, *flags):
    path = os.path.join(folder, "hot.c")
    with open(path, "w", encoding="utf-8") as f:
        f.write("".join(f'#include "{header}"\n' for header in HEADERS) + text)
    out = os.path.join(folder, "hot.o")
    subprocess.run(["cc", "-std=gnu11", "-g", "-c", "-I", harness.SOURCE, *flags, "-o", out, path],
                   check=True, timeout=120)
    return out


def layout(binary, struct):
    return subprocess.run(["pahole", "-C", struct, binary], check=True, timeout=120, text=True,
                          stdout=subprocess.PIPE).stdout


def holes(text):
    """(size, the member behind it) of each hole, but for those before an own alignment."""
    found = re.findall(r"/\* X{3} (\d+) bytes? hole.*\n(?:\s*/\* ---.*\n|\s*\n)*(.*);", text)
    return [(int(size), " ".join(member.split())) for size, member in found
            if "__aligned__" not in member]


class Layout(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def test_hot_structs_have_no_holes(self):
        binary = compile_c(self.folder, VARIABLES, "-D_Atomic=")
        for name in HOT:
            text = layout(binary, name)
            self.assertIn(f"struct {name} {{", text)
            self.assertEqual(holes(text), [], f"struct {name}:\n{text}")

    def test_layout_without_atomic_is_the_real_one(self):
        binary = compile_c(self.folder, VARIABLES, "-D_Atomic=")
        checks = ""
        for name, members in HOT.items():
            text = layout(binary, name)
            for member in members:
                at = re.search(rf"\b{member}\b[^;/]*; */\* +(\d+) ", text).group(1)
                checks += f'_Static_assert(offsetof(struct {name}, {member}) == {at}, "{name}.{member}");\n'
            size = re.search(r"/\* size: (\d+)", text).group(1)
            checks += f'_Static_assert(sizeof(struct {name}) == {size}, "{name}");\n'
        compile_c(self.folder, checks)

    def test_a_hole_is_seen(self):
        text = "struct holed { char a; long b; char c; _Alignas(64) long d; char e; };\nstruct holed holed_;\n"
        found = holes(layout(compile_c(self.folder, text, "-D_Atomic="), "holed"))
        self.assertEqual(found, [(7, "long int b")])


if __name__ == "__main__":
    harness.main()
