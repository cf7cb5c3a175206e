/* See usage. */
#include "preempt.h"

#include "exhaustive.h"
#include "fault.h"
#include "foreign.h"
#include "heap.h"
#include "matrix.h"
#include "random.h"
#include "report.h"

#include "rt.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"usage: %s matrix|exhaustive|random [options]\n"
	"\n"
	"matrix: stops the world under every workload in every mode; the time to safepoint against its\n"
	"        objective, which one round of at most 7 must keep.\n"
	"exhaustive: preempts small functions, stops the world or collects, at each of their instructions.\n"
	"random: everything at once, disturbed at random, values checked.\n"
	"  --fault FAULT    matrix: quota, memory or sigstop meanwhile; such time is subtracted\n"
	"  --only NAME      one workload or function\n"
	"  --mode MODE      all, cooperative, page or signal\n"
	"  --stops N        matrix: stops of the world in a round (default 200)\n"
	"  --seconds S      random: how long, all modes together (default 10)\n"
	"  --seed N         random: of the disturbances (default 1)\n"
	"  --json FILE      the report as JSON\n"
	"  --junit FILE     the report as JUnit XML\n"
	"\n"
	"exit code: 0 when every cell is as it must be, 1 when one is not, 2 usage,\n"
	"77 when the fault cannot be had here\n";

static struct {
	const char *name, *only, *mode, *json, *junit;
	unsigned stops;
	double seconds;
	uint64_t seed;
	enum fault fault;
} o = {.stops = 200, .seconds = 10, .seed = 1};

/* The matrix ---------------------------------------------------------------------------------- */

static void report_cell(struct line *l, const struct cell *c, uint64_t hits)
{
	const struct round *r = &c->round[c->rounds ? c->rounds - 1 : 0];

	l->right = cell_is_right(c) && (o.fault == FAULT_NONE || hits);
	l->must_fail = c->must_fail;
	report_number(l, "stops", c->stops);
	report_number(l, "rounds", c->rounds);
	report_number(l, "rounds_kept", c->kept);
	report_number(l, "p50_us", (double)r->p50_ns / 1e3);
	report_number(l, "p99_us", (double)r->p99_ns / 1e3);
	report_number(l, "max_us", (double)r->max_ns / 1e3);
	report_number(l, "limit50_us", (double)r->limit50_ns / 1e3);
	report_number(l, "limit99_us", (double)r->limit99_ns / 1e3);
	report_number(l, "subtracted99_us", (double)r->waited99_ns / 1e3);
	report_number(l, "wrong_values", (double)c->errors);
	report_number(l, "fault_hits", (double)hits);
	snprintf(l->text, sizeof l->text,
		 "%u stops, time to safepoint p50 %.1f us (objective <= %.1f), p99 %.1f us (<= %.1f), max "
		 "%.1f us, subtracted p99 %.1f us; kept in %u of %u rounds%s%s", c->stops,
		 (double)r->p50_ns / 1e3, (double)r->limit50_ns / 1e3, (double)r->p99_ns / 1e3,
		 (double)r->limit99_ns / 1e3, (double)r->max_ns / 1e3, (double)r->waited99_ns / 1e3,
		 c->kept, c->rounds,
		 c->must_fail ? ", and it must be in none: this mode has no means to stop it" : "",
		 c->errors ? "; WRONG VALUES" : "");
	report_show(l);
}

static void run_matrix_cell(const struct workload *w, enum rt_preempt_mode mode)
{
	struct cell c = {.workload = w, .mode = mode};
	const char *why = fault_begin(o.fault);
	uint64_t hits;

	if (why) {
		fprintf(stderr, "%s: no %s here: %s\n", o.name, fault_names[o.fault], why);
		exit(77);
	}
	matrix_cell(&c, o.stops);
	hits = fault_hits();
	fault_end();
	report_cell(report_add(w->name, mode_names[mode]), &c, hits);
}

static void run_matrix(void)
{
	if (o.fault == FAULT_MEMORY)
		foreign_copy_bytes = 8 << 20;
	for (size_t i = 0; i < n_workloads; i++)
		for (int m = 0; m < MODES; m++)
			if ((!o.only || !strcmp(o.only, workloads[i].name)) &&
			    (!o.mode || !strcmp(o.mode, mode_names[m])))
				run_matrix_cell(&workloads[i], (enum rt_preempt_mode)m);
}

/* Random -------------------------------------------------------------------------------------- */

static void run_random(void)
{
	for (int m = 0; m < MODES; m++) {
		struct soak s = {.mode = (enum rt_preempt_mode)m, .seed = o.seed};
		struct line *l;

		if (o.mode && strcmp(o.mode, mode_names[m]))
			continue;
		s.seconds = o.seconds / (o.mode ? 1 : MODES);
		random_soak(&s);
		l = report_add("soak", mode_names[m]);
		l->right = s.ran && !s.wrong && !s.idle;
		report_number(l, "seed", (double)s.seed);
		report_number(l, "turns", (double)s.turns);
		report_number(l, "asks", (double)s.asks);
		report_number(l, "stops", (double)s.stops);
		report_number(l, "proc_changes", (double)s.changes);
		report_number(l, "idle_workers", (double)s.idle);
		report_number(l, "wrong_values", (double)s.wrong);
		snprintf(l->text, sizeof l->text,
			 "seed %llu: %llu turns under %llu preemptions, %llu stops, %llu changes of Ps; %llu "
			 "workers had no turn; wrong: %llu values%s%s", (unsigned long long)s.seed,
			 (unsigned long long)s.turns, (unsigned long long)s.asks,
			 (unsigned long long)s.stops, (unsigned long long)s.changes,
			 (unsigned long long)s.idle, (unsigned long long)s.wrong,
			 s.first_wrong[0] ? "; first: " : "", s.first_wrong);
		report_show(l);
	}
}

/* Exhaustive ---------------------------------------------------------------------------------- */

static void run_kernel(const struct kernel *k, const struct action *a)
{
	struct line *l = report_add(k->name, a->name);
	struct step_report r;

	rt_set_procs(a->procs);
	step_kernel(k, a, &r);
	l->right = !r.wrong_value && !r.wrong_state && !r.not_taken &&
		   r.passes >= r.instructions + r.foreign &&
		   r.instructions && (!a->moves || r.moved >= r.instructions);
	snprintf(l->text, sizeof l->text,
		 "%llu instructions at %llu addresses, each disturbed, and %llu foreign ones; %llu resumed "
		 "on another thread; wrong: %llu values, %llu register states, %llu not taken%s%s",
		 (unsigned long long)r.instructions, (unsigned long long)r.addresses,
		 (unsigned long long)r.foreign, (unsigned long long)r.moved,
		 (unsigned long long)r.wrong_value,
		 (unsigned long long)r.wrong_state, (unsigned long long)r.not_taken,
		 r.first_wrong[0] ? "; first: " : "", r.first_wrong);
	report_number(l, "instructions", (double)r.instructions);
	report_number(l, "addresses", (double)r.addresses);
	report_number(l, "foreign_instructions", (double)r.foreign);
	report_number(l, "passes", (double)r.passes);
	report_number(l, "moved", (double)r.moved);
	report_number(l, "wrong_values", (double)r.wrong_value);
	report_number(l, "wrong_states", (double)r.wrong_state);
	report_number(l, "not_taken", (double)r.not_taken);
	report_show(l);
}

static void *run_kernels(void *arg)
{
	step_init();
	heap_begin();
	for (size_t i = 0; i < n_kernels; i++)
		for (size_t a = 0; a < n_actions; a++)
			if ((!o.only || !strcmp(o.only, kernels[i].name)) &&
			    (kernels[i].allocates || !actions[a].collects))
				run_kernel(&kernels[i], &actions[a]);
	return NULL;
}

static int run_exhaustive(void)
{
	struct rt_options ro = {.preempt = RT_PREEMPT_COOPERATIVE};
	int r;

	setenv("RT_DEBUG", "gcpoison=1,gcverify=1", 0);
	r = rt_run(&ro, run_kernels, NULL, NULL);
	if (r < 0)
		fprintf(stderr, "%s: no runtime here: %s\n", o.name, strerror(-r));
	return r;
}

/* Usage --------------------------------------------------------------------------------------- */

static enum fault fault_named(const char *name)
{
	enum fault f = FAULT_NONE;

	while (f < FAULTS && strcmp(fault_names[f], name))
		f++;
	return f;
}

static int parse(int argc, char **argv)
{
	static const struct option options[] = {
		{"fault", required_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'},
		{"json", required_argument, NULL, 'j'},  {"junit", required_argument, NULL, 'x'},
		{"mode", required_argument, NULL, 'm'},  {"only", required_argument, NULL, 'o'},
		{"seconds", required_argument, NULL, 't'}, {"seed", required_argument, NULL, 'r'},
		{"stops", required_argument, NULL, 's'}, {0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1)
		switch (c) {
		case 'f': o.fault = fault_named(optarg); break;
		case 'h': printf(usage, o.name); exit(0);
		case 'j': o.json = optarg; break;
		case 'x': o.junit = optarg; break;
		case 'm': o.mode = optarg; break;
		case 'o': o.only = optarg; break;
		case 'r': o.seed = strtoull(optarg, NULL, 10); break;
		case 's': o.stops = (unsigned)strtoul(optarg, NULL, 10); break;
		case 't': o.seconds = strtod(optarg, NULL); break;
		default: return -1;
		}
	return o.stops > 0 && o.seconds > 0 && o.fault < FAULTS && optind + 1 == argc ? 0 : -1;
}

static int run(const char *what)
{
	if (!strcmp(what, "matrix"))
		run_matrix();
	else if (!strcmp(what, "random"))
		run_random();
	else if (!strcmp(what, "exhaustive"))
		return run_exhaustive();
	else
		return -1;
	return 0;
}

int preempt_main(const char *name, int argc, char **argv)
{
	o.name = name;
	if (parse(argc, argv) < 0 || run(argv[optind]) < 0) {
		fprintf(stderr, usage, name);
		return 2;
	}
	if (report_count(false) == 0) {
		fprintf(stderr, "%s: nothing is named so\n", o.name);
		return 2;
	}
	if (o.json)
		report_write_json(o.json);
	if (o.junit)
		report_write_junit(o.junit, argv[optind]);
	return report_count(true) > 0;
}
