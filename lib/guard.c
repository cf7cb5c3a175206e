/*
 * The run's end: start, arm, watch, dismiss. What the guard does is in guard_main.c.
 *
 * The guard is watched through a pidfd; its answers carry the sequence number of the message, and
 * the callback of guard_arm waits for the last message of its batch. Nothing waits for it to read:
 * what its socket does not take is queued.
 */
#include "guard.h"

#include "guard_records.h"
#include "guard_wire.h"
#include "kernel/pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

/* Counted in pings, not in time: when both stood still, the guard has had no time to answer. */
enum { PING_USEC = 1000000, SILENT_PINGS_MAX = 5, SLOW_PINGS_MAX = 30, ACTING_PINGS_MAX = 60 };

struct waiter {
	uint32_t seq;
	void (*done)(void *arg, int r);
	void *arg;
};

/* A message that the socket did not take yet, with descriptors of its own. */
struct letter {
	struct letter *next;
	struct guard_msg msg;
	size_t n_fds;
	int fds[];
};

struct guard {
	pid_t pid;
	int fd, pidfd;
	struct guard_shared *shared;
	uint32_t seq;
	unsigned silent; /* pings since its last word */
	struct letter *first, **last;
	struct waiter *waiters;
	size_t n_waiters;
	bool acts, dead;
	const char *fate;
	sd_event_source *socket_source, *death_source, *ping_timer;
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

	/* Its word may stand behind answers that the loop has not read. */
	return g->acts || (g->shared && atomic_load(&g->shared->turn) == GUARD_TURN_GUARD) ||
	       (recv(g->fd, &a, sizeof a, MSG_DONTWAIT | MSG_PEEK) == sizeof a &&
		a.seq == GUARD_ACTS);
}

bool guard_lives(const struct guard *g)
{
	return !g->dead && !acts(g) && pidfd_wait(g->pidfd, 0) != 1;
}

/* Letters ------------------------------------------------------------------------------------- */

static void letter_free(struct letter *l)
{
	for (size_t i = 0; i < l->n_fds; i++)
		if (l->fds[i] >= 0)
			close(l->fds[i]);
	free(l);
}

static void queue_letter(struct guard *g, const struct guard_msg *m, const int *fds, size_t n)
{
	struct letter *l = xcalloc(1, sizeof *l + n * sizeof *fds);

	l->msg = *m;
	l->n_fds = n;
	for (size_t i = 0; i < n; i++)
		l->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
	*g->last = l;
	g->last = &l->next;
	sd_event_source_set_io_events(g->socket_source, EPOLLIN | EPOLLOUT);
}

/* In the order of the calls; 0 also when it waits in the queue. */
static int send_letter(struct guard *g, const struct guard_msg *m, const int *fds, size_t n)
{
	int r = g->dead ? -EPIPE : g->first ? -EAGAIN : guard_wire_send(g->fd, m, fds, n);

	if (r != -EAGAIN)
		return r;
	queue_letter(g, m, fds, n);
	return 0;
}

static void send_queued(struct guard *g)
{
	while (g->first) {
		struct letter *l = g->first;

		if (guard_wire_send(g->fd, &l->msg, l->fds, l->n_fds) == -EAGAIN)
			return;
		g->first = l->next;
		if (!g->first)
			g->last = &g->first;
		letter_free(l);
	}
	sd_event_source_set_io_events(g->socket_source, EPOLLIN);
}

/* Its end ------------------------------------------------------------------------------------- */

/* Everybody who waits hears of it, then the engine. */
static void died(struct guard *g)
{
	if (g->dead)
		return;
	g->dead = true;
	g->ping_timer = sd_event_source_unref(g->ping_timer);
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

/* One answer taken from the socket; 0 when there is none now, -EPIPE when there will be none. */
static int take_answer(struct guard *g)
{
	struct guard_answer a;
	ssize_t n = recv(g->fd, &a, sizeof a, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
	if (n != sizeof a)
		return -EPIPE;
	g->silent = 0;
	if (a.seq == GUARD_ACTS)
		g->acts = true; /* its end, which follows, tells the engine */
	else
		answered(g, a.seq);
	return 1;
}

static int on_socket(sd_event_source *s, int fd, uint32_t revents, void *data)
{
	struct guard *g = data;

	if (revents & EPOLLOUT)
		send_queued(g);
	if (revents & (EPOLLIN | EPOLLHUP) && take_answer(g) == -EPIPE)
		died(g);
	return 0;
}

/* One that is not stopped is slow, as all else may be on a busy machine. */
static bool gives_no_answer(const struct guard *g)
{
	if (g->acts)
		return g->silent >= ACTING_PINGS_MAX;
	return g->silent >= SLOW_PINGS_MAX ||
	       (g->silent >= SILENT_PINGS_MAX && pidfd_stands_still(g->pid));
}

static int on_ping(sd_event_source *s, uint64_t usec, void *data)
{
	const struct guard_msg m = {.op = GUARD_PING};
	struct guard *g = data;

	while (!g->dead && take_answer(g) == 1)
		;
	if (g->dead)
		return 0;
	if (gives_no_answer(g)) {
		pidfd_signal(g->pidfd, SIGKILL, NULL);
		g->fate = "gave no answer, and was killed";
		died(g);
		return 0;
	}
	g->silent++;
	if (!g->acts)
		send_letter(g, &m, NULL, 0);
	sd_event_source_set_time_relative(s, PING_USEC);
	sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	return 0;
}

const char *guard_fate(const struct guard *g)
{
	return g->fate ? g->fate : "was killed, or had to revert because the run overran its time";
}

/* Its beginning ------------------------------------------------------------------------------- */

static int share_memory(struct guard *g, int *ret_fd, struct err *e)
{
	autofd int fd = memfd_create("brunt-guard", MFD_CLOEXEC);
	void *p;

	if (fd < 0 || ftruncate(fd, sizeof *g->shared) < 0)
		return err_errno(e, errno, "guard: make shared memory");
	p = mmap(NULL, sizeof *g->shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return err_errno(e, errno, "guard: map shared memory");
	g->shared = p;
	*ret_fd = take_fd(fd);
	return 0;
}

/* The first answer is waited for, within reason: without a guard there is nothing to go on with. */
static int hello(struct guard *g, const struct lock *lock, struct err *e)
{
	struct guard_msg m = {.op = GUARD_HELLO};
	autofd int memory = -1, self = -1;
	struct guard_answer a;
	int fds[GUARD_HELLO_FDS];
	int r = share_memory(g, &memory, e);

	if (r < 0)
		return r;
	self = pidfd_open_pid(getpid(), e);
	if (self < 0)
		return err_wrap(e, "guard");
	setsockopt(g->fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 30},
		   sizeof(struct timeval));
	lock_fds(lock, fds);
	fds[GUARD_FD_SHARED] = memory;
	fds[GUARD_FD_OWNER] = self;
	r = guard_wire_send(g->fd, &m, fds, GUARD_HELLO_FDS);
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
	g->last = &g->first;
	r = spawn(g, state_dir, run_id, e);
	if (r < 0)
		return r;
	r = hello(g, lock, e);
	if (r < 0)
		return r;
	r = sd_event_add_io(loop, &g->socket_source, g->fd, EPOLLIN, on_socket, g);
	if (r >= 0)
		r = sd_event_add_io(loop, &g->death_source, g->pidfd, EPOLLIN, on_pidfd, g);
	if (r >= 0)
		r = sd_event_add_time_relative(loop, &g->ping_timer, CLOCK_MONOTONIC,
					       PING_USEC, 0, on_ping, g);
	if (r < 0)
		return err_errno(e, -r, "guard: watch");
	g->on_death = on_death;
	g->data = data;
	*ret = take(g);
	return 0;
}

static int send_records(struct guard *g, const struct undo_list *undo)
{
	const struct guard_msg m = {.op = GUARD_RECORDS};
	autofd int fd = guard_records_pack(undo, NULL);

	return fd < 0 ? fd : send_letter(g, &m, &fd, 1);
}

void guard_arm(struct guard *g, const struct target_list *targets, const struct undo_list *undo,
	       int64_t deadline_ns, void (*done)(void *arg, int r), void *arg)
{
	int r = send_records(g, undo);
	size_t i = 0;

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
		if (r == 0)
			r = send_letter(g, &m, fds, m.n_ids);
	} while (r == 0 && i < targets->n);
	if (r < 0)
		done(arg, r);
	else
		*array_push(g->waiters, g->n_waiters) = (struct waiter){g->seq, done, arg};
}

void guard_undone(struct guard *g, const int64_t *ids, size_t n)
{
	const struct guard_msg m = {.op = GUARD_UNDONE};
	autofd int fd = n ? guard_records_pack_ids(ids, n, NULL) : -1;

	if (fd >= 0)
		send_letter(g, &m, &fd, 1);
}

void guard_see_off(struct guard *g, int pidfd)
{
	const struct guard_msg m = {.op = GUARD_SEE_OFF};

	send_letter(g, &m, &pidfd, 1);
}

int guard_enter(struct guard *g, struct err *e)
{
	uint32_t free = GUARD_TURN_FREE;

	/* acq_rel: pairs with the guard's; what it reverts comes after what the owner did. */
	if (!guard_lives(g) || !atomic_compare_exchange_strong(&g->shared->turn, &free, GUARD_TURN_OWNER))
		return err_set(e, EOWNERDEAD, "the guard process ended before the run: it %s",
			       guard_fate(g));
	return 0;
}

void guard_exit(struct guard *g)
{
	uint32_t owner = GUARD_TURN_OWNER;

	atomic_compare_exchange_strong(&g->shared->turn, &owner, GUARD_TURN_FREE);
}

void guard_forget(struct guard *g, struct netns_id id)
{
	struct guard_msg m = {
		.op = GUARD_FORGET,
		.seq = ++g->seq,
		.n_ids = 1,
		.ids = {id},
	};

	send_letter(g, &m, NULL, 0);
}

void guard_disarm(struct guard *g)
{
	struct guard_msg m = {.op = GUARD_DISARM, .seq = ++g->seq};

	send_letter(g, &m, NULL, 0);
}

pid_t guard_pid(const struct guard *g)
{
	return g->pid;
}

/* One that does not leave is stopped or stuck; what it keeps open would keep the run's lock. */
static void end_guard(struct guard *g)
{
	const struct guard_msg m = {.op = GUARD_LEAVE};
	bool told = !g->first && guard_wire_send(g->fd, &m, NULL, 0) == 0;

	if (pidfd_wait(g->pidfd, told ? GUARD_GRACE_MS : 0) != 1) {
		pidfd_signal(g->pidfd, SIGKILL, NULL);
		pidfd_wait(g->pidfd, GUARD_GRACE_MS);
	}
	waitid(P_PIDFD, (id_t)g->pidfd, &(siginfo_t){0}, WEXITED | WNOHANG);
	close(g->pidfd);
}

void guard_free(struct guard *g)
{
	if (!g)
		return;
	sd_event_source_unref(g->socket_source);
	sd_event_source_unref(g->death_source);
	sd_event_source_unref(g->ping_timer);
	if (g->pidfd >= 0)
		end_guard(g);
	if (g->fd >= 0)
		close(g->fd);
	while (g->first) {
		struct letter *l = g->first;

		g->first = l->next;
		letter_free(l);
	}
	if (g->shared)
		munmap(g->shared, sizeof *g->shared);
	free(g->waiters);
	free(g);
}
