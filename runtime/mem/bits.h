/*
 * bits - searching and changing bit maps a word at a time; private to runtime/mem/
 *
 * Threads: loads are relaxed and stores plain: who owns the map says so
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint64_t bits;

/* The first bit at or after from that equals !flip; n if there is none below n. flip is 0, or ~0 to
 * search for a clear one. */
static inline uint64_t bits_find(const bits *map, uint64_t from, uint64_t n, uint64_t flip)
{
	uint64_t i = from / 64, word;

	if (from >= n)
		return n;
	word = atomic_load_explicit(&map[i], memory_order_relaxed) ^ flip;
	word &= ~UINT64_C(0) << from % 64;
	while (!word) {
		if (++i * 64 >= n)
			return n;
		word = atomic_load_explicit(&map[i], memory_order_relaxed) ^ flip;
	}
	i = i * 64 + (uint64_t)__builtin_ctzll(word);
	return i < n ? i : n;
}

static inline uint64_t bits_find_set(const bits *map, uint64_t from, uint64_t n)
{
	return bits_find(map, from, n, 0);
}

static inline uint64_t bits_find_clear(const bits *map, uint64_t from, uint64_t n)
{
	return bits_find(map, from, n, ~UINT64_C(0));
}

/* By hand: the compiler would call libgcc, where a stop may hold a thread. */
static inline uint32_t bits_count(uint64_t x)
{
	x -= x >> 1 & UINT64_C(0x5555555555555555);
	x = (x & UINT64_C(0x3333333333333333)) + (x >> 2 & UINT64_C(0x3333333333333333));
	x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (uint32_t)(x * UINT64_C(0x0101010101010101) >> 56);
}

/* Of word i, those among [from, end). */
static inline uint64_t bits_among(uint64_t i, uint64_t from, uint64_t end)
{
	uint64_t mask = ~UINT64_C(0);

	if (i == from / 64)
		mask <<= from % 64;
	if (i == end / 64)
		mask &= (UINT64_C(1) << end % 64) - 1;
	return mask;
}

/* [from, end), of a map with one owner; not empty. */
static inline void bits_set(bits *map, uint64_t from, uint64_t end)
{
	for (uint64_t i = from / 64; i <= (end - 1) / 64; i++)
		/* release: what was made before the bit is seen by who sees the bit */
		atomic_store_explicit(&map[i],
				      atomic_load_explicit(&map[i], memory_order_relaxed) |
					      bits_among(i, from, end),
				      memory_order_release);
}

static inline void bits_clear(bits *map, uint64_t from, uint64_t end)
{
	for (uint64_t i = from / 64; i <= (end - 1) / 64; i++)
		atomic_store_explicit(&map[i],
				      atomic_load_explicit(&map[i], memory_order_relaxed) &
					      ~bits_among(i, from, end),
				      memory_order_relaxed);
}

/* The same where others set bits of the map meanwhile. */
static inline void bits_set_shared(bits *map, uint64_t from, uint64_t end)
{
	for (uint64_t i = from / 64; i <= (end - 1) / 64; i++)
		atomic_fetch_or_explicit(&map[i], bits_among(i, from, end), memory_order_relaxed);
}
