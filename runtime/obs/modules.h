/*
 * modules - the executable parts of the program and its libraries, with build ids
 *
 * Threads: any, never in a stopped world (the loader's lock)
 */
#pragma once

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

struct module {
	uintptr_t start, limit;
	uint64_t offset; /* of start in the file */
	char file[PATH_MAX];
	char build_id[2 * 32 + 1]; /* hex; empty: none */
};

struct modules {
	struct module *all;
	size_t n;
};

void modules_load(struct modules *m);
void modules_done(struct modules *m);
/* Its number from 1; 0: pc lies in none. */
size_t modules_find(const struct modules *m, uintptr_t pc);
