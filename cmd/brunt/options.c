/*
 * The table rows become getopt_long's, which gives the usual behaviour for nothing: options and
 * arguments in any order, "--name=value", unambiguous abbreviations, "--" ends the options.
 * An unknown option is answered with the nearest one.
 */
#include "options.h"

#include "../../lib/base/suggest.h"
#include "../../lib/base/units.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>

#define GLOBAL(f) offsetof(struct globals, f)

static const struct option_row global_rows[] = {
	{"--help", 'h', NULL, "show this verb's options", OPT_FLAG, GLOBAL(help)},
	{"--no-color", 0, NULL, "plain output; so does the variable NO_COLOR", OPT_FLAG, GLOBAL(no_color)},
	{"--quiet", 'q', NULL, "print results and errors only", OPT_FLAG, GLOBAL(quiet)},
	{"--state-dir", 0, "DIR", "where journal, runs and labs are kept", OPT_STRING, GLOBAL(state_dir)},
	{"--verbose", 'v', NULL, "say more about each step", OPT_FLAG, GLOBAL(verbose)},
};

const struct option_row *options_global(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(global_rows);
	return global_rows;
}

/* Row number `val - FIRST` of the verb's rows, followed by the global rows. */
enum { FIRST = 1000 };

struct table {
	const struct verb *verb;
	struct option *longs;
	char shorts[128];
};

static const struct option_row *row_at(const struct verb *v, size_t i)
{
	return i < v->n_options ? &v->options[i] : &global_rows[i - v->n_options];
}

static size_t row_count(const struct verb *v)
{
	return v->n_options + ARRAY_SIZE(global_rows);
}

static void table_build(struct table *t, const struct verb *v)
{
	size_t len = 0;

	t->verb = v;
	t->longs = xcalloc(row_count(v) + 1, sizeof *t->longs);
	t->shorts[len++] = v->args_verbatim ? '+' : '-';
	t->shorts[len++] = ':';
	for (size_t i = 0; i < row_count(v); i++) {
		const struct option_row *row = row_at(v, i);

		t->longs[i] = (struct option){
			.name = row->name + 2,
			.has_arg = row->arg ? required_argument : no_argument,
			.val = FIRST + (int)i,
		};
		if (!row->letter)
			continue;
		t->shorts[len++] = row->letter;
		if (row->arg)
			t->shorts[len++] = ':';
	}
	t->shorts[len] = '\0';
}

static const struct option_row *table_row(const struct table *t, int val)
{
	if (val >= FIRST)
		return row_at(t->verb, val - FIRST);
	for (size_t i = 0; i < row_count(t->verb); i++)
		if (row_at(t->verb, i)->letter == val)
			return row_at(t->verb, i);
	return NULL;
}

static int unknown_option(const struct verb *v, const char *text, struct err *e)
{
	const char *names[64];
	autofree char *name = xstrndup(text, strcspn(text, "="));
	const char *near = NULL;
	size_t n = 0;

	for (size_t i = 0; i < row_count(v) && n < ARRAY_SIZE(names); i++)
		names[n++] = row_at(v, i)->name;
	if (strncmp(name, "--", 2) == 0)
		near = suggest_nearest(name, names, n);
	err_set(e, EINVAL, "%s: unknown option %s%s%s%s", v->name, name, near ? " (did you mean " : "",
		near ? near : "", near ? "?)" : "");
	return err_hint(e, "brunt %s --help lists its options", v->name);
}

static int store(const struct verb *v, const struct option_row *row, const char *arg, void *base,
		 struct err *e)
{
	char *p = (char *)base + row->offset;
	struct err bad = {0};
	int r = 0;

	switch (row->type) {
	case OPT_FLAG:
		*(bool *)p = true;
		break;
	case OPT_STRING:
		*(const char **)p = arg;
		break;
	case OPT_STRINGS:
		strlist_add((struct strlist *)p, arg);
		break;
	case OPT_DURATION:
		r = units_parse_duration(arg, (int64_t *)p, &bad);
		break;
	case OPT_INT:
		r = units_parse_int(arg, (int64_t *)p, &bad);
		break;
	}
	if (r < 0)
		return err_set(e, EINVAL, "%s: %s: %s", v->name, row->name, bad.text);
	return 0;
}

static bool is_global(const struct option_row *row)
{
	return row >= global_rows && row < global_rows + ARRAY_SIZE(global_rows);
}

int options_parse(const struct verb *v, int argc, char **argv, struct globals *g, void *opts,
		  struct strlist *args, bool *ret_help, struct err *e)
{
	autofree struct option *longs = NULL;
	struct table t;
	int val, r;

	table_build(&t, v);
	longs = t.longs;
	opterr = 0;
	optind = 2;
	while ((val = getopt_long(argc, argv, t.shorts, t.longs, NULL)) != -1) {
		const struct option_row *row;

		if (val == 1) { /* '-' in shorts: arguments come in their place */
			strlist_add(args, optarg);
			continue;
		}
		if (val == '?')
			return unknown_option(v, argv[optind - 1], e);
		if (val == ':')
			return err_set(e, EINVAL, "%s: %s wants a value", v->name, argv[optind - 1]);
		row = table_row(&t, val);
		r = store(v, row, optarg, is_global(row) ? (void *)g : opts, e);
		if (r < 0)
			return r;
	}
	for (; optind < argc; optind++)
		strlist_add(args, argv[optind]);
	*ret_help = g->help;
	return 0;
}

void options_done(const struct verb *v, void *opts, struct strlist *args)
{
	for (size_t i = 0; i < v->n_options; i++)
		if (v->options[i].type == OPT_STRINGS)
			strlist_done((struct strlist *)((char *)opts + v->options[i].offset));
	strlist_done(args);
}

void options_describe(const struct option_row *rows, size_t n, struct str *ret)
{
	for (size_t i = 0; i < n; i++) {
		autofree char *left = xasprintf("%c%c%c %s%s%s", rows[i].letter ? '-' : ' ',
						rows[i].letter ? rows[i].letter : ' ',
						rows[i].letter ? ',' : ' ', rows[i].name,
						rows[i].arg ? " " : "",
						rows[i].arg ? rows[i].arg : "");

		str_addf(ret, "  %-28s %s\n", left, rows[i].doc);
	}
}
