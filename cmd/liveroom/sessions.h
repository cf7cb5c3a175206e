/*
 * sessions - who watches a room, from joining to leaving
 *
 * A join begins one; segments, chat and the good-bye name it (parameter `session`). It ends by a good-bye,
 * or when nothing was heard of it for config.session_idle_ns. A room has config.sessions of them at most:
 * who comes then is sent away until somebody has left. A request without the parameter has no session
 * and is answered all the same.
 *
 * Owns:    sessions and what finds them are objects of the collected heap; one that has ended lives on
 *          while a request under way still has it
 * Threads: coroutines; one lock a room, held for a look-up or a change
 */
#pragma once

#include "roles.h"

struct session;

/* A new one, whose name goes to ret. False: the room is full. */
bool session_begin(int64_t room, char ret[SESSION_NAME_MAX]);
bool session_is_named(const struct http_request *req);
/* The one that the request names, which is heard of now; *ret NULL: it names none. False: it has ended or
 * was never there, and the answer says so. */
bool session_named(const struct http_request *req, struct http_answer *a, int64_t room,
		   struct session **ret);
/* So many segments did not reach it in time. s may be NULL, as below. */
void session_stalled(struct session *s, int64_t n);
/* Up to which message of the chat it has read, 0 without one; and that it has read up to there. */
int64_t session_chat(struct session *s);
void session_chat_read(struct session *s, int64_t number);
/* By a good-bye. */
void session_end(struct session *s);
/* Ends those of which nothing was heard for too long. */
void sessions_expire(int64_t now);
