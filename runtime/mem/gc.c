/* Cycles: who begins them, who marks, when they are over. */
#include "gc.h"

#include "../sched/sched.h"
#include "barrier.h"
#include "escape.h"
#include "mark.h"
#include "pool.h"
#include "roots.h"
#include "special.h"

#include <time.h>

#define SLICE_NS (100 * RT_USEC)     /* of the collector's coroutine */
#define KEEP_NS (10 * RT_SEC)        /* in which memory that is needed no more is given back */
#define HUGE_SPARE ((uint64_t)16 << 20)
#define REST_WITHIN_NS RT_MSEC       /* that coroutine rests at least once */
#define IDLE_SLICE_NS (50 * RT_USEC) /* of a P that has nothing else to do */

enum {
	STEP = 16 << 10,       /* cost between two looks at the clock and the requests */
	LAST_STEP = 32 << 10,  /* that the last pause marks; if there is more it goes on beside the program */
	ASSIST_MIN = 64 << 10, /* cost: less is not worth the beginning */
	SHARE = 4,             /* one in so many Ps marks when all are busy */
	PAUSES = 1024,
	SWEEP_AT_ONCE = 16,
	SCAVENGE_STEP = 2 << 20,
};

static struct {
	struct lock lock; /* guards what follows, up to the blank line */
	struct rt_co *controller;
	bool waiting; /* the controller, for a cycle to be wanted */
	_Atomic uint32_t begun;  /* cycles; read without the lock too */
	_Atomic uint32_t wanted; /* by force: as many have to be begun */
	struct rt_co *held_back; /* allocate, and wait for marking to begin or to end; linked by next */

	_Atomic bool started; /* there is a controller */
	_Atomic uint32_t asked; /* a cycle is wanted, and the controller knows */
	_Atomic uint32_t markers; /* that hold work */
	_Atomic int64_t mark_cpu_ns, idle_cpu_ns, assist_cpu_ns;
	_Atomic int64_t credit; /* cost that was worked off beside the program, in place of assists */
	_Atomic uint32_t cycles; /* complete */
	struct rt_mutex turn; /* guards the condition */
	struct rt_cond done;
	int64_t swept_last;
	uint64_t keep; /* bytes that stay mapped */
	int64_t kept_at;
	int64_t pauses[PAUSES];
	_Atomic uint64_t n_pauses;
	struct gc_cycle now;
	_Atomic int64_t all_pauses, all_mark_cpu, all_assist_cpu; /* of all cycles, in ns */
	_Atomic uint64_t live;
} gc;

static int64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * RT_SEC + t.tv_nsec;
}

/* Marking ----------------------------------------------------------------------------------------- */

static bool is_wanted_elsewhere(struct m *m)
{
	return atomic_load_explicit(&sched.stopping, memory_order_relaxed) ||
	       atomic_load_explicit(&m->p->preempt, memory_order_relaxed);
}

static bool has_work(void)
{
	return work_is_left() || roots_left();
}

/* false: nothing was left to do. */
static bool step(struct marker *k)
{
	return mark_some(k, STEP) || roots_some(k);
}

/* On whatever stack, without a poll. false: nothing was left to do. */
static bool mark_for(struct m *m, int64_t ns, _Atomic int64_t *cpu)
{
	int64_t until = now_ns() + ns, cpu_began = cpu_ns();
	struct marker k;
	uint64_t cost;
	bool more;

	/* seq_cst: pairs with is_over(), which looks at the lists first */
	atomic_fetch_add(&gc.markers, 1);
	marker_begin(&k);
	do
		more = step(&k);
	while (more && now_ns() < until && !is_wanted_elsewhere(m));
	cost = marker_cost(&k);
	marker_end(&k);
	atomic_fetch_sub(&gc.markers, 1);
	atomic_fetch_add_explicit(&gc.credit, (int64_t)cost, memory_order_relaxed);
	atomic_fetch_add_explicit(cpu, cpu_ns() - cpu_began, memory_order_relaxed);
	return more;
}

bool gc_mark_idle(struct m *m)
{
	if (!gc_is_marking() || !has_work())
		return false;
	mark_for(m, IDLE_SLICE_NS, &gc.idle_cpu_ns);
	return true;
}

/* Nothing to mark anywhere. A marker takes work before it stops being counted, and gives it back
 * before too, so the order of the looks matters. */
static bool is_over(void)
{
	return !has_work() && atomic_load(&gc.markers) == 0 && !has_work();
}

/* Assists ----------------------------------------------------------------------------------------- */

static uint64_t take_credit(uint64_t want)
{
	int64_t have = atomic_load_explicit(&gc.credit, memory_order_relaxed), take;

	do {
		take = have < (int64_t)want ? have : (int64_t)want;
		if (take <= 0)
			return 0;
	} while (!atomic_compare_exchange_weak_explicit(&gc.credit, &have, have - take, memory_order_relaxed,
							memory_order_relaxed));
	return (uint64_t)take;
}

static int64_t note_assist(int64_t cpu_began)
{
	int64_t ns = cpu_ns() - cpu_began;

	atomic_fetch_add_explicit(&gc.assist_cpu_ns, ns, memory_order_relaxed);
	return ns;
}

/* Marks until so much is done or nothing is left; returns the cost. */
static uint64_t assist(uint64_t owed, bool may_park)
{
	int64_t began = cpu_ns(), took = 0;
	uint64_t done = 0;
	bool more = true;

	while (more && done < owed && gc_is_marking()) {
		struct marker k;

		atomic_fetch_add(&gc.markers, 1);
		marker_begin(&k);
		more = step(&k);
		done += marker_cost(&k);
		marker_end(&k);
		atomic_fetch_sub(&gc.markers, 1);
		if (may_park && more && done < owed) {
			took += note_assist(began);
			RT_POLL(); /* perhaps on another thread from here on */
			began = cpu_ns();
		}
	}
	gc_note_time(GC_TIME_ASSIST, took + note_assist(began));
	return more ? done : owed;
}

static bool put_waiting(struct rt_co *co, void *arg)
{
	gc.waiting = true;
	lock_put(&gc.lock);
	return true;
}

static void controller(void *arg);

/* Starts a cycle, or the coroutine that does it. */
static void ask(void)
{
	struct rt_co *wake = NULL;

	if (!atomic_exchange(&gc.started, true)) {
		if (rt_go_attr(controller, NULL, &(struct rt_attr){.name = "rt.gc"}))
			rt_fatal("no address space for the collector's stack");
		return;
	}
	lock_get(&gc.lock);
	if (gc.waiting) {
		wake = gc.controller;
		gc.waiting = false;
	}
	lock_put(&gc.lock);
	if (wake)
		co_ready(wake);
}

static bool put_held_back(struct rt_co *co, void *arg)
{
	bool wait = gc_is_marking() ? !has_work() : atomic_load(&gc.asked);

	if (wait) {
		co->next = gc.held_back;
		gc.held_back = co;
	}
	lock_put(&gc.lock);
	return wait;
}

/* The heap has passed its goal, and there is nothing to mark, or nothing any more: who allocates could
 * not pay, and waits for the pause that is due. */
static void hold_back(bool may_park)
{
	if (!may_park || atomic_load_explicit(&heap.in_use, memory_order_relaxed) <= pace_goal())
		return;
	lock_get(&gc.lock);
	co_park(WAIT_GC_ASSIST, put_held_back, NULL);
}

static void let_go(void)
{
	struct rt_co *first;

	lock_get(&gc.lock);
	first = gc.held_back;
	gc.held_back = NULL;
	lock_put(&gc.lock);
	co_ready_list(first);
}

/* The collector has had its half of the CPU, and a limit on memory is soft. Growth by percent is not: beyond
 * that goal nobody allocates for nothing, or the heap would grow as long as there is memory. */
static bool is_let_off(void)
{
	return limit_is_cpu_capped() &&
	       atomic_load_explicit(&heap.in_use, memory_order_relaxed) < pace_goal_by_percent();
}

static void pay(size_t bytes, bool may_park)
{
	struct cache *c = this_m()->p->cache;
	uint64_t owed, paid;

	c->assist_credit -= (int64_t)bytes;
	if (c->assist_credit >= 0)
		return;
	if (is_let_off()) {
		c->assist_credit = 0;
		return;
	}
	owed = pace_owed((uint64_t)-c->assist_credit);
	if (owed < ASSIST_MIN)
		owed = ASSIST_MIN;
	paid = take_credit(owed);
	if (paid < owed)
		paid += assist(owed - paid, may_park);
	this_m()->p->cache->assist_credit += (int64_t)pace_paid(paid);
	if (!has_work())
		hold_back(may_park);
}

void gc_account(size_t bytes, bool may_park)
{
	if (gc_is_marking()) {
		pay(bytes, may_park);
		return;
	}
	if (atomic_load_explicit(&heap.in_use, memory_order_relaxed) <
	    atomic_load_explicit(&heap.trigger, memory_order_relaxed))
		return;
	if (!atomic_exchange(&gc.asked, 1)) {
		ask();
		if (may_park)
			rt_yield(); /* it is next */
	} else {
		hold_back(may_park);
	}
}

void gc_look(void)
{
	if (!gc_is_marking() && atomic_load(&gc.started) &&
	    atomic_load(&heap.in_use) >= atomic_load(&heap.trigger) && !atomic_exchange(&gc.asked, 1))
		ask();
}

/* The controller ---------------------------------------------------------------------------------- */

static void note_pause(int64_t ns)
{
	uint64_t n = atomic_load_explicit(&gc.n_pauses, memory_order_relaxed);

	gc.pauses[n % PAUSES] = ns;
	gc_note_time(GC_TIME_PAUSE, ns);
	/* release: pairs with the acquire in rt_gc_pauses() */
	atomic_store_explicit(&gc.n_pauses, n + 1, memory_order_release);
}

static void begin(void *arg)
{
	struct marker k;

	heap.cycle++;
	mark_begin_cycle();
	pool_cycle();
	atomic_store(&gc.credit, 0);
	gc.now.heap_at_begin = atomic_load(&heap.in_use);
	limit_note_waste();
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++) {
		cache_begin_marking(sched.ps[i]->cache);
		sched.ps[i]->cache->assist_credit = 0;
	}
	if (escape_is_on())
		sample_look();
	atomic_store(&heap.marking, true);
	barrier_watch();
	marker_begin(&k);
	roots_begin(&k);
	marker_end(&k);
	pace_begin(&gc.now);
}

static void pass_on_all(void)
{
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
		mark_pass_on(sched.ps[i]->cache);
}

/* *arg is set when it was the end. */
static void try_end(void *arg)
{
	uint64_t marked, objects, searched;
	struct marker k;
	bool more;

	pass_on_all();
	marker_begin(&k);
	if (RT_BARRIER == BARRIER_DIJKSTRA)
		roots_all(&k);
	more = mark_some(&k, LAST_STEP) || roots_left();
	marker_end(&k);
	if (more || work_is_left() || atomic_load(&gc.markers))
		return;
	if (gc_verifies)
		gc_verify();
	mark_counts(&marked, &objects, &searched);
	gc.now.heap_at_end = atomic_load(&heap.in_use);
	/* What was claimed meanwhile is marked, and not counted. */
	gc.now.heap_live = marked + gc.now.heap_at_end - gc.now.heap_at_begin;
	gc.now.cost = searched + objects * CELL_MIN;
	gc.now.stack_bytes = roots_stack_bytes();
	atomic_store(&heap.in_use, gc.now.heap_live);
	atomic_store(&heap.marking, false);
	barrier_watch();
	heap.sweep_gen += 2;
	sweep_begin();
	/* Who allocates next finds the new trigger, and nobody asked. */
	pace_end(&gc.now);
	atomic_store(&gc.asked, 0);
	*(bool *)arg = true;
}

static void pause_for(unsigned which, const char *cause, void (*fn)(void *arg), void *arg)
{
	bool awaited;
	int64_t took = stop_timed(cause, fn, arg, &awaited);

	gc.now.pause_ns[which] += took;
	note_pause(took);
	if (awaited)
		rt_yield(); /* who is to stop it next is next on this P, and need not wait for a slice */
}

/* A quarter of the Ps' time, when all of them are busy: the slice is followed by so much of rest. */
static int64_t rest_after(int64_t worked)
{
	unsigned n = rt_procs();

	if (n >= SHARE)
		return 0;
	return worked * (SHARE - n) / n;
}

/* Others want the P, or may: descriptors and timers are looked at by a P that has nothing to run. */
static bool should_rest(int64_t now, int64_t rested)
{
	return atomic_load(&sched.n_idle_ps) == 0 && (schedule_has_work() || now - rested > REST_WITHIN_NS);
}

static void mark_beside(void)
{
	int64_t rested = now_ns();

	for (;;) {
		int64_t began = now_ns();
		bool more = mark_for(this_m(), SLICE_NS, &gc.mark_cpu_ns);
		uint64_t marked, objects, searched;

		if (!more && is_over())
			return;
		mark_counts(&marked, &objects, &searched);
		pace_adjust(searched + objects * CELL_MIN);
		if (work_is_left())
			schedule_wake_one(); /* a P with nothing to do may help */
		if (!more) {
			rt_sleep(20 * RT_USEC); /* others are about to finish */
		} else if (should_rest(now_ns(), rested)) {
			rt_sleep(rest_after(now_ns() - began));
			rested = now_ns();
		}
		RT_POLL();
	}
}

static void sweep_beside(void)
{
	int64_t began = now_ns();

	while (sweep_some(SWEEP_AT_ONCE)) {
		if (now_ns() - began > SLICE_NS) {
			rt_yield();
			began = now_ns();
		}
		RT_POLL();
	}
}

/* What the next cycles will need: as much as the last ones did, less and less of it. A heap that breathes
 * does not ask the kernel for the same memory again and again. */
static uint64_t keep_mapped(void)
{
	uint64_t goal = pace_goal() / 10 * 11, limit = limit_heap();
	int64_t now = now_ns(), since = now - gc.kept_at;

	if (since > KEEP_NS)
		since = KEEP_NS;
	gc.keep -= gc.keep / (KEEP_NS / RT_MSEC) * (uint64_t)(since / RT_MSEC);
	gc.kept_at = now;
	if (gc.keep < goal)
		gc.keep = goal;
	return gc.keep < limit ? gc.keep : limit;
}

/* Free blocks beyond that go back to the kernel. */
static void scavenge_beside(void)
{
	uint64_t keep = keep_mapped();

	while (pages_mapped() > keep) {
		size_t mapped = pages_mapped();

		if (pages_scavenge(mapped - keep > SCAVENGE_STEP ? mapped - SCAVENGE_STEP : keep) == 0)
			return;
		rt_yield();
	}
}

/* Another cycle. */
static bool is_wanted(void)
{
	return atomic_load(&gc.asked) || (int32_t)(atomic_load(&gc.wanted) - atomic_load(&gc.begun)) > 0;
}

/* What is full now stays: each huge page saves marking some misses of the TLB. Not where the copy might not
 * fit in. */
static void make_huge_beside(void)
{
	static bool cannot;
	uintptr_t area = 0;

	while (!cannot && !is_wanted() && pages_mapped() + HUGE_SPARE < limit_heap() &&
	       (area = pages_next_full(area))) {
		rt_enter_syscall();
		cannot = !pages_make_huge(area);
		rt_exit_syscall();
		RT_POLL();
	}
}

static int64_t take_ns(_Atomic int64_t *counter)
{
	return atomic_exchange(counter, 0);
}

/* Not what Ps did that had nothing else to do. */
static void note_cpu(void)
{
	int64_t ns = gc.now.mark_cpu_ns + gc.now.assist_cpu_ns +
		     (gc.now.pause_ns[0] + gc.now.pause_ns[1]) * (int64_t)rt_procs();

	limit_note_cpu(ns, gc.now.swept);
	tune_after(&gc.now, ns, gc.now.swept - gc.swept_last);
	gc.swept_last = gc.now.swept;
}

static void cycle(void)
{
	bool over = false;

	while (sweep_some(SWEEP_AT_ONCE))
		RT_POLL();
	__builtin_memset(&gc.now, 0, sizeof gc.now);
	gc.now.number = heap.cycle + 1;
	gc.now.goal = pace_goal();
	gc.now.began = now_ns();
	take_ns(&gc.mark_cpu_ns);
	take_ns(&gc.idle_cpu_ns);
	take_ns(&gc.assist_cpu_ns);
	pause_for(0, "gc mark begin", begin, NULL);
	let_go();
	special_wake(); /* what was in a run was swept */
	gc.now.marked_from = now_ns();
	while (!over) {
		mark_beside();
		gc.now.marked_until = now_ns();
		pause_for(1, "gc mark end", try_end, &over);
	}
	let_go();
	gc.now.mark_cpu_ns = take_ns(&gc.mark_cpu_ns);
	gc.now.idle_cpu_ns = take_ns(&gc.idle_cpu_ns);
	gc.now.assist_cpu_ns = take_ns(&gc.assist_cpu_ns);
	sweep_beside();
	special_wake();
	gc.now.swept = now_ns();
	scavenge_beside();
	make_huge_beside();
	note_cpu();
	if (gc_traces)
		gc_trace(&gc.now);
}

static void tell_done(void)
{
	rt_lock(&gc.turn);
	atomic_fetch_add(&gc.all_mark_cpu, gc.now.mark_cpu_ns + gc.now.idle_cpu_ns);
	gc_note_time(GC_TIME_CYCLE_CPU, gc.now.mark_cpu_ns + gc.now.idle_cpu_ns);
	atomic_fetch_add(&gc.all_assist_cpu, gc.now.assist_cpu_ns);
	atomic_fetch_add(&gc.all_pauses, gc.now.pause_ns[0] + gc.now.pause_ns[1]);
	atomic_store(&gc.live, gc.now.heap_live);
	atomic_fetch_add(&gc.cycles, 1);
	rt_cond_broadcast(&gc.done);
	rt_unlock(&gc.turn);
}

static void controller(void *arg)
{
	gc.controller = this_co();
	for (;;) {
		lock_get(&gc.lock);
		if (!is_wanted()) {
			co_park(WAIT_GC, put_waiting, NULL);
			continue;
		}
		gc.begun++;
		lock_put(&gc.lock);
		cycle();
		tell_done();
	}
}

void rt_gc(void)
{
	uint32_t until;

	lock_get(&gc.lock);
	until = gc.begun + 1;
	gc.wanted = until;
	lock_put(&gc.lock);
	ask();
	rt_lock(&gc.turn);
	while ((int32_t)(atomic_load(&gc.cycles) - until) < 0)
		rt_cond_wait(&gc.done, &gc.turn);
	rt_unlock(&gc.turn);
}

size_t rt_gc_pauses(int64_t *ret, size_t room, uint64_t *ret_total)
{
	uint64_t n = atomic_load_explicit(&gc.n_pauses, memory_order_acquire);
	size_t have = n < PAUSES ? n : PAUSES;

	if (have > room)
		have = room;
	for (size_t i = 0; i < have; i++)
		ret[i] = gc.pauses[(n - have + i) % PAUSES];
	if (ret_total)
		*ret_total = n;
	return have;
}

void gc_reset(void)
{
	__builtin_memset(&gc, 0, sizeof gc);
	atomic_store(&heap.marking, false);
	barrier_watch();
	work_forget();
	pace_init();
}

/* The same where all objects stay. A block is swept while marking is on, and has no mark when it begins. */
void gc_abandon(void)
{
	if (gc_is_marking()) {
		for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
			sched.ps[i]->cache->n_shaded = 0;
		sweep_forget_marks();
	}
	gc_reset();
}

void rt_mem_stats(struct rt_mem_stats *ret)
{
	__builtin_memset(ret, 0, sizeof *ret);
	mem_alloc_stats(ret);
	/* Counters of a moment, each right by itself. */
	ret->own_bytes += work_own_bytes() + special_own_bytes();
	ret->heap_goal = pace_goal();
	ret->heap_live = atomic_load_explicit(&gc.live, memory_order_relaxed);
	ret->stack_bytes = roots_stack_bytes();
	ret->cycles = atomic_load_explicit(&gc.cycles, memory_order_relaxed);
	ret->pause_ns = atomic_load_explicit(&gc.all_pauses, memory_order_relaxed);
	ret->mark_cpu_ns = atomic_load_explicit(&gc.all_mark_cpu, memory_order_relaxed);
	ret->assist_cpu_ns = atomic_load_explicit(&gc.all_assist_cpu, memory_order_relaxed);
}
