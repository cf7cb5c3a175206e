/*
 * The n-th call after slow_set has the same fate in every run: it is a hash of n. What a call takes longer
 * is slept in slices, so that the end does not wait for the longest one.
 */
#include "slow.h"

#include "sched.h"

#include <time.h>

#define SLICE_NS (20 * RT_MSEC)

_Alignas(64) _Atomic uint32_t slow_on; /* a line of its own, with what changes as rarely */
static _Atomic int64_t latency_ns, jitter_ns, share_ppm;
static uint32_t last;

_Alignas(64) static _Atomic uint64_t turn;
static _Atomic uint64_t calls, total_ns;

void slow_set(const struct slow *s)
{
	atomic_store_explicit(&latency_ns, s->latency_ns, memory_order_relaxed);
	atomic_store_explicit(&jitter_ns, s->jitter_ns, memory_order_relaxed);
	atomic_store_explicit(&share_ppm, s->share_ppm, memory_order_relaxed);
	atomic_store_explicit(&turn, 0, memory_order_relaxed);
	last += last == UINT32_MAX ? 2 : 1;
	/* release: pairs with the acquire in begin() */
	atomic_store_explicit(&slow_on, last, memory_order_release);
}

void slow_clear(void)
{
	/* relaxed: pairs with is_over(), which only has to see it some time */
	atomic_store_explicit(&slow_on, 0, memory_order_relaxed);
}

struct slow_seen slow_seen(void)
{
	/* acquire: pairs with the release in end(); calls first, so that no call is without its time */
	uint64_t n = atomic_load_explicit(&calls, memory_order_acquire);

	return (struct slow_seen){n, atomic_load_explicit(&total_ns, memory_order_relaxed)};
}

/* splitmix64's */
static uint64_t hash(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* 0: this call is not delayed. */
static int64_t next_delay(void)
{
	uint64_t chance = hash(atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed));
	int64_t jitter = atomic_load_explicit(&jitter_ns, memory_order_relaxed);

	if ((int64_t)(chance % 1000000) >= atomic_load_explicit(&share_ppm, memory_order_relaxed))
		return 0;
	return atomic_load_explicit(&latency_ns, memory_order_relaxed) - jitter +
	       (int64_t)(hash(chance) % (uint64_t)(2 * jitter + 1));
}

struct delay {
	uint32_t set;
	int64_t begun, until;
};

static struct delay begin(void)
{
	/* acquire: pairs with the release in slow_set() */
	struct delay d = {.set = atomic_load_explicit(&slow_on, memory_order_acquire), .begun = rt_now()};

	d.until = d.begun + (d.set ? next_delay() : 0);
	return d;
}

static bool is_over(const struct delay *d, int64_t now)
{
	/* relaxed: pairs with slow_clear() */
	return now >= d->until || atomic_load_explicit(&slow_on, memory_order_relaxed) != d->set;
}

static int64_t slice_end(const struct delay *d, int64_t now)
{
	return d->until - now > SLICE_NS ? now + SLICE_NS : d->until;
}

static void end(const struct delay *d, int64_t now)
{
	if (d->until == d->begun)
		return;
	atomic_fetch_add_explicit(&total_ns, (uint64_t)(now - d->begun), memory_order_relaxed);
	/* release: pairs with the acquire in slow_seen() */
	atomic_fetch_add_explicit(&calls, 1, memory_order_release);
}

void slow_in_kernel(void)
{
	struct delay d = begin();
	int64_t now = d.begun;

	for (; !is_over(&d, now); now = rt_now()) {
		int64_t until = slice_end(&d, now);
		struct timespec ts = {.tv_sec = until / RT_SEC, .tv_nsec = until % RT_SEC};

		/* Ended by a signal, it is begun again; not by errno, whose value is the caller's. */
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	}
	end(&d, now);
}

void slow_parked(void)
{
	struct delay d;
	int64_t now;

	if (this_co()->off) /* a try that does not wait is allowed there */
		return;
	d = begin();
	for (now = d.begun; !is_over(&d, now); now = rt_now())
		rt_sleep_until(slice_end(&d, now));
	end(&d, now);
}
