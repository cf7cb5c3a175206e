/*
 * The verdict of one run as tables: what was done to whom and what it did, then every objective
 * with its number, interval and sample count. Reads the record (docs/record.md), so that a run
 * that has just ended and one from the history look the same.
 */
#include "table.h"
#include "view.h"

#include "../../lib/base/text.h"
#include "../../lib/base/units.h"
#include "../../lib/report.h"

#include <stdio.h>

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static char *join(const json_t *strings, size_t most)
{
	struct str out = {0};
	const json_t *s;
	size_t i;

	json_array_foreach(strings, i, s) {
		if (i == most) {
			str_addf(&out, " and %zu more", json_array_size(strings) - most);
			break;
		}
		str_addf(&out, "%s%s", i ? " " : "", json_string_value(s));
	}
	return str_take(&out);
}

static const char *color_of(const char *state)
{
	static const struct {
		const char *state, *color;
	} colors[] = {
		{"breached", "red"},     {"failed", "red"},  {"held", "green"},
		{"inconclusive", "yellow"}, {"measured", NULL}, {"none", "red"},
		{"less than asked", "red"}, {"more than asked", "red"}, {"unknown", "yellow"},
		{"passed", "green"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(colors); i++)
		if (streq(colors[i].state, state))
			return colors[i].color;
	return NULL;
}

/* How long a change of what a fault had set could have gone unseen. */
static void unseen_line(const json_t *faults)
{
	char text[UNITS_TEXT_MAX];
	double longest_ms = 0;
	const json_t *f;
	size_t i;

	json_array_foreach(faults, i, f) {
		const json_t *presence = json_object_get(f, "presence");
		double ms = json_number_value(json_object_get(presence, "longest_unseen_ms"));

		longest_ms = MAX_OF(longest_ms, ms);
	}
	if (longest_ms > 0)
		printf("looked at what was set at least every %s\n",
		       units_duration((int64_t)(longest_ms * 1e6), text));
}

static void faults_table(const struct globals *g, const json_t *record)
{
	static const char *const headings[] = {"FAULT", "BY", "~TARGETS", "ASKED FOR", "~MEASURED",
					       NULL};
	const json_t *faults = json_object_get(record, "faults"), *f;
	autoptr(table) t = table_new(g, headings);
	size_t i;

	json_array_foreach(faults, i, f) {
		autofree char *targets = join(json_object_get(f, "targets"), 3);
		const char *measured = text_of(f, "measured"), *effect = text_of(f, "effect");
		autofree char *shown = xasprintf("%s%s%s", measured,
						 *measured && !streq(effect, "measured") ? ": " : "",
						 *measured && streq(effect, "measured") ? "" : effect);
		const char *cells[] = {text_of(f, "name"), text_of(f, "backend"), targets,
				       text_of(f, "requested"), shown};

		table_row(t, cells, color_of(effect));
	}
	if (json_array_size(faults))
		table_print(t);
	unseen_line(faults);
}

static void objective_row(struct table *t, const json_t *slo, const json_t *o)
{
	const char *state = text_of(o, "state"), *why = text_of(o, "why");
	bool narrowly = json_is_true(json_object_get(o, "narrowly"));
	bool wanted = report_expects_breach(slo) && streq(state, "breached");
	autofree char *verdict = xasprintf("%s%s%s", state, narrowly ? ", narrowly" : "",
					   wanted ? ", as expected" : "");
	const char *cells[] = {text_of(slo, "name"), text_of(o, "window"), text_of(o, "objective"),
			       *why ? why : text_of(o, "text"), verdict};

	table_row(t, cells, color_of(wanted ? "held" : report_expects_breach(slo) ? "" : state));
}

static void recovery_row(struct table *t, const json_t *slo)
{
	struct report_recovery rec;

	if (report_recovery(slo, &rec)) {
		const char *cells[] = {text_of(slo, "name"), "recovery", rec.objective, rec.text,
				       rec.state};

		table_row(t, cells, color_of(rec.state));
	}
}

static void slos_table(const struct globals *g, const json_t *record)
{
	static const char *const headings[] = {"SLO", "WINDOW", "OBJECTIVE", "~MEASURED", "STATE",
					       NULL};
	const json_t *slos = json_object_get(record, "slos"), *s, *o;
	autoptr(table) t = table_new(g, headings);
	size_t i, k;

	json_array_foreach(slos, i, s) {
		json_array_foreach(json_object_get(s, "objectives"), k, o)
			objective_row(t, s, o);
		recovery_row(t, s);
	}
	if (json_array_size(slos))
		table_print(t);
}

/* What the numbers leave out, below them. */
static void note_lines(const json_t *record)
{
	const json_t *s, *note;
	size_t i, k;

	json_array_foreach(json_object_get(record, "slos"), i, s)
		json_array_foreach(json_object_get(s, "notes"), k, note)
			printf("note: %s: %s\n", text_of(s, "name"), json_string_value(note));
}

static void residue_lines(const json_t *record)
{
	const json_t *r;
	size_t i;

	json_array_foreach(json_object_get(record, "residue"), i, r)
		if (!json_is_true(json_object_get(r, "clean")))
			printf("left behind by %s on %s: %s\n", text_of(r, "fault"),
			       text_of(r, "target"), text_of(r, "text"));
}

/* In place; keys are ours. */
static void make_printable(json_t *v)
{
	const char *key;
	json_t *item;
	size_t i;

	json_object_foreach(v, key, item)
		make_printable(item);
	json_array_foreach(v, i, item)
		make_printable(item);
	if (json_is_string(v)) {
		autofree char *text = xstrdup(json_string_value(v));

		text_make_printable(text, true);
		json_string_set(v, text);
	}
}

void view_record(const struct globals *g, const json_t *raw)
{
	json_auto_t *copy = json_deep_copy(raw);
	const json_t *record = copy;
	const char *verdict;
	bool narrowly = json_is_true(json_object_get(record, "narrowly"));
	bool good = streq(text_of(copy, "verdict"), "passed");
	bool tables = json_array_size(json_object_get(record, "faults")) ||
		      json_array_size(json_object_get(record, "slos"));

	make_printable(copy);
	verdict = text_of(record, "verdict");
	faults_table(g, record);
	if (json_array_size(json_object_get(record, "faults")) &&
	    json_array_size(json_object_get(record, "slos")))
		putchar('\n');
	slos_table(g, record);
	note_lines(record);
	residue_lines(record);
	printf("%s%s%s: %s%s%s\n", tables ? "\n" : "",
	       text_of(record, "experiment"), g->color ? (good ? "\033[32m" : "\033[31m") : "",
	       verdict, narrowly ? ", narrowly" : "", g->color ? "\033[0m" : "");
	printf("%s\n", text_of(record, "sentence"));
}
