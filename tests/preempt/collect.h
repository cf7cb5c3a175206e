/*
 * collect - the actions with a collection: whole ones while the worker is away, and ones that are
 * begun at its instruction and end while its kernel waits for that
 *
 * Freed memory is poisoned and the heap verified (RT_DEBUG=gcpoison=1,gcverify=1).
 */
#pragma once

#include <ucontext.h>

struct m;

/* Returns when all that was garbage is poisoned. */
void collect(void);
/* In a kernel's last step: returns when the collection is over that an action asked for. */
void collect_settle(void);

/* Of a row in actions.c. */
void collect_begin(void);
void collect_whole_begin(void);
void collect_marking_begin(void);
const char *collect_act_stop(struct m *m, ucontext_t *u);
const char *collect_act_away(struct m *m, ucontext_t *u);
const char *collect_act_poll(struct m *m, ucontext_t *u);
void collect_end(void);
