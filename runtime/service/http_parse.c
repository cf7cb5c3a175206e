/*
 * A request is scanned line by line up to the empty line; nothing is kept but what the routes
 * need. Everything that proxies and servers have disagreed about in the past is refused instead
 * of interpreted: bare LF, folded headers, blanks before the colon, two lengths, a length beside
 * chunks, a body on GET.
 */
#include "http_parse.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A piece of the buffer. */
struct span {
	const char *s;
	size_t n;
};

/* What a byte may stand in. */
enum { TOKEN = 1, TEXT = 2, TARGET = 4, HOST = 8, DIGIT = 16 };

/* Bytes from 0x80 are text that nobody interprets. */
static const uint8_t classes[256] = {
	['\t'] = TEXT,
	[' '] = TEXT,
	['0' ... '9'] = TEXT | TARGET | TOKEN | HOST | DIGIT,
	['A' ... 'Z'] = TEXT | TARGET | TOKEN | HOST,
	['a' ... 'z'] = TEXT | TARGET | TOKEN | HOST,
	['%'] = TEXT | TARGET | TOKEN | HOST,
	['-'] = TEXT | TARGET | TOKEN | HOST,
	['.'] = TEXT | TARGET | TOKEN | HOST,
	['_'] = TEXT | TARGET | TOKEN | HOST,
	[':'] = TEXT | TARGET | HOST,
	['['] = TEXT | TARGET | HOST,
	[']'] = TEXT | TARGET | HOST,
	['!'] = TEXT | TARGET | TOKEN,
	['#' ... '$'] = TEXT | TARGET | TOKEN,
	['&' ... '\''] = TEXT | TARGET | TOKEN,
	['*' ... '+'] = TEXT | TARGET | TOKEN,
	['^'] = TEXT | TARGET | TOKEN,
	['`'] = TEXT | TARGET | TOKEN,
	['|'] = TEXT | TARGET | TOKEN,
	['~'] = TEXT | TARGET | TOKEN,
	['"'] = TEXT | TARGET,
	['(' ... ')'] = TEXT | TARGET,
	[','] = TEXT | TARGET,
	['/'] = TEXT | TARGET,
	[';' ... '@'] = TEXT | TARGET,
	['\\'] = TEXT | TARGET,
	['{'] = TEXT | TARGET,
	['}'] = TEXT | TARGET,
	[0x80 ... 0xff] = TEXT,
};

static bool byte_is(char c, uint8_t class)
{
	return classes[(unsigned char)c] & class;
}

static bool all_are(struct span a, uint8_t class)
{
	for (size_t i = 0; i < a.n; i++)
		if (!byte_is(a.s[i], class))
			return false;
	return true;
}

static bool span_is(struct span a, const char *text)
{
	return a.n == strlen(text) && strncasecmp(a.s, text, a.n) == 0;
}

/* Takes the next line, without its CRLF: 1, 0 when it has not arrived, -400 for a bare LF. */
static int next_line(struct span *rest, struct span *ret)
{
	const char *end = memchr(rest->s, '\n', rest->n);

	if (!end)
		return 0;
	if (end == rest->s || end[-1] != '\r')
		return -400;
	*ret = (struct span){rest->s, (size_t)(end - rest->s) - 1};
	rest->n -= ret->n + 2;
	rest->s = end + 1;
	return 1;
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

	if (!target.n || target.s[0] != '/' || !all_are(target, TARGET))
		return -400;
	if (!copy_span(path, ret->path, sizeof ret->path) ||
	    !copy_span(query, ret->query, sizeof ret->query))
		return -414;
	return 0;
}

/* "HTTP/1.x": *ret_minor is x. */
static int parse_version(struct span version, int *ret_minor)
{
	if (version.n != 8 || memcmp(version.s, "HTTP/", 5) || version.s[6] != '.' ||
	    !byte_is(version.s[5], DIGIT) || !byte_is(version.s[7], DIGIT))
		return -400;
	if (version.s[5] != '1')
		return -505;
	*ret_minor = version.s[7] - '0';
	return 0;
}

static int parse_method(struct span method, struct http_request *ret)
{
	static const struct {
		enum http_method method;
		const char *name;
	} methods[] = {{HTTP_GET, "GET"}, {HTTP_HEAD, "HEAD"}, {HTTP_POST, "POST"}};

	if (!method.n || !all_are(method, TOKEN))
		return -400;
	for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
		if (method.n == strlen(methods[i].name) &&
		    !memcmp(method.s, methods[i].name, method.n)) {
			ret->method = methods[i].method;
			return 0;
		}
	return -405;
}

static int parse_request_line(struct span line, struct http_request *ret)
{
	struct span method = next_word(&line), target = next_word(&line);
	int minor, r = parse_version(line, &minor), status;

	if (r < 0)
		return r;
	ret->http_1_0 = minor == 0;
	ret->keep_alive = minor != 0;
	status = parse_method(method, ret);
	r = parse_target(target, ret);
	return r < 0 ? r : status;
}

/* "Name: value" with the blanks around the value removed. */
static int parse_header(struct span line, struct span *name, struct span *value)
{
	size_t n = 0;

	while (n < line.n && byte_is(line.s[n], TOKEN))
		n++;
	if (n == 0 || n == line.n || line.s[n] != ':')
		return -400;
	*name = (struct span){line.s, n};
	*value = (struct span){line.s + n + 1, line.n - n - 1};
	while (value->n && (*value->s == ' ' || *value->s == '\t'))
		value->s++, value->n--;
	while (value->n && (value->s[value->n - 1] == ' ' || value->s[value->n - 1] == '\t'))
		value->n--;
	return all_are(*value, TEXT) ? 0 : -400;
}

static int64_t parse_length(struct span value)
{
	int64_t n = 0;

	if (!value.n || value.n > 15 || !all_are(value, DIGIT))
		return -1;
	for (size_t i = 0; i < value.n; i++)
		n = n * 10 + (value.s[i] - '0');
	return n;
}

/* Does the comma-separated list have the word? */
static bool list_has(struct span list, const char *word)
{
	while (list.n) {
		const char *comma = memchr(list.s, ',', list.n);
		struct span item = {list.s, comma ? (size_t)(comma - list.s) : list.n};
		size_t used = item.n + (comma ? 1 : 0);

		list.s += used;
		list.n -= used;
		while (item.n && (*item.s == ' ' || *item.s == '\t'))
			item.s++, item.n--;
		while (item.n && (item.s[item.n - 1] == ' ' || item.s[item.n - 1] == '\t'))
			item.n--;
		if (span_is(item, word))
			return true;
	}
	return false;
}

/* Headers that may stand there once. */
struct seen {
	bool host, length, coding, expect;
};

static bool twice(bool *seen)
{
	bool before = *seen;

	*seen = true;
	return before;
}

static int apply_host(struct span value, struct seen *seen, struct http_request *ret)
{
	if (twice(&seen->host) || !value.n || !all_are(value, HOST))
		return -400;
	return copy_span(value, ret->host, sizeof ret->host) ? 0 : -400;
}

static int apply_length(struct span value, struct seen *seen, struct http_request *ret)
{
	ret->content_length = parse_length(value);
	if (twice(&seen->length) || seen->coding || ret->content_length < 0)
		return -400;
	return ret->content_length > 0 && ret->method != HTTP_POST ? -413 : 0;
}

static int apply_coding(struct span value, struct seen *seen, struct http_request *ret)
{
	if (twice(&seen->coding) || seen->length || ret->http_1_0)
		return -400;
	ret->chunked = true;
	return span_is(value, "chunked") && ret->method == HTTP_POST ? 0 : -501;
}

static int apply_request_header(struct span name, struct span value, struct seen *seen,
				struct http_request *ret)
{
	switch (name.n) {
	case 4:
		if (span_is(name, "Host"))
			return apply_host(value, seen, ret);
		return 0;
	case 6:
		if (!span_is(name, "Expect"))
			return 0;
		ret->expect_continue = !ret->http_1_0;
		return !twice(&seen->expect) && span_is(value, "100-continue") ? 0 : -417;
	case 10:
		if (!span_is(name, "Connection"))
			return 0;
		if (list_has(value, "close"))
			ret->keep_alive = false;
		else if (ret->http_1_0 && list_has(value, "keep-alive"))
			ret->keep_alive = true;
		return 0;
	case 14:
		return span_is(name, "Content-Length") ? apply_length(value, seen, ret) : 0;
	case 17:
		return span_is(name, "Transfer-Encoding") ? apply_coding(value, seen, ret) : 0;
	}
	return 0;
}

/* The caller's struct is large and most of it is text: only what is read is cleared. */
static void clear_request(struct http_request *r)
{
	r->method = 0;
	r->keep_alive = r->http_1_0 = r->chunked = r->expect_continue = false;
	r->content_length = 0;
	r->path[0] = r->query[0] = r->host[0] = '\0';
	r->body = NULL;
	r->body_len = 0;
}

/* All lines after the first: 1 complete, 0 more is needed, -400. The first refusal goes to
 * *status. */
static int parse_request_headers(struct span *rest, struct seen *seen, int *status,
				 struct http_request *ret)
{
	struct span line, name, value;
	int r;

	while ((r = next_line(rest, &line)) > 0 && line.n) {
		if (parse_header(line, &name, &value) < 0)
			return -400;
		r = apply_request_header(name, value, seen, ret);
		if (r == -400)
			return r;
		if (r < 0 && *status == 0)
			*status = r;
	}
	return r;
}

int http_parse_request(const char *buf, size_t len, struct http_request *ret)
{
	size_t n = len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX;
	struct span rest = {buf, n}, line;
	struct seen seen = {0};
	int status, r = next_line(&rest, &line);

	clear_request(ret);
	if (len && !byte_is(buf[0], TOKEN)) /* another protocol's: its line may never end */
		return -400;
	if (r <= 0)
		return r < 0 ? r : len >= HTTP_HEAD_MAX ? -431 : 0;
	status = parse_request_line(line, ret);
	if (status < 0 && status != -405)
		return status;
	r = parse_request_headers(&rest, &seen, &status, ret);
	if (r <= 0)
		return r < 0 ? r : len >= HTTP_HEAD_MAX ? -431 : 0;
	if (!ret->http_1_0 && !seen.host)
		return -400;
	return status < 0 ? status : (int)(rest.s - buf);
}

int http_parse_response(const char *buf, size_t len, struct http_response *ret)
{
	struct span rest = {buf, len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX}, line, name, value;
	int minor, r = next_line(&rest, &line);

	if (r <= 0)
		return r < 0 || len >= HTTP_HEAD_MAX ? -502 : 0;
	if (line.n < 12 || line.s[8] != ' ' ||
	    parse_version((struct span){line.s, 8}, &minor) < 0)
		return -502;
	*ret = (struct http_response){.content_length = -1, .keep_alive = minor != 0};
	ret->status = (int)parse_length((struct span){line.s + 9, 3});
	if (ret->status < 200 || ret->status > 599)
		return -502;
	while ((r = next_line(&rest, &line)) > 0 && line.n) {
		if (parse_header(line, &name, &value) < 0 || span_is(name, "Transfer-Encoding"))
			return -502;
		if (span_is(name, "Connection") && list_has(value, "close"))
			ret->keep_alive = false;
		if (span_is(name, "Content-Length") &&
		    (ret->content_length = parse_length(value)) < 0)
			return -502;
	}
	if (r <= 0)
		return r < 0 || len >= HTTP_HEAD_MAX ? -502 : 0;
	return (int)(rest.s - buf);
}

static int hex(char c)
{
	if (byte_is(c, DIGIT))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A chunked body is a small machine over bytes; data is taken in blocks. */
enum {
	CHUNK_SIZE_FIRST, /* at least one digit */
	CHUNK_SIZE,
	CHUNK_EXTENSION,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	CHUNK_TRAILER_FIRST,
	CHUNK_TRAILER,
	CHUNK_TRAILER_LF,
	CHUNK_END_LF,
	CHUNK_DONE,
};

enum { CHUNK_LINE_MAX = 256, CHUNK_SIZE_MAX = 1 << 30 };

static int chunk_size_byte(struct http_chunked *c, char byte)
{
	int digit = hex(byte);

	if (digit >= 0) {
		c->left = c->left << 4 | digit;
		c->state = CHUNK_SIZE;
		return c->left > CHUNK_SIZE_MAX ? -413 : 0;
	}
	if (c->state == CHUNK_SIZE_FIRST)
		return -400;
	if (byte == '\r')
		c->state = CHUNK_SIZE_LF;
	else if (byte == ';' || byte == ' ' || byte == '\t')
		c->state = CHUNK_EXTENSION;
	else
		return -400;
	return 0;
}

/* A line that is read over: up to its CR. */
static int chunk_text_byte(struct http_chunked *c, char byte, uint8_t at_cr)
{
	if (byte == '\r')
		c->state = at_cr;
	else if (!byte_is(byte, TEXT))
		return -400;
	return 0;
}

static int chunk_expect(struct http_chunked *c, char byte, char wanted, uint8_t next)
{
	c->state = next;
	c->line = 0;
	return byte == wanted ? 0 : -400;
}

static int chunk_byte(struct http_chunked *c, char byte)
{
	bool trailer = c->state >= CHUNK_TRAILER_FIRST;

	if (++c->line > (trailer ? HTTP_HEAD_MAX : CHUNK_LINE_MAX))
		return -400;
	switch (c->state) {
	case CHUNK_SIZE_FIRST:
	case CHUNK_SIZE:
		return chunk_size_byte(c, byte);
	case CHUNK_EXTENSION:
		return chunk_text_byte(c, byte, CHUNK_SIZE_LF);
	case CHUNK_SIZE_LF:
		return chunk_expect(c, byte, '\n', c->left ? CHUNK_DATA : CHUNK_TRAILER_FIRST);
	case CHUNK_DATA_CR:
		return chunk_expect(c, byte, '\r', CHUNK_DATA_LF);
	case CHUNK_DATA_LF:
		return chunk_expect(c, byte, '\n', CHUNK_SIZE_FIRST);
	case CHUNK_TRAILER_FIRST:
		c->state = CHUNK_TRAILER;
		return chunk_text_byte(c, byte, CHUNK_END_LF);
	case CHUNK_TRAILER:
		return chunk_text_byte(c, byte, CHUNK_TRAILER_LF);
	case CHUNK_TRAILER_LF: /* its length goes on counting: it bounds all of them */
		c->state = CHUNK_TRAILER_FIRST;
		return byte == '\n' ? 0 : -400;
	default:
		return chunk_expect(c, byte, '\n', CHUNK_DONE);
	}
}

int http_chunked_take(struct http_chunked *c, const char *in, size_t len, char *out, size_t room,
		      size_t *ret_used, size_t *ret_made)
{
	size_t used = 0, made = 0;
	int r = 0;

	while (r == 0 && used < len && c->state != CHUNK_DONE) {
		if (c->state == CHUNK_DATA) {
			size_t n = len - used < (size_t)c->left ? len - used : (size_t)c->left;

			if (n > room - made) {
				r = -413;
				break;
			}
			memmove(out + made, in + used, n);
			used += n;
			made += n;
			c->left -= (int64_t)n;
			if (!c->left)
				c->state = CHUNK_DATA_CR;
		} else {
			r = chunk_byte(c, in[used++]);
		}
	}
	*ret_used = used;
	*ret_made = made;
	return r < 0 ? r : c->state == CHUNK_DONE;
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
			c = (char)(high << 4 | low);
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
