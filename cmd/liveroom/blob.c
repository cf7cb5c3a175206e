#include "blob.h"

struct blob *blob_new(size_t len)
{
	struct blob *b = rt_new_bytes(sizeof *b + len);

	b->len = len;
	return b;
}

void blob_answer(struct http_answer *a, struct blob *b)
{
	http_answer_done(a);
	a->type = "application/octet-stream";
	a->body = b->data;
	a->len = b->len;
}
