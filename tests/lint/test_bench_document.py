#!/usr/bin/python3
"""tests/bench/markdown.py: a run of some rows leaves the others of the document as they were measured."""
import os
import sys
import tempfile
import unittest

import harness

PATIENT = True

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "bench"))
import markdown  # pylint: disable=wrong-import-position


def row(name, ours, **more):
    return {"name": name, "ours": ours, "unit": "ns", "peer": 2.0, "peer_name": "Go", "ratio": ours / 2,
            "goal": "<= 1", "ok": ours <= 2, **more}


def wide(name, ours):
    return row(name, ours, columns={"ours": {"p50": ours, "p99": 9.0}, "peer": {"p50": 3.0, "p99": 8.0}})


class Document(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "performance.md")

    def lines(self):
        with open(self.path, encoding="utf-8") as f:
            return [line.strip("| \n").split(" | ")[:2] for line in f if line.startswith("| ")]

    def test_a_row_is_replaced_and_the_others_stay(self):
        markdown.write(self.path, [row("a.x", 1.0), row("a.y", 1.0), row("b.x", 1.0)])
        with open(self.path, encoding="utf-8") as f:
            text = f.read()
        with open(self.path, "w", encoding="utf-8") as f:
            f.write(text.replace(text[text.index("\n2") + 1:][:10], "2001-02-03"))
        markdown.write(self.path, [row("a.z", 3.0), row("a.x", 4.0)])
        figures = [line for line in self.lines() if line[0] not in ("row", "---")]
        self.assertEqual(figures, [["a.x", "4 ns"], ["a.y", "1 ns"], ["a.z", "3 ns"], ["b.x", "1 ns"]])
        with open(self.path, encoding="utf-8") as f:
            days = {line[2:5]: line.rstrip("| \n")[-10:] for line in f if line.startswith("| a")}
        self.assertEqual(days["a.y"], "2001-02-03")
        self.assertNotEqual(days["a.x"], "2001-02-03")

    def test_figures_of_two_sides_are_replaced_together(self):
        markdown.write(self.path, [wide("a.x", 1.0), wide("a.y", 1.0)])
        markdown.write(self.path, [wide("a.y", 5.0)])
        markdown.write(self.path, [row("a.z", 1.0)])
        with open(self.path, encoding="utf-8") as f:
            both = [line.strip("| \n").split(" | ")[:3] for line in f
                    if line.split(" | ")[1:2] in (["ours"], ["Go"])]
        self.assertEqual([line for line in both if line[0] != "row"],
                         [["a.x", "ours", "1"], ["a.x", "Go", "3"], ["a.y", "ours", "5"], ["a.y", "Go", "3"]])
        self.assertEqual([name for name, *_ in self.lines()].count("a.x"), 3)


harness.main()
