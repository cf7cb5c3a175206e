/*
 * Preloaded into every process of a run: once the process is behind a seccomp filter, tries what no
 * role may do, from inside, where a process that fell into strange hands would.
 *
 * BRUNT_TEST_TRIES names a folder; a process writes there, as ROLE.PID, a line a try: what, which answer.
 * The file is opened and mapped at load, while that is allowed, and only memory is written later. The
 * tries are made at the first wait for events (what is interposed below) after the filter came, which
 * a prctl tells by being refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ROOM = 16384 };

enum { BROKER = 1 << 0, DELAY = 1 << 1, GUARD = 1 << 2, OWNER = 1 << 3 };
enum { ALL = BROKER | DELAY | GUARD, OWNER_TOO = ALL | OWNER };

static const struct {
	const char *name;
	int role;
} roles[] = {{"__broker", BROKER}, {"__delay", DELAY}, {"__guard", GUARD}, {"run", OWNER}};

static char zeros[256];

/* Arguments that the kernel would look at and turn down, or that change nothing: EPERM is the filter's. */
static const struct {
	const char *name;
	int roles;
	long nr, a, b, c, d, e;
} tries[] = {
	{"accept4", ALL, SYS_accept4, -1},
	{"add_key", ALL, SYS_add_key, (long)"user", (long)"x", (long)"x", 1, KEY_SPEC_PROCESS_KEYRING},
	{"bind", BROKER | DELAY, SYS_bind, -1, (long)zeros, 16},
	{"bpf", DELAY, SYS_bpf, 0, (long)zeros, sizeof zeros},
	{"chroot", ALL, SYS_chroot, (long)"/"},
	{"clock_settime", ALL, SYS_clock_settime, 99, (long)zeros},
	{"clone3", ALL, SYS_clone3, (long)zeros, 88},
	{"clone with CLONE_NEWCGROUP", ALL, SYS_clone, CLONE_NEWCGROUP | SIGCHLD},
	{"clone with CLONE_NEWIPC", ALL, SYS_clone, CLONE_NEWIPC | SIGCHLD},
	{"clone with CLONE_NEWNET", ALL, SYS_clone, CLONE_NEWNET | SIGCHLD},
	{"clone with CLONE_NEWNS", ALL, SYS_clone, CLONE_NEWNS | SIGCHLD},
	{"clone with CLONE_NEWPID", ALL, SYS_clone, CLONE_NEWPID | SIGCHLD},
	{"clone with CLONE_NEWUSER", ALL, SYS_clone, CLONE_NEWUSER | SIGCHLD},
	{"clone with CLONE_NEWUTS", ALL, SYS_clone, CLONE_NEWUTS | SIGCHLD},
	{"connect", BROKER | DELAY, SYS_connect, -1, (long)zeros, 16},
	{"delete_module", OWNER_TOO, SYS_delete_module, (long)"bt-no-such-module", 0},
	{"execve", ALL, SYS_execve, (long)"/bin/true", 0, 0},
	{"execveat", ALL, SYS_execveat, AT_FDCWD, (long)"/bin/true", 0, 0, 0},
	{"fanotify_init", ALL, SYS_fanotify_init, 0, 0},
	{"finit_module", OWNER_TOO, SYS_finit_module, -1, (long)"", 0},
	{"fork", ALL, SYS_clone, SIGCHLD},
	{"fsopen", ALL, SYS_fsopen, (long)"tmpfs"},
	{"init_module", OWNER_TOO, SYS_init_module, (long)zeros, 1, (long)""},
	{"io_uring_enter", ALL, SYS_io_uring_enter, -1, 0, 0, 0, 0},
	{"io_uring_setup", ALL, SYS_io_uring_setup, 1, (long)zeros},
	{"ioctl TIOCSTI", ALL, SYS_ioctl, 0, TIOCSTI, (long)zeros},
	{"kcmp", ALL, SYS_kcmp, 1, 1, 0, 0, 0},
	{"kexec_load", OWNER_TOO, SYS_kexec_load, 0, 1, 0, ~0L},
	{"keyctl", ALL, SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 0},
	{"kill", BROKER | DELAY, SYS_kill, 1, 0},
	{"listen", ALL, SYS_listen, -1, 1},
	{"memfd_create", ALL, SYS_memfd_create, (long)"x", 0},
	{"mount", ALL, SYS_mount, 0, (long)"/nowhere", 0, MS_REMOUNT},
	{"name_to_handle_at", ALL, SYS_name_to_handle_at, AT_FDCWD, (long)"/", (long)zeros},
	{"open to read", DELAY, SYS_openat, AT_FDCWD, (long)"/etc/passwd", O_RDONLY},
	{"open to write", DELAY, SYS_openat, AT_FDCWD, (long)"/dev/null", O_WRONLY},
	{"open_by_handle_at", OWNER_TOO, SYS_open_by_handle_at, AT_FDCWD, (long)zeros},
	{"perf_event_open", ALL, SYS_perf_event_open, (long)zeros},
	{"personality", ALL, SYS_personality, 0xffffffff},
	{"pidfd_getfd", ALL, SYS_pidfd_getfd, -1, 0},
	{"pidfd_open", BROKER | DELAY, SYS_pidfd_open, 1, 0},
	{"pivot_root", ALL, SYS_pivot_root, (long)"/nowhere", (long)"/nowhere"},
	{"prctl PR_SET_DUMPABLE", ALL, SYS_prctl, PR_SET_DUMPABLE, 1},
	{"prlimit64 of another", ALL, SYS_prlimit64, 1, 7, 0, (long)zeros},
	{"process_vm_readv", ALL, SYS_process_vm_readv, 1, (long)zeros, 1, (long)zeros, 1},
	{"process_vm_writev", ALL, SYS_process_vm_writev, 1, (long)zeros, 1, (long)zeros, 1},
	{"ptrace", ALL, SYS_ptrace, PTRACE_SEIZE, 1},
	{"reboot", OWNER_TOO, SYS_reboot, 0, 0, 0},
	{"setns of mounts", ALL, SYS_setns, -1, CLONE_NEWNS},
	{"setns of anything", ALL, SYS_setns, -1, 0},
	{"setns of the network", DELAY | GUARD, SYS_setns, -1, CLONE_NEWNET},
	{"setresuid", ALL, SYS_setresuid, 0, 0, 0},
	{"sethostname", ALL, SYS_sethostname, (long)zeros, -1},
	{"settimeofday", ALL, SYS_settimeofday, 0, 0},
	{"setuid", ALL, SYS_setuid, 0},
	{"socket AF_INET", DELAY | GUARD, SYS_socket, AF_INET, SOCK_STREAM},
	{"socket AF_PACKET", DELAY | GUARD, SYS_socket, AF_PACKET, SOCK_RAW},
	{"swapoff", OWNER_TOO, SYS_swapoff, (long)"/nowhere"},
	{"swapon", OWNER_TOO, SYS_swapon, (long)"/nowhere"},
	{"symlink", ALL, SYS_symlink, (long)"x", (long)"/nowhere/x"},
	{"tgkill of another", ALL, SYS_tgkill, 1, 1, 0},
	{"thread", BROKER | DELAY, SYS_clone, CLONE_THREAD},
	{"tkill of another", ALL, SYS_tkill, 1, 0},
	{"umount2", ALL, SYS_umount2, (long)"/nowhere"},
	{"unlink", BROKER | DELAY, SYS_unlink, (long)"/nowhere"},
	{"unshare CLONE_NEWCGROUP", ALL, SYS_unshare, CLONE_NEWCGROUP},
	{"unshare CLONE_NEWIPC", ALL, SYS_unshare, CLONE_NEWIPC},
	{"unshare CLONE_NEWNET", DELAY | GUARD, SYS_unshare, CLONE_NEWNET},
	{"unshare CLONE_NEWNS", ALL, SYS_unshare, CLONE_NEWNS},
	{"unshare CLONE_NEWPID", ALL, SYS_unshare, CLONE_NEWPID},
	{"unshare CLONE_NEWUSER", ALL, SYS_unshare, CLONE_NEWUSER},
	{"unshare CLONE_NEWUTS", ALL, SYS_unshare, CLONE_NEWUTS},
	{"userfaultfd", ALL, SYS_userfaultfd, 0},
};
enum { N_TRIES = sizeof tries / sizeof tries[0] };

static char *_Atomic room; /* NULL: not a role's process, or it has tried */
static int role;

/* argv[1], from where a constructor finds it. */
static int find_role(char *ret_name, size_t size)
{
	char line[256] = "";
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
	const char *word = line + strlen(line) + 1;

	if (fd >= 0)
		close(fd);
	for (size_t i = 0; n > 0 && i < sizeof roles / sizeof roles[0]; i++)
		if (word < line + n && strcmp(word, roles[i].name) == 0) {
			snprintf(ret_name, size, "%s", word);
			return roles[i].role;
		}
	return 0;
}

__attribute__((constructor)) static void prepare(void)
{
	const char *dir = getenv("BRUNT_TEST_TRIES");
	char name[32], path[512];
	void *p;
	int fd;

	role = dir ? find_role(name, sizeof name) : 0;
	if (!role)
		return;
	snprintf(path, sizeof path, "%s/%s.%d", dir, name, (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, ROOM) < 0)
		abort();
	p = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		abort();
	close(fd);
	room = p;
}

/* A helper has the owner's filter from its start, and its own when a call that no role has is refused. */
static bool is_confined(void)
{
	int r = prctl(PR_GET_SECCOMP);

	return role == OWNER ? r == 2 : r < 0 && errno == EPERM;
}

static void try_all(void)
{
	char *p, *end;

	if (!room || !is_confined())
		return;
	p = atomic_exchange(&room, NULL);
	if (!p)
		return; /* another thread does */
	end = p + ROOM;
	for (int i = 0; i < N_TRIES; i++) {
		long r;

		if (!(tries[i].roles & role))
			continue;
		errno = 0;
		r = syscall(tries[i].nr, tries[i].a, tries[i].b, tries[i].c, tries[i].d, tries[i].e);
		if (r == 0 && tries[i].nr == SYS_clone)
			_exit(0); /* the child */
		p += snprintf(p, end - p, "%s: %s\n", tries[i].name,
			      r >= 0 ? "let through" : strerrorname_np(errno));
	}
	snprintf(p, end - p, "end\n");
}

/* ---- what the roles wait with: broker and owner, delay engine, guard ---- */

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	try_all();
	return syscall(SYS_recvmsg, fd, msg, flags);
}

int epoll_pwait2(int fd, struct epoll_event *ev, int n, const struct timespec *ts, const sigset_t *mask)
{
	try_all();
	return (int)syscall(SYS_epoll_pwait2, fd, ev, n, ts, mask, NSIG / 8);
}

int poll(struct pollfd *p, nfds_t n, int timeout_ms)
{
	struct timespec ts = {timeout_ms / 1000, timeout_ms % 1000 * 1000000L};

	try_all();
	return (int)syscall(SYS_ppoll, p, n, timeout_ms < 0 ? NULL : &ts, NULL, NSIG / 8);
}

int __poll_chk(struct pollfd *p, nfds_t n, int timeout_ms, size_t size);
int __poll_chk(struct pollfd *p, nfds_t n, int timeout_ms, size_t size)
{
	(void)size;
	return poll(p, n, timeout_ms);
}
