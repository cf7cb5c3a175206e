/*
 * delay_path - the engine process's side of one TAP: packets in, held, and out again
 *
 * Threads: the engine process has one
 */
#pragma once

#include "delay_fate.h"
#include "delay_heap.h"
#include "delay_pool.h"

struct delay_path_state {
	int tap_fd; /* owned */
	uint32_t id;
	bool gone; /* the kernel took the TAP away, with its namespace or by hand */
	struct delay_dice dice;
	int64_t last_at_ns;   /* latest moment given out, for order_keep */
	uint64_t newest_sent; /* highest packet number delivered */
	struct delay_counters *counters;
};

/* What all paths share. */
struct delay_store {
	struct delay_params params;
	struct delay_table table; /* params.table points here or is NULL */
	struct delay_heap heap;
	struct delay_pool pool;
	struct delay_packet *scratch; /* full-size, to read into */
	uint64_t seq;
	uint64_t limit_packets;
};

/* Takes in what the TAP holds, at most a batch; delivers what falls due meanwhile. */
void delay_path_read(struct delay_store *st, struct delay_path_state *p);
/* Delivers everything due at now_ns. */
void delay_store_deliver(struct delay_store *st, int64_t now_ns);
/* Delivers, in order, all that one path (NULL: every path) holds, due or not. */
void delay_store_flush(struct delay_store *st, const struct delay_path_state *only);
