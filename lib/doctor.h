/*
 * doctor - what this machine and this user can do, known by trying it
 *
 * Owns:    nothing; everything tried is made in scratch namespaces and cgroups and removed
 * Errors:  a thing that is missing is a row, never an error
 */
#pragma once

#include "fault/capability.h"

#include "base/err.h"

/* Appends the house's own needs (user, state directory, BPF, cgroups), then asks every fault
 * driver. */
int doctor_run(const char *state_dir, struct capability_list *ret, struct err *e);
