#include "mem.h"

#include <stdio.h>

static void *or_abort(void *p)
{
	if (!p) {
		static const char text[] = "brunt: out of memory\n";

		if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
			abort();
		abort();
	}
	return p;
}

void *xmalloc(size_t size)
{
	return or_abort(malloc(size ? size : 1));
}

void *xcalloc(size_t n, size_t size)
{
	return or_abort(calloc(n ? n : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t size)
{
	return or_abort(realloc(p, size ? size : 1));
}

char *xstrdup(const char *s)
{
	return s ? or_abort(strdup(s)) : NULL;
}

char *xstrndup(const char *s, size_t n)
{
	return or_abort(strndup(s, n));
}

char *xasprintf(const char *fmt, ...)
{
	struct str b = {0};
	va_list ap;

	va_start(ap, fmt);
	str_vaddf(&b, fmt, ap);
	va_end(ap);
	return str_take(&b);
}

void *array_grow_(void *items, size_t n, size_t item_size)
{
	if (n & (n - 1)) /* capacity is the power of two at or above n: room is left */
		return items;
	return xrealloc(items, (n ? n * 2 : 1) * item_size);
}

static void str_reserve(struct str *b, size_t more)
{
	size_t need = b->len + more + 1;

	if (need <= b->cap)
		return;
	b->cap = MAX_OF(need, b->cap * 2);
	b->cap = MAX_OF(b->cap, (size_t)64);
	b->s = xrealloc(b->s, b->cap);
}

void str_addn(struct str *b, const char *s, size_t n)
{
	str_reserve(b, n);
	memcpy(b->s + b->len, s, n);
	b->len += n;
	b->s[b->len] = '\0';
}

void str_add(struct str *b, const char *s)
{
	str_addn(b, s, strlen(s));
}

void str_vaddf(struct str *b, const char *fmt, va_list ap)
{
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0)
		return;
	str_reserve(b, n);
	vsnprintf(b->s + b->len, n + 1, fmt, ap);
	b->len += n;
}

void str_addf(struct str *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	str_vaddf(b, fmt, ap);
	va_end(ap);
}

void str_reset(struct str *b)
{
	b->len = 0;
	if (b->s)
		b->s[0] = '\0';
}

void str_done(struct str *b)
{
	free(b->s);
	*b = (struct str){0};
}

char *str_take(struct str *b)
{
	char *s = b->s ? b->s : xstrdup("");

	*b = (struct str){0};
	return s;
}

void kvs_set(struct kvs *m, const char *key, const char *value)
{
	struct kv *kv = NULL;

	for (size_t i = 0; i < m->n; i++)
		if (streq(m->items[i].key, key))
			kv = &m->items[i];
	if (!kv) {
		kv = array_push(m->items, m->n);
		kv->key = xstrdup(key);
	}
	free(kv->value);
	kv->value = xstrdup(value);
}

const char *kvs_get(const struct kvs *m, const char *key)
{
	for (size_t i = 0; i < m->n; i++)
		if (streq(m->items[i].key, key))
			return m->items[i].value;
	return NULL;
}

void kvs_copy(struct kvs *dst, const struct kvs *src)
{
	for (size_t i = 0; i < src->n; i++)
		kvs_set(dst, src->items[i].key, src->items[i].value);
}

void kvs_done(struct kvs *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->items[i].key);
		free(m->items[i].value);
	}
	free(m->items);
	*m = (struct kvs){0};
}

void strlist_add(struct strlist *l, const char *s)
{
	*array_push(l->items, l->n) = xstrdup(s);
}

int strlist_has(const struct strlist *l, const char *s)
{
	for (size_t i = 0; i < l->n; i++)
		if (streq(l->items[i], s))
			return 1;
	return 0;
}

void strlist_copy(struct strlist *dst, const struct strlist *src)
{
	for (size_t i = 0; i < src->n; i++)
		strlist_add(dst, src->items[i]);
}

void strlist_done(struct strlist *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->items[i]);
	free(l->items);
	*l = (struct strlist){0};
}

char **strlist_argv(const struct strlist *l)
{
	char **argv = xcalloc(l->n + 1, sizeof *argv);

	for (size_t i = 0; i < l->n; i++)
		argv[i] = l->items[i];
	return argv;
}
