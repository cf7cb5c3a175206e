/*
 * The run's end: start, arm, watch, dismiss. What the guard does is in guard_main.c.
 *
 * The guard is watched through a pidfd; its answers carry the sequence number of the message, and
 * the callback of guard_arm waits for the last message of its batch.
 */
#include "guard.h"

#include "guard_wire.h"
#include "kernel/pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

struct waiter {
	uint32_t seq;
	void (*done)(void *arg, int r);
	void *arg;
};

struct guard {
	pid_t pid;
	int fd, pidfd;
	uint32_t seq;
	struct waiter *waiters;
	size_t n_waiters;
	bool acts, dead;
	sd_event_source *socket_source, *death_source;
	void (*on_death)(void *data);
	void *data;
};

/* Only async-signal-safe calls: the committer's thread may hold any lock at the fork. */
static void exec_guard(int fd, char *const *argv)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Away from the fixed number first, so that a pair that landed there survives dup2. */
	fd = fcntl(fd, F_DUPFD_CLOEXEC, GUARD_SOCKET + 1);
	if (fd >= 0 && dup2(fd, GUARD_SOCKET) == GUARD_SOCKET)
		execv("/proc/self/exe", argv);
	_exit(127);
}

static int spawn(struct guard *g, const char *state_dir, const char *run_id, struct err *e)
{
	char *argv[] = {(char *)"brunt", (char *)GUARD_ROLE, (char *)state_dir, (char *)run_id, NULL};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, errno, "guard: socketpair");
	g->fd = pair[0];
	g->pid = fork();
	if (g->pid == 0)
		exec_guard(pair[1], argv);
	close(pair[1]);
	if (g->pid < 0)
		return err_errno(e, errno, "guard: fork");
	g->pidfd = pidfd_open_pid(g->pid, e);
	return g->pidfd < 0 ? err_wrap(e, "guard") : 0;
}

/* It has said that it reverts, and may still be about it. */
static bool acts(const struct guard *g)
{
	struct guard_answer a;

	return g->acts || (recv(g->fd, &a, sizeof a, MSG_DONTWAIT | MSG_PEEK) == sizeof a &&
			   a.seq == GUARD_ACTS);
}

bool guard_lives(const struct guard *g)
{
	return !g->dead && !acts(g) && pidfd_wait(g->pidfd, 0) != 1;
}

/* Everybody who waits hears of it, then the engine. */
static void died(struct guard *g)
{
	if (g->dead)
		return;
	g->dead = true;
	g->death_source = sd_event_source_unref(g->death_source);
	g->socket_source = sd_event_source_unref(g->socket_source);
	while (g->n_waiters) {
		struct waiter w = g->waiters[--g->n_waiters];

		w.done(w.arg, -EPIPE);
	}
	if (g->on_death)
		g->on_death(g->data);
}

static int on_pidfd(sd_event_source *s, int fd, uint32_t revents, void *data)
{
	died(data);
	return 0;
}

static void answered(struct guard *g, uint32_t seq)
{
	for (size_t i = 0; i < g->n_waiters; i++) {
		struct waiter w = g->waiters[i];

		if (w.seq != seq)
			continue;
		g->waiters[i] = g->waiters[--g->n_waiters];
		w.done(w.arg, 0);
		return;
	}
}

static int on_answer(sd_event_source *s, int fd, uint32_t revents, void *data)
{
	struct guard *g = data;
	struct guard_answer a;
	ssize_t n = recv(fd, &a, sizeof a, MSG_DONTWAIT);

	if (n == sizeof a && a.seq == GUARD_ACTS)
		g->acts = true; /* its end, which follows, tells the engine */
	else if (n == sizeof a)
		answered(g, a.seq);
	else if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		died(g);
	return 0;
}

/* The first answer is waited for, within reason: without a guard there is nothing to go on with. */
static int hello(struct guard *g, const struct lock *lock, struct err *e)
{
	struct guard_msg m = {.op = GUARD_HELLO};
	struct guard_answer a;
	int fds[LOCK_FDS];
	int r;

	setsockopt(g->fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 30},
		   sizeof(struct timeval));
	lock_fds(lock, fds);
	r = guard_wire_send(g->fd, &m, fds, LOCK_FDS);
	if (r < 0)
		return err_errno(e, -r, "guard: hello");
	if (recv(g->fd, &a, sizeof a, 0) != sizeof a)
		return err_set(e, EPIPE, "guard: no answer at its start");
	a.text[sizeof a.text - 1] = '\0';
	return a.r < 0 ? err_set(e, -a.r, "guard: %s", a.text) : 0;
}

int guard_start(const char *state_dir, const char *run_id, const struct lock *lock,
		struct sd_event *loop, void (*on_death)(void *data), void *data,
		struct guard **ret, struct err *e)
{
	autoptr(guard) g = xcalloc(1, sizeof *g);
	int r;

	g->fd = g->pidfd = -1;
	r = spawn(g, state_dir, run_id, e);
	if (r < 0)
		return r;
	r = hello(g, lock, e);
	if (r < 0)
		return r;
	r = sd_event_add_io(loop, &g->socket_source, g->fd, EPOLLIN, on_answer, g);
	if (r >= 0)
		r = sd_event_add_io(loop, &g->death_source, g->pidfd, EPOLLIN, on_pidfd, g);
	if (r < 0)
		return err_errno(e, -r, "guard: watch");
	g->on_death = on_death;
	g->data = data;
	*ret = take(g);
	return 0;
}

void guard_arm(struct guard *g, const struct target_list *targets, int64_t deadline_ns,
	       void (*done)(void *arg, int r), void *arg)
{
	size_t i = 0;
	int r;

	do {
		struct guard_msg m = {
			.op = GUARD_HOLD,
			.seq = ++g->seq,
			.deadline_ns = deadline_ns,
		};
		int fds[GUARD_BATCH];

		for (; i < targets->n && m.n_ids < GUARD_BATCH; i++) {
			const struct target *t = targets->items[i];

			if (t->netns_fd < 0)
				continue;
			m.ids[m.n_ids] = t->netns_id;
			fds[m.n_ids++] = t->netns_fd;
		}
		r = g->dead ? -EPIPE : guard_wire_send(g->fd, &m, fds, m.n_ids);
	} while (r == 0 && i < targets->n);
	if (r < 0)
		done(arg, r);
	else
		*array_push(g->waiters, g->n_waiters) = (struct waiter){g->seq, done, arg};
}

void guard_forget(struct guard *g, struct netns_id id)
{
	struct guard_msg m = {
		.op = GUARD_FORGET,
		.seq = ++g->seq,
		.n_ids = 1,
		.ids = {id},
	};

	if (!g->dead)
		guard_wire_send(g->fd, &m, NULL, 0);
}

void guard_disarm(struct guard *g)
{
	struct guard_msg m = {.op = GUARD_DISARM, .seq = ++g->seq};

	if (!g->dead)
		guard_wire_send(g->fd, &m, NULL, 0);
}

pid_t guard_pid(const struct guard *g)
{
	return g->pid;
}

void guard_free(struct guard *g)
{
	struct guard_msg m = {.op = GUARD_LEAVE};

	if (!g)
		return;
	if (g->fd >= 0) {
		guard_wire_send(g->fd, &m, NULL, 0);
		close(g->fd);
	}
	sd_event_source_unref(g->socket_source);
	sd_event_source_unref(g->death_source);
	if (g->pidfd >= 0) {
		pidfd_wait(g->pidfd, GUARD_GRACE_MS);
		waitid(P_PIDFD, (id_t)g->pidfd, &(siginfo_t){0}, WEXITED | WNOHANG);
		close(g->pidfd);
	}
	free(g->waiters);
	free(g);
}
