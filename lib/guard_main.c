/*
 * The guard's own process: a poll loop over its socket and its signals. It holds namespaces by
 * identity, and the undo records of what may have been injected; at the moment it must act it adds
 * what the journal has beside them.
 */
#include "guard.h"

#include "base/clock.h"
#include "guard_records.h"
#include "guard_wire.h"
#include "kernel/broker.h"
#include "kernel/pidfd.h"
#include "kernel/sandbox.h"
#include "recover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

/* An owner in the midst of a step is given so long to come to its end; more if it is not stopped. */
enum { TURN_PATIENCE_MS = 3000, TURN_SLOW_MS = 15000, TURN_POLL_MS = 5 };
/* And its helpers, to see that it is gone. */
enum { HELPERS_PATIENCE_MS = 1000 };

struct held {
	struct netns_id id;
	int fd;
};

struct watch {
	const char *state_dir, *run_id;
	struct journal *journal;
	struct broker *broker;
	struct held *held;
	size_t n_held;
	struct undo_list known; /* records that the owner has not said to be undone */
	struct guard_shared *shared;
	int owner; /* pidfd */
	int *helpers; /* pidfds of processes that must not outlive the owner */
	size_t n_helpers;
	int64_t deadline_ns; /* 0: none yet */
};

/* Nothing of the terminal reaches the guard, and nothing of the guard the terminal. */
static int detach(void)
{
	static const int ignored[] = {SIGINT, SIGHUP, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE,
				      SIGXFSZ, SIGUSR1, SIGUSR2};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t term;

	setsid();
	prctl(PR_SET_NAME, "brunt-guard");
	if (chdir("/") < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	close_range(GUARD_SOCKET + 1, ~0U, 0);
	fcntl(GUARD_SOCKET, F_SETFD, FD_CLOEXEC);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	return signalfd(-1, &term, SFD_CLOEXEC);
}

static int open_tools(struct watch *w, struct err *e)
{
	int r = journal_open(w->state_dir, &w->journal, e);

	if (r == 0)
		r = broker_start(&w->broker, e);
	if (r == 0) /* the sandbox lets nothing be executed */
		r = broker_keep_spare(w->broker, e);
	return r < 0 ? r : sandbox_enter(SANDBOX_GUARD, e);
}

static void hold(struct watch *w, const struct guard_msg *m, const int *fds)
{
	for (uint32_t i = 0; i < m->n_ids; i++) {
		struct held *h = array_push(w->held, w->n_held);

		h->id = m->ids[i];
		h->fd = fds[i];
	}
	if (m->deadline_ns > w->deadline_ns)
		w->deadline_ns = m->deadline_ns;
}

static void forget(struct watch *w, struct netns_id id)
{
	size_t kept = 0;

	for (size_t i = 0; i < w->n_held; i++) {
		if (netns_same(w->held[i].id, id))
			close(w->held[i].fd);
		else
			w->held[kept++] = w->held[i];
	}
	w->n_held = kept;
}

static int find_held(void *data, struct netns_id id, bool *ret_owned)
{
	const struct watch *w = data;

	*ret_owned = false;
	for (size_t i = 0; i < w->n_held; i++)
		if (netns_same(w->held[i].id, id))
			return w->held[i].fd;
	return -ENOENT;
}

static void answer(uint32_t seq, int r, const struct err *e)
{
	struct guard_answer a = {.seq = seq, .r = r};

	snprintf(a.text, sizeof a.text, "%s", e ? e->text : "");
	send(GUARD_SOCKET, &a, sizeof a, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The lock's descriptors are held by being open, to the end. */
static int greet(struct watch *w, const int *fds, size_t n, struct err *e)
{
	void *p;

	if (n != GUARD_HELLO_FDS)
		return err_set(e, EBADMSG, "%zu descriptors instead of %d", n, GUARD_HELLO_FDS);
	w->owner = fds[GUARD_FD_OWNER];
	p = mmap(NULL, sizeof *w->shared, PROT_READ | PROT_WRITE, MAP_SHARED, fds[GUARD_FD_SHARED], 0);
	if (p == MAP_FAILED)
		return err_errno(e, errno, "map shared memory");
	w->shared = p;
	return open_tools(w, e);
}

/* False when the message is not what it should be; the guard then knows less than it must. */
static bool learn(struct watch *w, const struct guard_msg *m, const int *fds, size_t n)
{
	int r = n != 1 ? -EBADMSG : m->op == GUARD_RECORDS ? guard_records_unpack(fds[0], &w->known)
							   : guard_records_drop(fds[0], &w->known);

	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	return r == 0;
}

/* STAY, or why the guard's watch is over; ACT: it reverts over a living owner's head. */
enum outcome { STAY, LEAVE, OWNER_GONE, ACT };

static enum outcome serve(struct watch *w)
{
	int fds[GUARD_BATCH];
	struct err e = {0};
	struct guard_msg m;
	size_t n_fds;
	int r = guard_wire_recv(GUARD_SOCKET, &m, fds, &n_fds);

	if (r <= 0)
		return r == 0 ? OWNER_GONE : ACT;
	switch (m.op) {
	case GUARD_HELLO:
		answer(m.seq, greet(w, fds, n_fds, &e), &e);
		return STAY;
	case GUARD_RECORDS:
	case GUARD_UNDONE:
		return learn(w, &m, fds, n_fds) ? STAY : ACT;
	case GUARD_SEE_OFF:
		if (n_fds == 1)
			*array_push(w->helpers, w->n_helpers) = fds[0];
		return STAY;
	case GUARD_PING:
		answer(m.seq, 0, NULL);
		return STAY;
	case GUARD_HOLD:
		hold(w, &m, fds);
		answer(m.seq, 0, NULL);
		return STAY;
	case GUARD_FORGET:
		forget(w, m.ids[0]);
		return STAY;
	case GUARD_DISARM:
		w->deadline_ns = 0;
		return STAY;
	}
	return LEAVE;
}

static int left_ms(const struct watch *w)
{
	int64_t left = w->deadline_ns - clock_now_ns();

	if (!w->deadline_ns)
		return -1;
	return left <= 0 ? 0 : (int)(left / NSEC_PER_MSEC) + 1;
}

static enum outcome watch_owner(struct watch *w, int sigfd)
{
	for (;;) {
		struct pollfd p[] = {{.fd = GUARD_SOCKET, .events = POLLIN},
				     {.fd = sigfd, .events = POLLIN}};
		int n = poll(p, ARRAY_SIZE(p), left_ms(w));
		enum outcome o;

		if (n < 0 && errno != EINTR)
			return ACT;
		if (n == 0 || (n > 0 && p[1].revents))
			return ACT;
		if (n > 0 && p[0].revents && (o = serve(w)) != STAY)
			return o;
	}
}

/*
 * From here on the owner changes nothing any more. One that stands still in the midst of a step would
 * go on with it whenever it wakes up, after the revert: it is killed. True when the owner is gone.
 */
static bool take_turn(struct watch *w)
{
	int64_t now, began = clock_now_ns();
	pid_t owner = getppid();

	for (;;) {
		uint32_t free = GUARD_TURN_FREE;

		if (atomic_compare_exchange_strong(&w->shared->turn, &free, GUARD_TURN_GUARD))
			return false;
		if (pidfd_wait(w->owner, TURN_POLL_MS) == 1)
			return true;
		now = clock_now_ns();
		if (now < began + TURN_PATIENCE_MS * NSEC_PER_MSEC ||
		    (now < began + TURN_SLOW_MS * NSEC_PER_MSEC && !pidfd_stands_still(owner)))
			continue;
		pidfd_signal(w->owner, SIGKILL, NULL);
		return pidfd_wait(w->owner, TURN_PATIENCE_MS) == 1;
	}
}

/* They end when the owner's sockets close; those that have not by now are stopped or stuck. */
static void see_helpers_off(struct watch *w)
{
	int64_t until = clock_now_ns() + HELPERS_PATIENCE_MS * NSEC_PER_MSEC;

	for (size_t i = 0; i < w->n_helpers; i++) {
		int left = (int)MAX_OF((until - clock_now_ns()) / NSEC_PER_MSEC, 0);

		if (pidfd_wait(w->helpers[i], left) != 1)
			pidfd_signal(w->helpers[i], SIGKILL, NULL);
	}
}

static int revert(struct watch *w, bool owner_gone)
{
	const struct recover_handles handles = {.find_netns = find_held, .data = w,
						.known = &w->known};
	autorestoration rest = {0};
	int r;

	if (owner_gone)
		r = recover_dead_run(w->journal, w->broker, w->run_id, &handles, "the guard", &rest,
				     NULL);
	else
		r = recover_run(w->journal, w->broker, w->run_id, &handles, &rest, NULL);
	if (owner_gone) {
		see_helpers_off(w);
		lock_end_group(w->state_dir, w->run_id, NULL);
	}
	if (restoration_left(&rest))
		return 1;
	/* Also when the journal could not be told: what it no longer says of the run is done. */
	if (owner_gone)
		lock_forget(w->state_dir, w->run_id);
	return r < 0;
}

int guard_main(int argc, char **argv)
{
	struct watch w = {.state_dir = argc > 3 ? argv[2] : NULL, .run_id = argc > 3 ? argv[3] : NULL};
	enum outcome o;
	int sigfd = detach();

	if (argc <= 3 || sigfd < 0)
		return 1;
	o = watch_owner(&w, sigfd);
	if (o == LEAVE || !w.journal)
		return 0;
	if (o == ACT)
		answer(GUARD_ACTS, 0, NULL);
	if (o == ACT && take_turn(&w))
		o = OWNER_GONE;
	return revert(&w, o == OWNER_GONE);
}
