/*
 * The owner is asked first: it closes every gate by one map write, then recovers, and its record
 * says who stopped it. Without an owner the guard does the same; without either, the journal.
 */
#include "../runs.h"

#include "../../../lib/base/clock.h"
#include "../../../lib/kernel/broker.h"
#include "../../../lib/recover.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/syscall.h>

enum { WAIT_MSEC = 60000, FREE_POLL_MSEC = 20 };

struct stop_options {
	bool all;
};

static const struct option_row options[] = {
	{"--all", 0, NULL, "every run of this state directory", OPT_FLAG, offsetof(struct stop_options, all)},
};

/* Signals the process behind a handle and waits so long for its end. */
static int end_process(pid_t pid, unsigned long long start, int wait_msec, struct err *e)
{
	autofd int fd = pid > 0 ? lock_holder_pidfd(pid, start, e) : -ESRCH;
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (fd < 0)
		return fd;
	if (syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0) < 0)
		return err_errno(e, errno, "signal process %d", (int)pid);
	if (wait_msec && poll(&p, 1, wait_msec) <= 0)
		return err_set(e, ETIMEDOUT, "process %d still recovers after a minute", (int)pid);
	return 0;
}

/* The owner, or the guard when that is dead. */
static void end_run(const struct globals *g, const char *run_id, int wait_msec)
{
	struct lock_holder h = {0};
	int r = lock_holder_read(g->state_dir, run_id, &h, NULL);

	if (r == 0 && h.live && end_process(h.owner, h.owner_start, wait_msec, NULL) == -ESRCH)
		end_process(h.guard, h.guard_start, wait_msec, NULL);
	lock_holder_done(&h);
}

/* The guard outlives its owner by a moment: 1 when the lock became ours. */
static int wait_for_lock(const char *state_dir, const char *run_id, int *ret_fd, struct err *e)
{
	int64_t deadline = clock_now_ns() + (int64_t)WAIT_MSEC * NSEC_PER_MSEC;
	int r;

	while ((r = lock_take_over(state_dir, run_id, ret_fd, e)) == 0 && clock_now_ns() < deadline)
		poll(NULL, 0, FREE_POLL_MSEC);
	return r;
}

static int finish(const struct globals *g, struct journal *j, const char *run_id, size_t *left,
		  struct err *e)
{
	autorestoration restoration = {0};
	autoptr(broker) broker = NULL;
	autofd int lock = -1;
	struct run_row row = {0};
	int r = wait_for_lock(g->state_dir, run_id, &lock, e);

	if (r <= 0)
		return r < 0 ? r : err_set(e, ETIMEDOUT, "its processes still hold the lock");
	r = journal_run(j, run_id, &row, e);
	if (r == 0 && streq(row.state, "running")) {
		r = broker_start(&broker, e);
		if (r == 0)
			r = recover_dead_run(j, broker, run_id, NULL, "brunt stop", &restoration, e);
		*left += restoration_left(&restoration);
	} else if (r == 0 && streq(row.state, "not-restored")) {
		++*left;
	}
	run_row_done(&row);
	lock_forget(g->state_dir, run_id);
	return r;
}

static int stop_one(const struct globals *g, struct journal *j, const char *run_id, size_t *left,
		    struct err *e)
{
	size_t before = *left;
	int r;

	end_run(g, run_id, WAIT_MSEC);
	r = finish(g, j, run_id, left, e);
	if (r < 0)
		return err_wrap(e, "stop run %s", run_id);
	printf("run %s: %s\n", run_id,
	       *left > before ? "stopped, NOT restored: brunt recover says what is left"
			      : "stopped, restored");
	return 0;
}

static int run_stop(const struct globals *g, const void *opts, const struct strlist *args,
		    struct err *e)
{
	const struct stop_options *o = opts;
	autoptr(journal) j = NULL;
	struct strlist ids = {0}, live = {0};
	bool failed = false;
	size_t left = 0;
	int r;

	if (!o->all && args->n == 0) {
		err_set(e, EINVAL, "stop: which run?");
		err_hint(e, "brunt status lists what is injected; brunt stop --all ends everything");
		return EXIT_USAGE;
	}
	r = journal_open(g->state_dir, &j, e);
	if (r == 0)
		r = o->all ? runs_unfinished(j, &ids, e) : runs_named(j, args, &ids, e);
	/* No fault stays on while another run is waited for, or because that one cannot be stopped. */
	for (size_t i = 0; r == 0 && i < ids.n; i++) {
		if (!o->all && runs_has_ended(j, ids.items[i]))
			continue;
		end_run(g, ids.items[i], 0);
		strlist_add(&live, ids.items[i]);
	}
	for (size_t i = 0; (r == 0 || failed) && i < live.n; i++) {
		struct err one = {0};

		if (stop_one(g, j, live.items[i], &left, &one) < 0) {
			runs_note_failure(e, &one);
			failed = true;
			r = -one.code;
		}
	}
	if (r == 0 && ids.n == 0 && !g->quiet)
		puts("nothing is running");
	strlist_done(&ids);
	strlist_done(&live);
	return left ? EXIT_NOT_RESTORED : r < 0 ? EXIT_ERROR : EXIT_PASSED;
}

const struct verb verb_stop = {
	.name = "stop",
	.summary = "the panic button: every gate closed at once, then recovery",
	.usage = "RUN...|--all",
	.doc = "Ends runs: their faults are switched off by one map write, then everything is put back.\n"
	       "Returns when that is done. Works also when the run's owner, or owner and guard, are dead.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.options_size = sizeof(struct stop_options),
	.run = run_stop,
};
