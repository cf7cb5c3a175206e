/*
 * Messages quote what a user wrote, so each is made fit for one line of a terminal here, once:
 * control characters are shown as \xNN and a long text is cut between two characters.
 */
#include "diag.h"

#include "text.h"
#include "mem.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

enum { TEXT_MAX = 1000 };

/* C0, DEL and C1 (0xc2 0x80..0x9f in UTF-8): what could move a cursor. */
static bool is_control(const unsigned char *s)
{
	return *s < 0x20 || *s == 0x7f || (*s == 0xc2 && s[1] >= 0x80 && s[1] <= 0x9f);
}

static bool is_clean(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	while (*s && !is_control(s))
		s++;
	return !*s && s - (const unsigned char *)text <= TEXT_MAX;
}

static char *one_line(const char *text)
{
	struct str b = {0};

	if (is_clean(text))
		return xstrdup(text);
	for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
		if (b.len >= TEXT_MAX && (*s & 0xc0) != 0x80) {
			str_add(&b, "...");
			break;
		}
		if (is_control(s))
			str_addf(&b, "\\x%02x", *s == 0xc2 ? *++s : *s);
		else
			str_addn(&b, (const char *)s, 1);
	}
	return str_take(&b);
}

static struct diag new_diag(const char *file, int line, int column, const char *path,
			    const char *fmt, va_list ap)
{
	autostr text = {0};

	str_vaddf(&text, fmt, ap);
	return (struct diag){
		.file = one_line(file ? file : ""),
		.line = line,
		.column = column,
		.path = one_line(path ? path : ""),
		.text = one_line(text.s ? text.s : ""),
	};
}

void diags_add(struct diags *d, const char *file, int line, int column, const char *path,
	       const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	*array_push(d->items, d->n) = new_diag(file, line, column, path, fmt, ap);
	va_end(ap);
}

void diags_warn(struct diags *d, const char *file, int line, int column, const char *path,
		const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	*array_push(d->warnings, d->n_warnings) = new_diag(file, line, column, path, fmt, ap);
	va_end(ap);
}

static int compare(const void *va, const void *vb)
{
	const struct diag *a = va, *b = vb;
	int c = strcmp(a->file, b->file);

	if (!c)
		c = (a->line > b->line) - (a->line < b->line);
	if (!c)
		c = (a->column > b->column) - (a->column < b->column);
	if (!c)
		c = strcmp(a->path, b->path);
	return c ? c : strcmp(a->text, b->text);
}

static void diag_done(struct diag *item)
{
	free(item->file);
	free(item->path);
	free(item->text);
}

static size_t sort(struct diag *items, size_t n)
{
	size_t kept = 0;

	if (n < 2)
		return n;
	qsort(items, n, sizeof *items, compare);
	for (size_t i = 1; i < n; i++) {
		if (compare(&items[kept], &items[i]) == 0)
			diag_done(&items[i]);
		else
			items[++kept] = items[i];
	}
	return kept + 1;
}

void diags_sort(struct diags *d)
{
	d->n = sort(d->items, d->n);
	d->n_warnings = sort(d->warnings, d->n_warnings);
}

static void add_line(struct str *b, const struct diag *item, const char *kind)
{
	str_add(b, item->file);
	if (item->line > 0)
		str_addf(b, ":%d:%d", item->line, item->column);
	if (item->path[0])
		str_addf(b, ": %s", item->path);
	str_addf(b, ": %s%s", kind, item->text);
}

static char *lines(const struct diag *items, size_t n, const char *kind)
{
	struct str b = {0};

	for (size_t i = 0; i < n; i++) {
		add_line(&b, &items[i], kind);
		str_add(&b, "\n");
	}
	text_make_printable(b.s, true);
	return str_take(&b);
}

char *diags_text(const struct diags *d)
{
	return lines(d->items, d->n, "");
}

char *diags_warnings_text(const struct diags *d)
{
	return lines(d->warnings, d->n_warnings, "warning: ");
}

int diags_err(const struct diags *d, struct err *e)
{
	autostr line = {0};

	if (d->n == 0)
		return 0;
	add_line(&line, &d->items[0], "");
	if (d->n == 1)
		return err_set(e, EINVAL, "%s", line.s);
	return err_set(e, EINVAL, "%s (and %zu more)", line.s, d->n - 1);
}

void diags_done(struct diags *d)
{
	for (size_t i = 0; i < d->n; i++)
		diag_done(&d->items[i]);
	for (size_t i = 0; i < d->n_warnings; i++)
		diag_done(&d->warnings[i]);
	free(d->items);
	free(d->warnings);
	*d = (struct diags){0};
}
