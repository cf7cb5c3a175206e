/*
 * readiness - a readiness probe, asked from the switch namespace
 *
 * Until the first success after a start it asks every 100 ms, so that the time to ready is known
 * that well; then every periodSeconds, as in Kubernetes.
 *
 * Threads: the loop's thread only
 */
#pragma once

#include "manifest.h"

#include <stdbool.h>

struct sd_event;
struct readiness;

/* changed is called when readiness or the reason against it changes. */
struct readiness *readiness_start(struct sd_event *loop, const struct lab_probe *spec, const char *address,
			  void (*changed)(void *data, bool ready), void *data);
/* "connect: Connection refused"; "" when the last try succeeded or there was none. */
const char *readiness_why(const struct readiness *p);
void readiness_stop(struct readiness *p);
