/*
 * Any bytes as a request, as an answer and as an origin: the parsers answer the same whether a head
 * came alone or with what follows it, wait for the rest of one that is cut short, and keep inside.
 */
#include "../../cmd/liveroom/http.c"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void try_queries(const struct http_request *r)
{
	static const char *const names[] = {"room", "seq", ""};
	char value[24];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (http_query(r, names[i], value, sizeof value))
			check(strlen(value) < sizeof value);
}

static void try_request(const char *text, size_t size)
{
	struct http_request r, alone;
	int n = http_parse_request(text, size, &r);

	if (n == 0)
		check(size < HTTP_HEAD_MAX);
	if (n < 0)
		check(strcmp(http_reason(-n), "Unknown") != 0);
	if (n <= 0)
		return;
	check((size_t)n <= size && n <= HTTP_HEAD_MAX);
	check(r.path[0] == '/' && strlen(r.path) < sizeof r.path);
	check(http_parse_request(text, (size_t)n, &alone) == n && !memcmp(&r, &alone, sizeof r));
	check(http_parse_request(text, (size_t)n - 1, &alone) == 0);
	try_queries(&r);
}

static void try_response(const char *text, size_t size)
{
	struct http_response r;
	int n = http_parse_response(text, size, &r);

	check(n >= 0 || n == -502);
	if (n <= 0)
		return;
	check((size_t)n <= size && r.status >= 200 && r.status <= 599 && r.content_length >= -1);
	check(http_parse_response(text, (size_t)n - 1, &r) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_origin origin;
	char *url = strndup((const char *)data, size);

	try_request((const char *)data, size);
	try_response((const char *)data, size);
	if (http_parse_origin(url, &origin))
		check(origin.host[0] && origin.port[0]);
	free(url);
	return 0;
}
