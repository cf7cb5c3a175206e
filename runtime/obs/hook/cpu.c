/*
 * A timer of CPU time per thread: setitimer's one signal a process goes to whichever thread the
 * kernel picks and undercounts on many CPUs. Samples go into one buffer, whose place each handler
 * takes by an atomic add; it is reserved at the start, touched as it fills, and full when it is full:
 * what comes later is counted.
 */
#include "../cpu.h"
#include "../thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { BUFFER_WORDS = 8 << 20, HEAD_WORDS = 2 };

static struct {
	uint64_t *words;
	_Atomic uint64_t used, lost;
	unsigned hz; /* guarded by obs_threads.lock */
	int64_t begun_ns;
	_Atomic uint32_t writers; /* handlers that write */
} cpu;

/* The clock of another thread's CPU time, as the kernel numbers them. */
static clockid_t thread_clock(pid_t tid)
{
	return (clockid_t)((~(unsigned)tid << 3) | 6);
}

static void arm(struct obs_thread *t)
{
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
	long ns = (long)(RT_SEC / cpu.hz);
	struct itimerspec every = {{0, ns}, {0, ns}};

	ev.sigev_notify_thread_id = t->m->tid;
	if (t->timed || timer_create(thread_clock(t->m->tid), &ev, &t->timer) != 0)
		return;
	t->timed = true;
	timer_settime(t->timer, 0, &every, NULL);
}

void cpu_thread_begins(struct obs_thread *t)
{
	if (cpu.hz)
		arm(t);
}

void cpu_thread_ends(struct obs_thread *t)
{
	if (t->timed)
		timer_delete(t->timer);
	t->timed = false;
}

static void write_record(const uintptr_t *pcs, int n, int count)
{
	uint64_t need = HEAD_WORDS + (uint64_t)n;
	uint64_t at = atomic_fetch_add_explicit(&cpu.used, need, memory_order_relaxed);

	if (at + need > BUFFER_WORDS) {
		atomic_fetch_add_explicit(&cpu.lost, (uint64_t)count, memory_order_relaxed);
		return;
	}
	cpu.words[at + 1] = (uint64_t)n;
	for (int i = 0; i < n; i++)
		cpu.words[at + HEAD_WORDS + (uint64_t)i] = pcs[i];
	cpu.words[at] = (uint64_t)count;
}

void cpu_sample(struct m *m, const void *context, int count)
{
	uintptr_t pcs[WALK_MAX];
	int n;

	/* seq_cst: pairs with cpu_sampling_stop(), which clears the bit and then waits for writers */
	atomic_fetch_add(&cpu.writers, 1);
	if (atomic_load(&obs_on) & OBS_CPU) {
		n = walk_context(m, context, pcs, WALK_MAX);
		if (n == 0) /* between two stacks */
			pcs[n++] = walk_pc(context) + 1;
		write_record(pcs, n, count);
	}
	atomic_fetch_sub(&cpu.writers, 1);
}

static bool reserve_buffer(void)
{
	void *p = mmap(NULL, BUFFER_WORDS * sizeof *cpu.words, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return false;
	cpu.words = p;
	return true;
}

int cpu_sampling_start(unsigned hz)
{
	int r = 0;

	lock_get(&obs_threads.lock);
	if (cpu.words)
		r = -EBUSY;
	else if (!reserve_buffer())
		r = -ENOMEM;
	if (r == 0) {
		atomic_store(&cpu.used, 0);
		atomic_store(&cpu.lost, 0);
		cpu.hz = hz;
		cpu.begun_ns = now_ns();
		obs_set(OBS_CPU, true);
		for (struct obs_thread *t = obs_threads.first; t; t = t->next)
			arm(t);
	}
	lock_put(&obs_threads.lock);
	return r;
}

void cpu_sampling_stop(void)
{
	lock_get(&obs_threads.lock);
	obs_set(OBS_CPU, false);
	cpu.hz = 0;
	for (struct obs_thread *t = obs_threads.first; t; t = t->next)
		cpu_thread_ends(t);
	lock_put(&obs_threads.lock);
	while (atomic_load(&cpu.writers))
		sched_yield();
}

void cpu_sampling_free(void)
{
	lock_get(&obs_threads.lock);
	munmap(cpu.words, BUFFER_WORDS * sizeof *cpu.words);
	cpu.words = NULL;
	lock_put(&obs_threads.lock);
}

const struct cpu_record *cpu_next(const struct cpu_record *after)
{
	const uint64_t *end = cpu.words + BUFFER_WORDS, *next = cpu.words;

	if (after)
		next = (const uint64_t *)&after->pcs[after->n];
	/* The last one that found no room has left zeros, or nothing at all. */
	return next + HEAD_WORDS <= end && *next ? (const struct cpu_record *)next : NULL;
}

uint64_t cpu_lost(void)
{
	return atomic_load(&cpu.lost);
}

int64_t cpu_begun_ns(void)
{
	return cpu.begun_ns;
}

bool cpu_is_sampling(void)
{
	return obs_is_on(OBS_CPU);
}
