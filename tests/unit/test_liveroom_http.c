/* liveroom shares no code with the library: the test takes its parser in as a source file. */
#include "../../cmd/liveroom/http.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int parse(const char *text, struct http_request *ret)
{
	return http_parse_request(text, strlen(text), ret);
}

static void test_request_is_taken_apart(void **state)
{
	const char *text = "GET /segment?room=a&seq=5 HTTP/1.1\r\nHost: x:8080\r\nA: b\r\n\r\nGET";
	struct http_request r;

	assert_int_equal(parse(text, &r), strlen(text) - 3);
	assert_string_equal(r.path, "/segment");
	assert_string_equal(r.query, "room=a&seq=5");
	assert_string_equal(r.host, "x:8080");
	assert_true(r.keep_alive);
	assert_false(r.head);
}

static void test_request_keep_alive_by_version_and_header(void **state)
{
	struct http_request r;

	assert_true(parse("HEAD / HTTP/1.0\r\n\r\n", &r) > 0);
	assert_true(r.head);
	assert_false(r.keep_alive);
	assert_true(parse("GET / HTTP/1.1\r\nhost:x\r\nCONNECTION:  Close \r\n\r\n", &r) > 0);
	assert_false(r.keep_alive);
}

static void test_request_refusals(void **state)
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
		{"get / HTTP/1.1\r\nHost: x\r\n\r\n", -405},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", -405},
		{"GET / HTTP/1.1\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost : x\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\n: empty\r\n\r\n", -400},
		{"GET / HTTP/1.1\nHost: x\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", -413},
		{"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1 1\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999999\r\n\r\n", -400},
		{"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", -501},
	};
	struct http_request r;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (parse(rows[i].text, &r) != rows[i].status)
			fail_msg("row %zu: %d", i, parse(rows[i].text, &r));
	}
}

static void test_request_nul_bytes_are_malformed(void **state)
{
	static const char text[] = "GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n";
	struct http_request r;

	assert_int_equal(http_parse_request(text, sizeof text - 1, &r), -400);
}

static void test_request_bounds(void **state)
{
	static char text[2 * HTTP_HEAD_MAX];
	struct http_request r;

	memset(text, 'a', sizeof text);
	assert_int_equal(http_parse_request(text, HTTP_HEAD_MAX - 1, &r), 0);
	assert_int_equal(http_parse_request(text, HTTP_HEAD_MAX, &r), -431);
	snprintf(text, sizeof text, "GET /%0*d HTTP/1.1\r\nHost: x\r\n\r\n", HTTP_PATH_MAX, 7);
	assert_int_equal(parse(text, &r), -414);
	snprintf(text, sizeof text, "GET /?%0*d HTTP/1.1\r\nHost: x\r\n\r\n", HTTP_QUERY_MAX, 7);
	assert_int_equal(parse(text, &r), -414);
	snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %0*d\r\n\r\n", HTTP_HOST_MAX, 7);
	assert_int_equal(parse(text, &r), -400);
}

/* Every prefix of a request asks for more; no byte beyond the given length is read. */
static void test_request_in_pieces(void **state)
{
	static const char text[] = "GET /join?room=a%20b HTTP/1.1\r\nHost: x\r\n\r\n";
	struct http_request r;

	for (size_t n = 0; n < sizeof text - 1; n++) {
		char *exact = malloc(n + !n);

		memcpy(exact, text, n);
		assert_int_equal(http_parse_request(exact, n, &r), 0);
		free(exact);
	}
	assert_int_equal(http_parse_request(text, sizeof text - 1, &r), sizeof text - 1);
}

static void test_query_is_decoded(void **state)
{
	struct http_request r = {.query = "room=a%2Db+c&seq=&seqx=9&bad=%4&zero=%00&roomy=q"};
	char v[8];

	assert_true(http_query(&r, "room", v, sizeof v));
	assert_string_equal(v, "a-b c");
	assert_true(http_query(&r, "seq", v, sizeof v));
	assert_string_equal(v, "");
	assert_true(http_query(&r, "seqx", v, sizeof v));
	assert_string_equal(v, "9");
	assert_false(http_query(&r, "bad", v, sizeof v));
	assert_false(http_query(&r, "zero", v, sizeof v));
	assert_false(http_query(&r, "none", v, sizeof v));
	assert_false(http_query(&r, "room", v, 5));
}

static int answer(const char *text, struct http_response *ret)
{
	return http_parse_response(text, strlen(text), ret);
}

static void test_response(void **state)
{
	struct http_response r;

	assert_true(answer("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", &r) > 0);
	assert_int_equal(r.status, 200);
	assert_int_equal(r.content_length, 12);
	assert_true(r.keep_alive);
	assert_int_equal(answer("HTTP/1.1 200 OK\r\nContent", &r), 0);
	assert_int_equal(answer("HTTP/1.1 2x0 OK\r\n\r\n", &r), -502);
	assert_int_equal(answer("HTTP/1.1 100 Continue\r\n\r\n", &r), -502);
	assert_int_equal(answer("SSH-2.0-OpenSSH_9.2\r\n\r\n", &r), -502);
	assert_int_equal(answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &r), -502);
	assert_int_equal(answer("HTTP/1.1 200 OK\r\nContent-Length: a\r\n\r\n", &r), -502);
}

static void test_response_head_reads_back(void **state)
{
	struct http_response r;
	char buf[256];
	size_t n = http_format_head(buf, sizeof buf, 503, "text/plain", 5, false);

	assert_int_equal(http_parse_response(buf, n, &r), n);
	assert_int_equal(r.status, 503);
	assert_int_equal(r.content_length, 5);
	assert_false(r.keep_alive);
	assert_int_equal(http_format_head(buf, 20, 200, "text/plain", 5, true), 0);
}

static void test_origin(void **state)
{
	static const char *const bad[] = {"", "http://", "http://:80", "x:", "x:8a", "x:99999",
					  "x:123456", "[::1", "http://x/path"};
	struct http_origin o;

	assert_true(http_parse_origin("http://gateway:8080/", &o));
	assert_string_equal(o.host, "gateway");
	assert_string_equal(o.port, "8080");
	assert_true(http_parse_origin("[::1]:81", &o));
	assert_string_equal(o.host, "::1");
	assert_string_equal(o.port, "81");
	assert_true(http_parse_origin("http://x", &o));
	assert_string_equal(o.port, "80");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(http_parse_origin(bad[i], &o));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_is_taken_apart),
		cmocka_unit_test(test_request_keep_alive_by_version_and_header),
		cmocka_unit_test(test_request_refusals),
		cmocka_unit_test(test_request_nul_bytes_are_malformed),
		cmocka_unit_test(test_request_bounds),
		cmocka_unit_test(test_request_in_pieces),
		cmocka_unit_test(test_query_is_decoded),
		cmocka_unit_test(test_response),
		cmocka_unit_test(test_response_head_reads_back),
		cmocka_unit_test(test_origin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
