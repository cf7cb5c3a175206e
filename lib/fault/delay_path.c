/*
 * Frames travel with their virtio header, so a 64 KiB TCP segment with a partial checksum goes in
 * and comes out as it was: one read, one write, no arithmetic. Moments are taken when a frame is
 * read, not when the batch began, and due frames leave between two reads: a burst on one TAP does
 * not make the others late.
 */
#include "delay_path.h"

#include "../base/clock.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 256, VNET_HEADER = 10 };

/* The owner reads counters while they are written. */
static void count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static void count_max(uint64_t *counter, uint64_t n)
{
	if (n > *counter)
		__atomic_store_n(counter, n, __ATOMIC_RELAXED);
}

static void hold(struct delay_store *st, struct delay_packet *pkt, int64_t at_ns)
{
	struct delay_path_state *p = pkt->path;

	if (st->params.order_keep && at_ns < p->last_at_ns)
		at_ns = p->last_at_ns;
	if (at_ns > p->last_at_ns)
		p->last_at_ns = at_ns;
	delay_heap_push(&st->heap, (struct delay_item){at_ns, st->seq++, pkt});
	count(&p->counters->queued, 1);
	count_max(&p->counters->queued_max, p->counters->queued);
}

static bool full(const struct delay_store *st, const struct delay_path_state *p)
{
	return p->counters->queued >= st->limit_packets;
}

static void hold_duplicate(struct delay_store *st, struct delay_packet *pkt, int64_t at_ns)
{
	struct delay_path_state *p = pkt->path;
	struct delay_packet *copy = full(st, p) ? NULL : delay_pool_copy(&st->pool, pkt);

	if (!copy) {
		count(&p->counters->dropped_limit, 1);
		return;
	}
	count(&p->counters->duplicated, 1);
	hold(st, copy, at_ns);
}

/* Offloads are off when packets are corrupted: the frame is a plain one with its checksum done. */
static void corrupt(struct delay_packet *pkt, uint64_t at)
{
	uint32_t bits = (pkt->len - VNET_HEADER) * 8, bit = at % bits;

	pkt->frame[VNET_HEADER + bit / 8] ^= 1u << bit % 8;
}

/* The frame just read, in a buffer of its size; NULL when there is no memory left for it. A full
 * sized one is not copied: it trades places with the scratch buffer. */
static struct delay_packet *detach(struct delay_store *st)
{
	struct delay_packet *read = st->scratch, *other = delay_pool_get(&st->pool, read->len);

	if (!other)
		return NULL;
	if (other->class == read->class) {
		st->scratch = other;
		return read;
	}
	other->path = read->path;
	other->n = read->n;
	other->len = read->len;
	memcpy(other->frame, read->frame, read->len);
	return other;
}

static void take_in(struct delay_store *st, struct delay_path_state *p, uint32_t len,
		    int64_t now_ns)
{
	struct delay_fate fate = delay_dice_roll(&p->dice, &st->params);
	struct delay_packet *pkt = st->scratch;

	count(&p->counters->packets, 1);
	count(&p->counters->bytes, len - VNET_HEADER);
	pkt->path = p;
	pkt->n = p->dice.n;
	pkt->len = len;
	pkt = full(st, p) ? NULL : detach(st);
	if (!pkt) {
		count(&p->counters->dropped_limit, 1);
		return;
	}
	if (fate.corrupt) {
		corrupt(pkt, fate.corrupt_at);
		count(&p->counters->corrupted, 1);
	}
	count(&p->counters->delay_sum_ns, fate.delay_ns);
	count(&p->counters->overtook, fate.overtakes);
	hold(st, pkt, now_ns + fate.delay_ns);
	if (fate.duplicate)
		hold_duplicate(st, pkt, now_ns + fate.duplicate_delay_ns);
}

void delay_path_read(struct delay_store *st, struct delay_path_state *p)
{
	for (int i = 0; i < BATCH; i++) {
		ssize_t len = read(p->tap_fd, st->scratch->frame, DELAY_FRAME_MAX);
		int64_t now_ns = clock_now_ns();

		if (len < 0) {
			p->gone = errno != EAGAIN && errno != EINTR;
			break;
		}
		if (len > VNET_HEADER)
			take_in(st, p, len, now_ns);
		delay_store_deliver(st, now_ns);
	}
}

static void send_back(struct delay_store *st, struct delay_packet *pkt, int64_t late_ns)
{
	struct delay_path_state *p = pkt->path;
	struct delay_counters *c = p->counters;

	if (write(p->tap_fd, pkt->frame, pkt->len) < 0)
		count(&c->dropped_write, 1);
	else
		count(&c->delivered, 1);
	if (pkt->n < p->newest_sent)
		count(&c->reordered, 1);
	else
		p->newest_sent = pkt->n;
	if (late_ns > 0) {
		count(&c->late_sum_ns, late_ns);
		count_max(&c->late_max_ns, late_ns);
	}
	count(&c->queued, -1);
	delay_pool_put(&st->pool, pkt);
}

void delay_store_deliver(struct delay_store *st, int64_t now_ns)
{
	const struct delay_item *first;

	while ((first = delay_heap_first(&st->heap)) && first->at_ns <= now_ns) {
		struct delay_item due = delay_heap_pop(&st->heap);

		send_back(st, due.data, now_ns - due.at_ns);
		now_ns = clock_now_ns();
	}
}

void delay_store_flush(struct delay_store *st, const struct delay_path_state *only)
{
	struct delay_heap kept = {0};

	while (st->heap.n > 0) {
		struct delay_item item = delay_heap_pop(&st->heap);
		struct delay_packet *pkt = item.data;

		if (only && pkt->path != only)
			delay_heap_push(&kept, item);
		else
			send_back(st, pkt, 0);
	}
	delay_heap_done(&st->heap);
	st->heap = kept;
}
