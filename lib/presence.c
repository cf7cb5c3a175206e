#include "presence.h"

#include "base/clock.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

/* What the looks of one tick may take together; who is left over has the next tick. */
static const int64_t tick_budget_ns = 40 * NSEC_PER_MSEC;
enum { GAPS_MAX = 1000 };

void presence_done(struct presence *p)
{
	for (size_t i = 0; i < p->n_targets; i++)
		free(p->targets[i].id);
	for (size_t i = 0; i < p->n_gaps; i++) {
		free(p->gaps[i].target);
		free(p->gaps[i].what);
	}
	free(p->targets);
	free(p->gaps);
	*p = (struct presence){0};
}

void presence_begin(struct presence *p, const struct fault *f)
{
	presence_done(p);
	p->on_ns = clock_now_ns();
	p->looks = f->driver->check;
	for (size_t i = 0; i < f->targets.n; i++)
		*array_push(p->targets, p->n_targets) = (struct presence_target){
			.id = target_id(f->targets.items[i]),
			.whole_ns = p->on_ns,
			.look_ns = p->on_ns,
		};
}

static struct presence_target *find(const struct presence *p, const char *id)
{
	for (size_t i = 0; i < p->n_targets; i++)
		if (streq(p->targets[i].id, id))
			return &p->targets[i];
	return NULL;
}

static void tell(const struct fault *f, const char *target, const char *what)
{
	event_emit(f->env ? f->env->listener : NULL,
		   (struct event){.type = EVENT_GAP, .name = target, .text = what});
}

/* Without an end; a target that comes and goes for ever fills no memory. */
static void open_gap(struct presence *p, struct presence_target *pt, const char *what)
{
	if (pt->gap || p->n_gaps == GAPS_MAX)
		return;
	*array_push(p->gaps, p->n_gaps) = (struct gap){
		.target = xstrdup(pt->id),
		.what = xstrdup(what),
		.since_ns = pt->whole_ns,
		.seen_ns = clock_now_ns(),
	};
	pt->gap = p->n_gaps;
}

static void close_gap(struct presence *p, struct presence_target *pt, int64_t now)
{
	if (pt->gap)
		p->gaps[pt->gap - 1].until_ns = now;
	pt->gap = 0;
}

/* The first line, and how many more there are. */
static char *first_of(const char *lines)
{
	size_t len = strcspn(lines, "\n"), more = 0;

	for (const char *c = lines + len; *c; c++)
		more += *c == '\n' && c[1];
	return more ? xasprintf("%.*s (and %zu more)", (int)len, lines, more)
		    : xasprintf("%.*s", (int)len, lines);
}

static void look_at(struct presence *p, struct presence_target *pt, struct fault *f,
		    const struct target *t, bool excused)
{
	int64_t start = clock_now_ns();
	autofree char *what = NULL;
	autostr missing = {0};
	struct err e = {0};
	int r = f->driver->check(f, t, &missing, &e);

	p->longest_ns = MAX_OF(p->longest_ns, start - pt->look_ns);
	pt->look_ns = start;
	if (excused || (r == 0 && !missing.len)) {
		close_gap(p, pt, start);
		pt->whole_ns = start;
		return;
	}
	what = r < 0 ? xasprintf("cannot tell whether it is on: %s", e.text) : first_of(missing.s);
	if (!pt->gap)
		tell(f, pt->id, what);
	open_gap(p, pt, what);
}

void presence_look(struct presence *p, struct fault *f, bool all,
		   bool (*excused)(void *data, const struct target *t), void *data)
{
	int64_t stop = clock_now_ns() + tick_budget_ns;

	if (!f->driver->check || !p->on_ns || p->off_ns)
		return;
	for (size_t i = 0; i < f->targets.n && (all || i == 0 || clock_now_ns() < stop); i++) {
		const struct target *t = f->targets.items[p->next++ % f->targets.n];
		autofree char *id = target_id(t);
		struct presence_target *pt = find(p, id);

		if (pt && !pt->gone)
			look_at(p, pt, f, t, excused && excused(data, t));
	}
}

void presence_gone(struct presence *p, const struct fault *f, const char *target, const char *why)
{
	struct presence_target *pt = find(p, target);

	if (!pt || pt->gone || p->off_ns)
		return;
	pt->gone = true;
	if (pt->gap) {
		struct gap *g = &p->gaps[pt->gap - 1];

		free(g->what);
		g->what = xstrdup(why);
		return;
	}
	open_gap(p, pt, why);
}

void presence_leave(struct presence *p, const char *target)
{
	struct presence_target *pt = find(p, target);

	if (!pt || pt->gone || p->off_ns)
		return;
	pt->gone = true;
	pt->left_ns = clock_now_ns();
	close_gap(p, pt, pt->left_ns);
}

void presence_back(struct presence *p, const char *target)
{
	struct presence_target *pt = find(p, target);

	if (pt && pt->gone)
		close_gap(p, pt, clock_now_ns());
}

void presence_end(struct presence *p)
{
	if (!p->on_ns || p->off_ns)
		return;
	p->off_ns = clock_now_ns();
	for (size_t i = 0; i < p->n_targets; i++) {
		struct presence_target *pt = &p->targets[i];

		if (!pt->gone && p->looks)
			p->longest_ns = MAX_OF(p->longest_ns, p->off_ns - pt->look_ns);
		close_gap(p, pt, p->off_ns);
	}
}

static int64_t absent_ns(const struct presence *p, int64_t end)
{
	int64_t sum = 0;

	for (size_t i = 0; i < p->n_gaps; i++)
		sum += (p->gaps[i].until_ns ? p->gaps[i].until_ns : end) - p->gaps[i].since_ns;
	return sum;
}

void presence_add(struct presence_summary *s, const struct presence *p)
{
	int64_t end = p->off_ns ? p->off_ns : clock_now_ns(), due = 0;

	for (size_t i = 0; p->on_ns && i < p->n_targets; i++)
		due += (p->targets[i].left_ns ? p->targets[i].left_ns : end) - p->on_ns;
	s->due_ns += due;
	s->on_ns += MAX_OF(due - absent_ns(p, end), (int64_t)0);
	s->longest_ns = MAX_OF(s->longest_ns, p->longest_ns);
	s->n_gaps += p->n_gaps;
	for (size_t i = 0; i < p->n_gaps; i++)
		if (!s->first || p->gaps[i].seen_ns < s->first->seen_ns) {
			s->first = &p->gaps[i];
			s->seen_ns = s->first->seen_ns - p->on_ns;
			s->unseen_ns = s->first->seen_ns - s->first->since_ns;
		}
}

static json_t *ms(int64_t ns)
{
	return json_real(round((double)ns / 1e4) / 100);
}

json_t *presence_json(const struct presence *p)
{
	json_t *gaps = json_array();
	struct presence_summary sum = {0};

	presence_add(&sum, p);
	for (size_t i = 0; i < p->n_gaps; i++) {
		const struct gap *g = &p->gaps[i];

		json_array_append_new(
			gaps, json_pack("{s:s, s:s, s:o, s:o, s:o}", "target", g->target, "what",
					g->what, "since_ms", ms(g->since_ns - p->on_ns), "seen_ms",
					ms(g->seen_ns - p->on_ns), "until_ms",
					g->until_ns ? ms(g->until_ns - p->on_ns) : json_null()));
	}
	return json_pack("{s:o, s:o, s:o}", "share",
			 json_real(sum.due_ns ? (double)sum.on_ns / (double)sum.due_ns : 1),
			 "longest_unseen_ms", ms(p->longest_ns), "gaps", gaps);
}
