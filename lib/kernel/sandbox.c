/*
 * Each role has a list of all that it may call, in families: a family is there whole, with what other
 * versions of glibc, SQLite and libnl call for the same thing, because a call that is missing on
 * somebody's machine breaks recovery. All else is refused with EPERM. What the libraries do only once
 * (open files of their own, look at the machine) has happened before the role is entered.
 *
 * A build with sanitizers has a list of what is refused instead: their runtime calls what it likes.
 *
 * What looks inside its arguments cannot be filtered: clone3 "does not exist", so that threads are
 * started by clone; nor io_uring, whose operations no filter sees. A call of another architecture's ABI
 * kills the process.
 */
#include "sandbox.h"

#include <asm/termbits.h>
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

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

/* What a build with sanitizers refuses in every role; the lists of the others leave it out. */
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

/* Of use to no program of a run: code for the kernel, files by handle, the machine's end. Namespaces,
 * mounts, tracing and BPF are, in SLO commands and pods. */
static const char *const owner_refused[] = {
	"acct", "create_module", "delete_module", "finit_module", "init_module", "ioperm", "iopl",
	"kexec_file_load", "kexec_load", "open_by_handle_at", "reboot", "swapoff", "swapon", "uselib", NULL,
};

/* Memory, clocks, signals, threads that wait, descriptors that are open: what every program does. */
static const char *const common_calls[] = {
	"brk", "clock_getres", "clock_gettime", "clock_nanosleep", "close", "dup", "exit", "exit_group",
	"fcntl", "fstat", "futex", "futex_wait", "futex_waitv", "futex_wake", "getegid", "geteuid",
	"getgid", "getpid", "getppid", "getrandom", "gettid", "gettimeofday", "getuid", "lseek", "madvise",
	"membarrier", "mmap", "mprotect", "mremap", "munmap", "nanosleep", "newfstatat", "poll", "ppoll",
	"read", "readv", "restart_syscall", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
	"sched_getaffinity", "sched_yield", "set_robust_list", "sigaltstack", "sysinfo", "time", "uname",
	"write", "writev", NULL,
};

static const char *const packet_calls[] = {
	"epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "recvfrom", "recvmsg", "sendmsg",
	"sendto", "timerfd_settime", NULL,
};

/* A file by its name, to be looked at; opening has a rule of its own where nothing may be written. */
static const char *const look_calls[] = {
	"access", "close_range", "faccessat", "faccessat2", "fadvise64", "fstatfs", "getcwd", "getdents",
	"getdents64", "getrlimit", "lstat", "pread64", "preadv", "preadv2", "readlink",
	"readlinkat", "stat", "statfs", "statx", NULL,
};

/* SQLite's and its write-ahead log's, a control group's, a lock file's. */
static const char *const write_calls[] = {
	"fallocate", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "fdatasync", "fsync",
	"ftruncate", "mkdir", "mkdirat", "msync", "open", "openat", "openat2", "pwrite64", "pwritev",
	"pwritev2", "rmdir", "sync_file_range", "unlink", "unlinkat", NULL,
};

/* Namespaces, sockets and files are what it hands out; it uses none of them. */
static const char *const broker_calls[] = {
	"bpf", "dup2", "dup3", "getsockname", "getsockopt", "open", "openat", "recvfrom", "recvmmsg",
	"recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "socket", NULL,
};

/* Netlink and services' control sockets; whom a fault stopped or the run left behind. */
static const char *const guard_calls[] = {
	"bind", "bpf", "connect", "dup2", "dup3", "getpeername", "getsockname", "getsockopt", "kill",
	"pidfd_open", "pidfd_send_signal", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg",
	"sendto", "setsockopt", "shutdown", "wait4", "waitid", NULL,
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

/* What a list lets through only with some arguments. */
enum {
	ALLOW_READING = 1 << 0, /* open, not to write */
	ALLOW_THREADS = 1 << 1, /* clone of a thread: no process, no namespace */
	ALLOW_NETNS = 1 << 2,   /* unshare and setns, of the network */
	ALLOW_TERMINAL = 1 << 3, /* ioctl: is it one, how wide is it */
	ALLOW_TUN = 1 << 4,      /* ioctl: make a TUN device */
	ALLOW_LOCAL = 1 << 5,    /* sockets of AF_UNIX and AF_NETLINK */
};

static const struct {
	const char *name;
	int refused;                   /* in a build with sanitizers */
	const char *const *allowed[4]; /* beside common_calls */
	int partly;                    /* ALLOW_ */
	int caps[8];                   /* kept; ends with -1 */
	bool nobody;                   /* not even root's files are its own */
} roles[] = {
	[SANDBOX_PARSER] = {"parser", NO_EXEC | NO_SOCKET | NO_NETNS | NO_BPF | NO_SIGNAL | NO_WRITE,
			    {look_calls}, ALLOW_READING | ALLOW_THREADS | ALLOW_TERMINAL,
			    {CAP_DAC_READ_SEARCH, -1}}, /* root reads anybody's manifest */
	[SANDBOX_READER] = {"reader", NO_EXEC | NO_SOCKET | NO_NETNS | NO_BPF | NO_SIGNAL,
			    {look_calls, write_calls}, ALLOW_THREADS | ALLOW_TERMINAL,
			    {CAP_DAC_OVERRIDE, CAP_CHOWN, -1}}, /* and anybody's state database */
	[SANDBOX_BROKER] = {"broker", NO_EXEC | NO_SIGNAL, {broker_calls}, ALLOW_NETNS | ALLOW_TUN,
			    {CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_NET_BIND_SERVICE, -1}},
	[SANDBOX_DELAY] = {"delay engine", NO_EXEC | NO_SOCKET | NO_NETNS | NO_BPF | NO_SIGNAL,
			   {packet_calls}, 0, {-1}, .nobody = true},
	[SANDBOX_GUARD] = {"guard", NO_EXEC, {look_calls, write_calls, guard_calls},
			   ALLOW_THREADS | ALLOW_LOCAL, /* CAP_KILL: a delay engine that hangs is nobody's */
			   {CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_DAC_OVERRIDE, CAP_SYS_PTRACE, CAP_KILL, -1}},
	[SANDBOX_OWNER] = {"owner", .caps = {-1}}, /* enter_owner */
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
	return refuse_if(filter, "tgkill", SCMP_A0(SCMP_CMP_NE, (scmp_datum_t)getpid()));
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
	return r;
}

static int allow_if(scmp_filter_ctx filter, const char *call, struct scmp_arg_cmp arg)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, seccomp_syscall_resolve_name(call), 1, arg);
}

/* One value of one argument: all that makes a call harmless here. */
static int allow_partly(scmp_filter_ctx filter, int partly)
{
	const unsigned writes = O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);
	unsigned no_namespace = 0;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++)
		no_namespace |= namespaces[i];
	const struct {
		int flag;
		const char *call;
		struct scmp_arg_cmp arg;
	} rules[] = {
		{~0, "tgkill", SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid())},
		{~0, "prlimit64", SCMP_A0(SCMP_CMP_EQ, 0)},
		{ALLOW_READING, "open", SCMP_A1(SCMP_CMP_MASKED_EQ, writes, O_RDONLY)},
		{ALLOW_READING, "openat", SCMP_A2(SCMP_CMP_MASKED_EQ, writes, O_RDONLY)},
		{ALLOW_THREADS, "clone",
		 SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD | no_namespace, CLONE_THREAD)},
		{ALLOW_THREADS, "prctl", SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME)},
		{ALLOW_THREADS, "prctl", SCMP_A0(SCMP_CMP_EQ, PR_SET_VMA)}, /* glibc's heaps of threads */
		{ALLOW_NETNS, "unshare", SCMP_A0(SCMP_CMP_EQ, CLONE_NEWNET)},
		{ALLOW_NETNS, "setns", SCMP_A1(SCMP_CMP_EQ, CLONE_NEWNET)},
		{ALLOW_TERMINAL, "ioctl", SCMP_A1(SCMP_CMP_EQ, TCGETS)},
		{ALLOW_TERMINAL, "ioctl", SCMP_A1(SCMP_CMP_EQ, TCGETS2)},
		{ALLOW_TERMINAL, "ioctl", SCMP_A1(SCMP_CMP_EQ, TIOCGWINSZ)},
		{ALLOW_TUN, "ioctl", SCMP_A1(SCMP_CMP_EQ, TUNSETIFF)},
		{ALLOW_LOCAL, "socket", SCMP_A0(SCMP_CMP_EQ, AF_UNIX)},
		{ALLOW_LOCAL, "socket", SCMP_A0(SCMP_CMP_EQ, AF_NETLINK)},
	};

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(rules); i++)
		if (rules[i].flag == ~0 || (rules[i].flag & partly))
			r = allow_if(filter, rules[i].call, rules[i].arg);
	return r;
}

static int allow_only(scmp_filter_ctx filter, enum sandbox_role role)
{
	int r = allow_calls(filter, common_calls);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(roles[role].allowed) && roles[role].allowed[i]; i++)
		r = allow_calls(filter, roles[role].allowed[i]);
	return r == 0 ? allow_partly(filter, roles[role].partly) : r;
}

static int fill_filter(scmp_filter_ctx filter, enum sandbox_role role)
{
	/* Valgrind, like a kernel before 4.14, ends one thread only. */
	int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH,
				 seccomp_api_get() >= 3 ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_KILL_THREAD);

	if (r == 0)
		r = hide_clone3(filter);
	if (r == 0 && !SANITIZED)
		return allow_only(filter, role);
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

/* Calls of the other ABIs are refused by their own numbers: a child may be a 32-bit program. */
static int add_other_abis(scmp_filter_ctx filter)
{
	static const uint32_t abis[] = {
#ifdef __x86_64__
		SCMP_ARCH_X86, SCMP_ARCH_X32,
#elif defined(__aarch64__)
		SCMP_ARCH_ARM,
#endif
	};
	int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(abis); i++)
		r = seccomp_arch_add(filter, abis[i]);
	return r;
}

/* For threads that are started later, and all that is run. */
static int enter_owner(struct err *e)
{
	scmp_filter_ctx filter;
	int r;

	capng_get_caps_process();
	if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN))
		return 0;
	filter = seccomp_init(SCMP_ACT_ALLOW);
	if (!filter)
		return err_set(e, ENOMEM, "owner: make a seccomp filter");
	r = add_other_abis(filter);
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
	for (const char *const *call = owner_refused; r == 0 && *call; call++)
		r = refuse(filter, *call);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r < 0 ? err_errno(e, -r, "owner: load the seccomp filter") : 0;
}

int sandbox_enter(enum sandbox_role role, struct err *e)
{
	scmp_filter_ctx filter;
	int r;

	if (role == SANDBOX_NONE)
		return 0;
	if (role == SANDBOX_OWNER)
		return enter_owner(e);
	filter = seccomp_init(SANITIZED ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM));
	if (!filter)
		return err_set(e, ENOMEM, "%s: make a seccomp filter", roles[role].name);
	r = fill_filter(filter, role);
	if (r == 0)
		r = give_up_rights(role, e);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	if (r < 0 && !(e && e->code))
		return err_errno(e, -r, "%s: load the seccomp filter", roles[role].name);
	return r;
}
