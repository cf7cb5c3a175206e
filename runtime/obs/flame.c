/*
 * A tree of functions with the callers below, widths by value, neighbours in the order of their
 * names so that equal frames lie together. Title elements show name and share under the pointer;
 * the file has no script and needs none.
 */
#include "flame.h"

#include "../sched/sched.h"
#include "symbol.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 1200, ROW = 17, MARGIN = 10, HEAD = 40, CHAR_WIDTH = 7 };
#define NARROWEST 0.1 /* pixels; narrower frames are left out */

struct node {
	const char *name; /* of symbol.c, which keeps it */
	int64_t value;
	struct node *child, *next; /* children are sorted by name */
};

struct flame {
	const char *title, *unit;
	struct node root;
};

struct flame *flame_new(const char *title, const char *unit)
{
	struct flame *f = calloc(1, sizeof *f);

	if (!f)
		rt_fatal("out of memory for a flame graph");
	*f = (struct flame){.title = title, .unit = unit, .root = {.name = "all"}};
	return f;
}

static void free_children(struct node *n)
{
	while (n->child) {
		struct node *c = n->child;

		n->child = c->next;
		free_children(c);
		free(c);
	}
}

void flame_free(struct flame *f)
{
	if (!f)
		return;
	free_children(&f->root);
	free(f);
}

static struct node *child_of(struct node *n, const char *name)
{
	struct node **link = &n->child, *c;

	while (*link && strcmp((*link)->name, name) < 0)
		link = &(*link)->next;
	if (*link && strcmp((*link)->name, name) == 0)
		return *link;
	c = calloc(1, sizeof *c);
	if (!c)
		rt_fatal("out of memory for a flame graph");
	*c = (struct node){.name = name, .next = *link};
	*link = c;
	return c;
}

void flame_add(struct flame *f, const uintptr_t *pcs, size_t n, int64_t value)
{
	struct node *at = &f->root;

	at->value += value;
	for (size_t i = n; i-- > 0;) {
		struct symbol s[SYMBOL_INLINE_MAX];
		int k = symbol_of(pcs[i] - 1, s);

		if (k == 0) {
			at = child_of(at, "?");
			at->value += value;
		}
		while (k-- > 0) {
			at = child_of(at, s[k].function);
			at->value += value;
		}
	}
}

static int depth_of(const struct node *n)
{
	int deepest = 0;

	for (const struct node *c = n->child; c; c = c->next) {
		int d = depth_of(c);

		deepest = d > deepest ? d : deepest;
	}
	return deepest + 1;
}

static void write_escaped(struct out *o, const char *s, size_t n)
{
	for (size_t i = 0; i < n && s[i]; i++) {
		if (s[i] == '<')
			out_text(o, "&lt;");
		else if (s[i] == '>')
			out_text(o, "&gt;");
		else if (s[i] == '&')
			out_text(o, "&amp;");
		else
			out_add(o, s + i, 1);
	}
}

/* Warm colours; a function has the same one everywhere. */
static void write_colour(struct out *o, const char *name)
{
	uint32_t h = 2166136261u;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	out_printf(o, "rgb(%u,%u,%u)", 205 + h % 50, 80 + (h >> 8) % 130, (h >> 16) % 55);
}

static void write_node(const struct flame *f, struct out *o, const struct node *n, double x,
		       double width, int y)
{
	double at = x, per_value = width / (double)n->value;
	size_t fits = width > 3 * CHAR_WIDTH ? (size_t)(width / CHAR_WIDTH) : 0;

	out_text(o, "<g><title>");
	write_escaped(o, n->name, SIZE_MAX);
	out_printf(o, " (%" PRId64 " %s, %.2f%%)</title><rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" "
		   "height=\"%d\" rx=\"1\" fill=\"", n->value, f->unit,
		   100.0 * (double)n->value / (double)f->root.value, x, y, width, ROW - 1);
	write_colour(o, n->name);
	out_printf(o, "\"/><text x=\"%.1f\" y=\"%d\">", x + 3, y + ROW - 5);
	write_escaped(o, n->name, fits);
	out_text(o, "</text></g>\n");
	for (const struct node *c = n->child; c; c = c->next) {
		double w = (double)c->value * per_value;

		if (w >= NARROWEST)
			write_node(f, o, c, at, w, y - ROW);
		at += w;
	}
}

void flame_write(const struct flame *f, struct out *o)
{
	int height = HEAD + depth_of(&f->root) * ROW + MARGIN;

	out_printf(o, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		   "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
		   "viewBox=\"0 0 %d %d\" font-family=\"monospace\" font-size=\"12\">\n"
		   "<rect width=\"100%%\" height=\"100%%\" fill=\"#fffbea\"/>\n"
		   "<text x=\"%d\" y=\"24\" font-size=\"16\">", WIDTH, height, WIDTH, height, MARGIN);
	write_escaped(o, f->title, SIZE_MAX);
	out_printf(o, " (%" PRId64 " %s)</text>\n", f->root.value, f->unit);
	if (f->root.value > 0)
		write_node(f, o, &f->root, MARGIN, WIDTH - 2 * MARGIN, height - MARGIN - ROW);
	out_text(o, "</svg>\n");
}
