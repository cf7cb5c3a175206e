#include "debug.h"

#include "../../runtime/obs/debug.h"
#include "roles.h"

#include <stdio.h>

struct page {
	int status;
	const char *type;
	char *data;
	size_t n;
};

static void take_head(void *arg, int status, const char *type)
{
	struct page *p = arg;

	p->status = status;
	p->type = type;
}

static int take_bytes(void *arg, const void *bytes, size_t n)
{
	struct page *p = arg;
	char *data = realloc(p->data, p->n + n + 1);

	if (!data)
		abort();
	memcpy(data + p->n, bytes, n);
	p->data = data;
	p->n += n;
	return 0;
}

static void answer(const struct http_request *req, struct http_answer *a)
{
	struct page p = {0};
	struct rt_debug_sink sink = {take_head, take_bytes, &p};

	rt_debug_serve(req->path, req->query, &sink);
	http_give(a, p.type, p.data, p.n);
	a->status = p.status;
}

int debug_open(const char *where, struct http_server **ret)
{
	static const struct http_route routes[] = {
		{"/debug/", HTTP_GET, HTTP_BELOW, answer},
		{0},
	};
	struct http_options o = {.routes = routes};
	char at[HTTP_HOST_MAX + 16];

	*ret = NULL;
	if (!where)
		return 0;
	snprintf(at, sizeof at, "%s%s", strchr(where, ':') ? "" : "127.0.0.1:", where);
	*ret = serve_at(at, &o);
	return *ret ? 0 : -1;
}

void debug_announce(const struct http_server *s)
{
	if (s)
		printf("liveroom: debug pages at http://%s/debug/pprof/\n", http_address(s));
}

void debug_close(struct http_server *s)
{
	if (s)
		http_drain(s, 0);
}
