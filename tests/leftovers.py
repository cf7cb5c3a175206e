"""leftovers.py snapshot FILE BUILD... - what of the kind that brunt makes is on this machine
   leftovers.py compare FILE BUILD...  - a line for each thing that is there now and was not, once nobody is at it

Control groups, named network namespaces, links, qdiscs of this machine's own network, mounts of namespaces, and
processes that come from the suite: of a program in one of the BUILD folders, of User Mode Linux, or with the mark
that the suite puts into the environment. Guards and sweepers have their time to end. A control group with
processes that are not the suite's is somebody else's.
"""
import glob
import json
import os
import re
import subprocess
import sys
import time

MARK = "BRUNT_SUITE"
PATIENCE = 30  # seconds for those who clear up


def lines_of(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.splitlines()


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""


def groups():
    """Every control group of every hierarchy; a link is a second name of one."""
    return {f"control group {folder}" for folder, _, _ in os.walk("/sys/fs/cgroup")}


def namespaces():
    named = {f"network namespace {os.path.basename(path)}" for path in glob.glob("/run/netns/*")}
    mounts = {line.split()[4] for line in read("/proc/self/mountinfo").decode().splitlines() if " - nsfs " in line}
    return named | {f"namespace mounted on {path}" for path in mounts if not path.startswith("/run/netns/")}


def links():
    names = (re.match(r"\d+: ([^:@]+)", line) for line in lines_of("ip", "-o", "link"))
    return {f"link {name[1]}" for name in names if name}


def qdiscs():
    """Of links that stay; a number that the kernel gave is no difference."""
    return {re.sub(r" [0-9a-f]+: ", " ", line).strip() for line in lines_of("tc", "qdisc")}


def ours(pid, builds, mark):
    exe = ""
    try:
        exe = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        pass
    return (os.path.dirname(exe).startswith(tuple(builds)) or mark and
            f"{MARK}={mark}".encode() in read(f"/proc/{pid}/environ").split(b"\0"))


def processes(builds, mark):
    """{pid: its words}, but for who is asking and those who wait for the answer."""
    asking, pid = set(), os.getpid()
    while pid > 1:
        asking.add(pid)
        pid = int(re.search(rb"\nPPid:\t(\d+)", read(f"/proc/{pid}/status"))[1])
    found = {}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        state = re.search(rb"\nState:\t(\w)", read(f"/proc/{pid}/status"))
        if pid not in asking and state and state[1] != b"Z" and ours(pid, builds, mark):
            words = read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
            found[pid] = words or read(f"/proc/{pid}/comm").decode().strip()
    return found


def things():
    return groups() | namespaces() | links() | qdiscs()


def others_group(thing, suite):
    """Whether a control group is held by processes that are not the suite's."""
    folder = thing.removeprefix("control group ")
    if folder == thing:
        return False
    held = {int(pid) for path in glob.glob(f"{glob.escape(folder)}/**/cgroup.procs", recursive=True)
            for pid in read(path).split()}
    return bool(held) and not held & set(suite)


def left(before, builds, mark):
    suite = {pid: words for pid, words in processes(builds, mark).items() if pid not in before["processes"]}
    new = sorted(thing for thing in things() - set(before["things"]) if not others_group(thing, suite))
    return new + [f"process {pid}: {words}" for pid, words in sorted(suite.items())]


def compare(before, builds, mark):
    deadline = time.monotonic() + PATIENCE
    while True:
        new = left(before, builds, mark)
        if not new or time.monotonic() > deadline:
            return new
        time.sleep(0.2)


def main(verb, path, *builds):
    builds = [os.path.realpath(build) for build in builds]
    if verb == "snapshot":
        with open(path, "w", encoding="utf-8") as f:
            json.dump({"things": sorted(things()), "processes": list(processes(builds, None))}, f)
        return
    with open(path, encoding="utf-8") as f:
        before = json.load(f)
    for thing in compare(before, builds, os.environ.get(MARK)):
        print(thing)


main(*sys.argv[1:])
