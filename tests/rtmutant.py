"""rtmutant - builds of a program on the runtime in which some lines of the source read otherwise

A mutant that no test catches tells which test is missing.
"""
import glob
import os
import shutil
import subprocess
import tempfile

import harness

OBSERVABILITY = os.path.join(harness.BUILD, "runtime", "librt_obs.a")
RUNTIME = os.path.join(harness.BUILD, "runtime", "librt_objects.a.p")
COMPILE = ["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-g", "-fno-omit-frame-pointer",
           "-fstack-clash-protection", "-fno-reorder-functions",
           "-fno-reorder-blocks-and-partition", "-I", os.path.join(harness.SOURCE, "runtime"), "-c"]


def source(path):
    with open(os.path.join(harness.SOURCE, path), encoding="utf-8") as f:
        return f.read()


class Part:
    """Objects of the build, compiled from a directory, that become one whose text is in a section."""

    def __init__(self, directory, objects, section):
        self.directory, self.objects, self.section = directory, objects, section

    def objects_without(self, paths):
        """Of the build, but for those of the mutated files."""
        # Named after the path from the top, from the directory's parent, or from the directory itself.
        ends = [end for path in paths for end in
                (path.replace("/", "_") + ".o",
                 os.path.basename(self.directory) + "_" + os.path.basename(path) + ".o")]
        names = {os.path.basename(path) + ".o" for path in paths}
        return [o for o in glob.glob(os.path.join(self.objects, "*.o"))
                if not o.endswith(tuple(ends)) and os.path.basename(o) not in names]


RUNTIME_PART = Part("runtime", RUNTIME, "rt_text")


class Mutant:
    """A program of parts and of objects that stay what they are; an edit is (path, old, new[, times])."""

    def __init__(self, edits, objects, parts=(RUNTIME_PART,)):
        self.edits, self.objects, self.parts = edits, objects, parts
        self.dir = tempfile.mkdtemp(prefix="rt-mutant-")

    def __enter__(self):
        self.path = os.path.join(self.dir, "program")
        try:
            subprocess.run(["gcc", "-o", self.path, *self.objects, *map(self.part, self.parts),
                            "-Wl,--whole-archive", OBSERVABILITY, "-Wl,--no-whole-archive", "-Wl,-z,now",
                            "-pthread", "-lm", "-ldl", "-ldw", "-lelf", "-lz"], check=True)
        except BaseException:
            shutil.rmtree(self.dir)
            raise
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir)

    def part(self, part):
        edited = {path for path, *_ in self.edits if path.startswith(part.directory + "/")}
        objects = part.objects_without(edited) + [self.compile(path) for path in edited]
        out = os.path.join(self.dir, part.section + ".o")
        managed = os.path.join(harness.SOURCE, "runtime", "managed")
        subprocess.run([managed, part.section, out, *objects], check=True)
        return out

    def compile(self, path):
        text = source(path)
        for where, old, new, *times in self.edits:
            if where != path:
                continue
            if text.count(old) != (times[0] if times else 1):
                raise AssertionError(f"{path}: {old!r} is there {text.count(old)} times")
            text = text.replace(old, new)
        name = os.path.join(self.dir, os.path.basename(path))
        with open(name, "w", encoding="utf-8") as f:
            f.write(text)
        subprocess.run([*COMPILE, "-iquote",
                        os.path.dirname(os.path.join(harness.SOURCE, path)), "-o",
                        name + ".o", name], check=True)
        return name + ".o"

    def run(self, *args, timeout=60):
        """Exit code and output; a mutant that hangs is caught too."""
        try:
            r = subprocess.run([self.path, *args], capture_output=True, text=True, timeout=timeout,
                               check=False)
        except subprocess.TimeoutExpired:
            return "hangs", ""
        return r.returncode, r.stdout + r.stderr
