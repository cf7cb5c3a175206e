#!/usr/bin/python3
"""A plain build on a machine that has only the packages of the set `build` (packaging/debian-packages).

The machine is this one, seen through a PATH and a pkg-config of those packages and of what they depend on,
found as dpkg tells: what a test or a benchmark needs is not there. The leg in a fresh Debian (.ci/run) does
the same with nothing installed.
"""
import json
import os
import re
import subprocess
import unittest

import harness

PATIENT = True


def named_sets():
    """{set of packaging/debian-packages: its own words}"""
    with open(os.path.join(harness.SOURCE, "packaging", "debian-packages"), encoding="utf-8") as f:
        return {name: words.split() for name, words in re.findall(r'^(\w+)="([^"]+)"', f.read(), re.M)}


def names_in(relations):
    """Every package that a Depends line names, alternatives too."""
    return re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]+)", relations)


def closure(wanted):
    """Installed packages that the wanted ones or an essential one bring along."""
    rows = subprocess.run(
        ["dpkg-query", "-W", "-f",
         "${Package}\t${Essential}\t${Provides}\t${Pre-Depends}, ${Depends}\t${db:Status-Status}\n"],
        check=True, capture_output=True, text=True).stdout.splitlines()
    needs, provided, todo = {}, {}, list(wanted)
    for package, essential, provides, depends, status in (row.split("\t") for row in rows):
        if status != "installed":
            continue
        needs[package] = names_in(depends)
        for name in [package, *names_in(provides)]:
            provided.setdefault(name, []).append(package)
        if essential == "yes":
            todo.append(package)
    found = set()
    while todo:
        for package in provided.get(todo.pop(), []):
            if package not in found:
                found.add(package)
                todo += needs[package]
    return found


def without_flags():
    """This environment, but for what the make that runs the suite was told."""
    return {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MESON_FLAGS", "MAKEOVERRIDES")}


class Minimal:
    """The environment of the machine without what tests need, in a folder."""

    def __init__(self, folder):
        self.bin, self.pc = os.path.join(folder, "bin"), os.path.join(folder, "pc")
        os.mkdir(self.bin)
        os.mkdir(self.pc)
        files = subprocess.run(["dpkg-query", "-L", *sorted(closure([*named_sets()["build"], "make", "git"]))],
                               check=True, capture_output=True, text=True).stdout.splitlines()
        owned = {os.path.realpath(path) for path in files if re.search(r"/bin/|/sbin/|\.pc$|/lib/", path)}
        for place in ("/usr/bin", "/usr/sbin"):
            for name in os.listdir(place):  # with the links of update-alternatives
                if os.path.realpath(os.path.join(place, name)) in owned:
                    self.link(os.path.join(place, name), self.bin)
        for path in files:
            if path.endswith(".pc"):
                self.link(path, self.pc)
        self.env = dict(without_flags(), PATH=self.bin, PKG_CONFIG_LIBDIR=self.pc)

    @staticmethod
    def link(path, folder):
        if not os.path.lexists(os.path.join(folder, os.path.basename(path))):
            os.symlink(path, os.path.join(folder, os.path.basename(path)))


class PlainBuild(harness.Case):
    def setUp(self):
        super().setUp()
        self.minimal = Minimal(self.dir)
        self.build = os.path.join(self.dir, "build")

    def configure(self, *options, env=None):
        return harness.run("make", "-C", harness.SOURCE, "configure", f"BUILD={self.build}", *options,
                           env=env or self.minimal.env, timeout=300)

    def targets(self):
        r = harness.run("meson", "introspect", "--targets", self.build)
        return {target["name"] for target in json.loads(r.stdout)}

    def assert_done(self, result):
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_what_tests_need_decides_about_tests_alone(self):
        self.assert_done(self.configure())
        plain = self.targets()
        self.assertLessEqual({"brunt", "liveroom", "brunt.1"}, plain)
        self.assertNotIn("test_units", plain)

        # make test never goes on without them, however often it is tried.
        for _ in range(2):
            refused = self.configure("TESTS=enabled")
            self.assertNotEqual(refused.returncode, 0)
            self.assertRegex(refused.stderr, "cmocka|bdw-gc|valgrind")

        # And has them as soon as the packages are there, in the folder of the plain build.
        self.assert_done(self.configure("TESTS=enabled", env=without_flags()))
        self.assertLessEqual({"test_units", "graph_boehm"}, self.targets())
        self.assert_done(self.configure())
        self.assertIn("test_units", self.targets())

    def test_what_is_missing_for_the_build_is_named(self):
        os.remove(os.path.join(self.minimal.pc, "yaml-0.1.pc"))
        r = self.configure()
        self.assertNotEqual(r.returncode, 0)
        self.assertIn("yaml-0.1", r.stderr)
        self.assertIn("meson.build:", r.stderr)


if __name__ == "__main__":
    harness.main()
