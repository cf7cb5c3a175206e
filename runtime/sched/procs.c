/*
 * How many Ps: what affinity and the cgroup's quota allow, unless fixed, followed as they change.
 *
 * No stop of the world is needed for a change: a P too many is marked, and gives its work to the
 * others at its next switch; sysmon sees to it that there is one.
 */
#include "../mem/heap.h"
#include "cgroup.h"
#include "sched.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* CPUs that the quota is worth, rounded up; 0: no limit. */
static unsigned quota_cpus(void)
{
	long long quota = -1, period = 0;
	FILE *f = cgroup_open("cpu", "cpu.max");

	if (f) {
		if (fscanf(f, "%lld %lld", &quota, &period) != 2)
			quota = -1; /* "max" */
		fclose(f);
	} else {
		f = cgroup_open("cpu", "cpu.cfs_quota_us");
		if (f) {
			if (fscanf(f, "%lld", &quota) != 1)
				quota = -1;
			fclose(f);
		}
		f = quota > 0 ? cgroup_open("cpu", "cpu.cfs_period_us") : NULL;
		if (f) {
			if (fscanf(f, "%lld", &period) != 1)
				period = 0;
			fclose(f);
		}
	}
	return quota > 0 && period > 0 ? (unsigned)((quota + period - 1) / period) : 0;
}

static unsigned allowed(void)
{
	cpu_set_t set;
	unsigned n = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
	unsigned quota = quota_cpus();

	if (quota && quota < n)
		n = quota;
	return n < 1 ? 1 : n > PROCS_MAX ? PROCS_MAX : n;
}

/* Idle list ------------------------------------------------------------------------------------- */

void p_idle_put(struct p *p)
{
	p->next = sched.idle_ps;
	sched.idle_ps = p;
	atomic_fetch_add(&sched.n_idle_ps, 1);
}

struct p *p_idle_get(void)
{
	struct p *p = sched.idle_ps;

	if (!p)
		return NULL;
	sched.idle_ps = p->next;
	atomic_fetch_sub(&sched.n_idle_ps, 1);
	p_set(p, P_IDLE, P_RUNNING);
	return p;
}

void p_put_away(struct p *p)
{
	bool stops;

	lock_get(&sched.lock);
	stops = atomic_load(&sched.stopping);
	if (!stops) {
		p_set(p, P_RUNNING, P_IDLE);
		p_idle_put(p);
	}
	lock_put(&sched.lock);
	if (stops)
		stop_give(p);
}

void p_acquire(struct m *m, struct p *p)
{
	m->p = p;
	cache_use(p->cache);
	/* release: pairs with preempt_ask(), which signals the thread */
	atomic_store_explicit(&p->m, m, memory_order_release);
}

struct p *p_release(struct m *m)
{
	struct p *p = m->p;

	m->p = NULL;
	cache_use(NULL);
	atomic_store_explicit(&p->m, NULL, memory_order_relaxed);
	return p;
}

/* Their number ------------------------------------------------------------------------------------ */

static struct p *make(unsigned id)
{
	struct p *p = aligned_alloc(CACHE_LINE, (sizeof *p + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1));

	if (!p)
		rt_fatal("out of memory for a P");
	memset(p, 0, sizeof *p);
	p->id = id;
	p->cache = cache_new();
	atomic_store(&p->state, P_DEAD);
	return p;
}

static unsigned count_live(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
		n += atomic_load(&sched.ps[i]->state) != P_DEAD && !atomic_load(&sched.ps[i]->retiring);
	return n;
}

static void add_one(void)
{
	struct p *p = NULL;

	for (unsigned i = 0; i < atomic_load(&sched.n_made) && !p; i++) {
		if (atomic_load(&sched.ps[i]->state) == P_DEAD)
			p = sched.ps[i];
		/* One that has not noticed yet stays. */
		else if (atomic_exchange(&sched.ps[i]->retiring, 0))
			return;
	}
	if (!p) {
		p = make(atomic_load(&sched.n_made));
		sched.ps[p->id] = p;
		/* release: pairs with the loads by thieves */
		atomic_fetch_add(&sched.n_made, 1);
	}
	p->polled_at = 0;
	p->turn_ns = RT_MSEC; /* until it has been seen */
	p_set(p, P_DEAD, P_IDLE);
	p_idle_put(p);
}

static void bury(struct p *p)
{
	struct p *heir = NULL;

	for (unsigned i = 0; i < atomic_load(&sched.n_made) && !heir; i++)
		if (sched.ps[i] != p && atomic_load(&sched.ps[i]->state) != P_DEAD &&
		    !atomic_load(&sched.ps[i]->retiring))
			heir = sched.ps[i];
	atomic_store(&p->retiring, 0);
	p_set(p, atomic_load(&p->state), P_DEAD);
	if (heir)
		timers_move(p, heir);
}

static void remove_one(void)
{
	struct p *p = p_idle_get();

	if (p) {
		bury(p);
		return;
	}
	for (unsigned i = atomic_load(&sched.n_made); i-- > 0;) {
		p = sched.ps[i];
		if (atomic_load(&p->state) != P_DEAD && !atomic_load(&p->retiring)) {
			atomic_store(&p->retiring, 1);
			return;
		}
	}
}

/* A stopper that has counted it waits for it. */
void procs_bury(struct p *p)
{
	bool counted;

	lock_get(&sched.lock);
	counted = atomic_load(&sched.stopping);
	if (!counted)
		bury(p);
	lock_put(&sched.lock);
	if (counted)
		stop_give(p);
}

void procs_set(unsigned n)
{
	lock_get(&sched.lock);
	if (!atomic_load(&sched.stopping)) { /* else the next look at it will do */
		while (count_live() < n)
			add_one();
		while (count_live() > n)
			remove_one();
		atomic_store(&sched.n_procs, n);
	}
	lock_put(&sched.lock);
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
		if (atomic_load(&sched.ps[i]->retiring))
			preempt_ask(sched.ps[i]);
	schedule_wake_one();
}

/* Besides what is allowed or fixed: how many are out of service. */
static struct {
	_Atomic uint32_t fixed, parked;
} asked;

static unsigned wanted(void)
{
	unsigned n = sched.procs_fixed ? atomic_load(&asked.fixed) : allowed();
	unsigned parked = atomic_load(&asked.parked);

	return n > parked ? n - parked : 1;
}

void procs_follow(void)
{
	unsigned n = wanted();

	if (n != atomic_load(&sched.n_procs))
		procs_set(n);
}

void procs_park(unsigned n)
{
	atomic_store(&asked.parked, n);
	procs_follow();
}

unsigned procs_parked(void)
{
	return atomic_load(&asked.parked);
}

unsigned procs_live(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
		n += atomic_load(&sched.ps[i]->state) != P_DEAD;
	return n;
}

void procs_init(unsigned n)
{
	const char *env = getenv("RT_PROCS");

	if (!n && env)
		n = (unsigned)strtoul(env, NULL, 10);
	sched.procs_fixed = n != 0;
	if (!n)
		n = allowed();
	if (n > PROCS_MAX)
		n = PROCS_MAX;
	atomic_store(&asked.fixed, n);
	atomic_store(&asked.parked, 0);
	sched.idle_ps = NULL;
	atomic_store(&sched.n_idle_ps, 0);
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++) {
		struct p *p = sched.ps[i];

		timers_clear(p);
		atomic_store(&p->head, 0);
		atomic_store(&p->tail, 0);
		atomic_store(&p->runnext, NULL);
		atomic_store(&p->retiring, 0);
		p->handed = false;
		atomic_store(&p->m, NULL);
		atomic_store(&p->started, 0);
		atomic_store(&p->ended, 0);
		p->free = NULL;
		p->n_free = 0;
		atomic_store(&p->state, P_DEAD);
	}
	atomic_store(&sched.n_procs, n);
	lock_get(&sched.lock);
	while (count_live() < n)
		add_one();
	lock_put(&sched.lock);
}

unsigned rt_procs(void)
{
	return atomic_load(&sched.n_procs);
}

int rt_set_procs(unsigned n)
{
	if (n > PROCS_MAX)
		return -EINVAL;
	atomic_store(&asked.fixed, n);
	sched.procs_fixed = n != 0;
	procs_set(wanted());
	poll_here();
	return 0;
}
