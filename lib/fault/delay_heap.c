/*
 * A 4-ary heap in one array. With a constant delay every packet is later than all that are held,
 * so a push ends at its first comparison; a pop looks at four neighbours in two cache lines a
 * level. A pairing heap allocates a node for each packet, a timer wheel rounds moments to its tick.
 */
#include "delay_heap.h"

#include "../base/mem.h"

enum { ARITY = 4 };

static bool before(const struct delay_item *a, const struct delay_item *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->seq < b->seq;
}

void delay_heap_push(struct delay_heap *h, struct delay_item item)
{
	size_t i;

	if (h->n == h->cap) {
		h->cap = h->cap ? 2 * h->cap : 64;
		h->items = xrealloc(h->items, h->cap * sizeof *h->items);
	}
	for (i = h->n++; i > 0; i = (i - 1) / ARITY) {
		struct delay_item *parent = &h->items[(i - 1) / ARITY];

		if (!before(&item, parent))
			break;
		h->items[i] = *parent;
	}
	h->items[i] = item;
}

const struct delay_item *delay_heap_first(const struct delay_heap *h)
{
	return h->n > 0 ? &h->items[0] : NULL;
}

static size_t earliest_child(const struct delay_heap *h, size_t i)
{
	size_t first = i * ARITY + 1, best = first;

	for (size_t c = first + 1; c < h->n && c < first + ARITY; c++)
		if (before(&h->items[c], &h->items[best]))
			best = c;
	return best;
}

struct delay_item delay_heap_pop(struct delay_heap *h)
{
	struct delay_item top = h->items[0], last = h->items[--h->n];
	size_t i = 0;

	while (i * ARITY + 1 < h->n) {
		size_t c = earliest_child(h, i);

		if (!before(&h->items[c], &last))
			break;
		h->items[i] = h->items[c];
		i = c;
	}
	if (h->n > 0)
		h->items[i] = last;
	return top;
}

void delay_heap_done(struct delay_heap *h)
{
	free(h->items);
	*h = (struct delay_heap){0};
}
