"""brunt doctor: complete, honest about what is missing, and leaves nothing behind"""
import glob
import json
import os
import shutil

import harness

LEGS = "host lab"
ACTIONS = {"partition", "loss", "delay", "delay by netem", "delay by brunt's engine", "reorder",
           "duplicate", "corrupt", "rate", "bandwidth"}


def left_over():
    """What a doctor may leave: devices, cgroups, named namespaces."""
    return (harness.run("ip", "-o", "link").stdout.count("\n"),
            glob.glob("/sys/fs/cgroup/**/brunt-doctor-*", recursive=True),
            [n for n in os.listdir("/run/netns") if "doctor" in n] if os.path.isdir("/run/netns")
            else [])


class Doctor(harness.Case):
    def rows(self, *prefix, code=0):
        out = harness.run(*prefix, harness.BRUNT, "doctor", "-o", "json", env=self.env)
        self.assertEqual(out.returncode, code, out.stderr + out.stdout)
        rows = json.loads(out.stdout)
        for row in rows:
            self.assertTrue(row["ok"] or row.get("fix"), row)
        return {(r["area"], r["name"]): r for r in rows}

    def test_every_action_is_tried_and_nothing_is_left(self):
        before = left_over()
        rows = self.rows()
        self.assertEqual({name for area, name in rows if area == "NetworkChaos"}, ACTIONS)
        self.assertEqual({area for area, _ in rows},
                         {"house", "CPUChaos", "MemoryChaos", "NetworkChaos", "PodChaos", "RuntimeChaos"})
        for name in ACTIONS - {"delay by netem"}:
            self.assertIn("read back and removed", rows["NetworkChaos", name]["detail"])
        self.assertEqual(left_over(), before)

    def test_what_only_one_kernel_has(self):
        rows = self.rows()
        netem, high = rows["NetworkChaos", "delay by netem"], rows["MemoryChaos", "high"]
        self.assertEqual(netem["ok"], harness.IN_LAB, netem)
        if harness.IN_LAB:
            self.assertIn("read back and removed; not replayable before Linux 6.7",
                          netem["detail"])
            self.assertEqual(high["detail"], "set and read back on cgroup v2")
        else:
            self.assertIn("netem", netem["detail"])
            self.assertIn("sch_netem", netem["fix"])

    def test_processes_that_brunt_cannot_see_are_told(self):
        rows = self.rows()
        self.assertTrue(rows["house", "/proc"]["ok"], rows)
        here = os.readlink("/proc/self/ns/pid") == "pid:[4026531836]"
        self.assertEqual(rows["house", "the host's processes"]["ok"], here, rows)
        rows = self.rows("unshare", "-pf", "--mount-proc")
        self.assertTrue(rows["house", "/proc"]["ok"], rows)
        self.assertIn("only what runs inside", rows["house", "the host's processes"]["detail"])
        rows = self.rows("unshare", "-pf", code=3)
        self.assertIn("of another PID namespace", rows["house", "/proc"]["detail"])

    def test_a_missing_tun_device_is_found_out(self):
        if not shutil.which("unshare"):
            self.skipTest("needs util-linux")
        code = 0 if harness.IN_LAB else 3  # netem serves there
        rows = self.rows("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"',
                         "sh", code=code)
        engine, delay = (rows["NetworkChaos", n] for n in ("delay by brunt's engine", "delay"))
        self.assertFalse(engine["ok"])
        self.assertIn("tun", engine["fix"])
        self.assertEqual(delay["ok"], harness.IN_LAB)
        self.assertTrue(rows["NetworkChaos", "partition"]["ok"])

    def test_without_root_it_says_what_to_do(self):
        state = os.path.join(self.dir, "state")
        os.chmod(self.dir, 0o755)
        os.mkdir(state)
        os.chown(state, 65534, 65534)
        out = harness.run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                          harness.BRUNT, "doctor", env=self.env)
        self.assertEqual(out.returncode, 3, out.stderr)
        self.assertIn("sudo brunt doctor", out.stdout)
        self.assertIn("user 65534", out.stdout)
        self.assertRegex(out.stdout, r"PodChaos +pod-kill by pidfd +ok")
        self.assertRegex(out.stdout, r"NetworkChaos +partition +MISSING .*not permitted")


if __name__ == "__main__":
    harness.main()
