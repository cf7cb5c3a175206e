/*
 * Pacing: a cycle begins so early that marking beside the program is through when the heap reaches its
 * goal, and who allocates pays in marking what would be missing then.
 *
 *   goal     what was alive, and percent of it (with the stacks) more; 4 MiB at least
 *   trigger  goal less what was allocated during the last marking, with a margin
 *   owed     expected cost that is left / bytes left to the goal, per byte
 */
#include "gc.h"

#include "../sched/sched.h"

#include <stdlib.h>

enum {
	PERCENT = 100,
	MARGIN_PERCENT = 25, /* more than the last marking's allocations */
	RATIO_ONE = 1 << 10, /* fixed point */
};
#define HEAP_MIN (UINT64_C(4) << 20) /* at 100 percent */
#define ROOM_MIN (UINT64_C(256) << 10) /* between what is alive and the goal */
#define RATIO_MAX (UINT64_C(64) * RATIO_ONE)
#define COST_MIN (UINT64_C(64) << 10)

static struct {
	_Atomic int percent;
	_Atomic uint64_t goal;
	_Atomic uint64_t goal_by_percent; /* as if there were no limit */
	_Atomic uint64_t ratio; /* cost a byte, in fixed point */
	uint64_t expected;      /* cost of the marking under way */
	uint64_t last_cost, last_claimed, live, stacks;
} pace;

static uint64_t goal_for(int percent)
{
	uint64_t least = HEAP_MIN * (uint64_t)percent / 100;
	uint64_t goal = pace.live + (pace.live + pace.stacks) * (uint64_t)percent / 100;

	return goal > least ? goal : least;
}

static void set_trigger(void)
{
	int percent = atomic_load(&pace.percent);
	uint64_t goal = percent < 0 ? UINT64_MAX : goal_for(percent), limit = limit_heap();
	uint64_t room, runway;

	atomic_store(&pace.goal_by_percent, goal);
	/* A limit that is too small does not stop the program: it collects without end, within its half of
	 * the CPU. */
	if (goal > limit)
		goal = limit > pace.live + ROOM_MIN ? limit : pace.live + ROOM_MIN;
	if (goal == UINT64_MAX) {
		atomic_store(&pace.goal, UINT64_MAX);
		atomic_store(&heap.trigger, UINT64_MAX);
		return;
	}
	room = goal > pace.live ? goal - pace.live : 0;
	runway = pace.last_claimed + pace.last_claimed * MARGIN_PERCENT / 100;
	if (runway < room / 20)
		runway = room / 20;
	/* What is allocated beside the marking is black, and garbage of it stays for a cycle: the more of
	 * it, the larger the heap (trees of 16-byte nodes: 135 to 163 MB; 176 to 182 with 30 percent). */
	if (runway > room / 5)
		runway = room / 5;
	atomic_store(&pace.goal, goal);
	atomic_store(&heap.trigger, goal - runway);
}

void pace_init(void)
{
	const char *env = getenv("RT_GOGC");

	pace.live = pace.stacks = pace.last_cost = pace.last_claimed = 0;
	atomic_store(&pace.percent, !env ? PERCENT : env[0] == 'o' ? -1 : atoi(env));
	set_trigger();
}

uint64_t pace_goal(void)
{
	return atomic_load(&pace.goal);
}

uint64_t pace_goal_by_percent(void)
{
	return atomic_load_explicit(&pace.goal_by_percent, memory_order_relaxed);
}

void pace_begin(const struct gc_cycle *c)
{
	pace.expected = pace.last_cost > COST_MIN ? pace.last_cost : COST_MIN;
	pace_adjust(0);
}

void pace_adjust(uint64_t cost_so_far)
{
	uint64_t in_use = atomic_load_explicit(&heap.in_use, memory_order_relaxed);
	uint64_t goal = pace_goal(), left, room, ratio;

	/* More than expected: nobody knows how much. */
	left = pace.expected > cost_so_far + pace.expected / 16 ? pace.expected - cost_so_far
								: pace.expected / 16;
	room = goal > in_use ? goal - in_use : 1;
	ratio = left >= UINT64_MAX / RATIO_ONE ? RATIO_MAX : left * RATIO_ONE / room;
	atomic_store_explicit(&pace.ratio, ratio > RATIO_MAX ? RATIO_MAX : ratio ? ratio : 1,
			      memory_order_relaxed);
}

uint64_t pace_owed(uint64_t bytes)
{
	return bytes * atomic_load_explicit(&pace.ratio, memory_order_relaxed) / RATIO_ONE;
}

uint64_t pace_paid(uint64_t cost)
{
	return cost * RATIO_ONE / atomic_load_explicit(&pace.ratio, memory_order_relaxed);
}

void pace_end(const struct gc_cycle *c)
{
	pace.live = c->heap_live;
	pace.stacks = c->stack_bytes;
	pace.last_cost = c->cost;
	pace.last_claimed = c->heap_at_end - c->heap_at_begin;
	set_trigger();
}

int rt_gc_percent(void)
{
	return atomic_load(&pace.percent);
}

void pace_again(void)
{
	set_trigger();
}

int rt_gc_set_percent(int percent)
{
	int was = atomic_exchange(&pace.percent, percent);

	set_trigger();
	return was;
}
