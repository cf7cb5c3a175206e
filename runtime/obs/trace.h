/*
 * trace - what ran where and why it left, as a file that ui.perfetto.dev opens
 *
 * Flow:    trace_start -> [events of the scheduler] -> trace_stop
 * Threads: coroutines only, one trace at a time; both ends stop the world for a moment
 * Errors:  -EBUSY one is being taken; -EINVAL none is; -ENOMEM no address space
 * Source:  Perfetto's TracePacket, TrackDescriptor and TrackEvent
 *
 * A track per P with a slice for each time a coroutine ran there; an arrow from where it was made
 * runnable to where it ran; a track for stopped worlds. At most TRACE_EVENTS_MAX events: what comes
 * later is counted and said in the trace.
 */
#pragma once

#include "obs.h"
#include "out.h"

enum { TRACE_EVENTS_MAX = 4 << 20 };

int trace_start(void);
int trace_stop(struct out *o);

struct trace_event {
	int64_t ns;
	uint64_t co, arg;
	uint32_t kind; /* enum trace_kind */
	uint32_t p;    /* NO_P: a thread without one */
};
#define NO_P UINT32_MAX

/* Below that: the buffer. World stopped for begin and end. */
int trace_reserve(void);
void trace_begin(void);
void trace_end(void);
void trace_note(enum trace_kind kind, uint32_t p, uint64_t co, uint64_t arg);
/* Events with gaps (kind TRACE_NOTHING); between end and free. */
struct trace_event *trace_events(size_t *ret_n, uint64_t *ret_lost);
void trace_free(void);
bool trace_is_on(void);
