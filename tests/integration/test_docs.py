#!/usr/bin/python3
"""What docs/ tells people to paste is run as written, on a machine where brunt is installed.

The installed machine is a private mount namespace: `make install` goes into an overlay of /usr,
/etc/brunt and cron's folders into overlays of /etc and /var. cron is the real one; there is no
systemd to start here, so its unit is verified by systemd-analyze and its commands are run.
"""
import os
import re
import subprocess
import xml.etree.ElementTree as ET

import harness

PATIENT = True
MANIFEST = """
apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {name: uplink}
spec:
  source: netns
  timeline: {baseline: 0s, fault: 2s, recovery: 0s}
  faults:
    - name: cut
      networkChaos: {mode: all, selector: {labelSelectors: {name: %s}}, action: loss, loss: {loss: "50"}}
"""

ENTER = r"""
set -e
for d in usr etc var; do
    mkdir -p "$TMP/$d" "$TMP/.$d"
    mount -t overlay overlay -o "lowerdir=/$d,upperdir=$TMP/$d,workdir=$TMP/.$d" "/$d"
done
meson install -C "$BUILD_DIR" --no-rebuild --quiet >/dev/null
install -D -m 644 "$TMP/uplink.yaml" /etc/brunt/uplink.yaml
mkdir -p /var/lib/brunt
"""


def doc(name):
    with open(os.path.join(harness.SOURCE, "docs", name), encoding="utf-8") as f:
        return f.read()


class Docs(harness.Case):
    def setUp(self):
        super().setUp()
        if "asan" in harness.BUILD:
            self.skipTest("what is installed is the plain build; the plain leg covers it")
        # Upper layers cannot lie on an overlay: a tmpfs of our own holds them.
        self.tmp = os.path.join(self.dir, "fs")
        os.mkdir(self.tmp)
        harness.run("mount", "-t", "tmpfs", "brunt-docs", self.tmp)
        self.addCleanup(harness.run, "umount", "-l", self.tmp)
        self.ns = f"bt-docs-{os.getpid()}"
        harness.run("ip", "netns", "add", self.ns)
        self.addCleanup(harness.run, "ip", "netns", "del", self.ns)
        harness.run("ip", "-n", self.ns, "link", "add", "eth0", "up", "type", "veth", "peer", "name", "eth1")
        with open(os.path.join(self.tmp, "uplink.yaml"), "w", encoding="utf-8") as f:
            f.write(MANIFEST % self.ns)

    def installed(self, script, timeout=300):
        """Runs a shell script on the installed machine."""
        env = dict(os.environ, TMP=self.tmp)
        env.pop("BRUNT_STATE_DIR", None)
        return subprocess.run(["unshare", "-m", "--propagation", "private", "bash", "-c", ENTER + script],
                              env=env, cwd=harness.SOURCE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=timeout)

    def test_the_crontab_line_runs_under_cron_and_leaves_a_report(self):
        line = re.search(r"^    (\S+ \S+ \S+ \S+ \S+)  (/usr/bin/brunt .*)$", doc("schedule.md"), re.M)
        when, command = line.groups()
        self.assertEqual(len(when.split()), 5)
        r = self.installed(f"""
            rm -f /etc/cron.d/* /var/spool/cron/crontabs/* /var/run/crond.pid
            printf '%s\\n' '* * * * *  {command}' | crontab -
            cron -f -L 0 & pid=$!
            for i in $(seq 1500); do
                [ -s /var/lib/brunt/uplink.xml ] && break
                sleep 0.1
            done
            kill $pid
            cat /var/lib/brunt/uplink.xml
            """)
        self.assertIn("<testsuite", r.stdout, r.stdout)

    def test_the_systemd_unit_verifies_and_its_commands_run(self):
        r = self.installed("""
            mkdir -p /etc/systemd/system
            cp packaging/systemd/brunt@.* /etc/systemd/system/
            systemd-analyze verify /etc/systemd/system/brunt@uplink.service /etc/systemd/system/brunt@uplink.timer
            echo "verified: $?"
            """)
        self.assertIn("verified: 0", r.stdout, r.stdout)
        with open(os.path.join(harness.SOURCE, "packaging/systemd/brunt@.service"), encoding="utf-8") as f:
            unit = f.read().replace("%i", "uplink").replace("--jitter 60s", "--jitter 1s")
        start, post = (re.search(rf"^{key}=(.*)$", unit, re.M).group(1) for key in ("ExecStart", "ExecStopPost"))
        r = self.installed(f"set +e; export STATE_DIRECTORY=/var/lib/brunt; {start}; {post}; echo \"recovered: $?\"; "
                           "cat /var/lib/brunt/uplink.xml")
        self.assertIn("recovered: 0", r.stdout, r.stdout)
        ET.fromstring(r.stdout[r.stdout.index("<?xml"):])

    def test_the_ci_job_gates_and_keeps_its_report(self):
        text = doc("gitlab-ci.yml")
        commands = re.findall(r"^    - (brunt .*)$", text, re.M)
        artifact = re.search(r"junit: (\S+)", text).group(1)
        self.assertGreaterEqual(len(commands), 4)
        script = "\n".join(commands)
        r = self.installed(f"mkdir \"$TMP/job\"; cp -r experiments \"$TMP/job/\"; cd \"$TMP/job\"\n{script}\n"
                           f"echo 'gate: open'; cat {artifact}")
        self.assertIn("gate: open", r.stdout, r.stdout)
        self.assertIn("<testsuite", r.stdout, r.stdout)


if __name__ == "__main__":
    harness.main()
