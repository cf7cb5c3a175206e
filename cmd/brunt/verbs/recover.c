#include "../runs.h"

#include "../../../lib/kernel/broker.h"
#include "../../../lib/lost.h"
#include "../../../lib/recover.h"
#include "../../../lib/takeover.h"

#include <stdio.h>

/* 1: the run is ours now; 0: its owner lives. */
static int take_over(const struct globals *g, struct journal *j, const char *run_id, int *ret_lock,
		     struct err *e)
{
	autoptr(takeover) t = NULL;
	int r = takeover_new(g->state_dir, run_id, &t, e);

	if (r == 0)
		r = takeover_wait(t, j, ret_lock, e);
	if (r > 0 && *takeover_story(t))
		printf("run %s: %s\n", run_id, takeover_story(t));
	return r;
}

/* What is left of a run, a line each. */
static void print_left(const char *run_id, const struct restoration *r)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct restored *row = &r->items[i];

		if (restored_is_left(row))
			printf("run %s: NOT restored: %s of %s: %s\n", run_id, row->fault, row->target,
			       row->text ? row->text : "differs from what it was before the fault");
	}
}

static int recover_one(const struct globals *g, struct journal *j, struct broker *broker,
		       const char *run_id, size_t *left, struct err *e)
{
	autorestoration restoration = {0};
	autofd int lock = -1;
	int r;

	if (runs_has_ended(j, run_id))
		return 0;
	r = take_over(g, j, run_id, &lock, e);
	if (r < 0)
		return err_wrap(e, "run %s", run_id);
	if (r == 0) {
		printf("run %s is alive and recovers by itself; brunt stop %s ends it\n", run_id, run_id);
		return 0;
	}
	r = recover_dead_run(j, broker, run_id, NULL, "brunt recover", &restoration, e);
	if (r < 0)
		return err_wrap(e, "run %s", run_id);
	if (lock_end_group(g->state_dir, run_id, e) < 0)
		return err_wrap(e, "run %s", run_id);
	lock_forget(g->state_dir, run_id);
	print_left(run_id, &restoration);
	*left += restoration_left(&restoration);
	if (restoration_left(&restoration) == 0)
		printf("run %s: recovered, %zu change%s undone\n", run_id, restoration.n,
		       restoration.n == 1 ? "" : "s");
	return 0;
}

/* Runs whose records the journal has lost: what is known of them, and how many are dead. */
static size_t tell_lost(const struct globals *g, struct journal *j, size_t *ret_dead)
{
	struct lost_run *runs;
	size_t n;

	lost_runs(g->state_dir, j, &runs, &n);
	for (size_t i = 0; i < n; i++) {
		const struct lost_run *run = &runs[i];

		if (run->live) {
			printf("run %s of experiment %s is alive and recovers by itself, though the "
			       "journal does not know it\n", run->run_id, run->experiment);
			continue;
		}
		++*ret_dead;
		printf("run %s: NOT restored: it has ended without its recovery, and the journal "
		       "that had its undo records is lost; it held", run->run_id);
		for (size_t k = 0; k < run->names.n; k++)
			printf("%s %s", k ? "," : "", run->names.items[k]);
		printf("%s. Look at these, or start them anew; then remove %s/locks/%s\n",
		       run->names.n ? "" : " nothing that is known", g->state_dir, run->run_id);
	}
	lost_runs_free(runs, n);
	return n;
}

static int run_recover(const struct globals *g, const void *opts, const struct strlist *args,
		       struct err *e)
{
	autoptr(journal) j = NULL;
	autoptr(broker) broker = NULL;
	struct strlist ids = {0};
	bool failed = false;
	size_t left = 0, lost = 0;
	int r;

	(void)opts;
	r = journal_open(g->state_dir, &j, e);
	if (r == 0)
		r = args->n ? runs_named(j, args, &ids, e) : runs_unfinished(j, &ids, e);
	if (r == 0 && ids.n)
		r = broker_start(&broker, e);
	for (size_t i = 0; (r == 0 || failed) && i < ids.n; i++) {
		struct err one = {0};

		if (recover_one(g, j, broker, ids.items[i], &left, &one) < 0) {
			runs_note_failure(e, &one);
			failed = true;
			r = -one.code;
		}
	}
	if (!args->n)
		lost = tell_lost(g, j, &left);
	if (r == 0 && ids.n == 0 && !lost && !g->quiet)
		puts("nothing to recover");
	strlist_done(&ids);
	return left ? EXIT_NOT_RESTORED : r < 0 ? EXIT_ERROR : EXIT_PASSED;
}

const struct verb verb_recover = {
	.name = "recover",
	.holds = true,
	.sandbox = SANDBOX_OWNER,
	.summary = "finish the recovery of runs whose processes are gone",
	.usage = "[RUN...]",
	.doc = "Undoes from the journal what dead runs left behind, checks it against the state before\n"
	       "the fault, and says what it could not undo. A run with a living owner is never touched; one\n"
	       "whose guard stands still is taken from it. Exit code 4 when something is left.",
	.run = run_recover,
};
