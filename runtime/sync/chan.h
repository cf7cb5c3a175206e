/*
 * chan - the inside of a channel, for select and for contexts
 *
 * Threads: the lock guards everything; several channels are locked in the order of their addresses
 * Invariants, whenever the lock is free:
 *          receivers wait only while the buffer is empty, senders only while it is full, and on one
 *          channel never both, but for waits that have been claimed and are about to leave; on a
 *          closed channel only those wait whom rt_close() is about to wake
 */
#pragma once

#include "waiters.h"

struct rt_chan {
	struct lock lock;
	bool closed;
	size_t elem_bytes, cap;
	_Atomic size_t n; /* written under the lock; rt_chan_len() reads it without */
	size_t head; /* index of the oldest */
	struct rt_waiters receivers, senders;
	char *buffer;
	struct rt_chan *all_next, *all_prev; /* of those whose buffers can hold pointers */
	bool listed;
	bool own; /* rt_chan_new() made it: its memory holds it and its buffer, and nothing else */
};

struct marker;
void chan_search_all(struct marker *k); /* the collector: what lies in buffers */

/* In a stopped world: those with such buffers; those that a coroutine in rt_select() waits on. */
void chan_each_listed(void (*fn)(struct rt_chan *c, void *arg), void *arg);
void select_each_chan(const void *waits_on, void (*fn)(struct rt_chan *c, void *arg), void *arg);
void chan_search(struct rt_chan *c, struct marker *k); /* its buffer */

void chan_init(struct rt_chan *c, size_t elem_bytes, size_t cap, void *buffer);

/* Under the lock: does it at once if it can. *ret_wake (never NULL after true only if there is
 * one) is to be readied once the lock has been released. */
bool chan_try_send(struct rt_chan *c, const void *elem, struct rt_co **ret_wake);
bool chan_try_recv(struct rt_chan *c, void *ret, bool *ret_closed, struct rt_co **ret_wake);
/* Under the lock: closes; up to max who waited are added to wake. true: there are more. */
bool chan_close(struct rt_chan *c, struct wake_list *wake, size_t max);
_Noreturn void chan_sent_on_closed(struct rt_chan *c);
