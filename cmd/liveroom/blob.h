/*
 * blob - bytes that outlive the answer that carries them: a segment
 *
 * Threads: any
 */
#pragma once

#include "util.h"

#include "../../runtime/service/http.h"

#include <stdatomic.h>

struct blob {
	_Atomic unsigned refs;
	size_t len;
	char data[];
};

struct blob *blob_new(size_t len); /* pages of its own, given back to the kernel when freed; NULL */
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b); /* accepts NULL */
/* The answer's body; takes the reference. */
void blob_answer(struct http_answer *a, struct blob *b);
