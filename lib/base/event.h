/*
 * event - what the library tells its caller while it works
 *
 * lib/ is quiet: it returns errors and emits events; cmd/ decides how they look, a test asserts
 * their sequence. An event and its strings live only during the call.
 */
#pragma once

#include <stdint.h>

#define EVENT_TYPES(X)                                                                             \
	X(PHASE)        /* a run enters name: prepare, baseline, fault, recovery, done */          \
	X(LAB)          /* a lab pod changed: name = pod, text = state */                          \
	X(PLANNED)      /* a fault has its targets: name = fault, value = number of targets */     \
	X(JOURNALED)    /* undo records of a fault are on disk: name = fault */                    \
	X(INJECTED)     /* read back from the kernel: name = fault, value = ns it took */          \
	X(EFFECT)       /* the effect was measured: name = fault, text = measurement */            \
	X(CHANGED)      /* a fault changed in place (step, re-resolved peer, target come or gone) */ \
	X(TARGET_GONE)  /* name = target */                                                        \
	X(GAP)          /* the fault is not as it was set: name = target, text = what */           \
	X(LEASE_EXPIRED)/* the gate let packets through: name = fault, value = packets */          \
	X(SAMPLE)       /* an SLO was evaluated: name = SLO, text = value, value = 1 if it holds */ \
	X(BREACHED)     /* name = SLO, text = objective */                                         \
	X(ABORTED)      /* text = reason */                                                        \
	X(RECOVERED)    /* reverted: name = fault, value = ns it took */                           \
	X(RESIDUE)      /* something was left behind: name = target, text = what */                \
	X(WARNING)      /* text */                                                                 \
	X(VERDICT)      /* text = verdict */

enum event_type {
#define X(name) EVENT_##name,
	EVENT_TYPES(X)
#undef X
	EVENT_TYPE_MAX
};

struct event {
	enum event_type type;
	int64_t at_ns; /* CLOCK_MONOTONIC */
	const char *name;
	const char *text;
	int64_t value;
};

struct listener {
	void (*fn)(void *data, const struct event *ev);
	void *data;
};

const char *event_type_name(enum event_type type); /* "phase", "lease-expired", ... */

/* listener may be NULL; at_ns is filled in. */
void event_emit(const struct listener *l, struct event ev);
