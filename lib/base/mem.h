/*
 * mem - allocation that cannot fail, growable arrays and string building
 *
 * Out of memory aborts the process: the journal already makes a crash safe, so no caller carries
 * an error path that could never be tested.
 */
#pragma once

#include "own.h"

#include <stdarg.h>

void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t size);
char *xstrdup(const char *s); /* NULL stays NULL */
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) format_like(1, 2);

/* Makes room for one more item in an array of n; capacity is the next power of two. */
void *array_grow_(void *items, size_t n, size_t item_size);

/* Appends a zeroed item to the array and returns its address: *array_push(x->slos, x->n_slos). */
#define array_push(items, n)                                                                       \
	({                                                                                         \
		(items) = array_grow_((items), (n), sizeof *(items));                              \
		memset(&(items)[n], 0, sizeof *(items));                                           \
		&(items)[(n)++];                                                                   \
	})

/* A string under construction; .s is NUL-terminated or NULL when nothing was added. */
struct str {
	char *s;
	size_t len, cap;
};

void str_add(struct str *b, const char *s);
void str_addn(struct str *b, const char *s, size_t n);
void str_addf(struct str *b, const char *fmt, ...) format_like(2, 3);
void str_vaddf(struct str *b, const char *fmt, va_list ap) format_like(2, 0);
void str_reset(struct str *b); /* empties, keeps the memory */
void str_done(struct str *b);
char *str_take(struct str *b); /* never NULL; the caller frees */

#define autostr __attribute__((cleanup(str_done))) struct str

/* Ordered string pairs: labels, annotations, headers, environment. */
struct kv {
	char *key, *value;
};
struct kvs {
	struct kv *items;
	size_t n;
};

void kvs_set(struct kvs *m, const char *key, const char *value); /* copies; replaces */
const char *kvs_get(const struct kvs *m, const char *key);
void kvs_copy(struct kvs *dst, const struct kvs *src);
void kvs_done(struct kvs *m);

/* A list of owned strings. */
struct strlist {
	char **items;
	size_t n;
};

void strlist_add(struct strlist *l, const char *s); /* copies */
int strlist_has(const struct strlist *l, const char *s);
void strlist_copy(struct strlist *dst, const struct strlist *src);
void strlist_done(struct strlist *l);
char **strlist_argv(const struct strlist *l); /* NULL-terminated; borrows the strings */
