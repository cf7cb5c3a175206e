#include "event.h"

#include "clock.h"
#include "own.h"

static const char *const type_names[] = {
	[EVENT_PHASE] = "phase",
	[EVENT_LAB] = "lab",
	[EVENT_PLANNED] = "planned",
	[EVENT_JOURNALED] = "journaled",
	[EVENT_INJECTED] = "injected",
	[EVENT_EFFECT] = "effect",
	[EVENT_CHANGED] = "changed",
	[EVENT_TARGET_GONE] = "target-gone",
	[EVENT_GAP] = "gap",
	[EVENT_LEASE_EXPIRED] = "lease-expired",
	[EVENT_SAMPLE] = "sample",
	[EVENT_BREACHED] = "breached",
	[EVENT_ABORTED] = "aborted",
	[EVENT_RECOVERED] = "recovered",
	[EVENT_RESIDUE] = "residue",
	[EVENT_WARNING] = "warning",
	[EVENT_VERDICT] = "verdict",
};

_Static_assert(ARRAY_SIZE(type_names) == EVENT_TYPE_MAX, "every event type has a name");

const char *event_type_name(enum event_type type)
{
	return type_names[type];
}

void event_emit(const struct listener *l, struct event ev)
{
	if (!l || !l->fn)
		return;
	ev.at_ns = clock_now_ns();
	l->fn(l->data, &ev);
}
