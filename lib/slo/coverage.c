/*
 * A source notices a death later than the scraper does: a container that was killed is "ready"
 * until the next look, a frozen one until its probes have failed. So a round that finds the target
 * down excuses the silent ones right before it.
 */
#include "coverage.h"

#include "../base/clock.h"
#include "../base/mem.h"

static struct coverage_source *source_of(struct coverage *c, const char *name)
{
	struct coverage_source *s;

	for (size_t i = 0; i < c->n; i++)
		if (streq(c->sources[i].name, name))
			return &c->sources[i];
	s = array_push(c->sources, c->n);
	*s = (struct coverage_source){.name = xstrdup(name)};
	return s;
}

static void add_silent(struct coverage_source *s, int64_t due_ns)
{
	if (s->silent_run++ == 0)
		s->silent_since_ns = due_ns;
}

static void add_down(struct coverage_source *s, int64_t due_ns)
{
	int64_t since_ns = s->silent_run ? s->silent_since_ns : s->last_due_ns;

	s->down += 1 + s->silent_run;
	s->silent_run = 0;
	if (since_ns)
		s->down_ns += due_ns - since_ns;
}

void coverage_add(struct coverage *c, const char *source, int64_t due_ns, enum round r)
{
	struct coverage_source *s = source_of(c, source);

	s->due++;
	switch (r) {
	case ROUND_ANSWERED:
		s->answered++;
		s->silent_run = 0;
		break;
	case ROUND_SILENT:
		add_silent(s, due_ns);
		break;
	case ROUND_DOWN:
		add_down(s, due_ns);
		break;
	}
	s->last_due_ns = due_ns;
}

void coverage_done(struct coverage *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->sources[i].name);
	free(c->sources);
	*c = (struct coverage){0};
}

static double share_of(const struct coverage_source *s)
{
	uint64_t due = s->due - s->down;

	return due ? (double)s->answered / (double)due : 1;
}

static bool lacks(const struct coverage_source *s)
{
	double silent = COVERAGE_SILENT_SHARE * (double)s->due;

	return share_of(s) < COVERAGE_NEEDED ||
	       (double)s->silent_run >= MAX_OF(silent, (double)COVERAGE_SILENT_ROUNDS);
}

const struct coverage_source *coverage_worst(const struct coverage *c)
{
	const struct coverage_source *ret = NULL;

	for (size_t i = 0; i < c->n; i++)
		if (lacks(&c->sources[i]) && (!ret || share_of(&c->sources[i]) < share_of(ret)))
			ret = &c->sources[i];
	return ret;
}

json_t *coverage_json(const struct coverage *c, int64_t start_ns)
{
	json_t *list = json_array();

	for (size_t i = 0; i < c->n; i++) {
		const struct coverage_source *s = &c->sources[i];
		json_t *o = json_pack("{s:s, s:I, s:I}", "target", s->name, "due",
				      (json_int_t)s->due, "answered", (json_int_t)s->answered);

		if (s->down)
			json_object_set_new(o, "down_ms",
					    json_real((double)s->down_ns / NSEC_PER_MSEC));
		if (s->silent_run)
			json_object_set_new(o, "silent_since_ms",
					    json_real((double)(s->silent_since_ns - start_ns) /
						      NSEC_PER_MSEC));
		json_array_append_new(list, o);
	}
	return list;
}
