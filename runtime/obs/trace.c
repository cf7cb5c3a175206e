/*
 * At the start every coroutine there is gets a creation event, and those that run a start: the
 * trace tells itself. Names are strings of the program and are read when it is written.
 */
#include "trace.h"

#include "map.h"
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Field numbers of Perfetto's messages. */
enum {
	TRACE_PACKET = 1,
	PACKET_TIMESTAMP = 8,
	PACKET_SEQUENCE_ID = 10,
	PACKET_TRACK_EVENT = 11,
	PACKET_TIMESTAMP_CLOCK_ID = 58,
	PACKET_TRACK_DESCRIPTOR = 60,
	TRACK_UUID = 1,
	TRACK_NAME = 2,
	TRACK_PROCESS = 3,
	TRACK_PARENT_UUID = 5,
	PROCESS_PID = 1,
	PROCESS_NAME = 6,
	EVENT_ANNOTATIONS = 4,
	EVENT_TYPE = 9,
	EVENT_TRACK_UUID = 11,
	EVENT_CATEGORIES = 22,
	EVENT_NAME = 23,
	EVENT_FLOW_IDS = 47,
	EVENT_TERMINATING_FLOW_IDS = 48,
	ANNOTATION_UINT = 3,
	ANNOTATION_STRING = 6,
	ANNOTATION_NAME = 10,
};
enum { SLICE_BEGIN = 1, SLICE_END = 2, INSTANT = 3 };
enum { SEQUENCE = 1, CLOCK_MONOTONIC_ID = 3 };
/* Tracks. */
enum { UUID_PROCESS = 1, UUID_STOPS = 2, UUID_NO_P = 3, UUID_PS = 16 };

/* Start and end ----------------------------------------------------------------------------------- */

static void note_existing(struct rt_co *co, void *arg)
{
	enum co_state s = atomic_load(&co->state);
	struct m *m = atomic_load(&co->m);

	if (s == CO_IDLE || s == CO_DEAD)
		return;
	trace_note(TRACE_CREATE, NO_P, co->id, (uintptr_t)co->fn.plain);
	if (co->name)
		trace_note(TRACE_NAME, NO_P, co->id, (uintptr_t)co->name);
	if (s == CO_RUNNING && m && m->p)
		trace_note(TRACE_START, m->p->id, co->id, 0);
}

static void begin(void *arg)
{
	trace_begin();
	stack_each(note_existing, NULL);
}

int trace_start(void)
{
	int r = trace_reserve();

	if (r == 0)
		rt_stop_world("trace", begin, NULL);
	return r;
}

static void end(void *arg)
{
	trace_end();
	*(int64_t *)arg = now_ns();
}

/* Writing ----------------------------------------------------------------------------------------- */

struct writer {
	struct out *out;
	struct map names; /* id of a coroutine: its name, as a pointer */
	struct map entries;
	uint64_t running[PROCS_MAX]; /* id of what runs on a P; 0: nothing */
	int64_t ended_ns;
	int stops_open; /* slices on the track of stops */
};

static void write_track(struct out *o, uint64_t uuid, uint64_t parent, const char *name)
{
	size_t packet = pb_begin(o, TRACE_PACKET);
	size_t track = pb_begin(o, PACKET_TRACK_DESCRIPTOR);

	pb_uint(o, TRACK_UUID, uuid);
	pb_uint_opt(o, TRACK_PARENT_UUID, parent);
	pb_string(o, TRACK_NAME, name);
	if (uuid == UUID_PROCESS) {
		size_t process = pb_begin(o, TRACK_PROCESS);

		pb_uint(o, PROCESS_PID, (uint64_t)getpid());
		pb_string(o, PROCESS_NAME, program_invocation_short_name);
		pb_end(o, process);
	}
	pb_end(o, track);
	pb_uint(o, PACKET_SEQUENCE_ID, SEQUENCE);
	pb_end(o, packet);
}

static void write_tracks(struct out *o)
{
	write_track(o, UUID_PROCESS, 0, program_invocation_short_name);
	write_track(o, UUID_STOPS, UUID_PROCESS, "stop the world");
	write_track(o, UUID_NO_P, UUID_PROCESS, "threads without a P");
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++) {
		char name[16];

		snprintf(name, sizeof name, "P%u", i);
		write_track(o, UUID_PS + i, UUID_PROCESS, name);
	}
}

struct open_event {
	size_t packet, event;
};

static struct open_event event_begin(struct out *o, int64_t ns, uint64_t track, unsigned type)
{
	struct open_event e = {.packet = pb_begin(o, TRACE_PACKET)};

	pb_uint(o, PACKET_TIMESTAMP, (uint64_t)ns);
	pb_uint(o, PACKET_TIMESTAMP_CLOCK_ID, CLOCK_MONOTONIC_ID);
	pb_uint(o, PACKET_SEQUENCE_ID, SEQUENCE);
	e.event = pb_begin(o, PACKET_TRACK_EVENT);
	pb_uint(o, EVENT_TYPE, type);
	pb_uint(o, EVENT_TRACK_UUID, track);
	return e;
}

static void event_end(struct out *o, struct open_event e)
{
	pb_end(o, e.event);
	pb_end(o, e.packet);
}

static void annotate_uint(struct out *o, const char *name, uint64_t value)
{
	size_t a = pb_begin(o, EVENT_ANNOTATIONS);

	pb_string(o, ANNOTATION_NAME, name);
	pb_uint(o, ANNOTATION_UINT, value);
	pb_end(o, a);
}

static void annotate_text(struct out *o, const char *name, const char *value)
{
	size_t a = pb_begin(o, EVENT_ANNOTATIONS);

	pb_string(o, ANNOTATION_NAME, name);
	pb_string(o, ANNOTATION_STRING, value);
	pb_end(o, a);
}

static uint64_t track_of(uint32_t p)
{
	return p == NO_P ? UUID_NO_P : UUID_PS + p;
}

static void write_name(struct writer *w, uint64_t co)
{
	bool no_name, no_entry;
	const char *name = (const char *)(uintptr_t)*map_number(&w->names, co, &no_name);
	uintptr_t entry = (uintptr_t)*map_number(&w->entries, co, &no_entry);
	char text[160];

	snprintf(text, sizeof text, "%s %" PRIu64, entry || name ? text_name(name, entry) : "coroutine",
		 co);
	pb_string(w->out, EVENT_NAME, text);
}

static void close_slice(struct writer *w, int64_t ns, uint32_t p, const char *why)
{
	struct open_event e;

	if (p == NO_P || !w->running[p])
		return;
	w->running[p] = 0;
	e = event_begin(w->out, ns, track_of(p), SLICE_END);
	annotate_text(w->out, "left", why);
	event_end(w->out, e);
}

static void start(struct writer *w, const struct trace_event *t)
{
	struct open_event e;

	if (t->p == NO_P)
		return;
	close_slice(w, t->ns, t->p, "unknown");
	w->running[t->p] = t->co;
	e = event_begin(w->out, t->ns, track_of(t->p), SLICE_BEGIN);
	pb_string(w->out, EVENT_CATEGORIES, "coroutine");
	write_name(w, t->co);
	pb_fixed64(w->out, EVENT_TERMINATING_FLOW_IDS, t->co);
	annotate_uint(w->out, "id", t->co);
	event_end(w->out, e);
}

static void instant(struct writer *w, const struct trace_event *t, const char *what)
{
	struct open_event e = event_begin(w->out, t->ns, track_of(t->p), INSTANT);

	pb_string(w->out, EVENT_CATEGORIES, "scheduler");
	pb_string(w->out, EVENT_NAME, what);
	pb_fixed64(w->out, EVENT_FLOW_IDS, t->co);
	annotate_uint(w->out, "coroutine", t->co);
	if (t->kind == TRACE_STEAL)
		annotate_uint(w->out, "from P", t->arg);
	event_end(w->out, e);
}

static void stop_world(struct writer *w, const struct trace_event *t, unsigned type, const char *name)
{
	struct open_event e = event_begin(w->out, t->ns, UUID_STOPS, type);

	w->stops_open += type == SLICE_BEGIN ? 1 : -1;
	if (name)
		pb_string(w->out, EVENT_NAME, name);
	event_end(w->out, e);
}

/* The trace may have begun in a stop. */
static void end_stop(struct writer *w, const struct trace_event *t)
{
	if (w->stops_open)
		stop_world(w, t, SLICE_END, NULL);
}

static void write_event(struct writer *w, const struct trace_event *t)
{
	bool fresh;

	switch ((enum trace_kind)t->kind) {
	case TRACE_CREATE:
		*map_number(&w->entries, t->co, &fresh) = t->arg;
		if (t->p != NO_P)
			instant(w, t, "create");
		break;
	case TRACE_NAME:
		*map_number(&w->names, t->co, &fresh) = t->arg;
		break;
	case TRACE_START:
		start(w, t);
		break;
	case TRACE_PARK:
		close_slice(w, t->ns, t->p, wait_reason_name((enum wait_reason)t->arg));
		break;
	case TRACE_YIELD:
		close_slice(w, t->ns, t->p, "yield");
		break;
	case TRACE_PREEMPT:
		close_slice(w, t->ns, t->p, "preempted");
		break;
	case TRACE_SYSCALL:
		close_slice(w, t->ns, t->p, "system call");
		break;
	case TRACE_EXIT:
		close_slice(w, t->ns, t->p, "end");
		break;
	case TRACE_READY:
		instant(w, t, "ready");
		break;
	case TRACE_STEAL:
		instant(w, t, "steal");
		break;
	case TRACE_STOP_WORLD:
		stop_world(w, t, SLICE_BEGIN, (const char *)(uintptr_t)t->arg);
		stop_world(w, t, SLICE_BEGIN, "time to safepoint");
		break;
	case TRACE_STOPPED:
	case TRACE_GO_ON:
		end_stop(w, t);
		break;
	case TRACE_NOTHING:
	case TRACE_KINDS:
		break;
	}
}

static int by_time(const void *a, const void *b)
{
	const struct trace_event *x = a, *y = b;

	return (x->ns > y->ns) - (x->ns < y->ns);
}

static void write_lost(struct writer *w, uint64_t lost)
{
	struct open_event e;

	if (lost == 0)
		return;
	e = event_begin(w->out, w->ended_ns, UUID_PROCESS, INSTANT);
	pb_string(w->out, EVENT_NAME, "events were lost: the buffer was full");
	annotate_uint(w->out, "lost", lost);
	event_end(w->out, e);
}

/* Gaps are left out, so that sorting need not keep equal times in order across them. */
static size_t pack(struct trace_event *all, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (all[i].kind != TRACE_NOTHING)
			all[kept++] = all[i];
	return kept;
}

static void work(void *arg)
{
	struct writer *w = arg;
	uint64_t lost;
	size_t n;
	struct trace_event *all = trace_events(&n, &lost);

	n = pack(all, n);
	qsort(all, n, sizeof *all, by_time);
	write_tracks(w->out);
	for (size_t i = 0; i < n; i++)
		write_event(w, &all[i]);
	for (uint32_t p = 0; p < PROCS_MAX; p++)
		close_slice(w, w->ended_ns, p, "end of the trace");
	while (w->stops_open)
		end_stop(w, &(struct trace_event){.ns = w->ended_ns});
	write_lost(w, lost);
	trace_free();
	map_done(&w->names);
	map_done(&w->entries);
}

int trace_stop(struct out *o)
{
	struct writer *w;

	if (!trace_is_on())
		return -EINVAL;
	w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	w->out = o;
	rt_stop_world("trace", end, &w->ended_ns);
	obs_work(work, w);
	free(w);
	return 0;
}
