#!/usr/bin/python3
"""validate, explain and new as a user meets them."""
import json
import os

import harness

PATIENT = True

EXPERIMENT = """\
apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {name: %s}
spec:
  timeline: {baseline: 1s, fault: 2s, recovery: 1s}
  slos:
    - name: join
      indicator: {http: {url: "http://gateway:8080/join", rate: 500/s}}
      objectives: [p99 <= 1.2s]
"""


class Validate(harness.Case):
    def test_valid_file_is_named(self):
        path = self.write("a.yaml", EXPERIMENT % "one")
        r = self.brunt("validate", path)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        self.assertEqual(r.stdout, f"{path}: Experiment one is valid: 0 faults, 1 SLO\n")

    def test_what_the_window_cannot_show_is_said_beforehand(self):
        path = self.write("a.yaml", (EXPERIMENT % "one").replace("500/s", "50/s"))
        r = self.brunt("validate", path)
        self.assertEqual(r.returncode, 0)
        text = ('join: p99 needs 1000 samples and will get about 100 in the fault window: "p99 <= 1.2s" cannot '
                'pass; make that window 20.0 s long, or take 500 samples a second instead of 50')
        self.assertEqual(r.stderr, f"{path}: warning: {text}\n")
        r = self.brunt("validate", "-o", "json", path)
        self.assertEqual(json.loads(r.stdout)["resources"][0]["warnings"], [text])

    def test_quiet_says_nothing_of_valid_files(self):
        r = self.brunt("validate", "-q", self.write("a.yaml", EXPERIMENT % "one"))
        self.assertEqual((r.returncode, r.stdout, r.stderr), (0, "", ""))

    def test_all_errors_of_all_files_and_exit_code_2(self):
        a = self.write("a.yaml", (EXPERIMENT % "one").replace("p99", "p999x"))
        b = self.write("b.yaml", (EXPERIMENT % "two").replace("timeline", "timelin"))
        r = self.brunt("validate", a, b)
        self.assertEqual((r.returncode, r.stdout), (2, ""))
        lines = r.stderr.splitlines()
        self.assertTrue(lines[0].startswith(f"{a}:9:20: spec.slos[0].objectives[0]: "), lines)
        self.assertEqual(lines[1:], [
            f'{b}:5:3: spec.timelin: unknown field (did you mean "timeline"?)',
            "2 errors; nothing was accepted"])

    def test_stdin_and_f(self):
        r = self.brunt("validate", "-f", "-", input=EXPERIMENT % "one")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn("<stdin>: Experiment one is valid", r.stdout)

    def test_directory(self):
        os.mkdir(os.path.join(self.dir, "d"))
        self.write("d/b.yml", EXPERIMENT % "two")
        self.write("d/a.yaml", EXPERIMENT % "one")
        r = self.brunt("validate", os.path.join(self.dir, "d"))
        self.assertEqual([line.split()[2] for line in r.stdout.splitlines()], ["one", "two"])

    def test_json(self):
        good = self.write("a.yaml", EXPERIMENT % "one")
        r = self.brunt("validate", "-o", "json", good)
        self.assertEqual(json.loads(r.stdout), {
            "valid": True, "errors": [], "warnings": [],
            "resources": [{"file": good, "kind": "Experiment", "name": "one", "faults": [], "slos": 1,
                           "warnings": []}]})
        bad = self.write("b.yaml", "kind: Experimnt\napiVersion: v1\nmetadata: {name: x}\nspec: {}\n")
        r = self.brunt("validate", "-o", "json", bad)
        self.assertEqual(r.returncode, 2)
        self.assertEqual(json.loads(r.stdout)["errors"], [{
            "file": bad, "line": 1, "column": 7, "path": "kind",
            "text": '"Experimnt" is not a kind (did you mean "Experiment"?)'}])

    def test_what_chaos_mesh_takes_is_valid_with_a_warning(self):
        odd = self.write("odd.yaml", "apiVersion: chaos-mesh.org/v1alpha1\nkind: NetworkChaos\n"
                         "metadata: {generateName: odd-}\nspec:\n  action: delay\n  mode: all\n"
                         "  delay: {latency: 10ms, jitter: ''}\n  loss: {loss: '5'}\n")
        r = self.brunt("validate", odd)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn("NetworkChaos odd is valid", r.stdout)
        for said in ("spec.selector: warning: is left out", "spec.duration: warning: is left out: the "
                     "fault lasts 30.0 s", "spec.delay.jitter: warning: is empty",
                     "spec.loss: warning: is applied too"):
            self.assertIn(said, r.stderr)

    def test_what_is_no_manifest_is_told_in_one_line(self):
        binary = os.path.join(self.dir, "binary.yaml")
        with open(binary, "wb") as f:
            f.write(os.urandom(64) + b"\0" + os.urandom(64))
        huge = os.path.join(self.dir, "huge.yaml")
        with open(huge, "wb") as f:
            f.truncate(5 << 20)
        for path, want in (("/nonexistent.yaml", "cannot be read: No such file or directory"),
                           (self.write("empty.yaml", ""), "holds no document"),
                           (binary, "not a text file"), (huge, "larger than 4 MiB")):
            r = self.brunt("validate", path)
            self.assertEqual(r.returncode, 2, path)
            self.assertIn(want, r.stderr)
            self.assertTrue(r.stderr.startswith(path), r.stderr)
            self.assertEqual(r.stderr.count("\n"), 1, r.stderr)

    def test_facts_that_take_two_lines_hang_under_their_field(self):
        said = self.brunt("explain", "PodChaos").stdout
        self.assertIn("fixed, fixed-percent, random-max-percent, example\n          one\n      How many", said)

    def test_unreadable_file(self):
        path = self.write("a.yaml", EXPERIMENT % "one")
        os.chmod(path, 0)
        os.chmod(self.dir, 0o755)
        r = harness.run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                        harness.BRUNT, "validate", path, env=self.env)
        self.assertEqual((r.returncode, r.stderr), (2, f"{path}: cannot be read: Permission denied\n"))

    def test_no_file_is_a_usage_error(self):
        r = self.brunt("validate")
        self.assertEqual(r.returncode, 2)
        self.assertIn("which file?", r.stderr)

    def test_control_characters_cannot_reach_the_terminal(self):
        r = self.brunt("validate", "-", input='kind: "\\e]0;owned\\a"\n')
        self.assertEqual(r.returncode, 2)
        self.assertNotIn("\x1b", r.stderr)
        self.assertIn("\\x1b]0;owned\\x07", r.stderr)


class Explain(harness.Case):
    def kinds(self):
        r = self.brunt("explain")
        self.assertEqual(r.returncode, 0, r.stderr)
        return [line.split()[0] for line in r.stdout.splitlines()]

    def test_lists_kinds_and_explains_each(self):
        kinds = self.kinds()
        self.assertIn("Experiment", kinds)
        self.assertEqual(kinds, sorted(kinds))
        for kind in kinds:
            r = self.brunt("explain", kind)
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertIn("FIELDS", r.stdout)

    def test_field_by_its_path_with_and_without_spec(self):
        a = self.brunt("explain", "Experiment.timeline.baseline")
        b = self.brunt("explain", "experiment.spec.timeline.baseline")
        self.assertEqual(a.returncode, 0)
        self.assertIn("<duration>, default 10s", a.stdout)
        self.assertEqual(a.stdout.splitlines()[2:], b.stdout.splitlines()[2:])

    def test_wrong_field_names_the_nearest(self):
        r = self.brunt("explain", "Experiment.timline")
        self.assertEqual(r.returncode, 2)
        self.assertIn('no field "timline" (did you mean "timeline"?)', r.stderr)

    def test_templates_validate_as_they_are(self):
        for kind in self.kinds():
            template = self.brunt("new", kind)
            self.assertEqual(template.returncode, 0, template.stderr)
            r = self.brunt("validate", "-", input=template.stdout)
            self.assertEqual(r.returncode, 0, kind + ": " + r.stderr)

    def test_new_of_an_unknown_kind(self):
        r = self.brunt("new", "Experimant")
        self.assertEqual((r.returncode, r.stdout), (2, ""))
        self.assertIn('did you mean "Experiment"?', r.stderr)
        self.assertEqual(self.brunt("new").returncode, 2)


if __name__ == "__main__":
    harness.main()
