/*
 * gc - a collection's cycle; private to runtime/
 *
 *   sweep ends -> pause: marking on, running coroutines and globals searched -> marking beside the
 *   program -> pause: what barriers kept is marked, marking off -> sweep beside the program
 *
 * Who marks: the collector's coroutines, a quarter of the Ps when all are busy; every P that has nothing
 * else to do, from the scheduler's loop; and who allocates faster than the others mark (assists).
 */
#pragma once

#include "heap.h"

struct m;

/* From the scheduler's loop, with a P and nothing to run: marks for a moment. false: nothing to do. */
bool gc_mark_idle(struct m *m);
void gc_reset(void); /* a runtime has ended */
void gc_abandon(void); /* the same, and threads that are left behind may be at any object */

/* How long the collector's steps take (metrics.c); kept for the life of the process. */
enum gc_time {
	GC_TIME_PAUSE,
	GC_TIME_CYCLE_CPU, /* of marking beside the program, a cycle */
	GC_TIME_ASSIST,    /* CPU time of one */
	GC_TIMES,
};
void gc_note_time(enum gc_time which, int64_t ns); /* any */
struct ttsp;
const struct ttsp *gc_times(enum gc_time which);

/* What a cycle is told and tells, for pacing and the trace. */
struct gc_cycle {
	uint32_t number;
	int64_t began, marked_from, marked_until, swept; /* ns, CLOCK_MONOTONIC */
	int64_t pause_ns[2];         /* all that began marking, all that tried to end it */
	int64_t mark_cpu_ns, idle_cpu_ns, assist_cpu_ns;
	uint64_t heap_at_begin, heap_at_end, heap_live; /* bytes */
	uint64_t cost, stack_bytes, goal;
	bool forced;
};

/* pace.c: when to begin, and how much who allocates owes. */
void pace_init(void);
void pace_begin(const struct gc_cycle *c);      /* marking has begun */
void pace_adjust(uint64_t cost_so_far);         /* now and then while marking */
void pace_end(const struct gc_cycle *c);        /* sets heap.trigger */
uint64_t pace_goal_by_percent(void); /* the same without RT_MEMLIMIT and the cgroup's limit */
uint64_t pace_goal(void);
/* Cost (mark.h) owed for so many bytes, and the other way. */
uint64_t pace_owed(uint64_t bytes);
uint64_t pace_paid(uint64_t cost);

/* Sets goal and trigger anew: percent or limit have changed. any */
void pace_again(void);
/* From a thread that is no coroutine: a cycle begins if the heap is past its trigger. */
void gc_look(void);

/* limit.c: what the memory limit allows */
void limit_init(void);
uint64_t limit_heap(void);  /* bytes that the heap may have; UINT64_MAX: no limit */
void limit_note_waste(void); /* in the pause that begins a marking, where all is swept */
bool limit_is_cpu_capped(void); /* collecting has had half of the CPU: see is_let_off() */
void limit_note_cpu(int64_t gc_ns, int64_t now);
/* sysmon: the control group's limit may have changed. */
void limit_follow(void);
int64_t limit_resident_bytes(void); /* of the whole process; 0: nobody says */

/* tune.c: after a cycle, RT_GOGC by what the pause and the CPU were */
void tune_init(void);
void tune_after(const struct gc_cycle *c, int64_t assist_and_mark_ns, int64_t since_last_ns);

/* verify.c: in the last pause; ends the process with what is wrong. */
extern bool gc_verifies;
void gc_verify(void);
/* sweep.c: what is freed is overwritten */
extern bool gc_poisons;
/* trace.c */
extern bool gc_traces;
void gc_trace(const struct gc_cycle *c);
