/*
 * A request is scanned line by line up to the empty line; nothing is kept but what the routes
 * need. Everything that proxies and servers have disagreed about in the past is refused instead
 * of interpreted: bare LF, folded headers, blanks before the colon, two lengths, a body on GET.
 */
#include "http.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

/* A piece of the buffer. */
struct span {
	const char *s;
	size_t n;
};

static bool span_is(struct span a, const char *text)
{
	return a.n == strlen(text) && strncasecmp(a.s, text, a.n) == 0;
}

static bool token_char(unsigned char c)
{
	return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* The length of the head with its empty line, 0 when that has not arrived. */
static size_t head_length(const char *buf, size_t len)
{
	const char *end = memmem(buf, len, "\r\n\r\n", 4);

	return end ? (size_t)(end - buf) + 4 : 0;
}

/* Takes the next line off the head; a control character makes it malformed (-400). */
static int next_line(struct span *head, struct span *ret)
{
	const char *end = memmem(head->s, head->n, "\r\n", 2);

	if (!end)
		return -400;
	*ret = (struct span){head->s, end - head->s};
	head->n -= ret->n + 2;
	head->s = end + 2;
	for (size_t i = 0; i < ret->n; i++)
		if (iscntrl((unsigned char)ret->s[i]) && ret->s[i] != '\t')
			return -400;
	return 0;
}

/* Takes the next word up to a blank. */
static struct span next_word(struct span *line)
{
	const char *end = memchr(line->s, ' ', line->n);
	struct span word = {line->s, end ? (size_t)(end - line->s) : line->n};
	size_t used = word.n + (end ? 1 : 0);

	line->s += used;
	line->n -= used;
	return word;
}

static bool copy_span(struct span a, char *ret, size_t size)
{
	if (a.n >= size)
		return false;
	memcpy(ret, a.s, a.n);
	ret[a.n] = '\0';
	return true;
}

static int parse_target(struct span target, struct http_request *ret)
{
	const char *mark = memchr(target.s, '?', target.n);
	struct span path = {target.s, mark ? (size_t)(mark - target.s) : target.n};
	struct span query = {target.s + path.n + (mark ? 1 : 0),
			     target.n - path.n - (mark ? 1 : 0)};

	if (!target.n || target.s[0] != '/')
		return -400;
	if (!copy_span(path, ret->path, sizeof ret->path) ||
	    !copy_span(query, ret->query, sizeof ret->query))
		return -414;
	return 0;
}

static int parse_version(struct span version, bool *ret_keep_alive)
{
	if (version.n != 8 || memcmp(version.s, "HTTP/", 5) || version.s[6] != '.' ||
	    !isdigit((unsigned char)version.s[5]) || !isdigit((unsigned char)version.s[7]))
		return -400;
	if (version.s[5] != '1')
		return -505;
	*ret_keep_alive = version.s[7] != '0';
	return 0;
}

static int parse_method(struct span method, struct http_request *ret)
{
	if (!method.n)
		return -400;
	for (size_t i = 0; i < method.n; i++)
		if (!token_char(method.s[i]))
			return -400;
	ret->head = method.n == 4 && !memcmp(method.s, "HEAD", 4);
	return ret->head || (method.n == 3 && !memcmp(method.s, "GET", 3)) ? 0 : -405;
}

static int parse_request_line(struct span line, struct http_request *ret)
{
	struct span method = next_word(&line), target = next_word(&line);
	int r = parse_version(line, &ret->keep_alive), status;

	if (r < 0)
		return r;
	status = parse_method(method, ret);
	r = parse_target(target, ret);
	return r < 0 ? r : status;
}

/* "Name: value" with the blanks around the value removed. */
static int parse_header(struct span line, struct span *name, struct span *value)
{
	const char *colon = memchr(line.s, ':', line.n);

	if (!colon || colon == line.s)
		return -400;
	*name = (struct span){line.s, colon - line.s};
	*value = (struct span){colon + 1, line.n - name->n - 1};
	for (size_t i = 0; i < name->n; i++)
		if (!token_char(name->s[i]))
			return -400;
	while (value->n && (*value->s == ' ' || *value->s == '\t'))
		value->s++, value->n--;
	while (value->n && (value->s[value->n - 1] == ' ' || value->s[value->n - 1] == '\t'))
		value->n--;
	return 0;
}

static int64_t parse_length(struct span value)
{
	int64_t n = 0;

	if (!value.n || value.n > 15)
		return -1;
	for (size_t i = 0; i < value.n; i++) {
		if (!isdigit((unsigned char)value.s[i]))
			return -1;
		n = n * 10 + (value.s[i] - '0');
	}
	return n;
}

static int apply_request_header(struct span name, struct span value, struct http_request *ret)
{
	if (span_is(name, "Host"))
		return !ret->host[0] && copy_span(value, ret->host, sizeof ret->host) ? 0 : -400;
	if (span_is(name, "Connection") && span_is(value, "close"))
		ret->keep_alive = false;
	if (span_is(name, "Transfer-Encoding"))
		return -501;
	if (span_is(name, "Content-Length"))
		return parse_length(value) < 0 ? -400 : parse_length(value) > 0 ? -413 : 0;
	return 0;
}

int http_parse_request(const char *buf, size_t len, struct http_request *ret)
{
	size_t length = head_length(buf, len);
	struct span head = {buf, length - 2}, line, name, value;
	bool needs_host;
	int r, status;

	if (!length)
		return len >= HTTP_HEAD_MAX ? -431 : 0;
	if (length > HTTP_HEAD_MAX)
		return -431;
	*ret = (struct http_request){0};
	if (next_line(&head, &line) < 0)
		return -400;
	status = parse_request_line(line, ret);
	if (status < 0 && status != -405)
		return status;
	needs_host = ret->keep_alive; /* HTTP/1.1 */
	while (head.n) {
		if (next_line(&head, &line) < 0 || parse_header(line, &name, &value) < 0)
			return -400;
		r = apply_request_header(name, value, ret);
		if (r < 0 && status == 0)
			status = r;
	}
	if (status == 0 && needs_host && !ret->host[0])
		return -400;
	return status < 0 ? status : (int)length;
}

int http_parse_response(const char *buf, size_t len, struct http_response *ret)
{
	size_t length = head_length(buf, len);
	struct span head = {buf, length - 2}, line, name, value;

	if (!length)
		return len >= HTTP_HEAD_MAX ? -502 : 0;
	*ret = (struct http_response){.content_length = -1};
	if (next_line(&head, &line) < 0 || line.n < 12 || line.s[8] != ' ' ||
	    parse_version((struct span){line.s, 8}, &ret->keep_alive) < 0)
		return -502;
	ret->status = parse_length((struct span){line.s + 9, 3});
	if (ret->status < 200 || ret->status > 599)
		return -502;
	while (head.n) {
		if (next_line(&head, &line) < 0 || parse_header(line, &name, &value) < 0 ||
		    span_is(name, "Transfer-Encoding"))
			return -502;
		if (span_is(name, "Connection") && span_is(value, "close"))
			ret->keep_alive = false;
		if (span_is(name, "Content-Length") &&
		    (ret->content_length = parse_length(value)) < 0)
			return -502;
	}
	return length;
}

static int hex(char c)
{
	if (isdigit((unsigned char)c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool percent_decode(struct span a, char *ret, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < a.n; i++) {
		char c = a.s[i] == '+' ? ' ' : a.s[i];

		if (c == '%') {
			int high = i + 2 < a.n ? hex(a.s[i + 1]) : -1;
			int low = high < 0 ? -1 : hex(a.s[i + 2]);

			if (low < 0)
				return false;
			c = high << 4 | low;
			i += 2;
		}
		if (!c || n + 1 >= size)
			return false;
		ret[n++] = c;
	}
	ret[n] = '\0';
	return true;
}

bool http_query(const struct http_request *r, const char *name, char *ret, size_t size)
{
	size_t n = strlen(name);

	for (const char *p = r->query; *p; p += strcspn(p, "&"), p += *p == '&')
		if (!strncmp(p, name, n) && p[n] == '=') {
			const char *value = p + n + 1;

			return percent_decode((struct span){value, strcspn(value, "&")}, ret, size);
		}
	return false;
}

const char *http_reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {
		{200, "OK"},
		{400, "Bad Request"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{413, "Content Too Large"},
		{414, "URI Too Long"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{505, "HTTP Version Not Supported"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Unknown";
}

size_t http_format_head(char *buf, size_t size, int status, const char *type, size_t length,
			bool keep_alive)
{
	int n = snprintf(buf, size,
			 "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
			 "Connection: %s\r\n%s\r\n",
			 status, http_reason(status), type, length,
			 keep_alive ? "keep-alive" : "close",
			 status == 405 ? "Allow: GET, HEAD\r\n" : "");

	return n < 0 || (size_t)n >= size ? 0 : (size_t)n;
}

bool http_parse_origin(const char *url, struct http_origin *ret)
{
	const char *s = strncmp(url, "http://", 7) ? url : url + 7;
	bool bracket = *s == '[';
	const char *end = bracket ? strchr(s, ']') : s + strcspn(s, ":/");
	struct span host = {s + bracket, end ? (size_t)(end - s) - bracket : 0};
	struct span port = {"80", 2};

	if (!end)
		return false;
	end += bracket;
	if (*end == ':') {
		port = (struct span){end + 1, strspn(end + 1, "0123456789")};
		end = port.s + port.n;
	}
	if ((*end && strcmp(end, "/")) || !host.n || !port.n)
		return false;
	return copy_span(host, ret->host, sizeof ret->host) &&
	       copy_span(port, ret->port, sizeof ret->port) && atoi(ret->port) <= 65535;
}
