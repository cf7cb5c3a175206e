/*
 * http_parse - the part of HTTP/1.1 that a small service speaks: GET, HEAD and POST, keep-alive,
 * bodies of a stated length or chunked
 *
 * The parsers take whatever bytes have arrived: they return the length of the head, 0 when it is
 * not complete yet, or a negative status code. They never read past len and never allocate.
 * Source: RFC 9112 (message syntax), RFC 9110 (status codes).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HTTP_HEAD_MAX = 8192, /* request line and headers together; more is 431 */
	HTTP_PATH_MAX = 256,
	HTTP_QUERY_MAX = 512,
	HTTP_HOST_MAX = 128,
};

enum http_method { HTTP_GET = 1, HTTP_HEAD = 2, HTTP_POST = 4 };

struct http_request {
	enum http_method method;
	bool keep_alive;
	bool http_1_0;
	bool chunked;         /* the body comes in chunks */
	bool expect_continue; /* the client waits for 100 before it sends the body */
	int64_t content_length; /* of the body; 0 when chunked */
	char path[HTTP_PATH_MAX];
	char query[HTTP_QUERY_MAX]; /* without the '?', still encoded */
	char host[HTTP_HOST_MAX];
	/* Filled by the server. */
	const char *body;
	size_t body_len;
	uint8_t client[16]; /* its IPv6 address, ::ffff:a.b.c.d for IPv4 */
};

/* Refusals: -400 malformed, -405 method, -413 GET or HEAD has a body, -414 target too long, -417
 * expectation, -431 head too long, -501 transfer coding, -505 version. */
int http_parse_request(const char *buf, size_t len, struct http_request *ret);

struct http_response {
	int status;
	int64_t content_length; /* -1: until the connection closes */
	bool keep_alive;
};

/* -502 for anything that is not an HTTP/1.x answer with a plain body. */
int http_parse_response(const char *buf, size_t len, struct http_response *ret);

/* A chunked body in pieces; zero is the beginning. */
struct http_chunked {
	uint8_t state;
	uint32_t line;  /* bytes of the size line or the trailer so far */
	int64_t left;   /* of the chunk */
};

/* Takes from in what belongs to the body and puts what it carries into out, at most room bytes; in
 * and out may be the same. 1: the body is complete, 0: more is needed, -400 malformed, -413 no
 * room. *ret_used is how much was taken, *ret_made how much was put. */
int http_chunked_take(struct http_chunked *c, const char *in, size_t len, char *out, size_t room,
		      size_t *ret_used, size_t *ret_made);

/* A parameter of the query, percent-decoded. False when absent, malformed or too long for ret. */
bool http_query(const struct http_request *r, const char *name, char *ret, size_t size);

const char *http_reason(int status);

struct http_head {
	int status;
	const char *type;
	size_t length;
	const char *date;     /* as http_format_date writes it */
	const char *connection; /* NULL: the header is left out */
	unsigned allow;         /* of enum http_method; 0: the header is left out */
	unsigned retry_after_s; /* 0: the header is left out */
};

enum { HTTP_DATE_LEN = 29, HTTP_ANSWER_HEAD_MAX = 384 };
/* "Wed, 25 Nov 2026 19:06:57 GMT" with its NUL, from seconds since 1970. */
void http_format_date(int64_t unix_s, char ret[HTTP_DATE_LEN + 1]);
/* Status line and headers with the blank line; the length written. type has at most 100 bytes. */
size_t http_format_head(char buf[HTTP_ANSWER_HEAD_MAX], const struct http_head *h);

/* "http://HOST[:PORT]" or "HOST:PORT", host possibly [IPv6]; port defaults to 80. */
struct http_origin {
	char host[HTTP_HOST_MAX];
	char port[6];
};
bool http_parse_origin(const char *url, struct http_origin *ret);
