/*
 * text - stacks and coroutines in the layouts of Go's runtime and its pprof pages
 *
 * Threads: on a system stack, never in a stopped world
 */
#pragma once

#include "out.h"
#include "snapshot.h"

/* As /debug/pprof/...?debug=1 lists a stack: a line "# address function+offset file:line" for each frame,
 * padded with tabs, and an empty line. */
void text_record(struct out *o, const uintptr_t *pcs, size_t n);
/* " 0x4a1b7d 0x4a1c02", as the line above that has them. */
void text_addresses(struct out *o, const uintptr_t *pcs, size_t n);
/* As a panic prints one: a line of function, a line of place. The runtime's
 * inner frames on top are left out. */
void text_stack(struct out *o, const uintptr_t *pcs, size_t n);
/*
 * A whole coroutine: its state, its stack, who made it, an empty line.
 * TEXT_GO:  goroutine 7 [chan receive, 2 minutes]: .. created by main.f in goroutine 1 .. its place
 * TEXT_OWN: coroutine 7 "name" [chan receive, 125.003 s]: .. created by f in coroutine 1 at f.c:12
 */
enum text_style { TEXT_GO, TEXT_OWN };
void text_coroutine(struct out *o, const struct snapshot *s, const struct snap_co *co,
		    enum text_style style);
/* TEXT_OWN of one that need not be in a snapshot, with a stack that the caller has. */
void text_one(struct out *o, const struct rt_co *co, const uintptr_t *pcs, int n);
/* Name, or the function it began in. Good until the next call. */
const char *text_name(const char *name, uintptr_t entry);
