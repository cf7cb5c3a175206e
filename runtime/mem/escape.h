/*
 * escape - RT_DEBUG=escape=1: whether sampled objects outlive the frame that made them; private to runtime/
 *
 * Of a sampled object is known: whether a pointer to it was stored into the heap (rt_store, rt_copy) or
 * sent on a channel; and for each collection that kept it, whether the function that made it had
 * returned when that collection began. A function that is called again from the same place, with its
 * frame where it was, counts as not returned; what no collection saw is not judged. So a site is a
 * candidate for the stack or an arena by evidence, not by proof: the report gives the numbers.
 *
 * Threads: under the lock of sample.c, escape_look() in a pause
 */
#pragma once

#include "sample.h"

extern _Atomic bool heap_escapes; /* the mode is on */
static inline bool escape_is_on(void)
{
	return __builtin_expect(atomic_load_explicit(&heap_escapes, memory_order_relaxed), 0);
}

void escape_set(bool on); /* before the first object */
/* record: of sample.c, from 0. frame: frame pointer of the function that made the object. */
void escape_made(uint32_t record, uintptr_t frame);
void escape_look(uint32_t record); /* has its maker returned? */
void escape_stored(uint32_t record, struct heap_site *s);
void escape_swept(uint32_t record, struct heap_site *s, bool kept);

/* sample.c: a pointer went where others can find it. From the barrier, and from channels. */
void sample_stored(const void *value);
void sample_stored_words(const void *words, size_t bytes);
void sample_look(void); /* in the pause that begins a marking */
