/*
 * Blobs come from mmap and not from malloc, whose free lists would keep the memory: a cache that
 * shrinks under pressure must give it back at once.
 */
#include "blob.h"

#include <sys/mman.h>

struct blob *blob_new(size_t len)
{
	struct blob *b = mmap(NULL, sizeof *b + len, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (b == MAP_FAILED)
		return NULL;
	b->refs = 1;
	b->len = len;
	return b;
}

struct blob *blob_ref(struct blob *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

void blob_unref(struct blob *b)
{
	/* acq_rel: the last one sees what the others did with it */
	if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
		munmap(b, sizeof *b + b->len);
}

static void release(void *owner)
{
	blob_unref(owner);
}

void blob_answer(struct http_answer *a, struct blob *b)
{
	http_answer_done(a);
	a->type = "application/octet-stream";
	a->body = b->data;
	a->len = b->len;
	a->release = release;
	a->owner = b;
}
