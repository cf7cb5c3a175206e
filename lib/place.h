/*
 * place - where the run's targets are: the source, its list, the vantage
 *
 * An experiment's own lab is brought up first and taken down at the end; a running lab, named
 * namespaces and every other source are only looked at.
 *
 * Owns:    the source, the lab, the list's references, the vantage's names
 * Threads: the loop's thread only
 */
#pragma once

#include "experiment.h"

struct place;
struct sd_event;

struct place_options {
	const char *state_dir;
	const char *lab;    /* name of a running lab; NULL: none */
	const char *source; /* overrides the experiment's; NULL: does not */
	bool allow_host_network;
	const struct listener *listener;
};

/* ready is called on the loop, once: 0 when the targets can be listed, else why not. later is
 * called when the lab died under the run. */
int place_open(const struct experiment *x, const struct place_options *o, struct sd_event *loop,
	       void (*ready)(void *data, int r, const struct err *e),
	       void (*later)(void *data, const struct err *e), void *data, struct place **ret,
	       struct err *e);
int place_list(struct place *p, struct err *e);
const struct target_list *place_targets(const struct place *p);
const struct vantage *place_vantage(const struct place *p);
const char *place_source(const struct place *p);
/* Takes down what place_open brought up; closed is called on the loop when nothing is left. */
void place_close(struct place *p, void (*closed)(void *data), void *data);
void place_free(struct place *p);
DEFINE_AUTOPTR(place, place_free);
