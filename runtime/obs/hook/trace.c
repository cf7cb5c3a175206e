/*
 * Each thread writes into a chunk of its own: no cache line is shared but when a chunk is taken. The
 * monitor and foreign threads, which make few events, share one under a lock.
 */
#include "../thread.h"
#include "../trace.h"

#include <errno.h>
#include <sys/mman.h>

enum { CHUNK = 512 };

static struct {
	struct trace_event *events; /* NULL: no trace */
	_Atomic uint64_t used, lost;
	_Atomic uint32_t turn;
	struct lock lock; /* guards other */
	struct obs_thread other;
	struct lock taking; /* guards events */
} trace;

static struct trace_event *next_event(struct obs_thread *t)
{
	uint32_t turn = atomic_load_explicit(&trace.turn, memory_order_relaxed);

	if (t->trace_turn != turn) {
		t->trace_turn = turn;
		t->event = t->events_end = NULL;
	}
	if (t->event == t->events_end) {
		uint64_t at = atomic_fetch_add_explicit(&trace.used, CHUNK, memory_order_relaxed);

		if (at + CHUNK > TRACE_EVENTS_MAX) {
			atomic_fetch_add_explicit(&trace.lost, 1, memory_order_relaxed);
			return NULL;
		}
		t->event = trace.events + at;
		t->events_end = t->event + CHUNK;
	}
	return t->event++;
}

static void write_event(struct obs_thread *t, struct trace_event e)
{
	struct trace_event *place = next_event(t);

	if (place)
		*place = e;
}

void trace_note(enum trace_kind kind, uint32_t p, uint64_t co, uint64_t arg)
{
	struct m *m = this_m();
	struct trace_event e = {.ns = now_ns(), .co = co, .arg = arg, .kind = kind, .p = p};

	if (m && m->obs) {
		write_event(m->obs, e);
		return;
	}
	lock_get(&trace.lock);
	if (trace.events)
		write_event(&trace.other, e);
	lock_put(&trace.lock);
}

void trace_emit(enum trace_kind kind, uint64_t co, uint64_t arg)
{
	struct m *m = this_m();
	struct p *p = m ? m->p : NULL;

	trace_note(kind, p ? p->id : NO_P, co, arg);
}

int trace_reserve(void)
{
	void *p;

	lock_get(&trace.taking);
	if (trace.events) {
		lock_put(&trace.taking);
		return -EBUSY;
	}
	p = mmap(NULL, TRACE_EVENTS_MAX * sizeof(struct trace_event), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p != MAP_FAILED)
		trace.events = p;
	lock_put(&trace.taking);
	return p == MAP_FAILED ? -ENOMEM : 0;
}

void trace_begin(void)
{
	atomic_store(&trace.used, 0);
	atomic_store(&trace.lost, 0);
	atomic_fetch_add(&trace.turn, 1);
	obs_set(OBS_TRACE, true);
}

void trace_end(void)
{
	obs_set(OBS_TRACE, false);
}

bool trace_is_on(void)
{
	return obs_is_on(OBS_TRACE);
}

struct trace_event *trace_events(size_t *ret_n, uint64_t *ret_lost)
{
	uint64_t used = atomic_load(&trace.used);

	*ret_n = used < TRACE_EVENTS_MAX ? used : TRACE_EVENTS_MAX;
	*ret_lost = atomic_load(&trace.lost);
	return trace.events;
}

void trace_free(void)
{
	lock_get(&trace.taking);
	lock_get(&trace.lock);
	munmap(trace.events, TRACE_EVENTS_MAX * sizeof(struct trace_event));
	trace.events = NULL;
	lock_put(&trace.lock);
	lock_put(&trace.taking);
}
