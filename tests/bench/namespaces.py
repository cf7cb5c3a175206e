"""namespaces - many named network namespaces for a benchmark, gone at the end of the block

Each is made through `ip -batch` and holds a veth pair of its own (eth0 and its peer
eth1), both up.
"""
import contextlib
import subprocess


class Group:
    def __init__(self, prefix, names):
        self.prefix = prefix
        self.names = names

    def manifest(self, action, params, duration):
        pods = ", ".join(self.names)
        return f"""
apiVersion: brunt.dev/v1alpha1
kind: Experiment
metadata: {{name: {self.prefix}}}
spec:
  source: netns
  timeline: {{baseline: 0s, fault: {duration}, recovery: 0s}}
  faults:
    - name: all
      networkChaos: {{mode: all, selector: {{pods: {{default: [{pods}]}}}}, action: {action}, {params}}}
"""


def batch(lines):
    subprocess.run(["ip", "-force", "-batch", "-"], input="\n".join(lines) + "\n", text=True,
                   check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def many(n, prefix):
    names = [f"{prefix}-{i}" for i in range(n)]
    try:
        batch(f"netns add {name}" for name in names)
        for name in names:
            subprocess.run(["ip", "-n", name, "link", "add", "eth0", "up", "type", "veth",
                            "peer", "name", "eth1"], check=True)
        yield Group(prefix, names)
    finally:
        batch(f"netns del {name}" for name in names)
