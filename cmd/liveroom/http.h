/*
 * http - the part of HTTP/1.1 that liveroom speaks: GET and HEAD without a body, keep-alive
 *
 * Both parsers take whatever bytes have arrived: they return the length of the head, 0 when it is
 * not complete yet, or a negative status code. They never read past len and never allocate.
 * Source: RFC 9112 (message syntax), RFC 9110 (status codes).
 */
#pragma once

#include "util.h"

enum {
	HTTP_HEAD_MAX = 8192, /* request line and headers together; more is 431 */
	HTTP_PATH_MAX = 256,
	HTTP_QUERY_MAX = 512,
	HTTP_HOST_MAX = 128,
};

struct http_request {
	bool head;       /* HEAD: the answer has no body */
	bool keep_alive;
	char path[HTTP_PATH_MAX];
	char query[HTTP_QUERY_MAX]; /* without the '?', still encoded */
	char host[HTTP_HOST_MAX];
};

/* Refusals: -400 malformed, -405 method, -413 has a body, -414 target too long, -431 head too
 * long, -501 transfer coding, -505 version. */
int http_parse_request(const char *buf, size_t len, struct http_request *ret);

struct http_response {
	int status;
	int64_t content_length; /* -1: until the connection closes */
	bool keep_alive;
};

/* -502 for anything that is not an HTTP/1.x answer with a plain body. */
int http_parse_response(const char *buf, size_t len, struct http_response *ret);

/* A parameter of the query, percent-decoded. False when absent, malformed or too long for ret. */
bool http_query(const struct http_request *r, const char *name, char *ret, size_t size);

const char *http_reason(int status);
/* Status line and headers with the blank line; the length written. */
size_t http_format_head(char *buf, size_t size, int status, const char *type, size_t length,
			bool keep_alive);

/* "http://HOST[:PORT]" or "HOST:PORT", host possibly [IPv6]; port defaults to 80. */
struct http_origin {
	char host[HTTP_HOST_MAX];
	char port[6];
};
bool http_parse_origin(const char *url, struct http_origin *ret);
