/* The HTTP parsers by themselves: what they take apart, what they refuse, and that they stop in time. */
#include "../../runtime/service/http_parse.h"
#include "expect.h"

#include <time.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static int parse(const char *text, struct http_request *ret)
{
	return http_parse_request(text, strlen(text), ret);
}

static void request_is_taken_apart(void)
{
	const char *text = "GET /segment?room=a&seq=5 HTTP/1.1\r\nHost: x:8080\r\nA: b\r\n\r\nGET";
	struct http_request r;

	EXPECT_EQ(parse(text, &r), strlen(text) - 3);
	EXPECT(!strcmp(r.path, "/segment"));
	EXPECT(!strcmp(r.query, "room=a&seq=5"));
	EXPECT(!strcmp(r.host, "x:8080"));
	EXPECT(r.keep_alive && !r.http_1_0);
	EXPECT_EQ(r.method, HTTP_GET);
}

static void keep_alive_by_version_and_header(void)
{
	static const struct {
		const char *text;
		bool keep;
	} rows[] = {
		{"HEAD / HTTP/1.0\r\n\r\n", false},
		{"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
		{"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false},
		{"GET / HTTP/1.1\r\nhost:x\r\nCONNECTION:  Close \r\n\r\n", false},
		{"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade , close\r\n\r\n", false},
		{"GET / HTTP/1.1\r\nHost: x\r\nConnection: closed\r\n\r\n", true},
		{"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n\r\n", true},
	};
	struct http_request r;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (parse(rows[i].text, &r) <= 0 || r.keep_alive != rows[i].keep)
			expect_failed(__FILE__, __LINE__, "row %zu", i);
}

static void refusals(void)
{
	static const struct {
		const char *text;
		int status;
	} rows[] = {
		{"\r\n\r\n", -400},
		{"GET\r\n\r\n", -400},
		{"GET /\r\n\r\n", -400},
		{"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", -400},
		{"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", -400},
		{"GET / HTTP/11\r\nHost: x\r\n\r\n", -400},
		{"GET / HTTP/2.0\r\nHost: x\r\n\r\n", -505},
		{"GET / http/1.1\r\nHost: x\r\n\r\n", -400},
		{"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", -400},
		{"GET * HTTP/1.1\r\nHost: x\r\n\r\n", -400},
		{"G\x01T / HTTP/1.1\r\nHost: x\r\n\r\n", -400},
		{"GET /\x7f HTTP/1.1\r\nHost: x\r\n\r\n", -400},
		{"GET /\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n", -400},
		{"GET /\ta HTTP/1.1\r\nHost: x\r\n\r\n", -400},
		{"get / HTTP/1.1\r\nHost: x\r\n\r\n", -405},
		{"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", -405},
		{"GET / HTTP/1.1\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost:\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\"y\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x y\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost : x\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\n: empty\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\nA: b\x01\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", -400},
		{"GET / HTTP/1.1\nHost: x\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\n\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", -413},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", -400},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n", -400},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\n", -400},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1 1\r\n\r\n", -400},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n", -400},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", -400},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", -400},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999999\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", -501},
		{"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", -501},
		{"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n", -501},
		{"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
		 "Transfer-Encoding: chunked\r\n\r\n", -400},
		{"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
		 -400},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		 -400},
		{"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", -400},
		{"POST / HTTP/1.1\r\nHost: x\r\nExpect: a miracle\r\n\r\n", -417},
	};
	struct http_request r;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int got = parse(rows[i].text, &r);

		if (got != rows[i].status)
			expect_failed(__FILE__, __LINE__, "row %zu: %d, want %d", i, got, rows[i].status);
		EXPECT(strcmp(http_reason(-rows[i].status), "Unknown"));
	}
}

static void a_nul_byte_is_malformed(void)
{
	static const char path[] = "GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n";
	static const char value[] = "GET /ab HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n";
	struct http_request r;

	EXPECT_EQ(http_parse_request(path, sizeof path - 1, &r), -400);
	EXPECT_EQ(http_parse_request(value, sizeof value - 1, &r), -400);
}

static void bounds(void)
{
	static char text[3 * HTTP_HEAD_MAX];
	struct http_request r;
	size_t n;

	memset(text, 'a', sizeof text);
	EXPECT_EQ(http_parse_request(text, HTTP_HEAD_MAX - 1, &r), 0);
	EXPECT_EQ(http_parse_request(text, HTTP_HEAD_MAX, &r), -431);
	n = (size_t)sprintf(text, "GET / HTTP/1.1\r\nHost: x\r\nA: ");
	memset(text + n, 'b', HTTP_HEAD_MAX);
	strcpy(text + HTTP_HEAD_MAX - 4, "\r\n\r\n");
	EXPECT_EQ(http_parse_request(text, HTTP_HEAD_MAX, &r), HTTP_HEAD_MAX);
	strcpy(text + HTTP_HEAD_MAX - 3, "\r\n\r\n");
	text[HTTP_HEAD_MAX - 4] = 'b';
	EXPECT_EQ(http_parse_request(text, HTTP_HEAD_MAX + 1, &r), -431);
	sprintf(text, "GET /%0*d HTTP/1.1\r\nHost: x\r\n\r\n", HTTP_PATH_MAX, 7);
	EXPECT_EQ(parse(text, &r), -414);
	sprintf(text, "GET /?%0*d HTTP/1.1\r\nHost: x\r\n\r\n", HTTP_QUERY_MAX, 7);
	EXPECT_EQ(parse(text, &r), -414);
	sprintf(text, "GET / HTTP/1.1\r\nHost: %0*d\r\n\r\n", HTTP_HOST_MAX, 7);
	EXPECT_EQ(parse(text, &r), -400);
}

/* Every prefix of a request asks for more; no byte beyond the given length is read. */
static void request_in_pieces(void)
{
	static const char text[] = "POST /join?room=a%20b HTTP/1.1\r\nHost: x\r\n"
				   "Content-Length: 3\r\n\r\n";
	struct http_request r;

	for (size_t n = 0; n < sizeof text - 1; n++) {
		char *exact = malloc(n + !n);

		memcpy(exact, text, n);
		EXPECT_EQ(http_parse_request(exact, n, &r), 0);
		free(exact);
	}
	EXPECT_EQ(http_parse_request(text, sizeof text - 1, &r), sizeof text - 1);
	EXPECT_EQ(r.content_length, 3);
}

static void query_is_decoded(void)
{
	struct http_request r = {.query = "room=a%2Db+c&seq=&seqx=9&bad=%4&zero=%00&roomy=q"};
	char v[8];

	EXPECT(http_query(&r, "room", v, sizeof v) && !strcmp(v, "a-b c"));
	EXPECT(http_query(&r, "seq", v, sizeof v) && !strcmp(v, ""));
	EXPECT(http_query(&r, "seqx", v, sizeof v) && !strcmp(v, "9"));
	EXPECT(!http_query(&r, "bad", v, sizeof v));
	EXPECT(!http_query(&r, "zero", v, sizeof v));
	EXPECT(!http_query(&r, "none", v, sizeof v));
	EXPECT(!http_query(&r, "room", v, 5));
}

/* The whole body in one piece, and in two at every place. */
static int unchunk(const char *text, size_t room, char *out, size_t *ret_len, size_t cut)
{
	struct http_chunked c = {0};
	size_t used, made, more, n = strlen(text);
	int r = http_chunked_take(&c, text, cut, out, room, &used, &made);

	if (r == 0) {
		EXPECT_EQ(used, cut);
		r = http_chunked_take(&c, text + used, n - used, out + made, room - made, &more,
				      ret_len);
		used += more;
	} else {
		*ret_len = 0;
	}
	*ret_len += made;
	return r == 1 && text[used] && strcmp(text + used, "NEXT") ? -1 : r;
}

static void chunked_bodies(void)
{
	static const struct {
		const char *text, *body;
		int answer;
	} rows[] = {
		{"0\r\n\r\nNEXT", "", 1},
		{"3\r\nabc\r\n0\r\n\r\nNEXT", "abc", 1},
		{"3\r\nabc\r\n00A\r\n0123456789\r\n000\r\n\r\n", "abc0123456789", 1},
		{"3;name=value\r\nabc\r\n0\r\n\r\n", "abc", 1},
		{"3 ;a\r\nabc\r\n0;b\r\n\r\n", "abc", 1},
		{"3\r\nabc\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\nNEXT", "abc", 1},
		{"3\r\nabc\r\n0\r\n", "abc", 0},
		{"3\r\nab", "ab", 0},
		{"", "", 0},
		{"\r\n", "", -400},
		{"g\r\n", "", -400},
		{"-3\r\nabc\r\n0\r\n\r\n", "", -400},
		{"0x3\r\nabc\r\n0\r\n\r\n", "", -400},
		{"3\nabc\r\n0\r\n\r\n", "", -400},
		{"3\r\nabcd\r\n0\r\n\r\n", "abc", -400},
		{"3\r\nabc\n0\r\n\r\n", "abc", -400},
		{"3\r\nabc\r\n0\r\nTrai\x01ler: x\r\n\r\n", "abc", -400},
		{"ffffffffffffffff\r\nabc", "", -413},
		{"40\r\n0123456789012345678901234567890123456789012345678901234567890123\r\n", "",
		 -413},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (size_t cut = 0; cut <= strlen(rows[i].text); cut++) {
			char out[64] = "";
			size_t len, room = 40;
			int r = unchunk(rows[i].text, room, out, &len, cut);
			bool body = r != rows[i].answer || r < 0 ||
				    (len == strlen(rows[i].body) && !memcmp(out, rows[i].body, len));

			if (r != rows[i].answer || !body)
				expect_failed(__FILE__, __LINE__, "row %zu cut at %zu: %d, %zu bytes",
					      i, cut, r, len);
			for (size_t at = room; at < sizeof out; at++)
				EXPECT_EQ(out[at], 0);
		}
}

static void chunk_lines_and_trailers_are_bounded(void)
{
	static char text[3 * HTTP_HEAD_MAX];
	struct http_chunked c = {0};
	size_t used, made;
	char out[4];

	sprintf(text, "1;%0500d\r\na\r\n0\r\n\r\n", 1);
	EXPECT_EQ(http_chunked_take(&c, text, strlen(text), out, 4, &used, &made), -400);
	c = (struct http_chunked){0};
	strcpy(text, "0\r\n");
	for (int i = 0; i < 2000; i++)
		strcpy(text + 3 + i * 6, "A: b\r\n");
	EXPECT_EQ(http_chunked_take(&c, text, strlen(text), out, 4, &used, &made), -400);
}

static int answer(const char *text, struct http_response *ret)
{
	return http_parse_response(text, strlen(text), ret);
}

static void response(void)
{
	static const char *const refused[] = {
		"HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "SSH-2.0-x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 200 OK\n\n",
	};
	struct http_response r;

	EXPECT(answer("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", &r) > 0);
	EXPECT_EQ(r.status, 200);
	EXPECT_EQ(r.content_length, 12);
	EXPECT(r.keep_alive);
	EXPECT_EQ(answer("HTTP/1.1 200 OK\r\nContent", &r), 0);
	EXPECT(answer("HTTP/1.0 404 No\r\nConnection: close\r\n\r\nbody", &r) > 0);
	EXPECT(!r.keep_alive && r.content_length == -1 && r.status == 404);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		EXPECT_EQ(answer(refused[i], &r), -502);
}

static void head_is_formatted(void)
{
	struct http_head h = {.status = 405, .type = "text/plain", .length = 1234567890,
			      .date = "Sun, 06 Nov 1994 08:49:37 GMT", .connection = "close",
			      .allow = HTTP_GET | HTTP_HEAD, .retry_after_s = 10};
	char buf[HTTP_ANSWER_HEAD_MAX], longest[200];
	static const char want[] =
		"HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain\r\n"
		"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 1234567890\r\n"
		"Connection: close\r\nAllow: GET, HEAD\r\nRetry-After: 10\r\n\r\n";
	size_t n = http_format_head(buf, &h);

	EXPECT_EQ(n, sizeof want - 1);
	EXPECT(!memcmp(buf, want, n));
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	h = (struct http_head){.status = 431, .type = longest, .length = SIZE_MAX, .date = h.date,
			       .connection = "keep-alive", .allow = 7, .retry_after_s = UINT32_MAX};
	EXPECT(http_format_head(buf, &h) <= sizeof buf);
}

/* Against the C library's calendar, leap days and the years around them included. */
static void dates(void)
{
	char got[HTTP_DATE_LEN + 1], want[HTTP_DATE_LEN + 1];

	for (time_t t = 0; t < 6000000000; t += 1000003) {
		struct tm tm;

		gmtime_r(&t, &tm);
		strftime(want, sizeof want, "%a, %d %b %Y %H:%M:%S GMT", &tm);
		http_format_date(t, got);
		if (strcmp(got, want))
			expect_failed(__FILE__, __LINE__, "%lld: %s, want %s", (long long)t, got, want);
	}
}

static void origins(void)
{
	static const struct {
		const char *url, *host, *port;
	} rows[] = {
		{"http://room:8080", "room", "8080"}, {"http://room/", "room", "80"},
		{"[::1]:90", "::1", "90"}, {"127.0.0.1:0", "127.0.0.1", "0"}, {"*:80", "*", "80"},
		{"ftp://x/y", NULL, NULL}, {"http://", NULL, NULL}, {"x:", NULL, NULL},
		{"x:66000", NULL, NULL}, {"x:1/path", NULL, NULL}, {"[::1", NULL, NULL},
	};
	struct http_origin o;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bool ok = http_parse_origin(rows[i].url, &o);

		EXPECT_EQ(ok, rows[i].host != NULL);
		if (ok && rows[i].host)
			EXPECT(!strcmp(o.host, rows[i].host) && !strcmp(o.port, rows[i].port));
	}
}

static const struct situation tests[] = {
	SITUATION(request_is_taken_apart),
	SITUATION(keep_alive_by_version_and_header),
	SITUATION(refusals),
	SITUATION(a_nul_byte_is_malformed),
	SITUATION(bounds),
	SITUATION(request_in_pieces),
	SITUATION(query_is_decoded),
	SITUATION(chunked_bodies),
	SITUATION(chunk_lines_and_trailers_are_bounded),
	SITUATION(response),
	SITUATION(head_is_formatted),
	SITUATION(dates),
	SITUATION(origins),
};

int main(int argc, char **argv)
{
	run_situations(tests, ARRAY_SIZE(tests), argc > 1 ? argv[1] : NULL);
	return tap_done();
}
