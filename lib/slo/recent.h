/*
 * recent - the latest samples in the order they became known, for sliding evaluations
 *
 * Owns: a ring that grows to RECENT_MAX samples and then forgets the oldest
 */
#pragma once

#include "stats.h"

enum { RECENT_MAX = 65536 };

struct recent_item {
	struct sample sample; /* done_ns filled in */
	double before;	      /* the reading before, NAN when there was none */
};

struct recent {
	struct recent_item *items;
	size_t cap, head, n; /* head: the oldest */
};

void recent_add(struct recent *r, const struct sample *s, double before);
void recent_done(struct recent *r);

/* The i-th newest, from 0; NULL beyond the oldest. */
const struct recent_item *recent_newest(const struct recent *r, size_t i);

/* Adds to st what became known after known_ns and was begun at or after begun_ns. */
void recent_collect(const struct recent *r, int64_t known_ns, int64_t begun_ns, struct stats *st);
