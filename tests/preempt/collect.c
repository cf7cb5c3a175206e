#include "collect.h"

#include "../../runtime/mem/gc.h"
#include "../../runtime/sched/sched.h"

#include "actions.h"
#include "heap.h"
#include "worker.h"

#include <stdatomic.h>

#define WAIT_NS (10 * RT_SEC)

static struct {
	_Atomic uint64_t asked, done; /* collections; asked: in the trap handler too */
	_Atomic int over;
	struct rt_co *collector, *bystander;
} c;

static bool is_asked(void)
{
	return atomic_load(&c.done) < atomic_load(&c.asked);
}

void collect_settle(void)
{
	while (is_asked())
		rt_yield();
}

/* The blocks that a P allocates from are swept by the P: at the latest when the next one begins. */
void collect(void)
{
	rt_gc();
	rt_gc();
}

static void *collector(void *arg)
{
	while (!atomic_load(&c.over)) {
		uint64_t asked = atomic_load(&c.asked);

		if (atomic_load(&c.done) < asked) {
			collect();
			atomic_store(&c.done, asked);
		}
		rt_yield();
	}
	return NULL;
}

/* Where the global queue names it, or NULL; under sched.lock. */
static struct rt_co **find_queued(const struct rt_co *co, struct rt_co **ret_before)
{
	struct rt_co **at = &sched.global.first;

	for (*ret_before = NULL; *at && *at != co; at = &(*at)->next)
		*ret_before = *at;
	return *at ? at : NULL;
}

/* The worker is in no queue then, and nobody but the caller can have it resumed. */
static bool take_out(struct rt_co *co)
{
	struct rt_co *before, **at;

	lock_get(&sched.lock);
	at = find_queued(co, &before);
	if (at) {
		*at = co->next;
		co->next = NULL;
		if (sched.global.last == co)
			sched.global.last = before;
		atomic_store(&sched.global_n, --sched.global.n);
	}
	lock_put(&sched.lock);
	return at;
}

/* The scheduler looks at the global queue one turn in 61 as long as there are others. */
static void put_back(struct rt_co *co)
{
	struct rt_co *before;
	bool queued = true;

	global_put(co);
	while (queued) {
		rt_yield();
		lock_get(&sched.lock);
		queued = find_queued(co, &before);
		lock_put(&sched.lock);
	}
}

static void *collect_whole(void *arg)
{
	while (!atomic_load(&c.over)) {
		if (worker_is_away() && take_out(worker_co())) {
			collect();
			put_back(worker_co());
		}
		rt_yield();
	}
	return NULL;
}

/* The worker is resumed when marking has begun and before a marker has come to its stack, the chain
 * being first. */
static void *resume_while_marking(void *arg)
{
	while (!atomic_load(&c.over)) {
		if (is_asked() && take_out(worker_co())) {
			while (!gc_is_marking() && is_asked())
				rt_yield();
			heap_steal();
			if (!gc_is_marking())
				worker_not_taken("marking was over before it was resumed");
			put_back(worker_co());
		}
		rt_yield();
	}
	return NULL;
}

void collect_begin(void)
{
	atomic_store(&c.over, 0);
	c.collector = rt_spawn(collector, NULL, NULL);
	c.bystander = NULL;
}

void collect_whole_begin(void)
{
	collect_begin();
	c.bystander = rt_spawn(collect_whole, NULL, NULL);
}

void collect_marking_begin(void)
{
	collect_begin();
	c.bystander = rt_spawn(resume_while_marking, NULL, NULL);
}

void collect_end(void)
{
	collect_settle();
	atomic_store(&c.over, 1);
	rt_join(c.collector, NULL);
	if (c.bystander)
		rt_join(c.bystander, NULL);
}

/* In the trap handler --------------------------------------------------------------------------- */

const char *collect_act_stop(struct m *m, ucontext_t *u)
{
	int64_t until = rt_now() + WAIT_NS;

	atomic_fetch_add(&c.asked, 1);
	while (!atomic_load(&sched.stopping) && rt_now() < until)
		__builtin_ia32_pause();
	preempt_interrupted(m, u, false);
	return gc_is_marking() ? NULL : "marking did not begin";
}

const char *collect_act_away(struct m *m, ucontext_t *u)
{
	atomic_fetch_add(&c.asked, 1);
	return action_send_away(m, u);
}

/* It goes on to its next poll. */
const char *collect_act_poll(struct m *m, ucontext_t *u)
{
	atomic_fetch_add(&c.asked, 1);
	preempt_ask(m->p);
	return NULL;
}
