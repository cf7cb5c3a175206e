#include "table.h"

#include <libsmartcols.h>
#include <stdio.h>

struct table {
	struct libscols_table *cols;
	size_t n;
};

struct table *table_new(const struct globals *g, const char *const *headings)
{
	struct table *t = xcalloc(1, sizeof *t);

	scols_init_debug(0);
	t->cols = scols_new_table();
	if (!t->cols)
		abort();
	scols_table_enable_colors(t->cols, g->color);
	for (; headings[t->n]; t->n++) {
		const char *h = headings[t->n];
		int flags = *h == '>' ? SCOLS_FL_RIGHT : *h == '~' ? SCOLS_FL_WRAP : 0;

		if (!scols_table_new_column(t->cols, flags ? h + 1 : h, 0, flags))
			abort();
	}
	return t;
}

void table_row(struct table *t, const char *const *cells, const char *color)
{
	struct libscols_line *line = scols_table_new_line(t->cols, NULL);

	if (!line)
		abort();
	for (size_t i = 0; i < t->n; i++)
		if (scols_line_set_data(line, i, cells[i] ? cells[i] : "") < 0)
			abort();
	if (color)
		scols_line_set_color(line, color);
}

void table_print(struct table *t)
{
	fflush(stdout);
	scols_print_table(t->cols);
}

void table_free(struct table *t)
{
	if (!t)
		return;
	scols_unref_table(t->cols);
	free(t);
}
