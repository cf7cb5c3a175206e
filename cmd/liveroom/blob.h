/*
 * blob - bytes that outlive the answer that carries them: a segment, on the collected heap
 *
 * Owns:    nobody; a blob lives while a stack, the cache or an answer under way names it
 * Threads: coroutines
 */
#pragma once

#include "util.h"

#include "../../runtime/service/http.h"

struct blob {
	size_t len;
	char *const data; /* an object of its own: 32 KiB and a header would fill the next size class */
};

struct blob *blob_new(size_t len);
/* The answer's body. The answer lies on the stack of the coroutine that sends it. */
void blob_answer(struct http_answer *a, struct blob *b);
