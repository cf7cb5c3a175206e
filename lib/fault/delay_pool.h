/*
 * delay_pool - memory for the packets that are held, reused and bounded
 *
 * Owns: all memory handed out; it goes back to the kernel with delay_pool_done
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The largest frame that a TAP hands over: its header, Ethernet with a VLAN tag, 64 KiB. */
enum { DELAY_FRAME_MAX = 10 + 18 + 65536 };

enum { DELAY_POOL_CLASSES = 4 };

struct delay_packet {
	void *path;
	uint64_t n; /* which packet of its path */
	uint32_t len;
	uint8_t class;
	union {
		struct delay_packet *next_free;
		uint8_t frame[1];
	};
};

struct delay_pool {
	struct delay_packet *free[DELAY_POOL_CLASSES];
	void **chunks;
	size_t n_chunks;
	size_t limit_bytes;
};

/* A packet with room for len bytes; NULL when the limit is reached. */
struct delay_packet *delay_pool_get(struct delay_pool *pool, size_t len);
void delay_pool_put(struct delay_pool *pool, struct delay_packet *p);
struct delay_packet *delay_pool_copy(struct delay_pool *pool, const struct delay_packet *p);
void delay_pool_done(struct delay_pool *pool);
