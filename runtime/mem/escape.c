#include "escape.h"

#include "../sched/sched.h"
#include "barrier.h"

#include <sys/mman.h>
#include <ucontext.h>

_Atomic bool heap_escapes;

/* Of one sampled object: its maker's frame, as it was then. */
static struct maker {
	struct rt_co *co;
	uint64_t co_id;
	uintptr_t frame, caller_frame, return_address;
	uint32_t looked; /* the heap.sweep_gen of the sweep that follows */
	bool returned;   /* when that began */
	bool counted_kept, counted_outlived, counted_stored;
} *makers;

void escape_set(bool on)
{
	if (on && !makers) {
		makers = mmap(NULL, SAMPLES_MAX * sizeof *makers, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (makers == MAP_FAILED)
			rt_fatal("RT_DEBUG=escape: no address space for the makers of objects");
	}
	atomic_store(&heap_escapes, on);
	barrier_watch();
}

void escape_made(uint32_t record, uintptr_t frame)
{
	struct rt_co *co = this_co();
	struct maker *m = &makers[record];

	*m = (struct maker){.co = co};
	if (!co || !stack_holds(co, frame))
		return;
	m->co_id = co->id;
	m->frame = frame;
	m->caller_frame = ((const uintptr_t *)frame)[0];
	m->return_address = ((const uintptr_t *)frame)[1];
}

/* The lowest address of its stack in use; the world stands still. 0: it has none. */
static uintptr_t stack_pointer(const struct rt_co *co)
{
	const struct m *m = atomic_load_explicit(&co->m, memory_order_relaxed);
	const ucontext_t *u;

	switch ((enum co_state)atomic_load_explicit(&co->state, memory_order_relaxed)) {
	case CO_RUNNABLE:
	case CO_WAITING:
	case CO_PREEMPTED:
		return (uintptr_t)co->saved.sp;
	case CO_SYSCALL:
		return co->left_sp;
	case CO_RUNNING:
		if (!m)
			return 0;
		u = atomic_load_explicit(&m->held_context, memory_order_relaxed);
		if (m->on_system_stack)
			return co->left_sp;
		return u ? (uintptr_t)u->uc_mcontext.gregs[REG_RSP] : m->held_sp;
	default:
		return 0;
	}
}

static bool has_returned(const struct maker *m)
{
	const uintptr_t *frame = (const uintptr_t *)m->frame;
	uintptr_t sp = m->co->id == m->co_id ? stack_pointer(m->co) : 0;

	return !sp || !stack_holds(m->co, sp) || sp > m->frame || frame[0] != m->caller_frame ||
	       frame[1] != m->return_address;
}

void escape_look(uint32_t record)
{
	struct maker *m = &makers[record];

	if (!m->frame)
		return;
	m->looked = heap.sweep_gen + 2;
	m->returned = has_returned(m);
}

void escape_stored(uint32_t record, struct heap_site *s)
{
	if (makers[record].counted_stored)
		return;
	makers[record].counted_stored = true;
	count_up(&s->stored);
}

void escape_swept(uint32_t record, struct heap_site *s, bool kept)
{
	struct maker *m = &makers[record];

	if (!kept) {
		count_up(&s->died);
		return;
	}
	if (m->looked != heap.sweep_gen) /* it was made while marking was on */
		return;
	if (m->returned && !m->counted_outlived) {
		m->counted_outlived = true;
		count_up(&s->outlived);
	} else if (!m->returned && !m->counted_kept) {
		m->counted_kept = true;
		count_up(&s->kept_in_frame);
	}
}
