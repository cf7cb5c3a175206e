/*
 * The guard's own process: a poll loop over its socket and its signals. It holds namespaces by
 * identity; what is to be undone it reads from the journal, at the moment it must.
 */
#include "guard.h"

#include "base/clock.h"
#include "guard_wire.h"
#include "kernel/broker.h"
#include "kernel/sandbox.h"
#include "recover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

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

enum outcome { STAY, LEAVE, OWNER_GONE };

static enum outcome serve(struct watch *w)
{
	int fds[GUARD_BATCH];
	struct err e = {0};
	struct guard_msg m;
	size_t n_fds;
	int r = guard_wire_recv(GUARD_SOCKET, &m, fds, &n_fds);

	if (r <= 0)
		return OWNER_GONE;
	switch (m.op) {
	case GUARD_HELLO: /* the lock's descriptors: held by being open, to the end */
		answer(m.seq, open_tools(w, &e), &e);
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

/* Until there is a reason to act: LEAVE, OWNER_GONE, or STAY for a living owner's neglect. */
static enum outcome watch_owner(struct watch *w, int sigfd)
{
	for (;;) {
		struct pollfd p[] = {{.fd = GUARD_SOCKET, .events = POLLIN},
				     {.fd = sigfd, .events = POLLIN}};
		int n = poll(p, ARRAY_SIZE(p), left_ms(w));
		enum outcome o;

		if (n < 0 && errno != EINTR)
			return OWNER_GONE;
		if (n == 0 || (n > 0 && p[1].revents))
			return STAY;
		if (n > 0 && p[0].revents && (o = serve(w)) != STAY)
			return o;
	}
}

int guard_main(int argc, char **argv)
{
	struct watch w = {.state_dir = argc > 3 ? argv[2] : NULL, .run_id = argc > 3 ? argv[3] : NULL};
	const struct recover_handles handles = {.find_netns = find_held, .data = &w};
	autorestoration rest = {0};
	enum outcome o;
	int sigfd = detach(), r;

	if (argc <= 3 || sigfd < 0)
		return 1;
	o = watch_owner(&w, sigfd);
	if (o == LEAVE || !w.journal)
		return 0;
	if (o == OWNER_GONE) {
		r = recover_dead_run(w.journal, w.broker, w.run_id, &handles, "the guard", &rest, NULL);
	} else {
		answer(GUARD_ACTS, 0, NULL);
		r = recover_run(w.journal, w.broker, w.run_id, &handles, &rest, NULL);
	}
	if (r < 0 || restoration_left(&rest))
		return 1;
	if (o == OWNER_GONE)
		lock_forget(w.state_dir, w.run_id);
	return 0;
}
