/*
 * table - rows and columns for people, by libsmartcols
 *
 * Columns are sized to the terminal (or to the content when there is none); a cell is copied.
 */
#pragma once

#include "verb.h"

struct table;

/* headings: NULL-terminated. A heading that begins with '>' is aligned to the right, one that
 * begins with '~' may be cut or wrapped first when the terminal is narrow. */
struct table *table_new(const struct globals *g, const char *const *headings);
/* cells: as many as there are headings; NULL is an empty cell. color: an escape name libsmartcols
 * knows ("red", "green") for the whole row, NULL for none. */
void table_row(struct table *t, const char *const *cells, const char *color);
void table_print(struct table *t);
void table_free(struct table *t);
DEFINE_AUTOPTR(table, table_free);
