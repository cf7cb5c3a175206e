/*
 * Four sizes, each with a free list, cut from 2 MiB chunks. A fault on a fresh 64 KiB buffer costs
 * sixteen page faults, more than its copy does: chunks are aligned for huge pages and the last
 * buffer given back is the first to be used again. Chunks are kept until the fault is over.
 */
#include "delay_pool.h"

#include "../base/mem.h"

#include <sys/mman.h>

static const size_t CHUNK_BYTES = 2 << 20;

static const uint32_t class_bytes[DELAY_POOL_CLASSES] = {
	512,
	2048,
	16384,
	(sizeof(struct delay_packet) + DELAY_FRAME_MAX + 63) & ~63u,
};

static size_t room(int class)
{
	return class_bytes[class] - offsetof(struct delay_packet, frame);
}

static int class_for(size_t len)
{
	int class = 0;

	while (class < DELAY_POOL_CLASSES - 1 && room(class) < len)
		class++;
	return class;
}

static void *map_chunk(void)
{
	uint8_t *p = mmap(NULL, 2 * CHUNK_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t skip;

	if (p == MAP_FAILED)
		return NULL;
	skip = -(uintptr_t)p & (CHUNK_BYTES - 1);
	if (skip > 0)
		munmap(p, skip);
	munmap(p + skip + CHUNK_BYTES, CHUNK_BYTES - skip);
	madvise(p + skip, CHUNK_BYTES, MADV_HUGEPAGE);
	return p + skip;
}

static void add_chunk(struct delay_pool *pool, int class)
{
	uint8_t *chunk;

	if ((pool->n_chunks + 1) * CHUNK_BYTES > pool->limit_bytes)
		return;
	chunk = map_chunk();
	if (!chunk)
		return;
	*array_push(pool->chunks, pool->n_chunks) = chunk;
	for (size_t at = 0; at + class_bytes[class] <= CHUNK_BYTES; at += class_bytes[class]) {
		struct delay_packet *p = (void *)(chunk + at);

		p->class = class;
		p->next_free = pool->free[class];
		pool->free[class] = p;
	}
}

struct delay_packet *delay_pool_get(struct delay_pool *pool, size_t len)
{
	int class = class_for(len);
	struct delay_packet *p;

	if (!pool->free[class])
		add_chunk(pool, class);
	p = pool->free[class];
	if (p)
		pool->free[class] = p->next_free;
	return p;
}

void delay_pool_put(struct delay_pool *pool, struct delay_packet *p)
{
	p->next_free = pool->free[p->class];
	pool->free[p->class] = p;
}

struct delay_packet *delay_pool_copy(struct delay_pool *pool, const struct delay_packet *p)
{
	struct delay_packet *copy = delay_pool_get(pool, p->len);

	if (!copy)
		return NULL;
	copy->path = p->path;
	copy->n = p->n;
	copy->len = p->len;
	memcpy(copy->frame, p->frame, p->len);
	return copy;
}

void delay_pool_done(struct delay_pool *pool)
{
	for (size_t i = 0; i < pool->n_chunks; i++)
		munmap(pool->chunks[i], CHUNK_BYTES);
	free(pool->chunks);
	*pool = (struct delay_pool){0};
}
