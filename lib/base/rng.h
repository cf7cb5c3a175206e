/*
 * rng - choices that a seed replays
 *
 * Counter-based: the n-th value of a stream depends on nothing but (seed, stream, n), so the fate
 * of the n-th packet or the n-th choice does not depend on what else happened before. The gate
 * uses the same function in BPF (lib/fault/bpf/gate.bpf.c).
 *
 * Source: SplitMix64's finaliser, Steele, Lea and Flood, OOPSLA 2014.
 */
#pragma once

#include <stdint.h>

static inline uint64_t rng_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static inline uint64_t rng_at(uint64_t seed, uint64_t stream, uint64_t n)
{
	return rng_mix(rng_mix(seed ^ rng_mix(stream)) ^ n);
}

/* Uniform in [0, bound), bound > 0, without visible bias (multiply-shift). */
static inline uint64_t rng_below(uint64_t seed, uint64_t stream, uint64_t n, uint64_t bound)
{
	return (uint64_t)(((unsigned __int128)rng_at(seed, stream, n) * bound) >> 64);
}

/* A stream number from a name, so that each purpose has its own: rng_stream("targets/uplink"). */
static inline uint64_t rng_stream(const char *name)
{
	uint64_t h = 0xcbf29ce484222325ULL; /* FNV-1a */

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3ULL;
	return h;
}
