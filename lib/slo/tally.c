/*
 * A restart shows in two ways, of which either may come first: the counter falls, and the target's
 * source tells a new start. A counter that has passed its old value by the next reading shows in
 * the second way only. One restart must not be counted twice.
 */
#include "tally.h"

#include "../base/mem.h"

static struct tally_item *find(struct tally *t, const char *id)
{
	for (size_t i = 0; i < t->n; i++)
		if (streq(t->items[i].id, id))
			return &t->items[i];
	return NULL;
}

static bool began_anew(struct tally_item *item, int64_t started_ns, double value)
{
	bool fell = value < item->last, told = started_ns != item->started_ns;
	bool was_known = told && item->fell;

	item->fell = told ? false : item->fell || fell;
	item->started_ns = started_ns;
	return fell || (told && !was_known);
}

double tally_add(struct tally *t, const char *id, int64_t started_ns, double value)
{
	struct tally_item *item = find(t, id);
	double more;

	if (!item) {
		item = array_push(t->items, t->n);
		*item = (struct tally_item){.id = xstrdup(id), .started_ns = started_ns};
		more = started_ns > t->born_ns ? value : 0;
	} else {
		more = began_anew(item, started_ns, value) ? value : value - item->last;
	}
	item->last = value;
	t->sum += more;
	return more;
}

void tally_done(struct tally *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->items[i].id);
	free(t->items);
	*t = (struct tally){0};
}
