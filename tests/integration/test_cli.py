#!/usr/bin/python3
"""The command line itself: help, misspellings, output that cannot be written, completions."""
import json
import os
import pty
import re
import select
import subprocess

import yaml

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

    def test_bash_completes_words_and_arguments(self):
        script = self.brunt("completion", "bash").stdout + """
ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _brunt; echo "${COMPREPLY[@]}"; }
ask brunt explain Netw; ask brunt run --net-backend e; ask brunt run -o ya; ask brunt completion z
ask brunt lab port; ask brunt help valid; ask brunt run """ + self.dir + """/on
"""
        path = self.write("one.yaml", "")
        self.assertEqual(harness.run("bash", input=script, env=self.env).stdout.splitlines(),
                         ["NetworkChaos", "engine", "yaml", "zsh", "port-forward", "validate", path])

    def test_fish_really_completes(self):
        script = self.write("brunt.fish", self.brunt("completion", "fish").stdout)
        for typed, want in (("brunt vers", "version"), ("brunt explain Netw", "NetworkChaos"),
                            ("brunt run --dry", "--dry-run"), ("brunt run -o ya", "yaml"),
                            ("brunt lab port", "port-forward"), ("brunt completion z", "zsh")):
            r = harness.run("fish", "--no-config", "-c", f"source {script}; complete -C '{typed}'",
                            env=dict(self.env, HOME=self.dir))
            self.assertEqual([line.split("\t")[0] for line in r.stdout.splitlines()], [want], typed)

    def test_zsh_really_completes(self):
        """Typed into a shell that found the script in its fpath, as a user has it."""
        self.write("_brunt", self.brunt("completion", "zsh").stdout)
        pid, fd = pty.fork()
        if pid == 0:
            os.execvpe("zsh", ["zsh", "-f"], dict(self.env, TERM="dumb", HOME=self.dir))
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(os.kill, pid, 9)
        self.shown = ""

        def sees(text):
            if select.select([fd], [], [], 0.1)[0]:
                self.shown += os.read(fd, 65536).decode(errors="replace")
            return text in self.shown

        def type_and_see(text, want):
            self.shown = ""
            os.write(fd, text.encode())
            harness.wait_for(lambda: sees(want), f"{want!r} after {text!r}: {self.shown!r}")
            os.write(fd, b"\x15")  # forget the line

        type_and_see(f"PS1=; fpath=({self.dir} $fpath); autoload -U compinit; compinit -D -u; "
                     "echo rea''dy\n", "ready")
        for typed, want in (("brunt vers", "ion"), ("brunt explain Netw", "orkChaos"),
                            ("brunt run --dry", "-run"), ("brunt run -o ya", "ml"),
                            ("brunt lab port", "-forward"), ("brunt completion z", "sh")):
            type_and_see(typed + "\t", typed + want)

    def test_common_options_may_stand_before_the_verb(self):
        state = os.path.join(self.dir, "elsewhere")
        for words in (("--state-dir", state, "-q", "report"), (f"--state-dir={state}", "report")):
            self.assertEqual(self.brunt(*words).stdout, "no runs yet\n")
        self.assertTrue(os.path.exists(state))
        self.assertEqual(self.brunt("-v", "lab", "ps").stdout, "no lab is up\n")
        self.assertEqual(self.brunt("-v").returncode, 2)

    def test_closed_standard_streams_are_never_given_to_a_file(self):
        """With 0, 1 and 2 closed, the database would be 0 and warnings would be written into it."""
        p = subprocess.Popen([harness.BRUNT, "validate", self.fifo("in.yaml")], env=self.env, preexec_fn=lambda: os.closerange(0, 3))
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        with open(os.path.join(self.dir, "in.yaml"), "w", encoding="ascii"):
            streams = {os.readlink(f"/proc/{p.pid}/fd/{fd}") for fd in range(3)}
        self.assertEqual(streams, {"/dev/null"})

    def fifo(self, name):
        path = os.path.join(self.dir, name)
        os.mkfifo(path)
        return path

    def test_yaml_says_what_json_says(self):
        manifest = self.write("a b.yaml", "kind: [x]\napiVersion: 'no'\nmetadata: {name: \"1e3\"}\n")
        for args in (("validate", manifest), ("report",), ("status",), ("lab", "ps")):
            data = json.loads(self.brunt(*args, "-o", "json").stdout)
            self.assertEqual(yaml.safe_load(self.brunt(*args, "-o", "yaml").stdout), data, args)

    def test_an_output_that_a_verb_does_not_have_is_told_with_those_it_has(self):
        for args, want in ((("validate",), "table, json, yaml"), (("doctor",), "table, json, yaml"),
                           (("status",), "table, wide, json, yaml, name"),
                           (("report",), "table, wide, json, yaml, name"),
                           (("report", "latest"), "table, json, yaml, junit"),
                           (("lab", "ps"), "table, wide, json, yaml, name")):
            r = self.brunt(*args, "-o", "xml")
            self.assertEqual(r.returncode, 2, args)
            self.assertIn(f'"xml" is not one of {want}\n', r.stderr)
        self.assertIn("brunt report latest -o junit", self.brunt("report", "-o", "junit").stderr)

    def test_what_would_fail_after_a_run_is_told_before_it(self):
        """Nothing is prepared: the state directory does not come about."""
        path = self.write("x.yaml", "apiVersion: chaos-mesh.org/v1alpha1\nkind: NetworkChaos\n"
                          "metadata: {name: x}\nspec: {action: partition, mode: all, selector: {}}\n")
        for args, want in (
                (("--report", f"junit={self.dir}/no/x.xml"), f"write report {self.dir}/no/x.xml: No such "
                 f"file or directory\nnext step: make the folder {self.dir}/no/ first"),
                (("--report", f"json={self.dir}"), f"write report {self.dir}: Is a directory"),
                (("--evaluation-period", "1h"), "--evaluation-period: want 10ms to 10s"),
                (("--lab", "a", "--source", "netns"), "--lab a and --source netns exclude each other"),
                (("--net-backend", "tc"), '"tc" is not one of auto, netem, engine')):
            r = self.brunt("run", *args, path)
            self.assertEqual(r.returncode, 2, r.stderr)
            self.assertIn(want, r.stderr)
        self.assertFalse(os.path.exists(self.env["BRUNT_STATE_DIR"]))

    def test_prune_keeps_as_many_as_are_asked_for(self):
        path = self.write("x.yaml", "apiVersion: chaos-mesh.org/v1alpha1\nkind: NetworkChaos\n"
                          "metadata: {name: x}\nspec: {action: partition, mode: all, duration: 1s, "
                          "selector: {labelSelectors: {name: no-such-namespace}}}\n")
        for _ in range(3):
            self.assertEqual(self.brunt("run", "-q", path).returncode, 3)
        self.assertEqual(len(self.brunt("report", "-o", "name").stdout.split()), 3)
        self.assertEqual(self.brunt("report", "prune", "--keep", "many").returncode, 2)
        for keep in (2, 0):  # 0 is a number too
            self.assertEqual(self.brunt("report", "prune", "--keep", str(keep)).returncode, 0)
            self.assertEqual(len(self.brunt("report", "-o", "name").stdout.split()), keep)

    def test_help_fits_a_terminal(self):
        for verb in self.verbs():
            for line in self.brunt(verb, "--help").stdout.splitlines():
                self.assertLessEqual(len(line), 120, line)

    def test_the_man_page_is_clean_and_knows_every_verb_and_kind(self):
        page = os.path.join(harness.BUILD, "brunt.1")
        r = harness.run("groff", "-man", "-Tascii", "-ww", page)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        with open(page, encoding="utf-8") as f:
            text = f.read()
        for verb in self.verbs():
            self.assertIn(f"brunt {verb} ", text)
        for kind in ("CPUChaos", "Experiment", "MemoryChaos", "NetworkChaos", "PodChaos", "RuntimeChaos"):
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

    def test_root_reads_others_manifests_but_not_their_state(self):
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
        self.assertEqual(r.returncode, 3, r.stdout)
        self.assertIn("belongs to user 65534", r.stderr)


if __name__ == "__main__":
    harness.main()
