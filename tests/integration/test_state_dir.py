#!/usr/bin/python3
"""State directories, records and folders that somebody else may have made

What lies in a state directory decides what `recover` writes as root. An attacker's is not used, and a
record that names what its kind could not have changed is left alone, whoever wrote it.
"""
import json
import os
import sqlite3
import subprocess

import harness

STRANGER = 65533


class StateDir(harness.Case):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("gives files to another user; the suite runs as root")
        self.state = self.env["BRUNT_STATE_DIR"]

    def make_state(self):
        """A state directory as brunt makes it, with its database."""
        out = self.brunt("status")
        self.assertEqual(out.returncode, 0, out.stderr)

    def assert_refused(self, out, *words):
        text = out.stdout + out.stderr
        self.assertEqual(out.returncode, 3, f"wanted exit code 3 (error), seen: {out}")
        for word in words:
            self.assertIn(word, text)
        self.assertIn("next step: ", text)

    def forge(self, kind, data):
        """An undo record that is pending, of a run that is dead."""
        self.make_state()
        os.makedirs(f"{self.state}/locks", 0o700, exist_ok=True)
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
            boot = f.read().strip()
        with sqlite3.connect(f"{self.state}/brunt.db") as db:
            db.execute("INSERT INTO runs(id, experiment, state, started_ns, pid, boot_id) "
                       "VALUES('r1', 'x', 'running', 1, 1, ?)", (boot,))
            db.execute("INSERT INTO undo(run_id, fault, target, driver, data, netns_dev, netns_ino) "
                       "VALUES('r1', 'f', 'default/a', ?, ?, 0, 0)", (kind, json.dumps(data)))
        db.close()

    def manifest(self):
        """A short run on a namespace of its own."""
        ns = f"bt-state-{os.getpid()}"
        self.addCleanup(harness.run, "ip", "netns", "del", ns)
        self.assertEqual(harness.run("ip", "netns", "add", ns).returncode, 0)
        for args in (["add", "va", "type", "veth", "peer", "name", "vb"], ["set", "va", "up"],
                     ["set", "vb", "up"]):
            self.assertEqual(harness.run("ip", "-n", ns, "link", *args).returncode, 0)
        return self.write("x.yaml", f"""apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {{name: x}}
spec:
  source: netns
  timeline: {{baseline: 100ms, fault: 200ms, recovery: 100ms}}
  faults:
    - name: lossy
      networkChaos: {{mode: all, selector: {{labelSelectors: {{name: {ns}}}}}, action: loss,
                      loss: {{loss: "10"}}}}
""")

    def bystander(self):
        other = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        return other

    def assert_left(self, kind):
        """recover refuses the record, says why, and keeps it."""
        out = self.brunt("recover")
        self.assertEqual(out.returncode, 4, f"wanted exit code 4 (not restored), seen: {out}")
        self.assertIn(f"brunt did not write this undo record of {kind}", out.stdout + out.stderr)

    def victim(self, file, text):
        """A folder outside every cgroup file system, with a file that is called as a limit is."""
        folder = os.path.join(self.dir, "victim")
        os.mkdir(folder)
        with open(os.path.join(folder, file), "w", encoding="ascii") as f:
            f.write(text)
        return folder

    def test_folder_of_another_user_is_not_used(self):
        os.mkdir(self.state, 0o700)
        os.chown(self.state, STRANGER, STRANGER)
        for verb in (["status"], ["recover"], ["stop", "--all"], ["report"]):
            self.assert_refused(self.brunt(*verb), self.state, f"belongs to user {STRANGER}")
        self.assertEqual(os.listdir(self.state), [])

    def test_folder_that_others_may_write_is_not_used(self):
        os.mkdir(self.state)
        os.chmod(self.state, 0o777)
        self.assert_refused(self.brunt("recover"), self.state, "may be written by other users")

    def test_folder_over_a_strangers_link_is_not_used(self):
        real = os.path.join(self.dir, "real")
        os.mkdir(real, 0o700)
        os.symlink(real, self.state)
        self.make_state()  # a link of our own is nobody's trap
        os.lchown(self.state, STRANGER, STRANGER)
        self.assert_refused(self.brunt("recover"), f"belongs to user {STRANGER}")

    def test_state_home_of_another_user_is_refused_for_root(self):
        home = os.path.join(self.dir, "home")
        os.mkdir(home)
        os.chown(home, STRANGER, STRANGER)
        env = {k: v for k, v in self.env.items() if k != "BRUNT_STATE_DIR"}
        env["XDG_STATE_HOME"] = home
        self.assert_refused(self.brunt("status", env=env), home, "XDG_STATE_HOME", "unset it")
        self.assertEqual(os.listdir(home), [])

    def test_database_of_another_user_is_not_opened(self):
        self.make_state()
        for file in ("brunt.db", "brunt.db-wal"):
            path = f"{self.state}/{file}"
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            os.chown(path, STRANGER, STRANGER)
            self.assert_refused(self.brunt("recover"), path, "belongs to another user")
            os.chown(path, 0, 0)
        self.make_state()

    def test_run_folder_of_another_user_is_not_used(self):
        machine = self.env["BRUNT_RUN_DIR"]
        os.mkdir(machine, 0o700)
        os.chown(machine, STRANGER, STRANGER)
        manifest = self.manifest()
        self.assert_refused(self.brunt("run", manifest), machine, f"belongs to user {STRANGER}")
        self.assertEqual(os.listdir(machine), [])

    def test_record_of_a_quota_outside_of_cgroups_writes_nothing(self):
        folder = self.victim("cpu.max", "5000 100000")
        self.forge("CPUChaos", {"groups": [{
            "path": folder, "version": 2, "ino": os.stat(folder).st_ino, "saved": "max 100000",
            "wrote": "5000 100000"}]})
        self.assert_left("CPUChaos")
        with open(f"{folder}/cpu.max", encoding="ascii") as f:
            self.assertEqual(f.read(), "5000 100000")

    def test_record_of_a_limit_outside_of_cgroups_writes_nothing(self):
        folder = self.victim("memory.max", "4096")
        self.forge("MemoryChaos", {"groups": [{
            "path": folder, "version": 2, "ino": os.stat(folder).st_ino, "high": False,
            "saved": {"memory.max": "8192"}, "wrote": [4096]}]})
        self.assert_left("MemoryChaos")
        with open(f"{folder}/memory.max", encoding="ascii") as f:
            self.assertEqual(f.read(), "4096")

    def test_record_of_a_kill_is_no_crash(self):
        self.forge("PodChaos", {})
        self.assert_left("PodChaos")

    def test_record_of_another_services_process_is_not_asked(self):
        other = self.bystander()
        self.forge("RuntimeChaos", {"pid": other.pid, "start": 1, "control": "/run/x",
                                    "tag": "r1/f\nexit"})
        self.assert_left("RuntimeChaos")

    def test_labs_record_outside_of_cgroups_kills_nobody(self):
        other = self.bystander()
        self.make_state()
        folder = os.path.join(self.dir, "brunt-lab-x")
        home = f"{self.state}/lab/x"
        os.mkdir(folder)
        os.makedirs(home, 0o700)
        with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as f:
            f.write(f"{other.pid}\n")
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
            boot = f.read().strip()
        with open(f"{home}/record.json", "w", encoding="ascii") as f:
            json.dump({"pid": 1, "boot_id": boot, "groups": [{"path": folder, "version": 1}]}, f)
        os.close(os.open(f"{home}/lock", os.O_CREAT | os.O_WRONLY, 0o600))
        self.brunt("lab", "down", "--all")
        self.assertIsNone(other.poll(), "wanted the process alive, seen it killed")
        self.assertTrue(os.path.exists(folder))

    def test_report_is_not_written_through_a_strangers_link(self):
        """In a folder that all may write, under the name that a report has while it is written."""
        common = os.path.join(self.dir, "common")
        os.mkdir(common)
        os.chmod(common, 0o777)
        with open(f"{common}/precious", "w", encoding="ascii") as f:
            f.write("precious")
        # The pid is not known before: a shell is replaced by brunt under its own number.
        script = f'ln -s precious {common}/r.json.$$.tmp; exec {harness.BRUNT} "$@"'
        harness.run("sh", "-c", script, "sh", "run", self.manifest(), "--report",
                    f"json={common}/r.json", env=self.env)
        self.assertTrue(self.json(f"{common}/r.json")["run"])
        with open(f"{common}/precious", encoding="ascii") as f:
            self.assertEqual(f.read(), "precious")


if __name__ == "__main__":
    harness.main()
