/*
 * view - what a person sees of a run while it goes on
 *
 * On a terminal: a block that is redrawn in place, with the phase, a countdown, the faults and a
 * sparkline per SLO. Elsewhere: one plain line an event, with the time since the start.
 */
#pragma once

#include "../../lib/engine.h"

struct globals;
struct view;

/* Before the engine exists: its options need the listener. plain: stdout carries something else,
 * so that nothing is drawn there. */
struct view *view_new(const struct globals *g, bool plain);
struct listener view_listener(struct view *v);
/* Redraws from the engine's state on loop's timer until view_free. */
int view_attach(struct view *v, const struct engine *en, struct sd_event *loop, struct err *e);
/* Clears the live block: what is printed next starts on a line of its own. */
void view_finish(struct view *v);
void view_free(struct view *v);
DEFINE_AUTOPTR(view, view_free);

/* The verdict tables of a record (engine_record()), as after a run and in `brunt report RUN`. */
void view_record(const struct globals *g, const json_t *record);
