/* Reader-writer locks, wait groups and semaphores. */
#include "help.h"
#include "tap.h"

#include <errno.h>
#include <string.h>

/* Reader-writer locks -------------------------------------------------------------------------- */

enum { HANDS = 16, TURNS = 15000 };

static struct {
	struct rt_rwlock l;
	_Atomic int readers, writers, wrong, most, timeouts;
	int value; /* plain: writers change it alone */
	_Atomic int writes;
} x;

static void read_inside(uint32_t *r)
{
	int n = atomic_fetch_add(&x.readers, 1) + 1, before = x.value;

	if (n > atomic_load(&x.most))
		atomic_store(&x.most, n);
	if (random_next(r) % 16 == 0)
		rt_yield();
	atomic_fetch_add(&x.wrong, atomic_load(&x.writers) != 0 || x.value != before);
	atomic_fetch_sub(&x.readers, 1);
}

static void write_inside(uint32_t *r)
{
	atomic_fetch_add(&x.wrong,
			 atomic_fetch_add(&x.writers, 1) != 0 || atomic_load(&x.readers) != 0);
	x.value++;
	if (random_next(r) % 16 == 0)
		rt_yield();
	atomic_fetch_add(&x.writes, 1);
	atomic_fetch_sub(&x.writers, 1);
}

static void rw_hand(void *arg, int me)
{
	uint32_t r = (uint32_t)me * 7919 + 1;

	for (int i = 0; i < TURNS; i++) {
		bool writer = random_next(&r) % 8 == 0;
		int64_t deadline = random_next(&r) % 3 == 0 ? soon(&r) : RT_FOREVER;

		if ((writer ? rt_wrlock_dl(&x.l, deadline) : rt_rdlock_dl(&x.l, deadline)) < 0) {
			atomic_fetch_add(&x.timeouts, 1);
		} else if (writer) {
			write_inside(&r);
			rt_wrunlock(&x.l);
		} else {
			read_inside(&r);
			rt_rdunlock(&x.l);
		}
	}
}

static void test_rwlock_stress(void)
{
	struct crew_member crew[HANDS];

	memset(&x, 0, sizeof(x));
	crew_start(crew, HANDS, rw_hand, NULL);
	crew_join(crew, HANDS);
	printf("# %d writes, %d timeouts, up to %d readers together\n", x.value,
	       atomic_load(&x.timeouts), atomic_load(&x.most));
	CHECK(atomic_load(&x.wrong) == 0 && x.value == atomic_load(&x.writes) &&
		      atomic_load(&x.most) > 1,
	      "readers share, writers are alone, deadlines racing");
	CHECK(x.l.readers == 0 && !x.l.writing && x.l.writers_waiting == 0 && !x.l.waiters.first,
	      "the lock is free afterwards");
}

struct line {
	struct rt_rwlock l;
	_Atomic int began, in;
	int64_t deadline;
	_Atomic int timed_out;
};

static void line_reader(void *arg, int i)
{
	struct line *q = arg;

	atomic_fetch_add(&q->began, 1);
	rt_rdlock(&q->l);
	atomic_fetch_add(&q->in, 1);
	rt_rdunlock(&q->l);
}

static void line_writer(void *arg, int i)
{
	struct line *q = arg;

	atomic_fetch_add(&q->began, 1);
	if (rt_wrlock_dl(&q->l, q->deadline) < 0) {
		atomic_fetch_add(&q->timed_out, 1);
		return;
	}
	atomic_fetch_add(&q->in, 100);
	rt_wrunlock(&q->l);
}

static void test_rwlock_order(void)
{
	struct line q = {.deadline = RT_FOREVER};
	struct crew_member crew[4];

	rt_set_procs(1);
	rt_rdlock(&q.l);
	rt_rdlock(&q.l);
	rt_preempt_off(); /* waiting here would end the process */
	CHECK(rt_wrlock_dl(&q.l, 0) == -ETIMEDOUT && rt_wrlock_dl(&q.l, rt_now()) == -ETIMEDOUT,
	      "a writer does not get in beside readers, nor wait when it only tries");
	rt_preempt_on();
	CHECK(rt_rdlock_dl(&q.l, 0) == 0, "another reader does, when no writer waits");
	rt_rdunlock(&q.l);
	rt_rdunlock(&q.l);
	crew_start(crew, 1, line_writer, &q);
	until(&q.began, 1);
	settle();
	CHECK(rt_rdlock_dl(&q.l, 0) == -ETIMEDOUT, "a waiting writer holds later readers back");
	crew_start(crew + 1, 3, line_reader, &q);
	until(&q.began, 4);
	settle();
	CHECK(atomic_load(&q.in) == 0, "and those that wait too");
	rt_rdunlock(&q.l);
	settle();
	CHECK(atomic_load(&q.in) == 103, "then the writer goes, and the readers after it");
	crew_join(crew, 4);
	rt_set_procs(0);
}

static void test_rwlock_writer_gives_up(void)
{
	struct line q = {.deadline = rt_now() + 20 * RT_MSEC};
	struct crew_member crew[4];

	rt_rdlock(&q.l);
	crew_start(crew, 1, line_writer, &q);
	until(&q.began, 1);
	crew_start(crew + 1, 3, line_reader, &q);
	crew_join(crew, 4); /* for ever, if the readers stayed behind the writer */
	CHECK(atomic_load(&q.timed_out) == 1 && atomic_load(&q.in) == 3,
	      "readers behind a writer that gives up get in at once");
	rt_rdunlock(&q.l);
	CHECK(rt_wrlock_dl(&q.l, 0) == 0, "and the lock works on");
	rt_wrunlock(&q.l);
}

/* Wait groups
 * --------------------------------------------------------------------------------------- */

struct gathering {
	struct rt_group g;
	_Atomic int done, waited, wrong, began;
};

static void gather_work(void *arg, int i)
{
	struct gathering *a = arg;

	if (i % 3 == 0)
		rt_yield();
	atomic_fetch_add(&a->done, 1);
	rt_group_done(&a->g);
}

static void gather_wait(void *arg, int i)
{
	struct gathering *a = arg;

	if (i % 2)
		rt_group_wait(&a->g);
	else if (rt_group_wait_dl(&a->g, rt_now() + 600 * RT_SEC) < 0)
		atomic_fetch_add(&a->wrong, 1);
	atomic_fetch_add(&a->wrong, atomic_load(&a->done) != 100);
	atomic_fetch_add(&a->waited, 1);
}

static void wait_once(void *arg, int i)
{
	struct gathering *a = arg;

	atomic_fetch_add(&a->began, 1);
	rt_group_wait(&a->g);
	atomic_fetch_add(&a->waited, 1);
}

static void test_group_to_the_last(void)
{
	struct gathering a = {0};
	struct crew_member crew[2];

	rt_set_procs(1);
	rt_group_add(&a.g, 2);
	crew_start(crew, 2, wait_once, &a);
	until(&a.began, 2);
	settle();
	rt_group_done(&a.g);
	settle();
	CHECK(atomic_load(&a.waited) == 0, "a group is waited for to the last");
	rt_group_done(&a.g);
	crew_join(crew, 2);
	rt_set_procs(0);
}

static void test_group(void)
{
	int wrong = 0;
	struct gathering a = {0};

	rt_group_wait(&a.g);
	CHECK(rt_group_wait_dl(&a.g, 0) == 0, "an empty group is not waited for");
	rt_group_add(&a.g, 2);
	rt_preempt_off(); /* waiting here would end the process */
	CHECK(rt_group_wait_dl(&a.g, 0) == -ETIMEDOUT &&
		      rt_group_wait_dl(&a.g, rt_now()) == -ETIMEDOUT,
	      "a try does not wait");
	rt_preempt_on();
	CHECK(rt_group_wait_dl(&a.g, rt_now() + RT_MSEC) == -ETIMEDOUT,
	      "a wait gives up at its deadline");
	rt_group_add(&a.g, -2);
	for (int k = 0; k < REPEAT(100); k++) {
		struct crew_member crew[110];

		memset(&a, 0, sizeof(a));
		rt_group_add(&a.g, 100);
		crew_start(crew, 10, gather_wait, &a);
		crew_start(crew + 10, 100, gather_work, &a);
		crew_join(crew, 110);
		wrong += atomic_load(&a.wrong) || atomic_load(&a.waited) != 10 || a.g.waiters.first;
	}
	CHECK(wrong == 0, "all who wait go on when the last one is done, and not before");
}

/* Semaphores
 * ---------------------------------------------------------------------------------------- */

static struct {
	struct rt_sem s;
	_Atomic int64_t out, most;
	_Atomic int wrong, timeouts;
} pool;

static void sem_hand(void *arg, int me)
{
	uint32_t r = (uint32_t)me * 7919 + 1;

	for (int i = 0; i < TURNS; i++) {
		int64_t n = random_next(&r) % 4, out;

		if (rt_sem_acquire_dl(&pool.s, n, random_next(&r) % 2 ? soon(&r) : RT_FOREVER) <
		    0) {
			atomic_fetch_add(&pool.timeouts, 1);
			continue;
		}
		out = atomic_fetch_add(&pool.out, n) + n;
		atomic_fetch_add(&pool.wrong, out > 5);
		if (out > atomic_load(&pool.most))
			atomic_store(&pool.most, out);
		if (random_next(&r) % 16 == 0)
			rt_yield();
		atomic_fetch_sub(&pool.out, n);
		rt_sem_release(&pool.s, n);
	}
}

static void test_sem_stress(void)
{
	struct crew_member crew[HANDS];

	memset(&pool, 0, sizeof(pool));
	pool.s.count = 5;
	crew_start(crew, HANDS, sem_hand, NULL);
	crew_join(crew, HANDS);
	printf("# %d timeouts, up to %lld of 5 out\n", atomic_load(&pool.timeouts),
	       (long long)atomic_load(&pool.most));
	CHECK(atomic_load(&pool.wrong) == 0 && pool.s.count == 5 && !pool.s.waiters.first,
	      "never more is out than there is, all comes back");
}

struct queue {
	struct rt_sem s;
	_Atomic int began, n, timed_out;
	char order[8];
	int64_t deadline;
};

static void sem_wait_for(struct queue *q, int64_t n, char name, int64_t deadline)
{
	atomic_fetch_add(&q->began, 1);
	if (rt_sem_acquire_dl(&q->s, n, deadline) == 0)
		q->order[atomic_fetch_add(&q->n, 1)] = name;
	else
		atomic_fetch_add(&q->timed_out, 1);
}

static void wants_three(void *arg, int i)
{
	struct queue *q = arg;

	sem_wait_for(q, 3, 'L', q->deadline);
}

static void wants_one(void *arg, int i)
{
	sem_wait_for(arg, 1, 's', RT_FOREVER);
}

static void test_sem_order(void)
{
	struct queue q = {.s.count = 1, .deadline = RT_FOREVER};
	struct crew_member crew[2];

	rt_set_procs(1);
	rt_preempt_off(); /* waiting here would end the process */
	CHECK(rt_sem_acquire_dl(&q.s, 2, 0) == -ETIMEDOUT && rt_sem_acquire_dl(&q.s, 1, 0) == 0,
	      "a try takes what is there and no more");
	rt_preempt_on();
	crew_start(crew, 1, wants_three, &q);
	until(&q.began, 1);
	settle();
	crew_start(crew + 1, 1, wants_one, &q);
	until(&q.began, 2);
	settle();
	rt_sem_release(&q.s, 2);
	settle();
	CHECK(atomic_load(&q.n) == 0, "a small demand does not overtake a large one");
	CHECK(rt_sem_acquire_dl(&q.s, 1, 0) == -ETIMEDOUT, "nor does a try");
	rt_sem_release(&q.s, 2);
	crew_join(crew, 2);
	CHECK(!strcmp(q.order, "Ls") && q.s.count == 0, "they are served in order");
	rt_set_procs(0);
}

static void test_sem_head_gives_up(void)
{
	struct queue q = {.s.count = 1, .deadline = rt_now() + 20 * RT_MSEC};
	struct crew_member crew[2];

	crew_start(crew, 1, wants_three, &q);
	until(&q.began, 1);
	crew_start(crew + 1, 1, wants_one, &q);
	crew_join(crew, 2); /* for ever, if the small one stayed behind the large */
	CHECK(atomic_load(&q.timed_out) == 1 && !strcmp(q.order, "s") && q.s.count == 0,
	      "who stands behind one that gives up is served at once");
}

static void *everything(void *arg)
{
	test_rwlock_order();
	test_rwlock_writer_gives_up();
	test_group_to_the_last();
	test_sem_order();
	test_sem_head_gives_up();
	for (unsigned procs = 1; procs <= 4; procs += 3) {
		rt_set_procs(procs);
		test_rwlock_stress();
		test_group();
		test_sem_stress();
	}
	return NULL;
}

int main(void)
{
	CHECK(rt_run(NULL, everything, NULL, NULL) == 0, "the runtime ends");
	return tap_done();
}
