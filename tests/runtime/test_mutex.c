/* Mutexes: exclusion, deadlines, hand-over to who waits too long; once and conditions on them. */
#include "help.h"
#include "tap.h"

#include <errno.h>
#include <string.h>

/* Exclusion ------------------------------------------------------------------------------------ */

enum { HANDS = 16, TURNS = 20000 };

static struct {
	struct rt_mutex m;
	int inside, count; /* plain: the mutex guards them */
	_Atomic int wrong, timeouts, taken;
} x;

static void work_inside(uint32_t *r)
{
	x.wrong += x.inside++ != 0;
	if (random_next(r) % 64 == 0)
		rt_yield();
	x.count++;
	x.inside--;
}

static void plain_hand(void *arg, int me)
{
	uint32_t r = (uint32_t)me * 7919 + 1;

	for (int i = 0; i < TURNS; i++) {
		rt_lock(&x.m);
		work_inside(&r);
		rt_unlock(&x.m);
	}
	atomic_fetch_add(&x.taken, TURNS);
}

static void any_hand(void *arg, int me)
{
	uint32_t r = (uint32_t)me * 104729 + 1;
	int taken = 0;

	for (int i = 0; i < TURNS; i++) {
		uint32_t how = random_next(&r) % 4;
		bool ok = true;

		if (how == 0)
			ok = rt_trylock(&x.m);
		else if (how == 1)
			rt_lock(&x.m);
		else
			ok = rt_lock_dl(&x.m, how == 2 ? soon(&r) : rt_now()) == 0;
		if (!ok) {
			atomic_fetch_add(&x.timeouts, 1);
			continue;
		}
		work_inside(&r);
		rt_unlock(&x.m);
		taken++;
	}
	atomic_fetch_add(&x.taken, taken);
}

static void test_exclusion(void (*hand)(void *arg, int i), const char *what)
{
	struct crew_member crew[HANDS];

	memset(&x, 0, sizeof(x));
	crew_start(crew, HANDS, hand, NULL);
	crew_join(crew, HANDS);
	printf("# %d turns, %d refused\n", x.count, atomic_load(&x.timeouts));
	CHECK(x.wrong == 0 && x.count == atomic_load(&x.taken), "one at a time is inside (%s)",
	      what);
	CHECK(x.m.state == 0 && !x.m.waiters.first && rt_trylock(&x.m),
	      "the mutex is free afterwards");
	rt_unlock(&x.m);
}

/* Deadlines, hand-over
 * ----------------------------------------------------------------------------- */

static void unlock_it(void *arg, int i)
{
	rt_unlock(arg);
}

static void test_deadline(void)
{
	struct rt_mutex m = {0};
	struct crew_member crew[1];
	int64_t until_ns = rt_now() + 3 * RT_MSEC;

	CHECK(rt_lock_dl(&m, 0) == 0, "a free mutex is taken by a try");
	rt_preempt_off(); /* waiting here would end the process */
	CHECK(!rt_trylock(&m) && rt_lock_dl(&m, 0) == -ETIMEDOUT &&
		      rt_lock_dl(&m, rt_now()) == -ETIMEDOUT,
	      "a held one is not, and is not waited for");
	rt_preempt_on();
	CHECK(rt_lock_dl(&m, until_ns) == -ETIMEDOUT && rt_now() >= until_ns,
	      "a wait gives up at its deadline, not before");
	crew_start(crew, 1, unlock_it, &m);
	CHECK(rt_lock_dl(&m, rt_now() + 600 * RT_SEC) == 0, "another coroutine may unlock");
	crew_join(crew, 1);
	rt_unlock(&m);
}

/* A hog that takes the mutex again as soon as it has let it go. Without hand-over the waiters would
 * find it held whenever they look. */
enum { HOG_TURNS = 20000 };

static struct {
	struct rt_mutex m;
	_Atomic int served;
	_Atomic bool stop;
	long turns;
} hog;

static void hog_it(void *arg, int i)
{
	while (!atomic_load(&hog.stop) && hog.turns < HOG_TURNS) {
		int64_t until_ns = rt_now() + 300 * RT_USEC;

		rt_lock(&hog.m);
		while (rt_now() < until_ns)
			RT_POLL();
		hog.turns++;
		rt_unlock(&hog.m);
	}
}

static void starved(void *arg, int i)
{
	for (int k = 0; k < 20; k++) {
		rt_lock(&hog.m);
		rt_unlock(&hog.m);
	}
	if (atomic_fetch_add(&hog.served, 1) == 3)
		atomic_store(&hog.stop, true);
}

/* Bounded by the hog's progress: a turn of a waiter may cost it some of its own, but not all. */
static void test_starvation(void)
{
	struct crew_member crew[5];

	memset(&hog, 0, sizeof(hog));
	crew_start(crew, 1, hog_it, NULL);
	crew_start(crew + 1, 4, starved, NULL);
	crew_join(crew, 5);
	printf("# 80 turns of waiters cost the hog %ld\n", hog.turns);
	CHECK(hog.turns < HOG_TURNS, "waiters get their turns beside one that never waits");
}

/* Barging, then hand-over, seen in the order of turns. */
static struct {
	struct rt_mutex m;
	_Atomic int began;
	char order[8];
	_Atomic int n;
} seq;

static void take_and_note(void *arg, int i)
{
	atomic_fetch_add(&seq.began, 1);
	rt_lock(&seq.m);
	seq.order[atomic_fetch_add(&seq.n, 1)] = (char)('a' + i);
	rt_unlock(&seq.m);
}

static void test_hand_over(void)
{
	struct crew_member crew[1];

	memset(&seq, 0, sizeof(seq));
	rt_set_procs(1);
	rt_lock(&seq.m);
	crew_start(crew, 1, take_and_note, NULL);
	until(&seq.began, 1);
	settle();
	rt_sleep(2 * RT_MSEC);
	rt_unlock(&seq.m);
	CHECK(rt_trylock(&seq.m), "while nobody has found it held twice, newcomers barge in");
	settle(); /* the waiter looks, loses for a millisecond and more, and asks for a hand-over */
	rt_unlock(&seq.m);
	CHECK(!rt_trylock(&seq.m), "then a newcomer does not get it although it was unlocked");
	settle();
	CHECK(atomic_load(&seq.n) == 1, "because the waiter has it");
	crew_join(crew, 1);
	CHECK(rt_trylock(&seq.m) && seq.m.state == 1, "afterwards the mutex is as before");
	rt_unlock(&seq.m);
	rt_set_procs(0);
}

/* Once ----------------------------------------------------------------------------------------- */

static struct {
	struct rt_once once;
	int value;
	_Atomic int runs, wrong;
} once;

static void slow_init(void *arg)
{
	atomic_fetch_add(&once.runs, 1);
	rt_sleep(RT_MSEC);
	once.value = 5;
}

static void call_once(void *arg, int i)
{
	rt_once(&once.once, slow_init, NULL);
	atomic_fetch_add(&once.wrong, once.value != 5);
}

static void test_once(void)
{
	struct crew_member crew[50];

	memset(&once, 0, sizeof(once));
	crew_start(crew, 50, call_once, NULL);
	crew_join(crew, 50);
	CHECK(atomic_load(&once.runs) == 1 && atomic_load(&once.wrong) == 0,
	      "once: it runs once, and all wait for its end");
}

/* Conditions
 * ---------------------------------------------------------------------------------------- */

static struct {
	struct rt_mutex m;
	struct rt_cond filled, emptied;
	int n, limit;
	_Atomic int produced, consumed, waiting, woken, timeouts;
} box;

static void put(void *arg, int me)
{
	uint32_t r = (uint32_t)me + 1;

	for (int i = 0; i < TURNS; i++) {
		rt_lock(&box.m);
		while (box.n == box.limit)
			if (random_next(&r) % 2)
				rt_cond_wait(&box.emptied, &box.m);
			else
				rt_cond_wait_dl(&box.emptied, &box.m, soon(&r));
		box.n++;
		atomic_fetch_add(&box.produced, 1);
		rt_unlock(&box.m);
		rt_cond_signal(&box.filled);
	}
}

static void get(void *arg, int me)
{
	for (int i = 0; i < TURNS; i++) {
		rt_lock(&box.m);
		while (box.n == 0)
			rt_cond_wait(&box.filled, &box.m);
		box.n--;
		atomic_fetch_add(&box.consumed, 1);
		rt_cond_signal(&box.emptied);
		rt_unlock(&box.m);
	}
}

static void wait_for_it(void *arg, int i)
{
	rt_lock(&box.m);
	atomic_fetch_add(&box.waiting, 1);
	rt_cond_wait(&box.filled, &box.m);
	atomic_fetch_add(&box.woken, 1);
	rt_unlock(&box.m);
}

static void test_cond(void)
{
	struct crew_member crew[20];
	int64_t until_ns;

	memset(&box, 0, sizeof(box));
	rt_lock(&box.m);
	until_ns = rt_now() + 2 * RT_MSEC;
	CHECK(rt_cond_wait_dl(&box.filled, &box.m, until_ns) == -ETIMEDOUT &&
		      rt_now() >= until_ns && !rt_trylock(&box.m),
	      "a wait gives up at its deadline and holds the mutex again");
	CHECK(rt_cond_wait_dl(&box.filled, &box.m, 0) == -ETIMEDOUT && !rt_trylock(&box.m),
	      "one in the past does not let go of it");
	rt_unlock(&box.m);
	rt_cond_signal(&box.filled); /* nobody waits: it is forgotten */
	crew_start(crew, 20, wait_for_it, NULL);
	until(&box.waiting, 20);
	rt_lock(&box.m); /* all wait: each held the mutex from its count to its wait */
	rt_cond_signal(&box.filled);
	rt_cond_signal(&box.filled);
	rt_unlock(&box.m);
	until(&box.woken, 2);
	rt_sleep(RT_MSEC);
	CHECK(atomic_load(&box.woken) == 2, "a signal wakes one");
	rt_cond_broadcast(&box.filled);
	crew_join(crew, 20);
	CHECK(atomic_load(&box.woken) == 20, "a broadcast wakes the others");
}

static void test_cond_stress(void)
{
	struct crew_member crew[8];

	memset(&box, 0, sizeof(box));
	box.limit = 3;
	crew_start(crew, 4, put, NULL);
	crew_start(crew + 4, 4, get, NULL);
	crew_join(crew, 8);
	CHECK(box.n == 0 && atomic_load(&box.produced) == 4 * TURNS &&
		      atomic_load(&box.consumed) == 4 * TURNS,
	      "producers and consumers meet on two conditions: no signal is lost");
}

static void *everything(void *arg)
{
	test_deadline();
	test_hand_over();
	for (unsigned procs = 1; procs <= 4; procs += 3) {
		rt_set_procs(procs);
		test_exclusion(plain_hand, "plain");
		test_exclusion(any_hand, "tries and deadlines too");
		test_starvation();
		test_once();
		test_cond();
		test_cond_stress();
	}
	return NULL;
}

int main(void)
{
	CHECK(rt_run(NULL, everything, NULL, NULL) == 0, "the runtime ends");
	return tap_done();
}
