/* barrier - which one this build has; private to runtime/ */
#pragma once

#define BARRIER_SATB 0
#define BARRIER_DIJKSTRA 1
#define BARRIER_HYBRID 2

#ifndef RT_BARRIER
#define RT_BARRIER BARRIER_SATB
#endif

#include <stddef.h>

/* While marking is on: what the pointer names is kept, and what any of the words names that are about to
 * be overwritten or forgotten. */
void barrier_watch(void); /* marking or a debug mode has changed */
void barrier_shade(void *old);
void barrier_shade_words(const void *p, size_t bytes);
