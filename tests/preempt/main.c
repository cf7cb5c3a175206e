/* rt-preempt: see usage. */
#include "exhaustive.h"
#include "matrix.h"

#include "rt.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"usage: rt-preempt matrix|exhaustive [options]\n"
	"\n"
	"matrix: stops the world under every workload in every mode; the time to safepoint against its\n"
	"        objective. exhaustive: preempts small functions at each of their instructions.\n"
	"  --only NAME      one workload or function\n"
	"  --mode MODE      all, cooperative, page or signal\n"
	"  --stops N        stops of the world a cell (default 200)\n"
	"  --json FILE      the report as JSON\n"
	"  --junit FILE     the report as JUnit XML\n"
	"\n"
	"exit code: 0 when every cell is as it must be, 1 when one is not, 2 usage\n";

static struct {
	const char *only, *mode, *json, *junit;
	unsigned stops;
} o = {.stops = 200};

/* One line of a report: what both kinds of run have in common. */
struct line {
	char name[64], text[256];
	bool right;
};
static struct line *lines;
static size_t n_lines;

static struct line *add_line(const char *group, const char *name)
{
	struct line *l;

	lines = realloc(lines, (n_lines + 1) * sizeof *lines);
	if (!lines)
		abort();
	l = &lines[n_lines++];
	memset(l, 0, sizeof *l);
	snprintf(l->name, sizeof l->name, "%s/%s", name, group);
	return l;
}

static void show(const struct line *l)
{
	printf("%-8s %-32s %s\n", l->right ? "ok" : "NOT OK", l->name, l->text);
	fflush(stdout);
}

/* Reports ------------------------------------------------------------------------------------- */

static FILE *open_report(const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f) {
		perror(path);
		exit(2);
	}
	return f;
}

static void write_json(const char *path)
{
	FILE *f = open_report(path);

	fputs("[\n", f);
	for (size_t i = 0; i < n_lines; i++)
		fprintf(f, "  {\"name\": \"%s\", \"ok\": %s, \"text\": \"%s\"}%s\n", lines[i].name,
			lines[i].right ? "true" : "false", lines[i].text, i + 1 < n_lines ? "," : "");
	fputs("]\n", f);
	fclose(f);
}

static void write_xml_text(FILE *f, const char *s)
{
	for (; *s; s++)
		switch (*s) {
		case '<': fputs("&lt;", f); break;
		case '>': fputs("&gt;", f); break;
		case '&': fputs("&amp;", f); break;
		default: fputc(*s, f);
		}
}

static void write_junit(const char *path)
{
	FILE *f = open_report(path);
	size_t wrong = 0;

	for (size_t i = 0; i < n_lines; i++)
		wrong += !lines[i].right;
	fprintf(f, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"rt-preempt\" tests=\"%zu\" "
		"failures=\"%zu\">\n", n_lines, wrong);
	for (size_t i = 0; i < n_lines; i++) {
		fprintf(f, "  <testcase classname=\"rt-preempt\" name=\"%s\">", lines[i].name);
		fputs(lines[i].right ? "<system-out>" : "<failure>", f);
		write_xml_text(f, lines[i].text);
		fputs(lines[i].right ? "</system-out>" : "</failure>", f);
		fputs("</testcase>\n", f);
	}
	fputs("</testsuite>\n", f);
	fclose(f);
}

/* The matrix ---------------------------------------------------------------------------------- */

static void run_matrix_cell(const struct workload *w, enum rt_preempt_mode mode)
{
	struct cell c = {.workload = w, .mode = mode};
	struct line *l = add_line(mode_names[mode], w->name);

	/* The machine may be shared: a cell that is not as it must be is run once more. */
	for (int try = 0; try < 2 && !cell_is_right(&c); try++) {
		c = (struct cell){.workload = w, .mode = mode};
		matrix_cell(&c, o.stops);
	}
	l->right = cell_is_right(&c);
	snprintf(l->text, sizeof l->text,
		 "%u stops, time to safepoint p50 %.1f us (objective <= %.1f), p99 %.1f us (<= %.1f), max "
		 "%.1f us: %s%s%s", c.stops, (double)c.p50_ns / 1e3, (double)c.limit50_ns / 1e3,
		 (double)c.p99_ns / 1e3, (double)c.limit99_ns / 1e3, (double)c.max_ns / 1e3,
		 c.kept ? "kept" : "broken",
		 c.must_fail ? ", as it must be: this mode has no means to stop it" : "",
		 c.errors ? "; WRONG VALUES" : "");
	show(l);
}

static void run_matrix(void)
{
	for (size_t i = 0; i < n_workloads; i++)
		for (int m = 0; m < MODES; m++)
			if ((!o.only || !strcmp(o.only, workloads[i].name)) &&
			    (!o.mode || !strcmp(o.mode, mode_names[m])))
				run_matrix_cell(&workloads[i], (enum rt_preempt_mode)m);
}

/* Exhaustive ---------------------------------------------------------------------------------- */

static void run_kernel(const struct kernel *k, enum step_action a)
{
	struct line *l = add_line(step_action_names[a], k->name);
	struct step_report r;

	rt_set_procs(a == STEP_SAME ? 1 : 2);
	step_kernel(k, a, &r);
	l->right = !r.wrong_value && !r.wrong_state && r.passes >= r.instructions + r.foreign && !r.not_taken &&
		   r.instructions && (a != STEP_OTHER || r.moved >= r.instructions);
	snprintf(l->text, sizeof l->text,
		 "%llu instructions at %llu addresses, each disturbed, and %llu foreign ones; %llu resumed "
		 "on another thread; wrong: %llu values, %llu register states, %llu not taken%s%s",
		 (unsigned long long)r.instructions, (unsigned long long)r.addresses,
		 (unsigned long long)r.foreign, (unsigned long long)r.moved, (unsigned long long)r.wrong_value,
		 (unsigned long long)r.wrong_state, (unsigned long long)r.not_taken,
		 r.first_wrong[0] ? "; first: " : "", r.first_wrong);
	show(l);
}

static void *run_kernels(void *arg)
{
	step_init();
	for (size_t i = 0; i < n_kernels; i++)
		for (int a = 0; a < STEP_ACTIONS; a++)
			if (!o.only || !strcmp(o.only, kernels[i].name))
				run_kernel(&kernels[i], (enum step_action)a);
	return NULL;
}

static int run_exhaustive(void)
{
	struct rt_options ro = {.preempt = RT_PREEMPT_COOPERATIVE};
	int r = rt_run(&ro, run_kernels, NULL, NULL);

	if (r < 0)
		fprintf(stderr, "rt-preempt: no runtime here: %s\n", strerror(-r));
	return r;
}

/* Usage --------------------------------------------------------------------------------------- */

static int parse(int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},     {"json", required_argument, NULL, 'j'},
		{"junit", required_argument, NULL, 'x'}, {"mode", required_argument, NULL, 'm'},
		{"only", required_argument, NULL, 'o'},  {"stops", required_argument, NULL, 's'}, {0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1)
		switch (c) {
		case 'h': fputs(usage, stdout); exit(0);
		case 'j': o.json = optarg; break;
		case 'x': o.junit = optarg; break;
		case 'm': o.mode = optarg; break;
		case 'o': o.only = optarg; break;
		case 's': o.stops = (unsigned)strtoul(optarg, NULL, 10); break;
		default: return -1;
		}
	return o.stops > 0 && optind + 1 == argc ? 0 : -1;
}

int main(int argc, char **argv)
{
	bool wrong = false;

	if (parse(argc, argv) < 0) {
		fputs(usage, stderr);
		return 2;
	}
	if (!strcmp(argv[optind], "matrix"))
		run_matrix();
	else if (strcmp(argv[optind], "exhaustive")) {
		fputs(usage, stderr);
		return 2;
	} else if (run_exhaustive() < 0) {
		return 2;
	}
	for (size_t i = 0; i < n_lines; i++)
		wrong |= !lines[i].right;
	if (n_lines == 0) {
		fprintf(stderr, "rt-preempt: nothing is named so\n");
		return 2;
	}
	if (o.json)
		write_json(o.json);
	if (o.junit)
		write_junit(o.junit);
	return wrong;
}
