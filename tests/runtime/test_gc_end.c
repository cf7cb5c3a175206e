/*
 * The runtime ends in the middle of a cycle, and another one begins: of what the first one's collector had in
 * its hands nothing may be left. A work list names objects by their addresses, and where those were lies
 * garbage of the second runtime, which a word that is left over would keep.
 * Mutants: test_gc_end_mutants.py, which chooses one case by an argument.
 */
#include "../../runtime/mem/mark.h"
#include "keep.h"
#include "tap.h"

#include <semaphore.h>
#include <sys/syscall.h>

#ifdef __SANITIZE_THREAD__
enum { N = 20000 };
#else
enum { N = 200000 };
#endif
enum { SHADED = 100, LIST = 1000 };
enum { LEFT_OVER = 2, STACKS_STAY = N / 100 }; /* garbage that words on stacks keep */

static struct node *const *wide; /* a root: what hangs on it fills a list of work at once */
static hidden garbage[N];        /* no pointers, for whoever looks */

static void collect(void *arg)
{
	rt_gc();
}

static void make_wide(void)
{
	wide = rt_new_ptrs(N);
	for (int i = 0; i < N; i++) {
		RT_SET(wide[i], new_node(NULL));
		RT_POLL();
	}
}

/* Marking has come to wide and is not over; pointers lie in the P's buffer, too. */
static void until_amid_marking(void)
{
	uint32_t cycle = heap.cycle;

	rt_gc_set_percent(-1);
	make_wide();
	rt_go(collect, NULL);
	while (heap.cycle == cycle || (gc_is_marking() && !work_is_left()))
		rt_yield();
	for (int i = 0; i < SHADED; i++)
		RT_SET(wide[N / 2 + i], NULL);
}

static void *end_amid_marking(void *arg)
{
	until_amid_marking();
	return (void *)(uintptr_t)gc_is_marking();
}

static void *make_garbage(void *arg)
{
	for (int i = 0; i < N; i++) {
		garbage[i] = hide(new_node(NULL));
		RT_POLL();
	}
	scrub();
	return NULL;
}

__attribute__((noinline)) static int count_list(void)
{
	int n = 0;

	for (struct node *at = chain; at && at->value[0] == GOOD; at = at->next)
		n++;
	return n;
}

struct second {
	int left, kept;
	uint64_t cycles;
};

static void *collect_again(void *arg)
{
	struct second *s = arg;
	struct rt_mem_stats stats;

	rt_gc_set_percent(-1);
	rt_join(rt_spawn(make_garbage, NULL, NULL), NULL);
	for (int i = 0; i < LIST; i++)
		chain = new_node(chain);
	scrub();
	rt_gc();
	s->left = count_there(garbage, N);
	rt_gc();
	s->kept = count_list();
	rt_mem_stats(&stats);
	s->cycles = stats.cycles;
	chain = NULL;
	return NULL;
}

/* What is wrong with another runtime: it collects, keeps what is known, and nothing else but so much. */
static int second(int most_left)
{
	struct rt_options one = {.procs = 1};
	struct second s = {0};
	int r = rt_run(&one, collect_again, &s, NULL);

	return (r != 0) + (s.cycles != 2) + LIST - s.kept + (s.left > most_left ? s.left : 0);
}

static int case_marking(void)
{
	struct rt_options one = {.procs = 1};
	void *marking = NULL;
	int r = rt_run(&one, end_amid_marking, NULL, &marking);

	wide = NULL;
	return (r != 0) + !marking + second(LEFT_OVER);
}

/* At any moment of a cycle, with others that allocate, pay and wait. */

static void allocate_on_and_on(void *arg)
{
	struct node *list = NULL;

	for (unsigned i = 0;; i++) {
		list = new_node(i % 1000 ? list : NULL);
		RT_POLL();
	}
}

static void *end_anywhere(void *arg)
{
	uint32_t *x = arg;
	int64_t until;

	make_wide();
	for (int i = 0; i < 4; i++)
		rt_go(allocate_on_and_on, NULL);
	until_cycle();
	until = rt_now() + random_next(x) % (2 * RT_MSEC);
	while (rt_now() < until)
		rt_yield();
	return NULL;
}

static int case_anywhere(void)
{
	enum { ROUNDS = REPEAT(64) };
	uint32_t x = 12345;
	int wrong = 0;

	for (int i = 0; i < ROUNDS; i++) {
		wrong += rt_run(&(struct rt_options){.procs = 2}, end_anywhere, &x, NULL) != 0;
		wide = NULL;
	}
	return wrong + second(LEFT_OVER);
}

/* While others stop the world, in turns: nobody is in foreign code, so no thread stays behind. */

enum { STOPPERS = 3 };

/* Long enough for who waits to be handed the turn. */
static void have_turn(void *turns)
{
	int64_t until = rt_now() + 2 * RT_MSEC;

	while (rt_now() < until)
		;
	atomic_fetch_add((_Atomic int *)turns, 1);
}

static void stop_on_and_on(void *turns)
{
	for (;;)
		rt_stop_world("test", have_turn, turns);
}

static void *end_amid_stops(void *arg)
{
	static _Atomic int turns[STOPPERS];

	memset(turns, 0, sizeof turns);
	for (int i = 0; i < STOPPERS; i++)
		rt_go(stop_on_and_on, &turns[i]);
	for (int i = 0; i < STOPPERS; i++)
		while (!turns[i])
			RT_POLL();
	return NULL;
}

static int case_stopping(void)
{
	int wrong = 0;

	for (int i = 0; i < 32 && !wrong; i++) {
		wrong += rt_run(&(struct rt_options){.procs = 2}, end_amid_stops, NULL, NULL) != 0;
		wrong += (int)sched.n_left_behind;
	}
	return wrong;
}

/* A thread is left behind in foreign code: all objects stay, since it may be at one. */

static sem_t in_foreign, go_on;
static _Atomic pid_t thread;
static _Atomic bool came_back;

static void *wait_in_foreign(void *arg)
{
	thread = (pid_t)syscall(SYS_gettid);
	sem_post(&in_foreign);
	while (sem_wait(&go_on))
		;
	return NULL;
}

static void stay_behind(void *arg)
{
	rt_blocking(wait_in_foreign, NULL);
	came_back = true;
}

static void *end_with_one_behind(void *arg)
{
	rt_go(stay_behind, NULL);
	while (sem_trywait(&in_foreign))
		rt_sleep(100 * RT_USEC);
	return end_amid_marking(NULL);
}

/* The thread ends, and its coroutine does not go on. */
static void *let_go(void *arg)
{
	int64_t deadline = rt_now() + 10 * RT_SEC;

	sem_post(&go_on);
	while (!syscall(SYS_tgkill, getpid(), thread, 0) && rt_now() < deadline)
		rt_sleep(RT_MSEC);
	settle();
	return (void *)(uintptr_t)(came_back || rt_now() >= deadline);
}

static int case_behind(void)
{
	struct rt_options one = {.procs = 1};
	void *marking = NULL, *back = NULL;
	int wrong;

	sem_init(&in_foreign, 0, 0);
	sem_init(&go_on, 0, 0);
	wrong = rt_run(&one, end_with_one_behind, NULL, &marking) != 0;
	wrong += !marking + second(STACKS_STAY);
	wide = NULL;
	wrong += rt_run(&one, let_go, NULL, &back) != 0;
	return wrong + (back != NULL);
}

static const struct {
	const char *name, *what;
	int (*fn)(void);
} cases[] = {
	{"marking", "a runtime ends while marking is on, and the next one collects", case_marking},
	{"anywhere", "the same at any moment of a cycle", case_anywhere},
	{"stopping", "and while the world is being stopped", case_stopping},
	{"behind", "and with a thread that stays behind, and returns", case_behind},
};

int main(int argc, char **argv)
{
	setenv("RT_DEBUG", "gcverify=1", 0);
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		int wrong;

		if (argc > 1 && strcmp(argv[1], cases[i].name) != 0)
			continue;
		wrong = cases[i].fn();
		CHECK(wrong == 0, "%s: %s (%d wrong)", cases[i].name, cases[i].what, wrong);
	}
	return tap_done();
}
