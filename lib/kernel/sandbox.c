/*
 * The filters name what a role must not do rather than all it may: a list of everything that
 * glibc, SQLite and libnl call would break with each of their updates, in the one moment (recovery)
 * where breaking is worst. What an attacker of a role would need is on the lists: running programs,
 * opening sockets, entering and making namespaces, mounting, loading code into the kernel, and
 * io_uring, whose operations no filter sees.
 */
#include "sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>

enum {
	NO_EXEC = 1 << 0,
	NO_SOCKET = 1 << 1,
	NO_NETNS = 1 << 2,
	NO_BPF = 1 << 3,
	NO_SIGNAL = 1 << 4,
	NO_WRITE = 1 << 5,
};

/* Refused in every role. */
static const char *const always[] = {
	"acct", "add_key", "delete_module", "finit_module", "init_module", "io_uring_enter",
	"io_uring_register", "io_uring_setup", "kexec_file_load", "kexec_load", "mount",
	"move_mount", "open_tree", "perf_event_open", "pivot_root", "process_vm_writev", "reboot",
	"request_key", "sethostname", "settimeofday", "swapoff", "swapon", "umount2",
	"userfaultfd", NULL,
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
	int caps[5]; /* kept; ends with -1 */
} roles[] = {
	[SANDBOX_PARSER] = {"parser", NO_EXEC | NO_SOCKET | NO_NETNS | NO_BPF | NO_SIGNAL | NO_WRITE,
			    {CAP_DAC_READ_SEARCH, -1}}, /* root reads anybody's manifest */
	[SANDBOX_READER] = {"reader", NO_EXEC | NO_SOCKET | NO_NETNS | NO_BPF | NO_SIGNAL,
			    {CAP_DAC_OVERRIDE, CAP_CHOWN, -1}}, /* and anybody's state database */
	[SANDBOX_BROKER] = {"broker", NO_EXEC | NO_SIGNAL,
			    {CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_NET_BIND_SERVICE, -1}},
	[SANDBOX_DELAY] = {"delay engine", NO_EXEC | NO_SOCKET | NO_NETNS | NO_SIGNAL, {-1}},
	[SANDBOX_GUARD] = {"guard", NO_EXEC,
			   {CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_DAC_OVERRIDE, CAP_SYS_PTRACE, -1}},
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

int sandbox_enter(enum sandbox_role role, struct err *e)
{
	scmp_filter_ctx filter;
	int r;

	if (role == SANDBOX_NONE)
		return 0;
	filter = seccomp_init(SCMP_ACT_ALLOW);
	if (!filter)
		return err_set(e, ENOMEM, "%s: make a seccomp filter", roles[role].name);
	r = build_filter(filter, roles[role].refused);
	if (r == 0)
		r = drop_capabilities(role, e);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	if (r < 0 && !(e && e->code))
		return err_errno(e, -r, "%s: load the seccomp filter", roles[role].name);
	return r;
}
