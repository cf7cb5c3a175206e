/*
 * net_rig MANIFEST NETNS-PREFIX [BACKEND [LEASE_MS]] - drives NetworkChaos by hand
 *
 * The faults of the manifest's first experiment, on the named namespaces that begin with the prefix.
 * Commands come on stdin, one a line, and each is answered by one line of JSON: plan, inject, tick,
 * effect, report, off, revert, retarget, snapshot NAME, leases, quit. They act on the first fault,
 * or on the one that was named last by `fault N`. Exits 3 with the error when a command fails.
 */
#include "base/clock.h"
#include "kernel/broker.h"
#include "plan.h"

#include <errno.h>
#include <stdio.h>

enum { MAX_FAULTS = 20 };

struct rig {
	struct experiment_set *set;
	struct broker *broker;
	struct target_list targets, listed;
	struct fault_env env;
	struct listener listener;
	struct fault faults[MAX_FAULTS], *f;
	size_t n_faults;
	json_t *events;
};

static void on_event(void *data, const struct event *ev)
{
	struct rig *r = data;

	json_array_append_new(r->events,
			      json_pack("{s:s, s:s, s:s, s:I}", "type", event_type_name(ev->type),
					"name", ev->name ? ev->name : "", "text",
					ev->text ? ev->text : "", "value", (json_int_t)ev->value));
}

static void answer(json_t *j)
{
	char *s = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);

	printf("%s\n", s);
	fflush(stdout);
	free(s);
	json_decref(j);
}

static void die(const struct err *e)
{
	answer(json_pack("{s:s, s:s}", "error", e->text, "hint", e->hint));
	exit(3);
}

static void plan(struct rig *r)
{
	struct strlist ops = {0};
	json_t *list = json_array();
	struct err e = {0};

	if (r->f->driver->plan(r->f, &ops, &e) < 0)
		die(&e);
	for (size_t i = 0; i < ops.n; i++)
		json_array_append_new(list, json_string(ops.items[i]));
	strlist_done(&ops);
	answer(json_pack("{s:o, s:s}", "ops", list, "backend", r->f->backend));
}

static void inject(struct rig *r)
{
	int64_t start = clock_now_ns(), prepared;
	struct err e = {0};

	if (r->f->driver->prepare(r->f, &e) < 0)
		die(&e);
	prepared = clock_now_ns();
	if (r->f->driver->inject(r->f, &e) < 0) {
		struct undo_result *results = xcalloc(r->f->undo.n, sizeof *results);

		r->f->driver->off(r->f);
		r->f->driver->revert(r->f->undo.items, r->f->undo.n, r->broker, results, NULL);
		die(&e);
	}
	answer(json_pack("{s:I, s:I}", "prepare_ns", (json_int_t)(prepared - start), "inject_ns",
			 (json_int_t)(clock_now_ns() - prepared)));
}

static void tick(struct rig *r)
{
	struct err e = {0};
	json_t *events = r->events;
	int n = r->f->driver->tick(r->f, &e);

	r->events = json_array();
	answer(json_pack("{s:o, s:s}", "events", events, "error", n < 0 ? e.text : ""));
}

/* Lines of what is not as it was set, of all targets. */
static void check(struct rig *r)
{
	autostr s = {0};
	struct err e = {0};

	for (size_t i = 0; i < r->f->targets.n; i++)
		if (r->f->driver->check(r->f, r->f->targets.items[i], &s, &e) < 0)
			die(&e);
	answer(json_string(s.s ? s.s : ""));
}

static void effect(struct rig *r)
{
	struct effect ef;
	struct err e = {0};

	if (r->f->driver->effect(r->f, &ef, &e) < 0)
		die(&e);
	answer(json_pack("{s:s, s:s, s:s, s:o}", "state", effect_state_names[ef.state], "requested",
			 ef.requested, "measured", ef.measured, "figures", effect_figures_json(&ef)));
}

static void report(struct rig *r)
{
	json_t *j = NULL;
	struct err e = {0};

	if (r->f->driver->report(r->f, &j, &e) < 0)
		die(&e);
	answer(j);
}

static void off(struct rig *r)
{
	int64_t start = clock_now_ns();

	r->f->driver->off(r->f);
	answer(json_pack("{s:I}", "off_ns", (json_int_t)(clock_now_ns() - start)));
}

static void revert(struct rig *r)
{
	static const char *const outcomes[] = {"reverted", "gone", "foreign", "failed"};
	struct undo_result *results = xcalloc(r->f->undo.n, sizeof *results);
	json_t *list = json_array();
	int64_t start = clock_now_ns(), ns;
	struct err e = {0};

	if (r->f->driver->revert(r->f->undo.items, r->f->undo.n, r->broker, results, &e) < 0)
		die(&e);
	ns = clock_now_ns() - start;
	for (size_t i = 0; i < r->f->undo.n; i++)
		json_array_append_new(list, json_pack("[s, s]", outcomes[results[i].outcome],
						      results[i].text));
	free(results);
	answer(json_pack("{s:I, s:o}", "revert_ns", (json_int_t)ns, "results", list));
}

/* Every target goes, the fault stays. */
static void retarget(struct rig *r)
{
	const struct target_list none = {0};
	struct err e = {0};

	if (r->f->driver->retarget(r->f, &none, &e) < 0)
		die(&e);
	answer(json_null());
}

static void snapshot(struct rig *r, const char *name)
{
	struct target *t = target_list_find(&r->targets, "default", name);
	autostr s = {0};
	struct err e = {0};

	if (!t || r->f->driver->snapshot(r->f, t, &s, &e) < 0)
		die(&e);
	answer(json_string(s.s ? s.s : ""));
}

static void leases(struct rig *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->f->undo.n; i++) {
		int64_t left = -1;
		struct err e = {0};

		if (r->f->driver->lease_left(&r->f->undo.items[i], r->broker, &left, &e) < 0)
			die(&e);
		json_array_append_new(list, json_integer(left));
	}
	answer(list);
}

static void close_gates(struct rig *r)
{
	for (size_t i = 0; i < r->f->undo.n; i++) {
		struct err e = {0};

		if (r->f->driver->close_gates(&r->f->undo.items[i], r->broker, &e) < 0)
			die(&e);
	}
	answer(json_string("closed"));
}

static void obey(struct rig *r, const char *cmd)
{
	static const struct {
		const char *name;
		void (*fn)(struct rig *r);
	} commands[] = {{"check", check},   {"close", close_gates}, {"effect", effect},
			{"inject", inject}, {"leases", leases}, {"off", off},
			{"plan", plan},     {"report", report},
			{"retarget", retarget}, {"revert", revert}, {"tick", tick}};

	if (strncmp(cmd, "snapshot ", 9) == 0) {
		snapshot(r, cmd + 9);
		return;
	}
	if (strncmp(cmd, "fault ", 6) == 0 && strtoul(cmd + 6, NULL, 10) < r->n_faults) {
		r->f = &r->faults[strtoul(cmd + 6, NULL, 10)];
		answer(json_string(r->f->name));
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (streq(commands[i].name, cmd)) {
			commands[i].fn(r);
			return;
		}
	exit(2);
}

static void load_fault(struct rig *r, const struct fault_spec *spec)
{
	struct fault *f = &r->faults[r->n_faults++];
	const struct selection *peers;
	struct err e = {0};

	*f = (struct fault){
		.driver = spec->driver,
		.params = spec->params,
		.name = spec->name,
		.order = plan_order(r->set->items[0], spec),
		.env = &r->env,
	};
	if (selection_choose(&((const struct fault_common *)f->params)->selection, &r->targets, 42,
			     "rig", NULL, &f->targets, NULL, &e) < 0)
		die(&e);
	peers = f->driver->peer_selection(f->params);
	if (peers &&
	    selection_choose(peers, &r->targets, 42, "peers", NULL, &f->peers, NULL, &e) < 0)
		die(&e);
}

static void load(struct rig *r, const char *manifest, const char *prefix)
{
	autodiags d = {0};
	autoptr(target_source) source = NULL;
	const struct source_config config = {0};
	struct err e = {0};
	struct target_list all = {0};

	if (experiment_load(&manifest, 1, &d, &r->set) < 0) {
		diags_err(&d, &e);
		die(&e);
	}
	if (broker_start(&r->broker, &e) < 0 ||
	    target_source_open("netns", &config, &source, &e) < 0 ||
	    target_source_list(source, &all, &e) < 0)
		die(&e);
	for (size_t i = 0; i < all.n; i++)
		if (strncmp(all.items[i]->name, prefix, strlen(prefix)) == 0)
			target_list_add(&r->targets, all.items[i]);
	for (size_t i = 0; i < r->set->items[0]->n_faults && i < MAX_FAULTS; i++)
		load_fault(r, &r->set->items[0]->faults[i]);
	r->f = r->faults;
	target_list_done(&all);
}

int main(int argc, char **argv)
{
	static struct rig r;
	char line[256], run[64];

	if (argc < 3)
		return 2;
	snprintf(run, sizeof run, "rig-%d", (int)getpid());
	r.events = json_array();
	r.listener = (struct listener){.fn = on_event, .data = &r};
	load(&r, argv[1], argv[2]);
	r.env = (struct fault_env){
		.run_id = run,
		.seed = 42,
		.broker = r.broker,
		.listener = &r.listener,
		.net_backend = argc > 3 ? argv[3] : "auto",
		.lease_ns = argc > 4 ? atoll(argv[4]) * NSEC_PER_MSEC : 0,
		.hard_end_ns = clock_now_ns() + 600 * NSEC_PER_SEC,
	};
	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (streq(line, "quit"))
			break;
		obey(&r, line);
	}
	for (size_t i = 0; i < r.n_faults; i++) {
		r.faults[i].driver->release(&r.faults[i]);
		undo_list_done(&r.faults[i].undo);
		target_list_done(&r.faults[i].targets);
		target_list_done(&r.faults[i].peers);
	}
	target_list_done(&r.targets);
	json_decref(r.events);
	broker_stop(r.broker);
	experiment_set_free(r.set);
	return 0;
}
