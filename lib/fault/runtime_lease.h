/*
 * runtime_lease - renews what was asked for on control sockets; private to runtime_chaos
 *
 * Threads: one of its own, which does nothing else: the loop may be late, the lease must not
 */
#pragma once

#include "../base/err.h"

#include <stddef.h>
#include <stdint.h>

struct runtime_lease;

/* Says "renew" on each of the sockets four times a lease; fds are borrowed and copied. */
int runtime_lease_start(const int *fds, size_t n, int64_t lease_ns, struct runtime_lease **ret,
			struct err *e);
/* The sockets may be closed after it. Accepts NULL. */
void runtime_lease_stop(struct runtime_lease *l);
