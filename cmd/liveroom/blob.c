#include "blob.h"

RT_TYPE(blob_type, struct blob, data);

struct blob *blob_new(size_t len)
{
	struct blob *b = rt_new(&blob_type);

	b->len = len;
	RT_SET(b->data, rt_new_bytes(len ? len : 1));
	return b;
}

void blob_answer(struct http_answer *a, struct blob *b)
{
	http_answer_done(a);
	a->type = "application/octet-stream";
	a->body = b->data;
	a->len = b->len;
}
