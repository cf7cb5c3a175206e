#include "workloads.h"

#include "foreign.h"
#include "kernels.h"
#include "rt.h"

#include <stdatomic.h>
#include <string.h>

_Atomic uint64_t workload_errors;
_Atomic int workload_section;

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185;
	return x ^ x >> 27;
}

static void loop_with_polls(void)
{
	volatile uint64_t keep;
	uint64_t x = 1;

	for (int i = 0; i < 5000000; i++) {
		x = mix(x);
		RT_POLL();
	}
	keep = x;
	(void)keep;
}

static void tight_loop(void)
{
	volatile uint64_t keep;
	uint64_t x = 1;

	for (int i = 0; i < 10000000; i++)
		x = mix(x);
	keep = x;
	(void)keep;
}

static __attribute__((noinline)) uint64_t deep(uint64_t n, uint64_t x)
{
	uint64_t r = n ? deep(n - 1, mix(x)) + 1 : x;

	RT_POLL();
	return r;
}

static void deep_recursion(void)
{
	volatile uint64_t keep = 0;

	for (int i = 0; i < 10000; i++)
		keep += deep(200, (uint64_t)i);
}

static void long_libc_call(void)
{
	foreign_copy();
}

static void blocking_syscall(void)
{
	foreign_blocking_read();
}

static void spinning_syscalls(void)
{
	for (int i = 0; i < 100000; i++)
		foreign_getppid();
}

static void preempt_off_sections(void)
{
	volatile uint64_t keep = 0;

	for (int i = 0; i < 1000; i++) {
		uint64_t x = (uint64_t)i;

		rt_preempt_off();
		atomic_store(&workload_section, 1);
		for (int k = 0; k < 2000; k++)
			x = mix(x);
		atomic_store(&workload_section, 0);
		rt_preempt_on();
		keep += x;
	}
}

struct stock {
	uint64_t *const bytes; /* the first is key */
	uint64_t key;
};
RT_TYPE(stock_type, struct stock, bytes);

static struct stock *new_stock(uint64_t key)
{
	struct stock *s = rt_new(&stock_type);
	uint64_t *bytes = rt_new_bytes(16 + mix(key * 3) % 2000);

	s->key = bytes[0] = key;
	RT_SET(s->bytes, bytes);
	return s;
}

/* On the collected heap: what is alive moves about in a table, and is the right thing when it is found. */
static void allocation_storm(void)
{
	enum { LIVE = 64 };
	struct stock *const *live = rt_new_ptrs(LIVE);

	for (uint64_t i = 0; i < 200000; i++) {
		uint64_t from = mix(i) % LIVE, to = mix(i * 5) % LIVE;

		if (live[from] && live[from]->bytes[0] != live[from]->key)
			atomic_fetch_add(&workload_errors, 1);
		RT_SET(live[to], live[from]);
		RT_SET(live[from], new_stock(i));
		RT_POLL();
	}
	RT_KEEP(live);
}

/* No poll but those of the calls. */
static void runtime_calls(void)
{
	struct rt_chan *c = rt_chan_new(sizeof(uint64_t), 4);

	for (uint64_t i = 0; i < 200000; i++) {
		uint64_t v = 0;

		rt_send(c, &i);
		rt_recv(c, &v);
		if (v != i)
			atomic_fetch_add(&workload_errors, 1);
	}
	rt_chan_free(c);
}

static struct rt_chan *ping, *pong;

static void answer(void *arg)
{
	uint64_t v;

	while (rt_recv(ping, &v))
		rt_send(pong, &v);
	rt_close(pong);
}

static bool begin_ping_pong(void)
{
	ping = rt_chan_new(sizeof(uint64_t), 0);
	pong = rt_chan_new(sizeof(uint64_t), 0);
	return rt_go(answer, NULL) == 0;
}

static void ping_pong(void)
{
	for (uint64_t i = 0; i < 20000; i++) {
		uint64_t v = 0;

		rt_send(ping, &i);
		rt_recv(pong, &v);
		if (v != i)
			atomic_fetch_add(&workload_errors, 1);
	}
}

static void end_ping_pong(void)
{
	rt_close(ping);
	while (rt_recv(pong, NULL))
		;
	rt_chan_free(ping);
	rt_chan_free(pong);
}

/* Every kernel's value must come out as it did undisturbed. */
static void vector_code(void)
{
	static const char *const names[] = {"avx", "flags", "direction-flag", "red-zone", "sse", "x87"};

	for (size_t i = 0; i < n_kernels; i++)
		for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
			uint64_t want;

			if (strcmp(kernels[i].name, names[k]))
				continue;
			want = kernels[i].fn(i + 1);
			for (int n = 0; n < 100000; n++)
				if (kernels[i].fn(i + 1) != want)
					atomic_fetch_add(&workload_errors, 1);
		}
}

static void errno_in_flight(void)
{
	for (int i = 1; i < 8000; i++)
		if (foreign_errno(i, 2000) != foreign_errno_sum(i, 2000))
			atomic_fetch_add(&workload_errors, 1);
}

const struct workload workloads[] = {
	{"loop-with-polls", loop_with_polls, NULL, NULL},
	{"tight-loop", tight_loop, NULL, NULL},
	{"deep-recursion", deep_recursion, NULL, NULL},
	{"long-libc-call", long_libc_call, foreign_copy_begin, foreign_copy_end},
	{"blocking-syscall", blocking_syscall, foreign_blocking_begin, foreign_blocking_end},
	{"spinning-syscalls", spinning_syscalls, NULL, NULL},
	{"preempt-off", preempt_off_sections, NULL, NULL},
	{"allocation-storm", allocation_storm, NULL, NULL},
	{"runtime-calls", runtime_calls, NULL, NULL},
	{"channel-ping-pong", ping_pong, begin_ping_pong, end_ping_pong},
	{"vector-code", vector_code, NULL, NULL},
	{"errno-in-flight", errno_in_flight, NULL, NULL},
};
const size_t n_workloads = sizeof workloads / sizeof *workloads;
