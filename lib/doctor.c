#include "doctor.h"

#include "base/private_dir.h"
#include "fault/driver.h"
#include "kernel/broker.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

static const char house[] = "house";

static void check_user(struct capability_list *ret)
{
	static const struct {
		unsigned cap;
		const char *name, *why;
	} needed[] = {
		{CAP_NET_ADMIN, "CAP_NET_ADMIN", "adds qdiscs, filters and links"},
		{CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "enters network namespaces, loads BPF"},
		{CAP_KILL, "CAP_KILL", "signals other users' processes"},
		{CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "opens other users' /proc/PID/ns"},
	};

	autofree char *user = xasprintf("user %d", (int)geteuid());

	capability_add(ret, house, "user", true, geteuid() == 0, user,
		       "run it as root: sudo brunt doctor");
	capng_get_caps_process();
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		capability_add(ret, house, needed[i].name, true,
			       capng_have_capability(CAPNG_EFFECTIVE, needed[i].cap), needed[i].why,
			       "run brunt as root, or with this capability");
}

/* The journal needs a directory that takes a synchronous write. */
static void check_state_dir(const char *dir, struct capability_list *ret)
{
	autofree char *path = xasprintf("%s/.doctor-%d", dir, (int)getpid());
	autofree char *detail = NULL;
	struct err why = {0};
	struct statvfs fs;
	bool ok;
	autofd int fd = -1;

	if (private_dir_make(dir, &why) < 0) {
		capability_add(ret, house, "state directory", true, false, why.text,
			       why.hint[0] ? why.hint
					   : "name a writable one with --state-dir or BRUNT_STATE_DIR");
		return;
	}
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	ok = fd >= 0 && write(fd, "x", 1) == 1 && fsync(fd) == 0 && fstatvfs(fd, &fs) == 0;
	detail = ok ? xasprintf("%s takes synchronous writes, %llu MiB free", dir,
				(unsigned long long)fs.f_bavail * fs.f_frsize >> 20)
		    : xasprintf("%s: %s", dir, strerror(errno));
	unlink(path);
	capability_add(ret, house, "state directory", true, ok, detail,
		       "name a writable one with --state-dir or BRUNT_STATE_DIR");
}

static void check_path(struct capability_list *ret, const char *name, const char *path, bool needed,
		       const char *fix)
{
	bool ok = access(path, F_OK) == 0;
	autofree char *detail = xasprintf("%s %s", path, ok ? "is there" : "is missing");

	capability_add(ret, house, name, needed, ok, detail, fix);
}

static void check_kernel(struct capability_list *ret)
{
	struct utsname u;

	uname(&u);
	capability_add(ret, house, "kernel", true, true, u.release, NULL);
	check_path(ret, "TUN/TAP device", "/dev/net/tun", false,
		   "modprobe tun; without it and without netem there is no delay");
	check_path(ret, "pressure stall information", "/proc/pressure/memory", false,
		   "boot with psi=1; untilPressure and PSI in reports need it");
	check_path(ret, "BTF", "/sys/kernel/btf/vmlinux", false,
		   "not needed to inject; a kernel with CONFIG_DEBUG_INFO_BTF has it");
}

/* Targets are found in /proc: in another PID namespace's there are none, or the wrong ones. */
static void check_processes(struct capability_list *ret)
{
	enum { HOSTS_INODE = 0xeffffffc }; /* PROC_PID_INIT_INO of include/linux/proc_ns.h */
	char self[32] = "";
	struct stat st = {0};
	bool ours = readlink("/proc/self", self, sizeof self - 1) > 0 && atoi(self) == (int)getpid();
	bool hosts = stat("/proc/self/ns/pid", &st) == 0 && st.st_ino == HOSTS_INODE;

	capability_add(ret, house, "/proc", true, ours,
		       ours ? "shows the processes of brunt's own PID namespace"
			    : "shows the processes of another PID namespace, or none",
		       "mount -t proc proc /proc in brunt's PID namespace, or leave that namespace");
	capability_add(ret, house, "the host's processes", false, ours && hosts,
		       hosts ? "brunt sees them all"
			     : "brunt is in a PID namespace: it finds and hits only what runs inside",
		       "start brunt outside of the container, or the container with --pid=host "
		       "(hostPID: true)");
}

int doctor_run(const char *state_dir, struct capability_list *ret, struct err *e)
{
	autoptr(broker) broker = NULL;
	const struct fault_driver *const *drivers;
	struct err why = {0};
	size_t n;
	int r;

	check_user(ret);
	check_kernel(ret);
	check_processes(ret);
	check_state_dir(state_dir, ret);
	r = broker_start(&broker, &why);
	capability_add(ret, house, "namespace broker", true, r == 0,
		       r == 0 ? "started" : why.text, "see the reason");
	if (r < 0)
		return 0;
	drivers = fault_drivers(&n);
	for (size_t i = 0; i < n; i++) {
		if (!drivers[i]->doctor)
			continue;
		r = drivers[i]->doctor(broker, ret, e);
		if (r < 0)
			return err_wrap(e, "%s", drivers[i]->kind);
	}
	return 0;
}
