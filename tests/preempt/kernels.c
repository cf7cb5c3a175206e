#include "kernels.h"

#include "foreign.h"
#include "rt.h"

#include <string.h>

uint64_t kernel_red_zone(uint64_t seed);
uint64_t kernel_flags(uint64_t seed);
uint64_t kernel_direction(uint64_t seed);
uint64_t kernel_sse(uint64_t seed);
uint64_t kernel_avx(uint64_t seed);
uint64_t kernel_x87(uint64_t seed);

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185;
	return x ^ x >> 27;
}

static uint64_t loop_with_polls(uint64_t seed)
{
	for (int i = 0; i < 30; i++) {
		seed = mix(seed + (uint64_t)i);
		RT_POLL();
	}
	return seed;
}

static uint64_t tight_loop(uint64_t seed)
{
	for (int i = 0; i < 60; i++)
		seed = mix(seed + (uint64_t)i);
	return seed;
}

static __attribute__((noinline)) uint64_t fib(uint64_t n, uint64_t seed)
{
	uint64_t a, b;

	if (n < 2)
		return mix(seed + n);
	a = fib(n - 1, seed + 1);
	b = fib(n - 2, seed + 2);
	RT_POLL();
	return a ^ (b << 1);
}

static uint64_t recursion(uint64_t seed)
{
	return fib(6, seed);
}

static uint64_t call_libc(uint64_t seed)
{
	static uint64_t from[512], to[512]; /* 4 KiB; passes come one after the other */
	void *(*volatile copy)(void *, const void *, size_t) = memcpy; /* a call, not rep movs */

	for (int i = 0; i < 3; i++) {
		from[seed % 512] = seed;
		copy(to, from, sizeof to);
		seed = mix(seed ^ to[seed % 512]);
	}
	return seed;
}

/* One instruction that is interrupted in its midst. */
static uint64_t string_instruction(uint64_t seed)
{
	uint64_t buf[12], sum = 0;
	void *to = buf;
	size_t n = sizeof buf / sizeof *buf;

	__asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(seed) : "memory");
	for (size_t i = 0; i < sizeof buf / sizeof *buf; i++)
		sum = mix(sum ^ buf[i]);
	return sum;
}

static uint64_t call_runtime(uint64_t seed)
{
	struct rt_chan *c = rt_chan_new(sizeof seed, 4);
	uint64_t got = 0;

	for (int i = 0; i < 3; i++) {
		seed = mix(seed + (uint64_t)i);
		rt_send(c, &seed);
	}
	for (int i = 0; i < 3; i++) {
		uint64_t v = 0;

		rt_recv(c, &v);
		got = mix(got ^ v);
	}
	rt_chan_free(c);
	return got;
}

static uint64_t errno_in_flight(uint64_t seed)
{
	for (int i = 1; i < 4; i++)
		seed = mix(seed ^ foreign_errno(i, 20));
	return seed;
}

static uint64_t call_kernel(uint64_t seed)
{
	for (int i = 0; i < 3; i++) {
		foreign_getppid();
		seed = mix(seed + (uint64_t)i);
	}
	return seed;
}

const struct kernel kernels[] = {
	{"avx", kernel_avx, false, false},
	{"direction-flag", kernel_direction, false, false},
	{"errno", errno_in_flight, true, false},
	{"flags", kernel_flags, false, false},
	{"heap-call", kernel_heap_call, false, true},
	{"heap-list", kernel_heap_list, false, true},
	{"heap-move", kernel_heap_move, false, true},
	{"heap-register", kernel_heap_register, false, true},
	{"heap-syscall", kernel_heap_syscall, false, true},
	{"heap-vector", kernel_heap_vector, false, true},
	{"libc", call_libc, true, false},
	{"loop-with-polls", loop_with_polls, false, false},
	{"recursion", recursion, false, false},
	{"red-zone", kernel_red_zone, false, false},
	{"runtime", call_runtime, false, false},
	{"sse", kernel_sse, false, false},
	{"string", string_instruction, false, false},
	{"syscall", call_kernel, true, false},
	{"tight-loop", tight_loop, false, false},
	{"x87", kernel_x87, false, false},
};
const size_t n_kernels = sizeof kernels / sizeof *kernels;
