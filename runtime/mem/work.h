/*
 * work - what is to be marked, in buffers of a page; private to runtime/
 *
 * A marker puts words into a buffer of its own and takes the last ones first; full buffers go to a common
 * list, from which other markers take. What a word means is its marker's business; 0 is none.
 *
 * Owns:    buffers are never given back
 * Threads: a buffer belongs to who took it
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WORK_ITEMS = 510 /* with the head a page */ };

struct work {
	struct work *next;
	size_t n;
	uintptr_t item[WORK_ITEMS];
};

struct work *work_take_empty(void); /* ends the process when there is no memory */
void work_put_empty(struct work *w);
struct work *work_take_full(void); /* NULL: there is none */
void work_put_full(struct work *w);
/* Others wait for work while the owner of w (or NULL) has plenty: they get its older half. */
void work_share(struct work *w);
bool work_is_left(void); /* in the common list */
void work_forget(void);
size_t work_own_bytes(void); /* of all buffers */

static inline void work_push(struct work **mine, uintptr_t item)
{
	struct work *w = *mine;

	if (__builtin_expect(!w || w->n == WORK_ITEMS, 0)) {
		if (w)
			work_put_full(w);
		w = *mine = work_take_empty();
	}
	w->item[w->n++] = item;
}

/* 0: there is none. */
static inline uintptr_t work_pop(struct work **mine)
{
	struct work *w = *mine;

	if (__builtin_expect(!w || w->n == 0, 0)) {
		struct work *full = work_take_full();

		if (!full)
			return 0;
		if (w)
			work_put_empty(w);
		w = *mine = full;
	}
	return w->item[--w->n];
}
