/*
 * gate - one fault's BPF programs and maps, and the lease that keeps them in force
 *
 * One gate serves all targets of a fault: each attachment has a slot (its filter's class id) with
 * counters of its own; lease, end and panic switch are common, so turning a fault off is one store
 * however many targets it has.
 *
 * Units:   times given in are CLOCK_MONOTONIC of this process; the gate's own clock may differ by
 *          gate_clock_shift() (time namespaces)
 * Owns:    programs, maps, the renewing thread
 * Threads: one thread; the renewing thread does nothing but sleep and store, no I/O, no lock held
 *          by others
 * Errors:  the verifier's last line when the kernel refuses the programs
 */
#pragma once

#include "../base/err.h"
#include "bpf/gate_map.h"
#include "peers.h"

#include <stdbool.h>
#include <stdint.h>

struct gate;

struct gate_config {
	size_t n_slots;
	uint64_t seed, stream;
	uint32_t loss_ppm;        /* 1000000: partition */
	uint32_t correlation_ppm; /* of a loss with the one before */
	uint32_t protocols;       /* GATE_TCP | ...; 0: all */
	bool peers_only;
	unsigned order;           /* below GATE_ORDERS: its place among overlapping faults */
	int64_t hard_end_ns;      /* 0: one day from now */
};

struct gate_program {
	int fd; /* the gate's */
	uint32_t id;
	uint8_t tag[8];
	const char *name;
};

/* Loads the programs; the gate is inert until it is armed. */
int gate_load(const struct gate_config *config, struct gate **ret, struct err *e);
void gate_free(struct gate *g);
DEFINE_AUTOPTR(gate, gate_free);

/* stage: GATE_DROP, GATE_DELAY or GATE_CLEAR. */
const struct gate_program *gate_program(const struct gate *g, int stage, bool ingress);

/* Makes the gate match exactly these peers, without a moment in which it matches fewer than both
 * the old and the new ones have in common. */
int gate_set_peers(struct gate *g, const struct peers *peers, struct err *e);

/* Puts the fault in force and renews a lease of lease_ns four times each from a thread. */
int gate_arm(struct gate *g, int64_t lease_ns, struct err *e);
/* The panic switch: one store; no packet is touched from here on, whoever renews. */
void gate_close(struct gate *g);

/* The same for one attachment, while the fault goes on at the others. */
void gate_close_slot(struct gate *g, size_t slot);
/* The one flow (GATE_EXEMPT) that passes this attachment untouched. */
void gate_exempt(struct gate *g, size_t slot, uint64_t flow);

/* What of the gate's maps is not as its owner left it; false: all is. */
bool gate_is_changed(const struct gate *g, char *ret, size_t size);
bool gate_slot_is_closed(const struct gate *g, size_t slot);

void gate_counters(const struct gate *g, size_t slot, struct gate_counters *ret);
int64_t gate_clock_shift(const struct gate *g); /* the gate's clock minus this process's */
int gate_control_fd(const struct gate *g);      /* of the map with struct gate_control */

/* The same from another process, through the id of an attached program (TCA_BPF_ID). */
int gate_close_by_id(uint32_t prog_id, struct err *e);
int gate_lease_left_by_id(uint32_t prog_id, int64_t *ret_ns, struct err *e);

/* Chances of a first-order Markov chain that loses ppm of all packets, each loss correlated with
 * the one before; fractions of 2^32. Without correlation both are 0 and *ret_plain counts. */
void gate_loss_chances(uint32_t loss_ppm, uint32_t correlation_ppm, uint64_t *ret_plain,
		       uint64_t *ret_after_loss, uint64_t *ret_after_pass);
