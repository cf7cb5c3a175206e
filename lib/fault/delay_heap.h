/*
 * delay_heap - what leaves when: a queue by moment, first come first served within one
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct delay_item {
	int64_t at_ns;
	uint64_t seq; /* unique; order among equal moments */
	void *data;
};

struct delay_heap {
	struct delay_item *items;
	size_t n, cap;
};

void delay_heap_push(struct delay_heap *h, struct delay_item item);
/* The earliest, NULL when empty; valid until the next push or pop. */
const struct delay_item *delay_heap_first(const struct delay_heap *h);
/* The earliest; the heap must not be empty. */
struct delay_item delay_heap_pop(struct delay_heap *h);
void delay_heap_done(struct delay_heap *h);
