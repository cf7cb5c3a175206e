#include "latency.h"

#include "sched.h"

#include <math.h>

enum {
	BOUND_MIN_LOG2 = 10, /* 1.024 us */
	SHIFT_MAX = 11,
	GAP_NS = 100000, /* between two that a busy P measures */
	LULL_NS = 1000000,
};

/* Uniform in (0, 1]: a counter, mixed (splitmix64); another sequence for each P and runtime. */
static double next_uniform(struct p *p)
{
	uint64_t x = (uint64_t)p->id << 32 ^ (uint64_t)sched.start_ns ^ ++p->latency.draws;

	x *= UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return ((double)(uint32_t)(x ^ x >> 31) + 1) / 0x1p32;
}

/* Geometric with mean 2^shift: it has no memory, so it may be drawn anew at any time. */
static int32_t draw(struct p *p, uint32_t *ret_weight)
{
	*ret_weight = 1u << p->latency.shift;
	if (p->latency.shift == 0)
		return 1;
	return 1 + (int32_t)(log(next_uniform(p)) / log1p(-1 / (double)(1 << p->latency.shift)));
}

void latency_leave(struct p *p, struct rt_co *co, bool waits)
{
	uint32_t weight = 1;

	if (p) {
		struct latency *l = &p->latency;

		l->in -= p->look_set - p->look_in;
		p->look_set = p->look_in;
		if (l->in > 0)
			return;
		weight = l->weight ? l->weight : 1;
		l->in = draw(p, &l->weight);
	}
	if (co->ending)
		return; /* a slot starts without a mark */
	co->sampled = weight;
	if (!waits)
		latency_ready(co);
}

void latency_new(struct p *p, struct rt_co *co)
{
	struct latency *l = &p->latency;

	co->sampled = l->new_weight ? l->new_weight : 1;
	l->new_in = draw(p, &l->new_weight);
	latency_ready(co);
}

void latency_ready(struct rt_co *co)
{
	co->runnable_ns = now_ns();
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, n + count_read(counter), memory_order_relaxed);
}

static unsigned bucket_of(uint64_t ns)
{
	unsigned b = ns <= 1 << BOUND_MIN_LOG2
		? 0 : 64 - (unsigned)__builtin_clzll(ns - 1) - BOUND_MIN_LOG2;

	return b < LATENCY_BUCKETS ? b : LATENCY_BUCKETS - 1;
}

void latency_start(struct p *p, struct rt_co *co)
{
	struct latency *l = &p->latency;
	int64_t now = now_ns();
	uint64_t ns = (uint64_t)(now - co->runnable_ns);

	add(&l->bucket[bucket_of(ns)], co->sampled);
	add(&l->sum_ns, ns * co->sampled);
	co->sampled = 0;
	if (now - l->last_ns < GAP_NS && l->shift < SHIFT_MAX)
		l->shift++;
	else if (now - l->last_ns > 4 * GAP_NS && l->shift)
		l->shift--;
	l->last_ns = now;
}

void latency_look(struct p *p, int32_t turn, int64_t now)
{
	struct latency *l = &p->latency;

	if (now && l->shift && now - l->last_ns > LULL_NS) {
		l->shift = 0;
		l->in = l->new_in = 1;
		l->weight = l->new_weight = 1;
	}
	p->look_in = p->look_set = turn < l->in ? turn : l->in;
}

int64_t latency_bound(unsigned bucket)
{
	return bucket < LATENCY_BUCKETS - 1 ? INT64_C(1) << (BOUND_MIN_LOG2 + bucket) : INT64_MAX;
}

void latency_read(struct latency_sum *ret)
{
	*ret = (struct latency_sum){0};
	for (uint32_t i = 0; i < atomic_load(&sched.n_made); i++) {
		const struct latency *l = &sched.ps[i]->latency;

		ret->sum_ns += count_read(&l->sum_ns);
		for (unsigned b = 0; b < LATENCY_BUCKETS; b++)
			ret->bucket[b] += count_read(&l->bucket[b]);
	}
}

int64_t latency_quantile(const struct latency_sum *s, double q)
{
	uint64_t n = 0, seen = 0;

	for (unsigned b = 0; b < LATENCY_BUCKETS; b++)
		n += s->bucket[b];
	for (unsigned b = 0; n && b < LATENCY_BUCKETS; b++) {
		seen += s->bucket[b];
		if ((double)seen >= q * (double)n)
			return latency_bound(b);
	}
	return 0;
}
