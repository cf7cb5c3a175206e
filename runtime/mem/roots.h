/*
 * roots - where marking begins: stacks, registers, globals, channels' buffers, pins; private to runtime/
 *
 * The snapshot rule: what the world could reach when marking began is kept. Running coroutines and
 * globals are searched in the pause, where nobody changes them. Every other coroutine is searched by
 * a marker, or by whoever is about to run it, whichever comes first (co->searched); what leaves a
 * channel's buffer or a pin before it was searched is shaded.
 */
#pragma once

#include "mark.h"

struct rt_co;

/* In the pause that begins a marking. */
void roots_begin(struct marker *k);
/* A share of the others; false: all were taken. */
bool roots_some(struct marker *k);
bool roots_left(void);

/* Of a coroutine that is about to run, while marking is on: it is searched when this returns. */
void roots_before_run(struct rt_co *co);
/* A coroutine that is made while marking is on begins searched. */
uint32_t roots_searched_mark(void);

/* In a pause: everything that is a root now, and that but for words of stacks. */
void roots_all(struct marker *k);
void roots_without_stacks(struct marker *k);
/* In a stopped world, one after the other: of a coroutine that does not run; of those that do but for the
 * caller's, of which only then is told; of the caller's, from sp up; globals, pins and pools. */
void roots_search_co(struct marker *k, struct rt_co *co);
void roots_search_running(struct marker *k, void (*then)(struct rt_co *co, void *arg));
void roots_search_own(struct marker *k, uintptr_t sp);
void roots_fixed(struct marker *k);
void roots_own_bss(uintptr_t *ret_lo, uintptr_t *ret_hi); /* the runtime's own globals; 0: unknown */
uint64_t roots_stack_bytes(void); /* of stacks searched in this cycle */
