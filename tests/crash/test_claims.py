#!/usr/bin/python3
"""Two runs of two state directories want one target: the machine holds it for the first."""
import json
import os
import signal

import crash_case
import harness
from crash_case import dump


def setUpModule():
    crash_case.make_pair()


def tearDownModule():
    crash_case.remove_pair()


class Claims(crash_case.NetCase):
    def setUp(self):
        super().setUp()
        del self.env["BRUNT_RUN_DIR"]  # the machine's own folder is what is tested
        self.theirs = dict(self.env, BRUNT_STATE_DIR=os.path.join(self.dir, "other"))

    def run_id(self):
        return json.loads(self.brunt("status", "-o", "json").stdout)[0]["run"]

    def test_second_is_refused_and_told_whose_it_is(self):
        self.injected(fault="60s")
        during = dump()
        out = self.brunt("run", self.manifest(name="rival"), env=self.theirs)
        text = out.stdout + out.stderr
        self.assertEqual(out.returncode, 3, text)
        self.assertIn(f"is held by run {self.run_id()} of experiment crash, in state directory "
                      f"{self.state}", text)
        self.assertIn(f"brunt stop --state-dir {self.state} {self.run_id()}", text)
        self.assertEqual(dump(), during)

    def test_second_waits_for_the_first(self):
        first = self.injected(fault="60s")
        queued = self.start("--wait", self.manifest(name="rival"), env=self.theirs)
        harness.wait_for(lambda: "is held by run" in queued.stdout.readline() or
                         queued.poll() is not None, "the second to queue")
        self.assertIsNone(queued.poll())
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
        out, _ = queued.communicate(timeout=60)
        self.assertNotIn(queued.returncode, (3, 4), out)
        self.assert_clean()

    def test_killed_run_holds_its_target_until_its_guard_has_reverted(self):
        """The second is refused or runs on a clean target; it never meets the first one's fault."""
        p = self.injected(fault="60s")
        p.kill()
        out = self.brunt("run", "--wait", self.manifest(name="rival"), env=self.theirs)
        self.assertNotIn(out.returncode, (3, 4), out.stdout + out.stderr)
        self.assert_clean()

    def test_machines_folder_cannot_be_written(self):
        """Then the lock is the state directory's, as within one state directory always."""
        os.makedirs("/run/brunt", mode=0o700, exist_ok=True)
        script = f"""
mount -t tmpfs -o ro,mode=0755 none /run/brunt || exit 77
{harness.BRUNT} run {self.manifest(fault="60s")} & pid=$!
until tc -n {crash_case.A} qdisc show | grep -q clsact; do
    kill -0 $pid || exit 99
    sleep 0.05
done
{harness.BRUNT} run {self.manifest(name="rival")}; code=$?
kill -INT $pid; wait $pid
exit $code
"""
        out = harness.run("unshare", "-m", "sh", "-c", script, env=self.env)
        self.assertEqual(out.returncode, 3, out.stdout + out.stderr)
        self.assertIn("of experiment crash", out.stdout + out.stderr)
        self.assert_clean()

    def test_nothing_stays_in_the_machines_folder(self):
        p = self.injected(fault="60s")
        run = self.run_id()
        self.assertIn(run, os.listdir("/run/brunt"))
        p.kill()
        p.wait()
        harness.wait_for(lambda: run not in os.listdir("/run/brunt"), "the guard to clear up")
        p = self.injected(self.start("--wait", self.manifest(fault="60s")))
        run = self.run_id()
        self.kill_both(p)
        self.assertIn(run, os.listdir("/run/brunt"))
        self.recover()
        self.assertNotIn(run, os.listdir("/run/brunt"))


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root for network namespaces")
        raise SystemExit(77)
    harness.main()
