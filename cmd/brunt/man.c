/*
 * man - brunt(1), printed from the same tables that parse
 *
 * The build runs `brunt __man` and installs what it prints: verbs and options from verbs.def,
 * manifest fields from the schemas of the experiment and of every fault driver. Nothing here knows
 * a verb or a fault by name.
 */
#include "man.h"

#include "options.h"
#include "verbs.h"

#include "../../lib/experiment.h"

#include <stdio.h>

/* roff takes a leading dot or quote for a request, and a hyphen for a typographic one. */
static void text(const char *s)
{
	for (const char *p = s; *p; p++) {
		if ((*p == '.' || *p == '\'') && (p == s || p[-1] == '\n'))
			fputs("\\&", stdout);
		if (*p == '-' || *p == '\\')
			putchar('\\');
		putchar(*p);
	}
}

static void bold_line(const char *a, const char *b)
{
	fputs(".TP\n\\fB", stdout);
	text(a);
	fputs("\\fR ", stdout);
	text(b);
	putchar('\n');
}

static void option_rows(const struct option_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char letter[] = {'-', rows[i].letter, ',', ' ', '\0'};
		autofree char *name = xasprintf("%s%s", rows[i].letter ? letter : "", rows[i].name);

		bold_line(name, rows[i].arg ? rows[i].arg : "");
		text(rows[i].doc);
		putchar('\n');
	}
}

static void verb_entry(const struct verb *v)
{
	printf(".SS \"brunt %s %s\"\n", v->name, v->usage);
	text(v->doc);
	putchar('\n');
	option_rows(v->options, v->n_options);
	for (const struct verb *const *sub = v->subs; sub && *sub; sub++)
		verb_entry(*sub);
}

static void verbs_section(void)
{
	const struct verb *const *verbs;
	size_t n;

	puts(".SH VERBS");
	verbs = verbs_all(&n);
	for (size_t i = 0; i < n; i++)
		if (!verbs[i]->hidden)
			verb_entry(verbs[i]);
}

static void fields(const struct schema *s, const char *prefix);

static void field_entry(const struct field *f, const char *path)
{
	bold_line(path, field_type_name(f));
	text(f->doc ? f->doc : "");
	if (f->required)
		text(" Required.");
	if (f->deflt && *f->deflt) {
		text(" Default: ");
		text(f->deflt);
		text(".");
	}
	putchar('\n');
}

/* Faults are kinds of their own below; only what has no page of its own is descended into. */
static void variants(const struct field *f, const char *prefix)
{
	struct variant v;

	for (size_t i = 0; f->variant(i, &v); i++) {
		autofree char *path = xasprintf("%s.%s", prefix, v.name);

		bold_line(path, "object");
		text(v.schema->doc ? v.schema->doc : "");
		putchar('\n');
		if (!experiment_schema(v.schema->name))
			fields(v.schema, path);
	}
}

static void fields(const struct schema *s, const char *prefix)
{
	for (size_t i = 0; i < s->n_fields; i++) {
		const struct field *f = &s->fields[i];
		autofree char *path = xasprintf("%s%s%s", prefix, *f->name ? "." : "", f->name);

		if (f->type == FIELD_IGNORED || f->type == FIELD_REFUSED)
			continue;
		if (f->type == FIELD_VARIANT) {
			variants(f, path);
			continue;
		}
		field_entry(f, path);
		if (f->sub)
			fields(f->sub, path);
	}
}

static void kinds_section(void)
{
	puts(".SH MANIFESTS");
	for (const char *const *kind = experiment_kinds(); *kind; kind++) {
		const struct schema *s = experiment_schema(*kind);

		printf(".SS %s\n", *kind);
		text(s->doc ? s->doc : "");
		putchar('\n');
		fields(s, "spec");
	}
}

static const struct {
	const char *code, *meaning;
} exit_codes[] = {
	{"0", "every objective held, everything restored"},
	{"1", "an SLO failed"},
	{"2", "usage, or an invalid manifest"},
	{"3", "could not inject, or an error; everything restored"},
	{"4", "NOT restored: the message says what is left and the command that clears it"},
	{"5", "inconclusive or ineffective"},
	{"130", "interrupted, restored"},
};

int man_main(int argc, char **argv)
{
	size_t n;
	const struct option_row *rows;

	(void)argc, (void)argv;
	puts(".TH BRUNT 1\n.SH NAME\nbrunt \\- breaks exactly what you name, measures whether the "
	     "service kept its promises, and puts everything back\n.SH SYNOPSIS\n.B brunt\n"
	     "VERB [OPTIONS] [ARGUMENTS]");
	verbs_section();
	puts(".SH COMMON OPTIONS");
	rows = options_global(&n);
	option_rows(rows, n);
	kinds_section();
	puts(".SH EXIT STATUS");
	for (size_t i = 0; i < ARRAY_SIZE(exit_codes); i++) {
		bold_line(exit_codes[i].code, "");
		text(exit_codes[i].meaning);
		putchar('\n');
	}
	puts(".SH ENVIRONMENT");
	bold_line("BRUNT_STATE_DIR", "");
	text("Where journal, runs and labs are kept; --state-dir goes before it.\n");
	bold_line("BRUNT_RUN_DIR", "");
	text("Where runs of all state directories say which targets they hold; default /run/brunt for "
	     "root, else brunt in XDG_RUNTIME_DIR.\n");
	bold_line("NO_COLOR", "");
	text("No colour when set.\n");
	return fflush(stdout) == 0 ? 0 : 1;
}
