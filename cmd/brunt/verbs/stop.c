/*
 * Every run is asked before any is waited for, so that no fault stays on while another run's end is
 * waited for. How a run that does not answer is taken from its processes is in lib/takeover.c; what
 * is left of it is undone here, from the journal.
 *
 * --all covers the machine: this state directory, the others of this user, and other users' runs,
 * whose databases stay closed (a database is code to whoever opens it): their own processes are
 * told, and do it.
 */
#include "../runs.h"

#include "../../../lib/kernel/broker.h"
#include "../../../lib/recover.h"
#include "../../../lib/takeover.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

struct stop_options {
	bool all;
};

static const struct option_row options[] = {
	{"--all", 0, NULL, "every run of this machine that this user may end", OPT_FLAG,
	 offsetof(struct stop_options, all)},
};

/* One run to stop. */
struct stop {
	char *state_dir, *run_id;
	struct journal *journal; /* borrowed; NULL: another user's run */
	struct takeover *takeover;
	uid_t uid;
};

/* All that one `brunt stop` is about. */
struct stops {
	struct stop *items;
	size_t n;
	struct journal **journals;
	size_t n_journals;
	size_t left; /* what could not be put back */
};

static void stops_done(struct stops *s)
{
	for (size_t i = 0; i < s->n; i++) {
		takeover_free(s->items[i].takeover);
		free(s->items[i].state_dir);
		free(s->items[i].run_id);
	}
	for (size_t i = 0; i < s->n_journals; i++)
		journal_close(s->journals[i]);
	free(s->items);
	free(s->journals);
}

static struct stop *add(struct stops *s, const char *state_dir, const char *run_id)
{
	struct stop *stop = array_push(s->items, s->n);

	*stop = (struct stop){.state_dir = xstrdup(state_dir), .run_id = xstrdup(run_id),
			      .uid = geteuid()};
	return stop;
}

/* The runs of a state directory of this user's; names NULL: all that have not ended. */
static int add_dir(struct stops *s, const char *dir, const struct strlist *names, struct err *e)
{
	struct strlist ids = {0}, live = {0};
	struct journal *j = NULL;
	int r = journal_open(dir, &j, e);

	if (r < 0)
		return r;
	*array_push(s->journals, s->n_journals) = j;
	r = names ? runs_named(j, names, &ids, e) : runs_unfinished(j, &ids, e);
	lock_live_runs(dir, &live);
	/* One whose record is written and whose owner stands still has its names to give back. */
	for (size_t i = 0; r == 0 && !names && i < live.n; i++)
		if (!strlist_has(&ids, live.items[i]))
			strlist_add(&ids, live.items[i]);
	for (size_t i = 0; r == 0 && i < ids.n; i++)
		if (!names || strlist_has(&live, ids.items[i]) || !runs_has_ended(j, ids.items[i]))
			add(s, dir, ids.items[i])->journal = j;
	strlist_done(&ids);
	strlist_done(&live);
	return r;
}

static void add_others(struct stops *s, const char *state_dir)
{
	struct lock_run *runs = NULL;
	struct strlist dirs = {0};
	size_t n = 0;

	lock_other_state_dirs(state_dir, &dirs);
	for (size_t i = 0; i < dirs.n; i++) {
		autofree char *db = xasprintf("%s/brunt.db", dirs.items[i]);
		struct err e = {0};

		if (access(db, F_OK) == 0 && add_dir(s, dirs.items[i], NULL, &e) < 0)
			fprintf(stderr, "brunt: state directory %s: %s\n", dirs.items[i], e.text);
	}
	lock_machine_runs(&runs, &n);
	for (size_t i = 0; i < n; i++)
		if (runs[i].uid != geteuid())
			add(s, runs[i].state_dir, runs[i].run_id)->uid = runs[i].uid;
	lock_runs_free(runs, n);
	strlist_done(&dirs);
}

static void ask(struct stop *stop)
{
	if (takeover_new(stop->state_dir, stop->run_id, &stop->takeover, NULL) < 0)
		return;
	if (!stop->journal)
		takeover_is_foreign(stop->takeover);
	takeover_ask(stop->takeover);
}

static int undo_rest(struct stop *stop, size_t *left, struct err *e)
{
	autorestoration restoration = {0};
	autoptr(broker) broker = NULL;
	struct run_row row = {0};
	int r = journal_run(stop->journal, stop->run_id, &row, e);

	if (r == -ENOENT) { /* it had not come to its first entry */
		err_clear(e);
		r = 0;
	} else if (r == 0 && streq(row.state, "running")) {
		r = broker_start(&broker, e);
		if (r == 0)
			r = recover_dead_run(stop->journal, broker, stop->run_id, NULL, "brunt stop",
					     &restoration, e);
		*left += restoration_left(&restoration);
	} else if (r == 0 && streq(row.state, "not-restored")) {
		++*left;
	}
	run_row_done(&row);
	if (r == 0)
		r = lock_end_group(stop->state_dir, stop->run_id, e);
	lock_forget(stop->state_dir, stop->run_id);
	return r;
}

static int finish(struct stops *s, struct stop *stop, struct err *e)
{
	autofd int lock = -1;
	const char *story;
	size_t left = 0;
	int r = takeover_wait(stop->takeover, stop->journal, &lock, e);

	if (r > 0 && stop->journal)
		r = undo_rest(stop, &left, e);
	if (r < 0) {
		err_wrap(e, "stop run %s", stop->run_id);
		return stop->journal ? r
				     : err_hint(e, "it is user %u's, whose database root does not open; "
						"as that user: brunt stop --state-dir %s %s",
						(unsigned)stop->uid, stop->state_dir, stop->run_id);
	}
	s->left += left;
	story = takeover_story(stop->takeover);
	if (!stop->journal)
		printf("run %s of user %u: has ended\n", stop->run_id, (unsigned)stop->uid);
	else
		printf("run %s: %s%s%s\n", stop->run_id, story, *story ? "; " : "",
		       left ? "stopped, NOT restored: brunt recover says what is left"
			    : "stopped, restored");
	return 0;
}

static int finish_all(struct stops *s, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < s->n; i++)
		ask(&s->items[i]);
	for (size_t i = 0; i < s->n; i++) {
		struct err one = {0};

		if (!s->items[i].takeover || finish(s, &s->items[i], &one) == 0)
			continue;
		runs_note_failure(e, &one);
		r = -one.code;
	}
	return r;
}

static int run_stop(const struct globals *g, const void *opts, const struct strlist *args,
		    struct err *e)
{
	const struct stop_options *o = opts;
	struct stops s = {0};
	struct err failed = {0};
	int r, finished;

	if (!o->all && args->n == 0) {
		err_set(e, EINVAL, "stop: which run?");
		err_hint(e, "brunt status lists what is injected; brunt stop --all ends everything");
		return EXIT_USAGE;
	}
	r = add_dir(&s, g->state_dir, o->all ? NULL : args, &failed);
	/* The panic button does not stop at one database that cannot be read. */
	if (o->all)
		add_others(&s, g->state_dir);
	finished = r == 0 || o->all ? finish_all(&s, e) : 0;
	if (r < 0)
		runs_note_failure(e, &failed);
	if (r == 0 && finished == 0 && o->all && s.n == 0 && !g->quiet)
		puts("nothing is running");
	stops_done(&s);
	return s.left ? EXIT_NOT_RESTORED : r < 0 || finished < 0 ? EXIT_ERROR : EXIT_PASSED;
}

const struct verb verb_stop = {
	.name = "stop",
	.holds = true,
	.sandbox = SANDBOX_OWNER,
	.summary = "the panic button: every gate closed at once, then recovery",
	.usage = "RUN...|--all",
	.doc = "Ends runs: their faults are switched off by one map write, then everything is put back.\n"
	       "Returns when that is done. A run that does not answer within a second (stopped, swapped\n"
	       "out, stuck) is taken from its processes and put back from the journal, within three. Works\n"
	       "also when the run's owner, or owner and guard, are dead. With --all, root ends other users'\n"
	       "runs too, through their own processes.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.options_size = sizeof(struct stop_options),
	.run = run_stop,
};
