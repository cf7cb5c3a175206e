/* lab up, down and ps; the verbs for one pod are in lab_pod.c. */
#include "lab.h"

#include "../output.h"
#include "../table.h"

#include "../../../lib/base/clock.h"
#include "../../../lib/base/units.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <systemd/sd-event.h>

/* up --------------------------------------------------------------------------------------------- */

struct up_options {
	struct strlist files;
	const char *name;
	bool foreground;
	int64_t timeout_ns;
};

struct up {
	const struct globals *g;
	const struct up_options *o;
	const char *name;
	sd_event *loop;
	struct lab *lab;
	int64_t started_ns;
	int code;
	struct err *e;
};

static void on_lab_event(void *data, const struct event *ev)
{
	const struct up *u = data;

	if (ev->type == EVENT_LAB && !u->g->quiet) {
		printf("%s: %s\n", ev->name, ev->text);
		fflush(stdout);
	}
}

static void on_stopped(void *data, struct lab *lab)
{
	struct up *u = data;

	sd_event_exit(u->loop, 0);
}

static void say_up(const struct up *u)
{
	size_t n = lab_last_state(u->lab)->n_pods;
	char took[UNITS_TEXT_MAX];

	printf("lab %s is up: %zu pod%s ready in %s%s\n", u->name, n, n == 1 ? "" : "s",
	       units_duration(clock_now_ns() - u->started_ns, took),
	       u->o->foreground ? "; Ctrl-C takes it down" : "");
	fflush(stdout);
}

static void on_lab_changed(void *data, struct lab *lab, int r, const struct err *e)
{
	struct up *u = data;

	if (r == -EINPROGRESS)
		return;
	if (r == 0) {
		say_up(u);
		if (!u->o->foreground)
			sd_event_exit(u->loop, 0);
		return;
	}
	*u->e = *e;
	u->code = EXIT_ERROR;
	if (u->o->foreground && r != -EPIPE) {
		lab_stop(lab, true, on_stopped, u);
		return;
	}
	if (r == -ETIMEDOUT || r == -ECHILD)
		err_hint(u->e, "the lab is left as it is: brunt lab ps, brunt lab logs, then brunt lab "
			       "down --name %s", u->name);
	sd_event_exit(u->loop, 0);
}

/* The first asks, the second insists. */
static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *data)
{
	struct up *u = data;
	bool again = u->code == EXIT_INTERRUPTED;

	u->code = EXIT_INTERRUPTED;
	if (!u->g->quiet && !again)
		printf("taking lab %s down\n", u->name);
	fflush(stdout);
	lab_stop(u->lab, again, on_stopped, u);
	return 0;
}

static int watch_signals(struct up *u)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	sigset_t set;
	int r = 0;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(signals); i++)
		r = sd_event_add_signal(u->loop, NULL, signals[i], on_signal, u);
	return r < 0 ? err_errno(u->e, -r, "watch signals") : 0;
}

static int start_lab(struct up *u, struct diags *diags)
{
	const struct listener listener = {.fn = on_lab_event, .data = u};
	autofree char **files = strlist_argv(&u->o->files);
	const struct lab_options o = {
		.state_dir = u->g->state_dir,
		.name = u->name,
		.owned = u->o->foreground,
		.manifests = (const char *const *)files,
		.n_manifests = u->o->files.n,
		.timeout_ns = u->o->timeout_ns,
		.listener = &listener,
		.diags = diags,
	};

	lab_sweep(u->g->state_dir, NULL);
	return lab_start(&o, u->loop, on_lab_changed, u, &u->lab, u->e);
}

/* All that is wrong with the manifests, a line each, in place of the one-line error. */
static void print_diags(const struct diags *d, struct err *e)
{
	autofree char *text = d->n ? diags_text(d) : NULL;

	if (!text)
		return;
	fputs(text, stderr);
	err_clear(e);
}

static int run_up(const struct globals *g, const void *opts, const struct strlist *args,
		  struct err *e)
{
	const struct up_options *o = opts;
	struct up u = {.g = g, .o = o, .name = o->name ? o->name : LAB_DEFAULT_NAME, .e = e,
		       .started_ns = clock_now_ns()};
	autodiags diags = {0};
	int r;

	if (!o->files.n || args->n) {
		err_set(e, EINVAL, args->n ? "lab up: unexpected argument %s" : "lab up: no manifest",
			args->n ? args->items[0] : "");
		err_hint(e, "brunt lab up -f FILE");
		return EXIT_USAGE;
	}
	sd_event_new(&u.loop);
	r = watch_signals(&u);
	if (r == 0)
		r = start_lab(&u, &diags);
	if (r == 0)
		sd_event_loop(u.loop);
	else
		u.code = diags.n || r == -EINVAL ? EXIT_USAGE : EXIT_ERROR;
	print_diags(&diags, e);
	lab_free(u.lab);
	sd_event_unref(u.loop);
	return u.code == EXIT_INTERRUPTED && o->foreground ? EXIT_PASSED : u.code;
}

static const struct option_row up_rows[] = {
	{"--file", 'f', "FILE", "a manifest, a folder of them, or - for standard input; may be repeated",
	 OPT_STRINGS, offsetof(struct up_options, files)},
	{"--foreground", 0, NULL, "stay; Ctrl-C takes the lab down, and so does any other end",
	 OPT_FLAG, offsetof(struct up_options, foreground)},
	{"--name", 0, "NAME", "the lab's name (default: default)", OPT_STRING,
	 offsetof(struct up_options, name)},
	{"--timeout", 0, "DURATION", "how long to wait until every pod is ready (default: 60s)",
	 OPT_DURATION, offsetof(struct up_options, timeout_ns)},
};

static const struct verb verb_up = {
	.name = "lab up",
	.holds = true,
	.summary = "start the pods of manifests and wait until they are ready",
	.usage = "-f FILE... [--name NAME] [--foreground] [--timeout DURATION]",
	.doc = "Runs Kubernetes Deployments and Pods as processes on this machine, each pod with a "
	       "network namespace, control groups, a mount and a process namespace of its own. A "
	       "pod is reached by its name, all pods of a Deployment by the Deployment's.\n\n"
	       "Images are ignored: command[0] is looked up in PATH and beside brunt. A field that "
	       "a lab does not know is an error.",
	.options = up_rows,
	.n_options = ARRAY_SIZE(up_rows),
	.options_size = sizeof(struct up_options),
	.run = run_up,
};

/* down ------------------------------------------------------------------------------------------- */

struct down_options {
	const char *name;
	bool all, now;
};

static int take_down(const struct globals *g, const char *name, bool now, struct err *e)
{
	autofree char *dir = lab_dir_of(g->state_dir, name);
	autoptr(lab_client) c = NULL;
	int r = lab_connect(dir, &c, e);

	if (r == 0)
		r = lab_client_down(c, now, e);
	if (r < 0)
		return r;
	if (!g->quiet)
		printf("lab %s is down\n", name);
	return 0;
}

static int run_down(const struct globals *g, const void *opts, const struct strlist *args,
		    struct err *e)
{
	const struct down_options *o = opts;
	struct strlist names = {0};
	int swept = lab_sweep(g->state_dir, e), r = swept;

	if (swept > 0 && !g->quiet)
		printf("swept what %d dead lab%s had left\n", swept, swept == 1 ? "" : "s");
	if (o->all)
		lab_names(g->state_dir, &names);
	else
		strlist_add(&names, o->name ? o->name : LAB_DEFAULT_NAME);
	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		r = take_down(g, names.items[i], o->now, e);
		if (r == -ENOENT && swept > 0 && !o->all) { /* it was among the dead */
			err_clear(e);
			r = 0;
		}
	}
	strlist_done(&names);
	return r < 0 ? EXIT_ERROR : EXIT_PASSED;
}

static const struct option_row down_rows[] = {
	{"--all", 0, NULL, "every lab that is up", OPT_FLAG, offsetof(struct down_options, all)},
	{"--name", 0, "NAME", "the lab's name (default: default)", OPT_STRING,
	 offsetof(struct down_options, name)},
	{"--now", 0, NULL, "kill; do not wait for grace periods", OPT_FLAG,
	 offsetof(struct down_options, now)},
};

static const struct verb verb_down = {
	.name = "lab down",
	.holds = true,
	.summary = "stop a lab and remove everything that was made for it",
	.usage = "[--name NAME | --all] [--now]",
	.doc = "Stops the pods (SIGTERM, after terminationGracePeriodSeconds SIGKILL) and removes "
	       "namespaces, links, control groups and logs. Also removes what labs left whose "
	       "processes were all killed.",
	.options = down_rows,
	.n_options = ARRAY_SIZE(down_rows),
	.options_size = sizeof(struct down_options),
	.run = run_down,
};

/* ps --------------------------------------------------------------------------------------------- */

struct ps_options {
	const char *name, *output;
};

static unsigned restarts_of(const struct lab_pod_state *p)
{
	unsigned n = 0;

	for (size_t i = 0; i < p->n_containers; i++)
		n += p->containers[i].restarts;
	return n;
}

static const char *why_of(const struct lab_pod_state *p)
{
	for (size_t i = 0; i < p->n_containers; i++)
		if (*p->containers[i].why)
			return p->containers[i].why;
	return "";
}

/* The phase as kubectl shows it: a pod that waits to be started again is called by that. */
static const char *status_of(const struct lab_pod_state *p)
{
	for (size_t i = 0; i < p->n_containers; i++)
		if (streq(p->containers[i].state, "waiting") && p->containers[i].restarts)
			return "CrashLoopBackOff";
	return p->phase;
}

static int64_t started_of(const struct lab_pod_state *p)
{
	int64_t first = 0;

	for (size_t i = 0; i < p->n_containers; i++)
		if (p->containers[i].started_ns && (!first || p->containers[i].started_ns < first))
			first = p->containers[i].started_ns;
	return first;
}

static void add_row(struct table *t, const struct lab_state *s, const struct lab_pod_state *p)
{
	size_t ready = 0;
	int64_t started_ns = started_of(p);
	char age[UNITS_TEXT_MAX] = "";
	autofree char *ready_text = NULL, *restarts = xasprintf("%u", restarts_of(p));
	autostr addresses = {0}, pids = {0}, labels = {0};

	for (size_t i = 0; i < p->n_containers; i++) {
		ready += p->containers[i].ready_ns != 0;
		str_addf(&pids, "%s%d", i ? " " : "", (int)p->containers[i].pid);
	}
	for (size_t i = 0; i < p->labels.n; i++)
		str_addf(&labels, "%s%s=%s", i ? "," : "", p->labels.items[i].key,
			 p->labels.items[i].value);
	for (size_t i = 0; i < p->addresses.n; i++)
		str_addf(&addresses, "%s%s", i ? " " : "", p->addresses.items[i]);
	ready_text = xasprintf("%zu/%zu", ready, p->n_containers);
	if (started_ns)
		units_duration(clock_now_ns() - started_ns, age);
	table_row(t, (const char *const[]){s->name, p->ns, p->name, ready_text, status_of(p), restarts, age,
					   addresses.s, why_of(p), pids.s, labels.s},
		  p->ready ? NULL : "red");
}

static int read_states(const struct globals *g, const char *name, struct lab_state **ret,
		       size_t *ret_n, struct err *e)
{
	struct strlist names = {0};
	int r = 0;

	if (name)
		strlist_add(&names, name);
	else
		lab_names(g->state_dir, &names);
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		autofree char *dir = lab_dir_of(g->state_dir, names.items[i]);
		autoptr(lab_client) c = NULL;
		struct lab_state s = {0};

		r = lab_connect(dir, &c, e);
		if (r == 0)
			r = lab_client_list(c, &s, e);
		if (r == 0)
			*array_push(*ret, *ret_n) = s;
	}
	strlist_done(&names);
	return r;
}

static void print_table(const struct globals *g, const struct lab_state *states, size_t n, bool wide)
{
	static const char *const headings[] = {"LAB", "NAMESPACE", "POD", ">READY", "STATUS",
					       ">RESTARTS", ">UP", "ADDRESSES", "~LAST", NULL};
	static const char *const wide_headings[] = {"LAB", "NAMESPACE", "POD", ">READY", "STATUS",
						    ">RESTARTS", ">UP", "ADDRESSES", "~LAST",
						    "PIDS", "LABELS", NULL};
	autoptr(table) t = table_new(g, wide ? wide_headings : headings);

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < states[i].n_pods; k++)
			add_row(t, &states[i], &states[i].pods[k]);
	table_print(t);
}

static void print_data(enum output output, const struct lab_state *states, size_t n)
{
	json_t *all = json_array();

	for (size_t i = 0; i < n; i++) {
		autofree char *text = lab_state_json(&states[i]);

		json_array_append_new(all, json_loads(text, 0, NULL));
	}
	output_data(output, all);
	json_decref(all);
}

static void print_names(const struct lab_state *states, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < states[i].n_pods; k++)
			printf("%s/%s\n", states[i].pods[k].ns, states[i].pods[k].name);
}

static int run_ps(const struct globals *g, const void *opts, const struct strlist *args,
		  struct err *e)
{
	const struct ps_options *o = opts;
	struct lab_state *states = NULL;
	enum output output;
	size_t n = 0;
	int r;

	if (output_parse("lab ps", o->output, OUTPUT_TABLE | OUTPUT_WIDE | OUTPUT_JSON | OUTPUT_YAML |
						      OUTPUT_NAME, &output, e) < 0)
		return EXIT_USAGE;
	lab_sweep(g->state_dir, NULL);
	r = read_states(g, o->name, &states, &n, e);
	if (r == 0 && (output == OUTPUT_JSON || output == OUTPUT_YAML))
		print_data(output, states, n);
	else if (r == 0 && output == OUTPUT_NAME)
		print_names(states, n);
	else if (r == 0 && n)
		print_table(g, states, n, output == OUTPUT_WIDE);
	else if (r == 0 && !g->quiet)
		puts("no lab is up");
	for (size_t i = 0; i < n; i++)
		lab_state_done(&states[i]);
	free(states);
	return r < 0 ? EXIT_ERROR : EXIT_PASSED;
}

static const struct option_row ps_rows[] = {
	{"--name", 0, "NAME", "one lab (default: all)", OPT_STRING, offsetof(struct ps_options, name)},
	{"--output", 'o', "FORMAT", "table (default), wide, json, yaml or name", OPT_STRING,
	 offsetof(struct ps_options, output)},
};

static const struct verb verb_ps = {
	.name = "lab ps",
	.summary = "list pods, their state, restarts and addresses",
	.usage = "[--name NAME] [-o table|wide|json|yaml|name]",
	.doc = "Lists the pods of one lab or of all. The JSON form has each container's process id, "
	       "restarts and times of start and readiness (CLOCK_MONOTONIC nanoseconds).",
	.options = ps_rows,
	.n_options = ARRAY_SIZE(ps_rows),
	.options_size = sizeof(struct ps_options),
	.run = run_ps,
};

static const struct verb *const subs[] = {
	&verb_up, &verb_down, &verb_ps, &verb_lab_logs, &verb_lab_exec, &verb_lab_forward, NULL,
};

const struct verb verb_lab = {
	.name = "lab",
	.summary = "run Kubernetes pods as processes on this machine: up, down, ps, logs, exec, port-forward",
	.usage = "up|down|ps|logs|exec|port-forward [OPTIONS]",
	.doc = "A lab runs Kubernetes Deployments and Pods (a part of their fields) as processes with "
	       "namespaces and control groups of their own, on a bridge that only the lab has. "
	       "Several labs run side by side.",
	.subs = subs,
};
