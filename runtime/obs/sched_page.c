/* /debug/sched: the states of coroutines and Ps, live, and how long stops of the world took. */
#include "page.h"

#include "../sched/sched.h"
#include "../sched/ttsp.h"
#include "contention.h"
#include "cpu.h"
#include "schedtrace.h"

#include <inttypes.h>

struct census {
	uint64_t states[CO_STATES], reasons[WAIT_REASONS];
};

OBS_RACY static void count(struct rt_co *co, void *arg)
{
	struct census *c = arg;
	uint32_t s = atomic_load_explicit(&co->state, memory_order_acquire);

	c->states[s]++;
	if (s == CO_WAITING && co->reason < WAIT_REASONS)
		c->reasons[co->reason]++;
}

static void write_census(struct out *o)
{
	struct census c = {0};

	stack_each(count, &c);
	out_text(o, "\ncoroutines\n");
	for (int s = 0; s < CO_STATES; s++)
		out_printf(o, "  %-24s %" PRIu64 "\n", co_state_name((enum co_state)s), c.states[s]);
	out_text(o, "waiting for\n");
	for (int r = 0; r < WAIT_REASONS; r++)
		if (c.reasons[r])
			out_printf(o, "  %-24s %" PRIu64 "\n", wait_reason_name((enum wait_reason)r),
				   c.reasons[r]);
}

static void write_ps(struct out *o)
{
	out_text(o, "\nPs\n");
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++) {
		const struct p *p = sched.ps[i];

		out_printf(o, "  P%-3u %-10s started %" PRIu64 " ended %" PRIu64 "\n", i,
			   p_state_name((enum p_state)atomic_load(&p->state)),
			   atomic_load_explicit(&p->started, memory_order_relaxed),
			   atomic_load_explicit(&p->ended, memory_order_relaxed));
	}
}

static double us(int64_t ns)
{
	return (double)ns / 1e3;
}

static void write_ttsp(struct out *o)
{
	size_t n;
	const struct ttsp *all = ttsp_all(&n);

	out_text(o, "\ntime to safepoint, us\n");
	for (size_t i = 0; i < n; i++) {
		uint64_t count_of = atomic_load_explicit(&all[i].count, memory_order_relaxed);
		uint32_t last = atomic_load_explicit(&all[i].last_of_max, memory_order_relaxed);

		out_printf(o, "  %-24s n=%" PRIu64 " p50=%.1f p99=%.1f max=%.1f", all[i].cause, count_of,
			   us(ttsp_quantile(&all[i], 0.5)), us(ttsp_quantile(&all[i], 0.99)),
			   us((int64_t)atomic_load_explicit(&all[i].max_ns, memory_order_relaxed)));
		if (last)
			out_printf(o, " (P%u came last)", last - 1);
		out_text(o, "\n");
	}
}

static void write_latency(struct out *o)
{
	struct latency_sum s;

	latency_read(&s);
	out_printf(o, "\nfrom runnable to running, us\n  p50<=%.1f p99<=%.1f p99.9<=%.1f\n",
		   us(latency_quantile(&s, 0.5)), us(latency_quantile(&s, 0.99)),
		   us(latency_quantile(&s, 0.999)));
}

static void write_lost(struct out *o)
{
	out_printf(o, "\nlost for want of room\n  CPU samples %" PRIu64 ", waits %" PRIu64
		   ", mutex contentions %" PRIu64 "\n", cpu_lost(), contention_lost(CONTENTION_BLOCK),
		   contention_lost(CONTENTION_MUTEX));
}

static void work(void *arg)
{
	struct page *p = arg;

	schedtrace(&p->out, p->detail);
	write_census(&p->out);
	write_ps(&p->out);
	write_latency(&p->out);
	write_ttsp(&p->out);
	write_lost(&p->out);
}

int page_sched(struct page *p)
{
	obs_work(work, p);
	return 0;
}
