#include "../output.h"
#include "../runs.h"
#include "../table.h"

#include "../../../lib/base/clock.h"
#include "../../../lib/base/units.h"
#include "../../../lib/kernel/broker.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

struct status_options {
	const char *output;
};

static const struct option_row options[] = {
	{"--output", 'o', "FORMAT", "table (default), wide, json, yaml or name", OPT_STRING,
	 offsetof(struct status_options, output)},
};

/* What status needs to know of one state directory. */
struct state_dir {
	const char *path;
	struct journal *journal;
	struct broker *broker; /* NULL: leases cannot be read */
};

/* How long the fault would last if all its processes died now. */
static json_t *lease_json(const struct state_dir *s, const struct undo *u, const char **ret_state)
{
	struct err why = {0};
	int64_t left = 0;
	int r;

	*ret_state = "injected";
	if (u->earlier_boot)
		*ret_state = "undone by a reboot";
	if (u->earlier_boot || !u->driver || !u->driver->lease_left)
		return json_null();
	if (undo_vet(u, NULL) < 0)
		return json_null();
	r = s->broker ? u->driver->lease_left(u, s->broker, &left, &why) : -EPERM;
	if (r == -ENOENT)
		*ret_state = "target gone";
	else if (r == 0 && left == 0)
		*ret_state = "without effect";
	return r < 0 ? json_null() : json_integer(left / NSEC_PER_MSEC);
}

static json_t *since_json(int64_t wall_ns)
{
	char text[CLOCK_TEXT_MAX];

	return wall_ns ? json_string(clock_rfc3339(wall_ns, text)) : json_null();
}

static json_t *record_json(const struct state_dir *s, const struct undo *u)
{
	const char *state;
	json_t *lease = lease_json(s, u, &state);

	return json_pack("{s:s, s:s, s:s, s:o, s:s, s:b, s:o}", "fault", u->fault, "kind",
			 u->driver ? u->driver->kind : "unknown to this brunt", "target", u->target,
			 "since", since_json(u->added_ns), "state", state, "has_lease",
			 u->driver && u->driver->lease_left, "lease_ms", lease);
}

/* One run that holds something, with its pending records, oldest first. */
static json_t *run_json(const struct state_dir *s, const char *run_id, struct err *e)
{
	struct lock_holder h = {0};
	struct undo_list undo = {0};
	struct run_row row = {0};
	json_t *faults = json_array(), *run;
	bool owner, guard;
	int64_t for_ns;
	int r = journal_pending(s->journal, run_id, &undo, e);

	if (r == 0)
		r = journal_run(s->journal, run_id, &row, e);
	for (size_t i = undo.n; r == 0 && i-- > 0;)
		json_array_append_new(faults, record_json(s, &undo.items[i]));
	if (r == 0)
		lock_holder_read(s->path, run_id, &h, NULL);
	owner = lock_holder_lives(h.owner, h.owner_start);
	guard = lock_holder_lives(h.guard, h.guard_start);
	for_ns = MAX_OF(clock_wall_ns() - row.started_ns, 0);
	run = r < 0 ? NULL
		    : json_pack("{s:s, s:s, s:s, s:s, s:b, s:i, s:b, s:i, s:b, s:o, s:I, s:O}", "run",
				run_id, "experiment", row.experiment, "state_dir", s->path, "state",
				row.state, "live", h.live, "owner", (int)h.owner, "owner_alive", owner,
				"guard", (int)h.guard, "guard_alive", guard, "since",
				since_json(row.started_ns), "for_ms",
				(json_int_t)(for_ns / NSEC_PER_MSEC), "injected", faults);
	json_decref(faults);
	lock_holder_done(&h);
	run_row_done(&row);
	undo_list_done(&undo);
	return run;
}

/* Adds the runs of one state directory; held_only: named ones too only if they have not ended. */
static int list_dir(const char *path, const struct strlist *names, bool held_only, json_t *runs,
		    struct err *e)
{
	autoptr(journal) j = NULL;
	autoptr(broker) broker = NULL;
	struct strlist ids = {0};
	struct state_dir s = {.path = path};
	int r = journal_open(path, &j, e);

	if (r == 0)
		r = names->n ? runs_named(j, names, &ids, e) : runs_unfinished(j, &ids, e);
	s.journal = j;
	if (r == 0 && ids.n && broker_start(&broker, NULL) == 0)
		s.broker = broker;
	for (size_t i = 0; r == 0 && i < ids.n; i++) {
		json_t *run;

		if (held_only && names->n && runs_has_ended(j, ids.items[i]))
			continue;
		run = run_json(&s, ids.items[i], e);
		r = run ? json_array_append_new(runs, run) : e->code ? e->code : -EIO;
	}
	strlist_done(&ids);
	return r;
}

static const char *text_of(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static char *owner_text(const json_t *run)
{
	if (json_is_true(json_object_get(run, "owner_alive")))
		return xasprintf("pid %d", (int)json_integer_value(json_object_get(run, "owner")));
	if (json_is_true(json_object_get(run, "guard_alive")))
		return xasprintf("dead, guard %d",
				 (int)json_integer_value(json_object_get(run, "guard")));
	return xstrdup("dead");
}

/* "1.8s"; in words where the kernel's lease says nothing or is over. */
static const char *lease_text(const json_t *f, char buf[UNITS_TEXT_MAX])
{
	const json_t *ms = json_object_get(f, "lease_ms");

	if (!streq(text_of(f, "state"), "injected"))
		return text_of(f, "state");
	if (!json_is_true(json_object_get(f, "has_lease")))
		return "none: until reverted";
	return json_is_integer(ms) ? units_duration(json_integer_value(ms) * NSEC_PER_MSEC, buf)
				   : "not readable";
}

static void add_rows(struct table *t, const json_t *run)
{
	const json_t *faults = json_object_get(run, "injected"), *f;
	bool live = json_is_true(json_object_get(run, "live"));
	autofree char *owner = owner_text(run);
	autofree char *guard = xasprintf("%d", (int)json_integer_value(json_object_get(run, "guard")));
	char since[UNITS_TEXT_MAX], lease[UNITS_TEXT_MAX];
	const char *cells[] = {
		text_of(run, "run"), text_of(run, "experiment"), owner,
		units_duration(json_integer_value(json_object_get(run, "for_ms")) * NSEC_PER_MSEC,
			       since),
		"(none)", "", "", "",
		json_is_true(json_object_get(run, "guard_alive")) ? guard : "dead"};
	size_t k;

	json_array_foreach(faults, k, f) {
		cells[4] = text_of(f, "fault");
		cells[5] = text_of(f, "target");
		cells[6] = lease_text(f, lease);
		cells[7] = text_of(f, "kind");
		table_row(t, cells, live ? NULL : "red");
	}
	if (json_array_size(faults) == 0)
		table_row(t, cells, NULL);
}

/* For other verbs' arguments, which are runs of this state directory. */
static void print_names(const struct globals *g, const json_t *runs)
{
	const json_t *run;
	size_t i;

	json_array_foreach(runs, i, run)
		if (streq(text_of(run, "state_dir"), g->state_dir))
			puts(text_of(run, "run"));
}

static void print_table(const struct globals *g, const json_t *runs, bool wide)
{
	static const char *const headings[] = {"RUN", "EXPERIMENT", "OWNER", "FOR", "FAULT", "~TARGET",
					       "LEASE LEFT", NULL};
	static const char *const wide_headings[] = {"RUN",     "EXPERIMENT", "OWNER", "FOR",   "FAULT",
						    "~TARGET", "LEASE LEFT", "KIND",  "GUARD", NULL};
	autoptr(table) t = table_new(g, wide ? wide_headings : headings);
	const json_t *run;
	size_t i;

	json_array_foreach(runs, i, run) {
		const char *id = text_of(run, "run"), *dir = text_of(run, "state_dir");
		bool here = streq(dir, g->state_dir);

		add_rows(t, run);
		if (!here)
			printf("run %s is of state directory %s\n", id, dir);
		if (!json_is_true(json_object_get(run, "live")))
			printf("run %s has no process any more: brunt recover%s%s %s\n", id,
			       here ? "" : " --state-dir ", here ? "" : dir, id);
	}
	table_print(t);
}

/* Other directories are somebody else's: what is wrong with one is said, and is no failure. */
static void list_others(const struct globals *g, json_t *runs)
{
	const struct strlist all = {0};
	struct strlist dirs = {0};

	lock_other_state_dirs(g->state_dir, &dirs);
	for (size_t i = 0; i < dirs.n; i++) {
		struct err e = {0};

		if (list_dir(dirs.items[i], &all, true, runs, &e) < 0)
			fprintf(stderr, "status of state directory %s: %s\n", dirs.items[i], e.text);
	}
	strlist_done(&dirs);
}

static int run_status(const struct globals *g, const void *opts, const struct strlist *args,
		      struct err *e)
{
	const struct status_options *o = opts;
	enum output output;
	json_t *runs;
	bool table;
	int r;

	if (output_parse("status", o->output, OUTPUT_TABLE | OUTPUT_WIDE | OUTPUT_JSON | OUTPUT_YAML |
						      OUTPUT_NAME, &output, e) < 0)
		return EXIT_USAGE;
	table = output == OUTPUT_TABLE || output == OUTPUT_WIDE;
	runs = json_array();
	r = list_dir(g->state_dir, args, table, runs, e);
	if (args->n == 0)
		list_others(g, runs);
	if (r == 0 && output == OUTPUT_NAME)
		print_names(g, runs);
	else if (r == 0 && !output_data(output, runs) && json_array_size(runs) == 0 && args->n == 0)
		puts("nothing is injected");
	else if (json_array_size(runs) && table)
		print_table(g, runs, output == OUTPUT_WIDE);
	json_decref(runs);
	return r < 0 ? EXIT_ERROR : EXIT_PASSED;
}

const struct verb verb_status = {
	.name = "status",
	.summary = "what is injected now, and by whom",
	.usage = "[OPTIONS] [RUN...]",
	.doc = "Lists the runs that hold targets, with the faults that the journal has not seen undone,\n"
	       "since when, and how long the kernel would keep a network fault in force, or a service a\n"
	       "fault of its own runtime, if every process of the run died now. Other faults have no such\n"
	       "lease: they last until the run, its guard or brunt recover puts them back. Runs of this\n"
	       "machine's other state directories are listed with their directory.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.options_size = sizeof(struct status_options),
	.run = run_status,
};
