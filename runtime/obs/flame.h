/*
 * flame - a flame graph as one SVG file, for who has no pprof
 *
 * Flow:    flame_new -> flame_add per stack -> flame_write
 * Threads: one at a time, on a system stack, never in a stopped world
 * Source:  Gregg, "The Flame Graph", CACM 59(6), 2016
 */
#pragma once

#include "out.h"

#include <stddef.h>
#include <stdint.h>

struct flame;
/* unit: what the values count, "samples". */
struct flame *flame_new(const char *title, const char *unit);
void flame_free(struct flame *f); /* accepts NULL */
/* pcs as profile_add() takes them. */
void flame_add(struct flame *f, const uintptr_t *pcs, size_t n, int64_t value);
void flame_write(const struct flame *f, struct out *o);
