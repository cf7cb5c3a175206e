/*
 * debug - the pages below /debug/ on a listener of their own
 *
 * They show stacks and the command line and take CPU time: never on the port that viewers use.
 *
 * Threads: coroutines
 */
#pragma once

struct http_server;

/* where: [HOST:]PORT, by default of 127.0.0.1; NULL: none are wanted, and *ret is NULL. 0 or -1: failed,
 * the reason is on stderr. */
int debug_open(const char *where, struct http_server **ret);
/* Says where, on stdout; s may be NULL. */
void debug_announce(const struct http_server *s);
/* What is still being profiled is cut off. s may be NULL. */
void debug_close(struct http_server *s);
