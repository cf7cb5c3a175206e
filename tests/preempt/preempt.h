/*
 * preempt - the harness as a command: rt-preempt, and liveroom's verb of that name, which proves
 * the very runtime that liveroom was linked with
 */
#pragma once

/* name: what it is called by. Returns an exit code. Outside of a runtime; with no signal blocked. */
int preempt_main(const char *name, int argc, char **argv);
