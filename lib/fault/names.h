/*
 * names - addresses of names, looked up again and again without holding anybody up
 *
 * Threads: lookups block in a thread of their own; names_get never waits
 */
#pragma once

#include "../base/mem.h"
#include "peers.h"

#include <stdbool.h>
#include <stdint.h>

struct names;

/* hosts (may be NULL, copied) is asked before the resolver: name -> comma-separated addresses. */
struct names *names_new(const struct kvs *hosts);
void names_free(struct names *n);
DEFINE_AUTOPTR(names, names_free);

/* All before names_start. */
void names_add(struct names *n, const char *name, uint16_t port);
/* Looks up at once and then every interval_ns. */
int names_start(struct names *n, int64_t interval_ns, struct err *e);

/* Adds what is known now. False while the first round is not through, or with *ret_unknown set to
 * a name that has no address (borrowed). */
bool names_get(struct names *n, struct peers *ret, const char **ret_unknown);
/* Waits for the first round; false when it takes longer. */
bool names_wait(struct names *n, int64_t timeout_ns);
