/*
 * The delay engine, which handles other people's packets, has a list of all that it may call: it was
 * handed its descriptors, opens nothing and runs as nobody. The other roles go through SQLite, libnl
 * and glibc's resolver; a list of everything that these call would break with each of their updates,
 * in the one moment (recovery) where breaking is worst. Their filters name what the role must not do:
 * running programs, sockets, namespaces, mounts, other processes' memory, files by handle, loading
 * code into the kernel, and io_uring, whose operations no filter sees.
 *
 * What looks inside its arguments cannot be filtered: clone3 "does not exist", so that threads are
 * started by clone. A call of another architecture's ABI kills the process.
 */
#include "sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>

enum {
	NO_EXEC = 1 << 0,
	NO_SOCKET = 1 << 1,
	NO_NETNS = 1 << 2,
	NO_BPF = 1 << 3,
	NO_SIGNAL = 1 << 4,
	NO_WRITE = 1 << 5,
};

/* A leak checker stops its own process with ptrace, and reads much of /proc, as it ends. */
#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { NOBODY = 65534 };

/* Refused in every role. A later kind of fault that needs one gets a role of its own. */
static const char *const always[] = {
	"acct", "add_key", "adjtimex", "chroot", "clock_adjtime", "clock_settime", "delete_module",
	"finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter",
	"io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load",
	"kexec_load", "keyctl", "lookup_dcookie", "mbind", "migrate_pages", "modify_ldt", "mount",
	"mount_setattr", "move_mount", "move_pages", "name_to_handle_at", "open_by_handle_at",
	"open_tree", "perf_event_open", "personality", "pidfd_getfd", "pivot_root",
	"process_madvise", "process_vm_readv", "process_vm_writev", "quotactl", "quotactl_fd", "reboot",
	"request_key", "rt_tgsigqueueinfo", "setdomainname", "sethostname", "settimeofday",
	"swapoff", "swapon", "syslog", "tkill", "umount2", "userfaultfd", "uselib", "vhangup", NULL,
};

static const unsigned namespaces[] = {CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS,
				      CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS};

/* All that the delay engine may call: packets, its timer, its memory, its end. */
static const char *const delay_calls[] = {
	"brk", "clock_getres", "clock_gettime", "clock_nanosleep", "close", "dup", "epoll_ctl",
	"epoll_pwait", "epoll_pwait2", "epoll_wait", "exit", "exit_group", "fcntl", "fstat", "futex",
	"getegid", "geteuid",
	"getgid", "getpid", "getrandom", "gettid", "gettimeofday", "getuid", "lseek",
	"madvise", "mmap", "mprotect",
	"mremap", "munmap", "nanosleep", "newfstatat", "poll", "ppoll", "read", "readv", "recvfrom",
	"recvmsg", "restart_syscall", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
	"sched_getaffinity", "sched_yield", "sendmsg", "sendto", "set_robust_list", "sigaltstack",
	"sysinfo", "timerfd_settime", "uname", "write", "writev", NULL,
};

static const struct {
	int flag;
	const char *const calls[32];
} classes[] = {
	{NO_EXEC, {"execve", "execveat"}},
	{NO_SOCKET, {"socket", "connect", "bind", "listen"}},
	{NO_NETNS, {"setns", "unshare"}},
	{NO_BPF, {"bpf"}},
	{NO_SIGNAL, {"kill", "pidfd_send_signal", "rt_sigqueueinfo"}},
	{NO_WRITE, {"chmod", "chown", "creat", "fchmod", "fchmodat", "fchown", "fchownat",
		    "fremovexattr", "fsetxattr", "ftruncate", "lchown", "link", "linkat",
		    "lremovexattr", "lsetxattr", "mkdir", "mkdirat", "mknod", "mknodat", "openat2",
		    "removexattr", "rename", "renameat", "renameat2", "rmdir", "setxattr", "symlink",
		    "symlinkat", "truncate", "unlink", "unlinkat"}},
};

/* Opening is looked at, not refused: a descriptor to read is what a parser works with. */
static const struct {
	const char *call;
	unsigned flags_arg;
} opens[] = {{"open", 1}, {"openat", 2}};
static const unsigned write_flags[] = {O_WRONLY, O_RDWR, O_CREAT, O_TRUNC};

static const struct {
	const char *name;
	int refused;
	int caps[6]; /* kept; ends with -1 */
	const char *const *allowed; /* nothing else; instead of what is refused */
	bool nobody;                /* not even root's files are its own */
} roles[] = {
	[SANDBOX_PARSER] = {"parser", NO_EXEC | NO_SOCKET | NO_NETNS | NO_BPF | NO_SIGNAL | NO_WRITE,
			    {CAP_DAC_READ_SEARCH, -1}}, /* root reads anybody's manifest */
	[SANDBOX_READER] = {"reader", NO_EXEC | NO_SOCKET | NO_NETNS | NO_BPF | NO_SIGNAL,
			    {CAP_DAC_OVERRIDE, CAP_CHOWN, -1}}, /* and anybody's state database */
	[SANDBOX_BROKER] = {"broker", NO_EXEC | NO_SIGNAL,
			    {CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_NET_BIND_SERVICE, -1}},
	[SANDBOX_DELAY] = {"delay engine", NO_EXEC | NO_SOCKET | NO_NETNS | NO_BPF | NO_SIGNAL, {-1},
			   .allowed = delay_calls, .nobody = true},
	[SANDBOX_GUARD] = {"guard", NO_EXEC, /* CAP_KILL: a delay engine that hangs is nobody's */
			   {CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_DAC_OVERRIDE, CAP_SYS_PTRACE, CAP_KILL, -1}},
};

static int drop_capabilities(enum sandbox_role role, struct err *e)
{
	capng_get_caps_process();
	if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
		return 0;
	capng_clear(CAPNG_SELECT_BOTH);
	for (const int *cap = roles[role].caps; *cap >= 0; cap++)
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET, *cap);
	if (capng_apply(CAPNG_SELECT_BOTH) < 0)
		return err_set(e, EPERM, "%s: drop capabilities: refused", roles[role].name);
	return 0;
}

static int refuse(scmp_filter_ctx filter, const char *call)
{
	int nr = seccomp_syscall_resolve_name(call);

	/* Unknown to this libseccomp: newer than it, or absent on this architecture. */
	return nr == __NR_SCMP_ERROR ? 0 : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), nr, 0);
}

static int refuse_opening_to_write(scmp_filter_ctx filter)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(opens); i++)
		for (size_t k = 0; r == 0 && k < ARRAY_SIZE(write_flags); k++) {
			int nr = seccomp_syscall_resolve_name(opens[i].call);

			r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), nr, 1,
					     SCMP_CMP(opens[i].flags_arg, SCMP_CMP_MASKED_EQ,
						      write_flags[k], write_flags[k]));
		}
	return r;
}

static int build_filter(scmp_filter_ctx filter, int refused)
{
	int r = refused & NO_WRITE ? refuse_opening_to_write(filter) : 0;

	for (const char *const *call = always; r == 0 && *call; call++)
		r = refuse(filter, *call);
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
		for (size_t k = 0; r == 0 && (classes[i].flag & refused) && classes[i].calls[k]; k++)
			r = refuse(filter, classes[i].calls[k]);
	return r;
}

static int refuse_if(scmp_filter_ctx filter, const char *call, struct scmp_arg_cmp arg)
{
	return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), seccomp_syscall_resolve_name(call), 1, arg);
}

/* New namespaces by clone; by unshare and setns, where a role has them, only those of the network. */
static int refuse_namespaces(scmp_filter_ctx filter, int refused)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(namespaces); i++) {
		unsigned flag = namespaces[i];

		r = refuse_if(filter, "clone", SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
		if (r == 0 && !(refused & NO_NETNS) && flag != CLONE_NEWNET)
			r = refuse_if(filter, "unshare", SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
	}
	if (r == 0 && !(refused & NO_NETNS))
		r = refuse_if(filter, "setns", SCMP_A1(SCMP_CMP_NE, CLONE_NEWNET));
	return r;
}

/* abort() and raise() signal a thread of their own process. */
static int refuse_others(scmp_filter_ctx filter)
{
	int r = refuse_if(filter, "tgkill", SCMP_A0(SCMP_CMP_NE, (scmp_datum_t)getpid()));

	return r == 0 && !SANITIZED ? refuse(filter, "ptrace") : r;
}

static int hide_clone3(scmp_filter_ctx filter)
{
	int nr = seccomp_syscall_resolve_name("clone3");

	return nr == __NR_SCMP_ERROR ? 0 : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), nr, 0);
}

static int allow_calls(scmp_filter_ctx filter, const char *const *calls)
{
	int r = 0;

	for (; r == 0 && *calls; calls++) {
		int nr = seccomp_syscall_resolve_name(*calls);

		if (nr != __NR_SCMP_ERROR)
			r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, nr, 0);
	}
	return r == 0 ? seccomp_rule_add(filter, SCMP_ACT_ALLOW, seccomp_syscall_resolve_name("tgkill"),
					 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()))
		      : r;
}

static int fill_filter(scmp_filter_ctx filter, enum sandbox_role role, bool list)
{
	/* Valgrind, like a kernel before 4.14, ends one thread only. */
	int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH,
				 seccomp_api_get() >= 3 ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_KILL_THREAD);

	if (r == 0)
		r = hide_clone3(filter);
	if (r == 0 && list)
		return allow_calls(filter, roles[role].allowed);
	if (r == 0)
		r = build_filter(filter, roles[role].refused);
	if (r == 0)
		r = refuse_namespaces(filter, roles[role].refused);
	return r == 0 ? refuse_others(filter) : r;
}

/* Without the privilege to become another user it stays the user that it is. */
static int become_nobody(enum sandbox_role role, struct err *e)
{
	capng_get_caps_process();
	if (SANITIZED || !roles[role].nobody || !capng_have_capability(CAPNG_EFFECTIVE, CAP_SETUID) ||
	    !capng_have_capability(CAPNG_EFFECTIVE, CAP_SETGID))
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return err_errno(e, errno, "%s: become nobody", roles[role].name);
	return 0;
}

/* The bounding set goes while it still can; the other sets go with root's number. */
static int give_up_rights(enum sandbox_role role, struct err *e)
{
	capng_get_caps_process();
	if (roles[role].nobody && capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP)) {
		capng_clear(CAPNG_SELECT_BOUNDS);
		capng_apply(CAPNG_SELECT_BOUNDS);
	}
	if (become_nobody(role, e) < 0)
		return e ? -e->code : -EPERM;
	return drop_capabilities(role, e);
}

int sandbox_enter(enum sandbox_role role, struct err *e)
{
	bool list = role != SANDBOX_NONE && roles[role].allowed && !SANITIZED;
	scmp_filter_ctx filter;
	int r;

	if (role == SANDBOX_NONE)
		return 0;
	filter = seccomp_init(list ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_ALLOW);
	if (!filter)
		return err_set(e, ENOMEM, "%s: make a seccomp filter", roles[role].name);
	r = fill_filter(filter, role, list);
	if (r == 0)
		r = give_up_rights(role, e);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	if (r < 0 && !(e && e->code))
		return err_errno(e, -r, "%s: load the seccomp filter", roles[role].name);
	return r;
}
