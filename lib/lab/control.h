/*
 * control - the supervisor's end of its socket: lines of JSON, descriptors beside them
 *
 * Requests are {"op": NAME, ...}; the supervisor answers each with one line. A subscriber gets the
 * newest state whenever it changed; one that reads slowly skips states, never the newest.
 *
 * Only processes of the same user or root are let in (SO_PEERCRED; the folder is 0700 as well).
 * Threads: the loop's thread only
 */
#pragma once

#include "../base/err.h"

#include <jansson.h>
#include <stdbool.h>

struct sd_event;
struct control;
struct control_client;

struct control_ops {
	void (*request)(void *data, struct control_client *c, const json_t *req);
	json_t *(*state)(void *data); /* for subscribers: {"state": ...} */
	void (*owner_gone)(void *data);
};

int control_open(struct sd_event *loop, const char *dir, const struct control_ops *ops, void *data,
		 struct control **ret, struct err *e);
/* The connection that the supervisor was started with: subscribed from the start. Taken. */
void control_add_owner(struct control *c, int fd);
/* Takes the object; fds are sent along and stay the caller's. A client that is gone is no error. */
void control_answer(struct control_client *c, json_t *object, const int *fds, size_t n_fds);
void control_answer_err(struct control_client *c, const struct err *e);
void control_subscribe(struct control_client *c);
/* Everybody who subscribed gets the state, soon: changes within a millisecond count once. */
void control_state_changed(struct control *c);
/* What was answered before is still received. */
void control_close(struct control *c);
