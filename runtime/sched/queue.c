/*
 * Run queues. A P's ring has one producer, its owner, and many consumers: the owner and thieves, who
 * all move head by a compare-and-swap. A thief copies up to half of the entries first and moves
 * head afterwards: the copy is good if head has not moved meanwhile, since the owner never
 * overwrites a place between head and tail.
 *
 * Source: Go's runq (Vyukov, 2012), which this follows
 */
#include "sched.h"

/* The ring is full: half of it and co go to the global queue, in order. */
static bool overflow(struct p *p, struct rt_co *co, uint32_t head)
{
	struct co_queue batch = {0};
	struct rt_co *taken[RUNQ_SIZE / 2 + 1];
	uint32_t n = RUNQ_SIZE / 2;

	for (uint32_t i = 0; i < n; i++)
		taken[i] = atomic_load_explicit(&p->ring[(head + i) % RUNQ_SIZE], memory_order_relaxed);
	if (!atomic_compare_exchange_strong_explicit(&p->head, &head, head + n, memory_order_acq_rel,
						     memory_order_relaxed))
		return false;
	taken[n++] = co;
	for (uint32_t i = 0; i < n; i++)
		taken[i]->next = i + 1 < n ? taken[i + 1] : NULL;
	batch = (struct co_queue){taken[0], taken[n - 1], n};
	global_put_list(&batch);
	return true;
}

void runq_put(struct p *p, struct rt_co *co, bool next)
{
	if (next) {
		/* seq_cst: pairs with the take of runnext by thieves and by runq_get(), and orders it before
		 * the look at idle Ps in schedule_wake_one() */
		co = atomic_exchange(&p->runnext, co);
		if (!co)
			return;
	}
	for (;;) {
		/* acquire: pairs with the consumers' move of head: their reads are done */
		uint32_t head = atomic_load_explicit(&p->head, memory_order_acquire);
		uint32_t tail = atomic_load_explicit(&p->tail, memory_order_relaxed);

		if (tail - head < RUNQ_SIZE) {
			atomic_store_explicit(&p->ring[tail % RUNQ_SIZE], co, memory_order_relaxed);
			/* release: pairs with the acquire of tail by thieves */
			atomic_store_explicit(&p->tail, tail + 1, memory_order_release);
			/* What was in runnext has changed its place: seen there or here by a thread that
			 * goes idle, before the look at idle Ps. The model says that it is needed. */
			if (next)
				atomic_thread_fence(memory_order_seq_cst);
			return;
		}
		if (overflow(p, co, head))
			return;
	}
}

struct rt_co *runq_get(struct p *p, bool *ret_inherit)
{
	struct rt_co *co = atomic_load_explicit(&p->runnext, memory_order_relaxed);

	*ret_inherit = false;
	/* Only thieves set it to NULL besides the owner: if this fails it is NULL. */
	if (co && atomic_compare_exchange_strong_explicit(&p->runnext, &co, NULL, memory_order_acq_rel,
							  memory_order_relaxed)) {
		*ret_inherit = true;
		return co;
	}
	for (;;) {
		uint32_t head = atomic_load_explicit(&p->head, memory_order_acquire);
		uint32_t tail = atomic_load_explicit(&p->tail, memory_order_relaxed);

		if (head == tail)
			return NULL;
		co = atomic_load_explicit(&p->ring[head % RUNQ_SIZE], memory_order_relaxed);
		/* release: pairs with the acquire of head in runq_put() */
		if (atomic_compare_exchange_strong_explicit(&p->head, &head, head + 1,
							    memory_order_acq_rel, memory_order_relaxed))
			return co;
	}
}

/* What was just made ready is likely to run on its own P at once: it is not worth moving. */
static struct rt_co *steal_next(struct p *victim)
{
	struct rt_co *co = atomic_load_explicit(&victim->runnext, memory_order_acquire);

	if (!co)
		return NULL;
	futex_wait(&victim->state, P_RUNNING, 3 * RT_USEC);
	return atomic_compare_exchange_strong_explicit(&victim->runnext, &co, NULL,
						       memory_order_acq_rel, memory_order_relaxed)
		? co : NULL;
}

struct rt_co *runq_steal(struct p *thief, struct p *victim, bool with_next)
{
	uint32_t to = atomic_load_explicit(&thief->tail, memory_order_relaxed);

	for (;;) {
		uint32_t head = atomic_load_explicit(&victim->head, memory_order_acquire);
		/* acquire: pairs with the release in runq_put(): the entries are there */
		uint32_t tail = atomic_load_explicit(&victim->tail, memory_order_acquire);
		uint32_t n = tail - head;

		n -= n / 2;
		if (n == 0)
			return with_next ? steal_next(victim) : NULL;
		if (n > RUNQ_SIZE / 2) /* head and tail were read at different times */
			continue;
		for (uint32_t i = 0; i < n; i++)
			atomic_store_explicit(&thief->ring[(to + i) % RUNQ_SIZE],
					      atomic_load_explicit(&victim->ring[(head + i) % RUNQ_SIZE],
								   memory_order_relaxed),
					      memory_order_relaxed);
		if (!atomic_compare_exchange_strong_explicit(&victim->head, &head, head + n,
							     memory_order_acq_rel,
							     memory_order_relaxed))
			continue;
		n--; /* the last one runs now */
		if (n)
			atomic_store_explicit(&thief->tail, to + n, memory_order_release);
		return atomic_load_explicit(&thief->ring[(to + n) % RUNQ_SIZE], memory_order_relaxed);
	}
}

bool runq_is_empty(struct p *p)
{
	/* Between two reads a coroutine may move from runnext to the ring: look until tail stood. */
	for (;;) {
		uint32_t head = atomic_load(&p->head);
		uint32_t tail = atomic_load(&p->tail);
		struct rt_co *next = atomic_load(&p->runnext);

		if (tail == atomic_load(&p->tail))
			return head == tail && !next;
	}
}

static void append(struct co_queue *list)
{
	if (sched.global.last)
		sched.global.last->next = list->first;
	else
		sched.global.first = list->first;
	sched.global.last = list->last;
	sched.global.n += list->n;
	/* seq_cst: pairs with the look at it by a thread that goes idle */
	atomic_store(&sched.global_n, sched.global.n);
}

void global_put_list(struct co_queue *list)
{
	if (!list->first)
		return;
	list->last->next = NULL;
	lock_get(&sched.lock);
	append(list);
	lock_put(&sched.lock);
}

void global_put(struct rt_co *co)
{
	struct co_queue one = {co, co, 1};

	global_put_list(&one);
}

static struct rt_co *global_pop(void)
{
	struct rt_co *co = sched.global.first;

	sched.global.first = co->next;
	if (!co->next)
		sched.global.last = NULL;
	sched.global.n--;
	co->next = NULL;
	return co;
}

struct rt_co *global_get(struct p *p, uint32_t max)
{
	uint32_t n = sched.global.n / atomic_load_explicit(&sched.n_procs, memory_order_relaxed) + 1;
	struct rt_co *first;

	if (n > sched.global.n)
		n = sched.global.n;
	if (max && n > max)
		n = max;
	if (n > RUNQ_SIZE / 2)
		n = RUNQ_SIZE / 2;
	if (n == 0)
		return NULL;
	first = global_pop();
	while (--n) {
		/* not runq_put(): that takes the lock when the ring is full */
		uint32_t head = atomic_load_explicit(&p->head, memory_order_acquire);
		uint32_t tail = atomic_load_explicit(&p->tail, memory_order_relaxed);

		if (tail - head >= RUNQ_SIZE)
			break;
		atomic_store_explicit(&p->ring[tail % RUNQ_SIZE], global_pop(), memory_order_relaxed);
		atomic_store_explicit(&p->tail, tail + 1, memory_order_release);
	}
	atomic_store(&sched.global_n, sched.global.n);
	return first;
}
