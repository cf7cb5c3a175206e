/*
 * The memory limit: RT_MEMLIMIT or rt_gc_set_limit, and the control group's, whichever is smaller. What
 * the heap may have of it is what stacks, the collector's tables, waste inside of blocks and, of the
 * group's, the rest of the process leave.
 *
 * A soft limit: when even what is alive does not fit, the program goes on above it. So that it does not
 * collect for ever instead of working, a leaky bucket lets marking and assists have half of the CPU: the
 * collector's time fills it, the program's drains it, and while it is full nobody has to assist.
 *
 * Source: Go proposal 48409, "Soft memory limit"
 */
#include "gc.h"

#include "../sched/cgroup.h"
#include "../sched/sched.h"
#include "mark.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	PAGE = 4096,
	HEADROOM_PERCENT = 3,
	GROUP_PERCENT = 90, /* of the control group's limit: the kernel kills at 100 */
};
#define HEADROOM_MIN (INT64_C(1) << 20)
#define BUCKET_NS RT_SEC /* for each P */

static struct {
	_Atomic int64_t own;   /* INT64_MAX: none */
	_Atomic int64_t group; /* what of the group's limit is the runtime's; INT64_MAX: none */
	_Atomic uint64_t waste; /* bytes of used blocks that are no cells in use */
	_Atomic int64_t bucket_ns;
	_Atomic int64_t bucket_at;
} limit;

/* The limit ---------------------------------------------------------------------------------------- */

/* A number with B, KiB, MiB, GiB or TiB, or "off". */
static int64_t parse(const char *text)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	char *end;
	long long n = strtoll(text, &end, 10);

	if (end == text || n < 0)
		return INT64_MAX;
	for (unsigned i = 0; *end && i < sizeof units / sizeof *units; i++)
		if (!strcmp(end, units[i]))
			return n > INT64_MAX >> 10 * i ? INT64_MAX : n << 10 * i;
	return n;
}

void limit_init(void)
{
	const char *env = getenv("RT_MEMLIMIT");

	atomic_store(&limit.own, env ? parse(env) : INT64_MAX);
	atomic_store(&limit.group, INT64_MAX);
	atomic_store(&limit.waste, 0);
	atomic_store(&limit.bucket_ns, 0);
	limit.bucket_at = now_ns();
	limit_follow();
}

int64_t rt_gc_set_limit(int64_t bytes)
{
	int64_t was = atomic_load(&limit.own);

	if (bytes < 0)
		return was;
	atomic_store(&limit.own, bytes);
	pace_again();
	return was;
}

static uint64_t own_bytes(void)
{
	return (heap.top >> BLOCK_SHIFT) * sizeof(struct block) + work_own_bytes();
}

/* A parked coroutine has a page at least; how much more is known where it was searched. */
static uint64_t stacks_bytes(void)
{
	return (uint64_t)co_count() * PAGE;
}

uint64_t limit_heap(void)
{
	int64_t own = atomic_load(&limit.own), group = atomic_load(&limit.group);
	int64_t bytes = own < group ? own : group, headroom, left;

	if (bytes == INT64_MAX)
		return UINT64_MAX;
	headroom = bytes / 100 * HEADROOM_PERCENT;
	if (headroom < HEADROOM_MIN)
		headroom = HEADROOM_MIN;
	left = bytes - headroom - (int64_t)(own_bytes() + stacks_bytes() + atomic_load(&limit.waste));
	return left > 0 ? (uint64_t)left : 0;
}

void limit_note_waste(void)
{
	uint64_t used = pages_used(), in_use = atomic_load(&heap.in_use);

	atomic_store(&limit.waste, used > in_use ? used - in_use : 0);
}

/* The control group ----------------------------------------------------------------------------------- */

/* Errors: -1 no number there (v2: "max") */
static int64_t read_number(const char *name)
{
	FILE *f = cgroup_open("memory", name);
	long long n = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%lld", &n) != 1)
		n = -1;
	fclose(f);
	return n;
}

int64_t limit_resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	long long size = 0, resident = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%lld %lld", &size, &resident) != 2)
		resident = 0;
	fclose(f);
	return resident * sysconf(_SC_PAGESIZE);
}

/* Bytes of the process that are not the runtime's: text, malloc, threads. */
static int64_t other_bytes(void)
{
	int64_t ours = (int64_t)(pages_mapped() + own_bytes() + stacks_bytes());
	int64_t resident = limit_resident_bytes();

	return resident > ours ? resident - ours : 0;
}

void limit_follow(void)
{
	int64_t bytes = read_number("memory.max"), left;

	if (bytes < 0)
		bytes = read_number("memory.limit_in_bytes");
	/* v1 says "no limit" by the largest number of pages. */
	if (bytes < 0 || bytes >= INT64_MAX / 2)
		left = INT64_MAX;
	else
		left = bytes / 100 * GROUP_PERCENT - other_bytes();
	if (left < 0)
		left = 0;
	if (atomic_exchange(&limit.group, left) == left)
		return;
	pace_again();
	gc_look();
}

/* The CPU ------------------------------------------------------------------------------------------------ */

void limit_note_cpu(int64_t gc_ns, int64_t now)
{
	int64_t procs = (int64_t)rt_procs(), all = (now - limit.bucket_at) * procs;
	int64_t full = BUCKET_NS * procs, level = atomic_load(&limit.bucket_ns) + gc_ns - (all - gc_ns);

	limit.bucket_at = now;
	atomic_store(&limit.bucket_ns, level < 0 ? 0 : level > full ? full : level);
}

bool limit_is_cpu_capped(void)
{
	return atomic_load_explicit(&limit.bucket_ns, memory_order_relaxed) >=
	       BUCKET_NS * (int64_t)atomic_load_explicit(&sched.n_procs, memory_order_relaxed);
}
