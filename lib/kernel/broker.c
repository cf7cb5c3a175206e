/*
 * The owner's side. The broker is re-executed so that it carries no thread, lock or open database
 * of its parent. A program other than brunt (a unit test) has no such role; there the forked child
 * serves directly, which is safe because it closes every other descriptor and never returns.
 *
 * A broker that has died, or gives no answer in time (stopped, or stuck in the kernel), is killed
 * and another one asked: it holds nothing that would be lost. What a first one has made without
 * answering (a TAP, a namespace) goes with its descriptors. One that is at work on a busy machine is
 * given longer: another one would be as slow, and have to begin first.
 */
#include "broker.h"

#include "../base/mem.h"
#include "broker_wire.h"
#include "pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

/* An answer takes some 20 us; making a namespace on a machine that swaps has taken a second, and
 * starting the process on a loaded emulated one more than three. */
enum { ANSWER_TIMEOUT_S = 3, SLOW_ANSWER_S = 30, EXIT_TIMEOUT_MS = 1000, REPLACEMENTS_MAX = 2 };

struct broker_process {
	int sock, pidfd;
	pid_t pid; /* 0: none */
};

struct broker {
	struct broker_process now, spare;
};

static bool self_is_brunt(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	char *deleted, *base;

	if (n < 0)
		return false;
	path[n] = '\0';
	deleted = strstr(path, " (deleted)");
	if (deleted)
		*deleted = '\0';
	base = strrchr(path, '/');
	return base && streq(base + 1, "brunt");
}

static void close_from(unsigned first)
{
	syscall(SYS_close_range, first, ~0U, 0);
}

static void child(int sock, pid_t owner, bool is_brunt)
{
	static char *const argv[] = {"brunt", BROKER_ROLE, NULL};

	/* Also one that is stopped, which does not see its socket close. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != owner)
		_exit(1);
	/* A descriptor cannot be duplicated onto itself, and must lose close-on-exec. */
	if (sock == BROKER_FD ? fcntl(sock, F_SETFD, 0) < 0 : dup2(sock, BROKER_FD) < 0)
		_exit(127);
	close_from(BROKER_FD + 1);
	if (!is_brunt)
		_exit(broker_main(0, NULL));
	execv("/proc/self/exe", argv);
	_exit(127);
}

static int broker_start_process(struct broker_process *ret, struct err *e)
{
	const struct timeval limit = {.tv_sec = ANSWER_TIMEOUT_S};
	bool is_brunt = self_is_brunt();
	pid_t owner = getpid(), pid;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, errno, "broker: socketpair");
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	pid = fork();
	if (pid == 0)
		child(pair[1], owner, is_brunt);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return err_errno(e, errno, "broker: fork");
	}
	*ret = (struct broker_process){.sock = pair[0], .pid = pid};
	ret->pidfd = pidfd_open_pid(pid, e);
	if (ret->pidfd < 0) {
		close(pair[0]);
		waitpid(pid, NULL, 0);
		*ret = (struct broker_process){0};
		return err_wrap(e, "broker");
	}
	return 0;
}

/* It exits when its socket closes; one that does not is stopped, or stuck in the kernel. */
static void broker_end_process(struct broker_process *p, int patience_ms)
{
	if (!p->pid)
		return;
	close(p->sock);
	if (pidfd_wait(p->pidfd, patience_ms) != 1) {
		pidfd_signal(p->pidfd, SIGKILL, NULL);
		pidfd_wait(p->pidfd, EXIT_TIMEOUT_MS);
	}
	/* Without blocking: no signal reaches a process that the kernel itself does not let go. */
	while (waitpid(p->pid, NULL, WNOHANG) < 0 && errno == EINTR)
		;
	close(p->pidfd);
	*p = (struct broker_process){0};
}

int broker_start(struct broker **ret, struct err *e)
{
	autoptr(broker) b = xcalloc(1, sizeof *b);
	int r = broker_start_process(&b->now, e);

	if (r == 0)
		*ret = take(b);
	return r;
}

int broker_keep_spare(struct broker *b, struct err *e)
{
	return b->spare.pid ? 0 : broker_start_process(&b->spare, e);
}

void broker_stop(struct broker *b)
{
	if (!b)
		return;
	broker_end_process(&b->now, EXIT_TIMEOUT_MS);
	broker_end_process(&b->spare, EXIT_TIMEOUT_MS);
	free(b);
}

/* The spare first: a role that is confined can start no other. */
static int broker_replace(struct broker *b, struct err *e)
{
	broker_end_process(&b->now, 0);
	b->now = b->spare;
	b->spare = (struct broker_process){0};
	return b->now.pid ? 0 : broker_start_process(&b->now, e);
}

static void describe_netns(int fd, char *buf, size_t len)
{
	struct netns_id id;

	if (fd < 0 || netns_identity(fd, &id, NULL) < 0)
		snprintf(buf, len, "brunt's own network namespace");
	else
		snprintf(buf, len, "network namespace %llu", (unsigned long long)id.ino);
}

/* As broker_wire_recv; -EAGAIN when there was none in ret_s seconds. */
static int broker_receive(const struct broker_process *p, struct broker_reply *ret, int *ret_fd,
			  int *ret_s)
{
	int n;

	*ret_s = 0;
	do {
		n = broker_wire_recv(p->sock, ret, sizeof *ret, ret_fd);
		*ret_s += ANSWER_TIMEOUT_S;
	} while (n == -EAGAIN && *ret_s < SLOW_ANSWER_S && !pidfd_stands_still(p->pid));
	return n;
}

/* 0 with an answer; another process is asked when the first has none. */
static int exchange(struct broker *b, int netns_fd, const struct broker_request *q,
		    struct broker_reply *ret, int *ret_fd, struct err *e)
{
	for (int replaced = 0;; replaced++) {
		int n = -EPIPE, s = ANSWER_TIMEOUT_S;

		if (b->now.pid)
			n = broker_wire_send(b->now.sock, q, sizeof *q, netns_fd);
		if (n == 0)
			n = broker_receive(&b->now, ret, ret_fd, &s);
		if (n == sizeof *ret)
			return 0;
		if (n == -EBADF) /* the caller's handle, not the broker's fault */
			return err_errno(e, EBADF, "broker: send a handle");
		if (replaced == REPLACEMENTS_MAX || broker_replace(b, e) < 0)
			return n == -EAGAIN ? err_set(e, ETIMEDOUT, "broker: no answer within %d s", s)
					    : err_errno(e, EPIPE, "broker: its process is gone");
	}
}

/* The fd of the answer, or its value when it has none. */
static int ask(struct broker *b, int netns_fd, const struct broker_request *q, const char *what,
	       struct err *e)
{
	struct broker_reply r = {0};
	char where[64];
	int fd = -1;

	int n = exchange(b, netns_fd, q, &r, &fd, e);

	if (n < 0)
		return n;
	if (!r.error)
		return fd >= 0 ? fd : r.value;
	describe_netns(netns_fd, where, sizeof where);
	if (r.step == BROKER_STEP_ENTER)
		return err_errno(e, r.error, "enter %s", where);
	return err_errno(e, r.error, "%s in %s", what, where);
}

int broker_socket(struct broker *b, int netns_fd, int domain, int type, int protocol,
		  struct err *e)
{
	const struct broker_request q = {
		.op = BROKER_SOCKET, .a = domain, .b = type, .c = protocol};

	return ask(b, netns_fd, &q, "make a socket", e);
}

int broker_netns_cookie(struct broker *b, int netns_fd, struct netns_id *id, struct err *e)
{
	autofd int fd = broker_socket(b, netns_fd, AF_UNIX, SOCK_DGRAM, 0, e);

	if (fd < 0)
		return fd;
	id->cookie = netns_cookie(fd);
	return 0;
}

static int ask_tun(struct broker *b, int netns_fd, const char *name, int flag, struct err *e)
{
	struct broker_request q = {.op = BROKER_TAP, .a = flag};
	char what[64];

	if (strlen(name) >= IFNAMSIZ)
		return err_set(e, EINVAL, "\"%s\" is too long for a device name", name);
	strcpy(q.text, name);
	snprintf(what, sizeof what, "make %s device %s", flag == IFF_TAP ? "TAP" : "TUN", name);
	return ask(b, netns_fd, &q, what, e);
}

int broker_tap(struct broker *b, int netns_fd, const char *name, struct err *e)
{
	return ask_tun(b, netns_fd, name, IFF_TAP, e);
}

int broker_tun(struct broker *b, int netns_fd, const char *name, struct err *e)
{
	return ask_tun(b, netns_fd, name, IFF_TUN, e);
}

int broker_open(struct broker *b, int netns_fd, const char *path, int flags, struct err *e)
{
	struct broker_request q = {.op = BROKER_OPEN, .a = flags};
	char what[BROKER_TEXT_MAX + 8];

	if (strlen(path) >= sizeof q.text)
		return err_errno(e, ENAMETOOLONG, "open %s", path);
	strcpy(q.text, path);
	snprintf(what, sizeof what, "open %s", path);
	return ask(b, netns_fd, &q, what, e);
}

int broker_scratch(struct broker *b, struct err *e)
{
	const struct broker_request q = {.op = BROKER_SCRATCH};

	return ask(b, -1, &q, "make a scratch network namespace", e);
}

int broker_first_tcx(struct broker *b, int netns_fd, int ifindex, bool ingress, struct err *e)
{
	const struct broker_request q = {.op = BROKER_TCX, .a = ifindex, .b = ingress};

	return ask(b, netns_fd, &q, "list TCX programs", e);
}
