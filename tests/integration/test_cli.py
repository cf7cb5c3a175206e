#!/usr/bin/python3
"""The command line itself: help, misspellings, output that cannot be written, completions."""
import os
import re
import subprocess

import harness

PATIENT = True


class Cli(harness.Case):
    def verbs(self):
        out = self.brunt("help").stdout
        return re.findall(r"^  ([a-z]+) ", out.split("Verbs:")[1], re.M)

    def test_without_a_verb_usage_goes_to_stderr(self):
        r = self.brunt()
        self.assertEqual((r.returncode, r.stdout), (2, ""))
        self.assertIn("Usage: brunt VERB", r.stderr)

    def test_version_prints_one_line(self):
        r = self.brunt("version")
        self.assertEqual(r.returncode, 0)
        self.assertRegex(r.stdout, r"^brunt \d+\.\d+\.\d+\n$")

    def test_a_misspelt_verb_names_the_nearest(self):
        r = self.brunt("vresion")
        self.assertEqual((r.returncode, r.stderr),
                         (2, "brunt: no such verb: vresion\nnext step: did you mean brunt version?\n"))

    def test_a_misspelt_option_names_the_nearest(self):
        r = self.brunt("version", "--quite")
        self.assertEqual(r.returncode, 2)
        self.assertIn("unknown option --quite (did you mean --quiet?)", r.stderr)

    def test_an_option_without_its_value(self):
        r = self.brunt("version", "--state-dir")
        self.assertEqual(r.returncode, 2)
        self.assertIn("--state-dir wants a value", r.stderr)

    def test_every_verb_explains_itself(self):
        for verb in self.verbs():
            r = self.brunt(verb, "--help")
            self.assertEqual(r.returncode, 0, verb)
            self.assertIn(f"Usage: brunt {verb}", r.stdout)
            self.assertIn("--state-dir", r.stdout)

    def test_a_full_disk_behind_stdout_is_an_error(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            r = subprocess.run([harness.BRUNT, "help"], stdout=full, stderr=subprocess.PIPE,
                               text=True, timeout=60)
        self.assertEqual(r.returncode, 3)
        self.assertIn("write to standard output: No space left on device", r.stderr)

    def test_completions_parse_and_know_every_verb(self):
        bash = self.brunt("completion", "bash").stdout
        self.assertEqual(harness.run("bash", "-n", input=bash).returncode, 0)
        for shell in ("bash", "zsh", "fish"):
            text = self.brunt("completion", shell).stdout
            for verb in self.verbs():
                self.assertIn(verb, text, shell)

    def test_bash_really_completes(self):
        script = self.brunt("completion", "bash").stdout + """
COMP_WORDS=(brunt version --q); COMP_CWORD=2; _brunt; echo "${COMPREPLY[@]}"
COMP_WORDS=(brunt ver); COMP_CWORD=1; _brunt; echo "${COMPREPLY[@]}"
"""
        self.assertEqual(harness.run("bash", input=script).stdout, "--quiet\nversion\n")

    def test_the_man_page_is_clean_and_knows_every_verb_and_kind(self):
        page = os.path.join(harness.BUILD, "brunt.1")
        r = harness.run("groff", "-man", "-Tascii", "-ww", page)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        with open(page, encoding="utf-8") as f:
            text = f.read()
        for verb in self.verbs():
            self.assertIn(f"brunt {verb} ", text)
        for kind in ("Experiment", "MemoryChaos", "NetworkChaos", "PodChaos"):
            self.assertIn(f".SS {kind}\n", text)

    def test_startup_loads_few_libraries(self):
        """A bare verb starts in milliseconds because libcurl's thirty libraries are not linked."""
        out = harness.run("ldd", harness.BRUNT).stdout
        self.assertNotIn("libcurl", out)


class Sandbox(harness.Case):
    """What a verb gives up before it looks at its input; what the filters refuse: test_sandbox."""

    def status_while_reading(self, verb, fifo):
        """/proc/PID/status of `brunt VERB FIFO`, which waits for somebody to write into it."""
        os.mkfifo(fifo)
        proc = subprocess.Popen([harness.BRUNT, verb, fifo], env=self.env, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        self.addCleanup(proc.wait)
        self.addCleanup(proc.kill)
        writer = harness.wait_for(lambda: self.open_for_writing(fifo), f"{verb} to open its file")
        self.addCleanup(os.close, writer)
        with open(f"/proc/{proc.pid}/status", encoding="ascii") as f:
            return dict(re.findall(r"^(\w+):\s*(\S+)", f.read(), re.M))

    @staticmethod
    def open_for_writing(fifo):
        """Fails while nobody has it open for reading."""
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None

    def test_a_manifest_is_read_under_a_filter_and_without_capabilities(self):
        status = self.status_while_reading("validate", os.path.join(self.dir, "fifo"))
        self.assertEqual(status["Seccomp"], "2", "no filter is on")
        dac_read_search = 1 << 2
        for held in ("CapEff", "CapPrm", "CapBnd"):
            if not os.geteuid():
                self.assertEqual(int(status[held], 16), dac_read_search, held)

    def test_root_still_reads_what_belongs_to_others(self):
        if os.geteuid():
            self.skipTest("needs root")
        path = self.write("a.yaml", self.brunt("new", "NetworkChaos").stdout)
        os.chmod(path, 0o600)
        os.chown(path, 65534, 65534)
        self.assertEqual(self.brunt("validate", path).returncode, 0)
        self.assertEqual(self.brunt("report").returncode, 0)
        for folder, _, files in os.walk(self.env["BRUNT_STATE_DIR"]):
            for name in [folder] + [os.path.join(folder, f) for f in files]:
                os.chown(name, 65534, 65534)
        r = self.brunt("report")
        self.assertEqual((r.returncode, r.stdout), (0, "no runs yet\n"), r.stderr)


if __name__ == "__main__":
    harness.main()
