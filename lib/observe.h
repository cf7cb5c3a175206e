/*
 * observe - what is looked at in every evaluation period while a run goes on
 *
 * Flow:    inject -> [observe] -> recover
 * Threads: the loop's thread only
 */
#pragma once

#include "inject.h"

/*
 * Looks whether a fault that is on is as it was set, ticks it and measures its effect; EVENT_EFFECT
 * when that is first known. all are the run's: where one of them has killed a target, what is missing
 * there while it is down is no gap. last: right before the fault is taken off.
 */
void observe_fault(struct injection *in, struct injection *const *all, size_t n, bool last);

/* Warns of SLOs that cannot get the samples they take: said before the time is spent, not after. */
void observe_foresee(const struct experiment *x, const struct listener *l);

/* The first abort condition that holds, as a sentence ("join: p99 > 5s for 3.00 s"); NULL when
 * none does. slos are in the order of the experiment's. */
char *observe_abort(const struct experiment *x, struct slo *const *slos, int64_t now_ns);

/*
 * Compares the faults of one spec that are on with what its selection gives now. Targets that
 * went (or came back with another network namespace) are let go: EVENT_TARGET_GONE, gone is
 * called and the driver is told; of changed peers it is told too. ret_came gets the targets that
 * none of the faults has yet.
 */
int observe_targets(const struct fault_spec *spec, struct injection *const *all, size_t n,
		    const struct target_list *listed, uint64_t seed,
		    void (*gone)(void *data, const struct captured_target *c), void *data,
		    struct target_list *ret_came, struct err *e);
