/*
 * suggest - the nearest valid name to a misspelt one
 *
 * Source: optimal string alignment distance (Damerau 1964, restricted), case folded.
 */
#pragma once

#include <stddef.h>

/* Distance up to limit; limit + 1 when larger. */
size_t suggest_distance(const char *a, const char *b, size_t limit);

/* The candidate nearest to name, NULL when none is near enough to be a likely misspelling. */
const char *suggest_nearest(const char *name, const char *const *candidates, size_t n);
