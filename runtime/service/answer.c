#include "http.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void http_text(struct http_answer *a, int status, const char *type, const char *fmt, ...)
{
	char *body = a->text;
	va_list ap;
	int n;

	http_answer_done(a);
	va_start(ap, fmt);
	n = vsnprintf(body, HTTP_TEXT_MAX, fmt, ap);
	va_end(ap);
	if (n >= HTTP_TEXT_MAX) {
		va_start(ap, fmt);
		n = vasprintf(&body, fmt, ap);
		va_end(ap);
	}
	if (n < 0)
		abort();
	if (body != a->text) {
		a->release = free;
		a->owner = body;
	}
	a->status = status;
	a->type = type;
	a->body = body;
	a->len = (size_t)n;
}

void http_give(struct http_answer *a, const char *type, char *body, size_t len)
{
	http_answer_done(a);
	a->type = type;
	a->body = body;
	a->len = len;
	a->release = free;
	a->owner = body;
}

void http_answer_done(struct http_answer *a)
{
	char *text = a->text;

	if (a->release)
		a->release(a->owner);
	*a = (struct http_answer){.text = text};
}
