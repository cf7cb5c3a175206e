/*
 * load - the experiment's own load generator, run for as long as the run lasts
 *
 * A process group of its own in the vantage's network namespace, with the vantage's names in its
 * /etc/hosts; it dies with the run by the kernel's hand.
 *
 * Owns:    the process group
 * Threads: the loop's thread only; the process dies with the thread that started it
 */
#pragma once

#include "kernel/workgroup.h"
#include "target/target.h"

struct load;
struct sd_event;

/* group, which may be NULL, is where the process is started.
 * exited is called on the loop when the process ends by itself; text says how, with its last
 * line of output. A command that cannot be started is an error here. */
int load_start(const struct strlist *command, const char *dir, const struct vantage *v,
	       const struct workgroup *group, struct sd_event *loop,
	       void (*exited)(void *data, int status, const char *text),
	       void *data, struct load **ret, struct err *e);
/* SIGTERM to the group, SIGKILL after a short while. */
void load_stop(struct load *l);
DEFINE_AUTOPTR(load, load_stop);
/* The same; returns the end of what it wrote until then, for free(). */
char *load_finish(struct load *l);
