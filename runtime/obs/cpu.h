/*
 * cpu - which code the threads of the runtime spend their time in
 *
 * Flow:    cpu_profile_start -> [a timer of each thread's CPU time] -> cpu_profile_stop
 * Threads: any, one profile at a time. Samples are taken in a signal handler
 * Errors:  -EBUSY one is being taken; -EINVAL none is
 */
#pragma once

#include "out.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CPU_HZ = 100 }; /* Go's */
enum cpu_form { CPU_PROTO, CPU_FLAME };

int cpu_profile_start(unsigned hz);
/* Ends it and writes what was sampled. */
int cpu_profile_stop(struct out *o, enum cpu_form form);

/* Below that: what the handler has written, a record a sample. The last pc but for the first is a
 * return address; the first is the interrupted one, plus one. */
struct cpu_record {
	uint64_t count; /* more than 1 when the thread could not be interrupted in time */
	uint64_t n;
	uintptr_t pcs[];
};
int cpu_sampling_start(unsigned hz);
bool cpu_is_sampling(void);
void cpu_sampling_stop(void);
/* Between stop and free. */
const struct cpu_record *cpu_next(const struct cpu_record *after);
uint64_t cpu_lost(void); /* samples, for want of room */
int64_t cpu_begun_ns(void);
void cpu_sampling_free(void);
