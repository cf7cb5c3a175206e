#!/usr/bin/python3
"""uml.py COMMAND... - runs a command as root inside User Mode Linux, on this machine's own files

Debian's user-mode-linux boots a whole kernel as a process, with real netem and a pure cgroup v2
tree. Its root is the host's file system, read-only; /run is a tmpfs (TMPDIR lies there) and
$UML_WRITE, if set, is a writable folder of the host. The command's output is relayed as it comes and
its exit code returned; a guest that does not end is killed after $UML_TIMEOUT seconds.
"""
import os
import shlex
import subprocess
import sys
import tempfile
import threading

MODULES = """
lib/crc-ccitt net/ipv6/ipv6 net/llc/llc net/802/stp net/bridge/bridge drivers/net/veth drivers/net/ifb drivers/net/tun
net/sched/sch_netem net/sched/sch_ingress net/sched/sch_htb net/sched/sch_tbf net/sched/sch_prio
net/sched/cls_bpf net/sched/cls_u32 net/sched/cls_matchall net/sched/act_mirred net/sched/act_gact
net/netfilter/nfnetlink lib/libcrc32c net/netfilter/nf_tables fs/overlayfs/overlay
net/802/garp net/802/mrp net/8021q/8021q drivers/net/macvlan net/ipv4/udp_tunnel
net/ipv6/ip6_udp_tunnel drivers/net/vxlan/vxlan net/tls/tls drivers/net/bonding/bonding
"""

INIT = r"""#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mkdir -p /run/tmp /run/lock /run/netns /dev/pts /dev/net /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
ln -sf /proc/self/fd /dev/fd
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo "+memory +cpu +pids" > /sys/fs/cgroup/cgroup.subtree_control
mount -t bpf bpf /sys/fs/bpf
mount -t hostfs none @RESULT@ -o @RESULT@
@WRITE@
for m in @MODULES@; do
    f=$(echo /usr/lib/uml/modules/$(uname -r)/kernel/$m.ko)
    [ -e "$f" ] && { insmod "$f" || echo "uml: insmod $m failed" >&2; }
done
ip link del ifb0 2>/dev/null; ip link del ifb1 2>/dev/null
ip link set lo up
hostname uml
dmesg -n 1 # a process that the OOM killer takes is no line of the command's output
export TMPDIR=/run/tmp HOME=/run/tmp
. @RESULT@/env
cd @CWD@
echo "@START@"
@COMMAND@
echo $? > @RESULT@/code
echo "@END@"
poweroff -f
"""

START, END = "---- the guest runs its command ----", "---- the guest's command has ended ----"

PASSED_ON = ("BRUNT", "BUILD_DIR", "SOURCE_DIR", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "CI",
             "UBSAN_OPTIONS", "ASAN_OPTIONS")


def boot(command, timeout, memory="1024M"):
    """The command's exit code; 124 when the guest was killed, 125 when it never ran."""
    with tempfile.TemporaryDirectory(prefix="brunt-uml-") as result:
        write = os.environ.get("UML_WRITE")
        script = INIT.replace("@RESULT@", result).replace("@MODULES@", " ".join(MODULES.split()))
        script = script.replace("@WRITE@", f"mount -t hostfs none {write} -o {write}" if write else "")
        script = script.replace("@START@", START).replace("@END@", END)
        script = script.replace("@CWD@", shlex.quote(os.getcwd()))
        script = script.replace("@COMMAND@", shlex.join(command))
        with open(f"{result}/env", "w", encoding="utf-8") as f:
            for key in PASSED_ON:
                if key in os.environ:
                    f.write(f"export {key}={shlex.quote(os.environ[key])}\n")
        init = f"{result}/init.sh"
        with open(init, "w", encoding="utf-8") as f:
            f.write(script)
        os.chmod(init, 0o755)
        uml = ["linux.uml", f"mem={memory}", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}",
               "con=null", "con0=fd:0,fd:1", "quiet", f"umid=brunt-{os.getpid()}",
               f"uml_dir={result}/"]
        env = dict(os.environ, TMPDIR="/dev/shm")  # the guest's memory is a file there
        child = subprocess.Popen(uml, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 start_new_session=True, env=env)
        try:
            relay(child, timeout)
        finally:
            kill_group(child)
        try:
            with open(f"{result}/code", encoding="utf-8") as f:
                return int(f.read())
        except (FileNotFoundError, ValueError):
            return 124 if child.returncode == -9 else 125


def relay(child, timeout):
    """Copies what the command prints, line by line, and what the boot printed if it never ran."""
    timer = threading.Timer(timeout, kill_group, [child])
    timer.start()
    running, boot_log = False, []
    try:
        for raw in child.stdout:
            line = raw.decode(errors="replace").replace("\r", "")
            if line.strip() in (START, END):
                running, boot_log = line.strip() == START, None
            elif running:
                print(line, end="", flush=True)
            elif boot_log is not None:
                boot_log.append(line)
        child.wait()
    finally:
        timer.cancel()
    if boot_log:
        sys.stderr.writelines(boot_log)


def kill_group(child):
    """UML is several host processes; they are one session of ours."""
    try:
        os.killpg(child.pid, 9)
    except ProcessLookupError:
        pass
    child.wait()


if __name__ == "__main__":
    sys.exit(boot(sys.argv[1:], float(os.environ.get("UML_TIMEOUT", "840"))))
