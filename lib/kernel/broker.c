/*
 * The owner's side. The broker is re-executed so that it carries no thread, lock or open database
 * of its parent. A program other than brunt (a unit test) has no such role; there the forked child
 * serves directly, which is safe because it closes every other descriptor and never returns.
 */
#include "broker.h"

#include "../base/mem.h"
#include "broker_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct broker {
	int sock;
	pid_t pid;
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

static void child(int sock, bool is_brunt)
{
	static char *const argv[] = {"brunt", BROKER_ROLE, NULL};

	/* A descriptor cannot be duplicated onto itself, and must lose close-on-exec. */
	if (sock == BROKER_FD ? fcntl(sock, F_SETFD, 0) < 0 : dup2(sock, BROKER_FD) < 0)
		_exit(127);
	close_from(BROKER_FD + 1);
	if (!is_brunt)
		_exit(broker_main(0, NULL));
	execv("/proc/self/exe", argv);
	_exit(127);
}

int broker_start(struct broker **ret, struct err *e)
{
	bool is_brunt = self_is_brunt();
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, errno, "broker: socketpair");
	pid = fork();
	if (pid == 0)
		child(pair[1], is_brunt);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return err_errno(e, errno, "broker: fork");
	}
	*ret = xcalloc(1, sizeof **ret);
	**ret = (struct broker){.sock = pair[0], .pid = pid};
	return 0;
}

void broker_stop(struct broker *b)
{
	if (!b)
		return;
	close(b->sock);
	while (waitpid(b->pid, NULL, 0) < 0 && errno == EINTR)
		;
	free(b);
}

static void describe_netns(int fd, char *buf, size_t len)
{
	struct netns_id id;

	if (fd < 0 || netns_identity(fd, &id, NULL) < 0)
		snprintf(buf, len, "brunt's own network namespace");
	else
		snprintf(buf, len, "network namespace %llu", (unsigned long long)id.ino);
}

/* The fd of the answer, or its value when it has none. */
static int ask(struct broker *b, int netns_fd, const struct broker_request *q, const char *what,
	       struct err *e)
{
	struct broker_reply r = {0};
	char where[64];
	int fd = -1;
	int n = broker_wire_send(b->sock, q, sizeof *q, netns_fd);

	if (n == 0)
		n = broker_wire_recv(b->sock, &r, sizeof r, &fd);
	if (n != sizeof r)
		return err_errno(e, n < 0 ? -n : EPIPE, "broker: its process is gone");
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
