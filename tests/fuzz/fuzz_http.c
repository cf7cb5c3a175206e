/*
 * Any bytes as a request, as a chunked body, as an answer and as an origin: the parsers answer the
 * same whether a head came alone or with what follows it, and a body in one piece or in two; they
 * wait for the rest of what is cut short, and keep inside their buffers.
 */
#include "../../runtime/service/http_format.c"
#include "../../runtime/service/http_parse.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void try_queries(const struct http_request *r)
{
	static const char *const names[] = {"room", "seq", "after", ""};
	char value[24];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (http_query(r, names[i], value, sizeof value))
			check(strlen(value) < sizeof value);
}

static bool same(const struct http_request *a, const struct http_request *b)
{
	return a->method == b->method && a->keep_alive == b->keep_alive &&
	       a->http_1_0 == b->http_1_0 && a->chunked == b->chunked &&
	       a->expect_continue == b->expect_continue &&
	       a->content_length == b->content_length && !strcmp(a->path, b->path) &&
	       !strcmp(a->query, b->query) && !strcmp(a->host, b->host);
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
	check(r.method == HTTP_POST || (!r.chunked && !r.content_length));
	check(!(r.chunked && r.content_length) && r.content_length >= 0);
	check(http_parse_request(text, (size_t)n, &alone) == n && same(&r, &alone));
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

/* In one piece, and in two with the second after the first's output. */
static void try_chunks(const char *text, size_t size, size_t room)
{
	struct http_chunked whole = {0}, cut = {0};
	char *a = malloc(room + 1), *b = malloc(room + 1);
	size_t used, made, used1, made1, used2 = 0, made2 = 0, first = size / 2;
	int r = http_chunked_take(&whole, text, size, a, room, &used, &made), s;

	s = http_chunked_take(&cut, text, first, b, room, &used1, &made1);
	if (s == 0) {
		check(used1 == first);
		s = http_chunked_take(&cut, text + first, size - first, b + made1, room - made1,
				      &used2, &made2);
	}
	check(r == s || r == -413 || s == -413);
	check(used <= size && made <= used && made <= room);
	if (r == s && r >= 0)
		check(used == used1 + used2 && made == made1 + made2 && !memcmp(a, b, made));
	if (r == 0)
		check(used == size);
	free(a);
	free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_origin origin;
	char *text = malloc(size + 1); /* of its size: what is read beyond it is found */

	check(text);
	memcpy(text, data, size);
	text[size] = '\0';
	if (http_parse_origin(text, &origin))
		check(origin.host[0] && origin.port[0]);
	text = realloc(text, size ? size : 1);
	check(text);
	try_request(text, size);
	try_response(text, size);
	try_chunks(text, size, size);
	try_chunks(text, size, size / 3);
	free(text);
	return 0;
}
