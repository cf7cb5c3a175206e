/*
 * capability - what this kernel and this user can do, known by trying it
 *
 * Each row was tried in a scratch network namespace or cgroup and read back, or says why it could
 * not be tried. fix is one sentence with the way to get what is missing.
 */
#pragma once

#include "../base/mem.h"

#include <stdbool.h>

struct capability {
	char *area;   /* "NetworkChaos", "house" */
	char *name;   /* "delay by netem" */
	bool ok;
	bool needed;  /* without it part of the area does not work; else it is a better way only */
	char *detail; /* what was seen: "netem added and read back", the kernel's reason */
	char *fix;    /* NULL when ok */
};

struct capability_list {
	struct capability *items;
	size_t n;
};

/* Copies; fix may be NULL. */
void capability_add(struct capability_list *l, const char *area, const char *name, bool needed,
		    bool ok, const char *detail, const char *fix);
void capability_list_done(struct capability_list *l);
#define autocapabilities __attribute__((cleanup(capability_list_done))) struct capability_list
