#include "recent.h"

static void grow(struct recent *r)
{
	size_t cap = r->cap ? r->cap * 2 : 64;
	struct recent_item *items = xcalloc(cap, sizeof *items);

	for (size_t i = 0; i < r->n; i++)
		items[i] = r->items[(r->head + i) & (r->cap - 1)];
	free(r->items);
	r->items = items;
	r->cap = cap;
	r->head = 0;
}

void recent_add(struct recent *r, const struct sample *s, double before)
{
	struct recent_item *item;

	if (r->n == r->cap && r->cap < RECENT_MAX)
		grow(r);
	if (r->n == r->cap) {
		r->head = (r->head + 1) & (r->cap - 1);
		r->n--;
	}
	item = &r->items[(r->head + r->n++) & (r->cap - 1)];
	*item = (struct recent_item){.sample = *s, .before = before};
	if (!s->done_ns)
		item->sample.done_ns = s->at_ns + MAX_OF(s->latency_ns, (int64_t)0);
}

void recent_done(struct recent *r)
{
	free(r->items);
	*r = (struct recent){0};
}

const struct recent_item *recent_newest(const struct recent *r, size_t i)
{
	return i < r->n ? &r->items[(r->head + r->n - 1 - i) & (r->cap - 1)] : NULL;
}

void recent_collect(const struct recent *r, int64_t known_ns, int64_t begun_ns, struct stats *st)
{
	size_t n = 0;

	while (n < r->n && recent_newest(r, n)->sample.done_ns > known_ns)
		n++;
	/* Oldest first, so that the last reading is the newest. */
	while (n-- > 0) {
		const struct recent_item *item = recent_newest(r, n);

		if (item->sample.at_ns >= begun_ns)
			stats_add(st, &item->sample, item->before);
	}
}
