#include "text.h"

#include "symbol.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAB = 8, CELLS = 4, CELL_BYTES = 512, ROWS_MAX = WALK_MAX * 2 };

#define NS_PER_MINUTE (60 * RT_SEC)

void text_addresses(struct out *o, const uintptr_t *pcs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out_printf(o, " %#" PRIxPTR, pcs[i]);
}

/* A row of text/tabwriter: cells padded with tabs to the widest of their column. */
struct row {
	char cell[CELLS][CELL_BYTES];
	int n;
};

static void set_row(struct row *r, uintptr_t pc, const struct symbol *s)
{
	snprintf(r->cell[0], CELL_BYTES, "#");
	snprintf(r->cell[1], CELL_BYTES, "%#" PRIxPTR, pc);
	r->n = 2;
	if (!s)
		return;
	snprintf(r->cell[2], CELL_BYTES, "%s+%#" PRIxPTR, s->function, s->entry ? pc - s->entry : 0);
	snprintf(r->cell[3], CELL_BYTES, "%s:%u", s->file ? s->file : "?", s->line);
	r->n = 4;
}

static size_t rows_of(const uintptr_t *pcs, size_t n, struct row *rows, size_t max)
{
	size_t n_rows = 0;

	for (size_t i = 0; i < n; i++) {
		struct symbol s[SYMBOL_INLINE_MAX];
		int k = symbol_of(pcs[i] - 1, s);

		if (k == 0 && n_rows < max)
			set_row(&rows[n_rows++], pcs[i] - 1, NULL);
		for (int j = 0; j < k && n_rows < max; j++)
			set_row(&rows[n_rows++], pcs[i] - 1, &s[j]);
	}
	return n_rows;
}

static void write_row(struct out *o, const struct row *r, const size_t *width)
{
	for (int c = 0; c < r->n; c++) {
		size_t have = strlen(r->cell[c]);

		out_text(o, r->cell[c]);
		for (; c + 1 < r->n && have < width[c]; have = (have / TAB + 1) * TAB)
			out_text(o, "\t");
	}
	out_text(o, "\n");
}

void text_record(struct out *o, const uintptr_t *pcs, size_t n)
{
	struct row *rows = calloc(ROWS_MAX, sizeof *rows);
	size_t n_rows = rows ? rows_of(pcs, n, rows, ROWS_MAX) : 0;
	size_t width[CELLS] = {0};

	for (size_t i = 0; i < n_rows; i++)
		for (int c = 0; c < rows[i].n; c++) {
			size_t w = (strlen(rows[i].cell[c]) / TAB + 1) * TAB;

			width[c] = w > width[c] ? w : width[c];
		}
	for (size_t i = 0; i < n_rows; i++)
		write_row(o, &rows[i], width);
	out_text(o, "\n");
	free(rows);
}

/* Parts of the runtime whose static functions say nothing to who reads a dump. */
static bool is_inner(const struct symbol *s)
{
	static const char *const dirs[] = {"/runtime/net/", "/runtime/obs/", "/runtime/sched/",
					   "/runtime/sync/"};

	if (!s->file || strncmp(s->function, "rt_", 3) == 0)
		return false;
	for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
		if (strstr(s->file, dirs[i]))
			return true;
	return false;
}

static void write_frame(struct out *o, uintptr_t pc, const struct symbol *s)
{
	out_printf(o, "%s(...)\n\t%s:%u", s->function, s->file ? s->file : "?", s->line);
	if (s->entry)
		out_printf(o, " +%#" PRIxPTR, pc - s->entry);
	out_text(o, "\n");
}

/* Returns whether it wrote a frame. */
static bool write_frames(struct out *o, const uintptr_t *pcs, size_t n, bool inner_too)
{
	bool shown = inner_too;

	for (size_t i = 0; i < n; i++) {
		struct symbol s[SYMBOL_INLINE_MAX];
		int k = symbol_of(pcs[i] - 1, s);

		if (k == 0)
			out_printf(o, "%#" PRIxPTR "\n", pcs[i]);
		for (int j = 0; j < k; j++) {
			if (!shown && is_inner(&s[j]))
				continue;
			shown = true;
			write_frame(o, pcs[i], &s[j]);
		}
	}
	return shown;
}

void text_stack(struct out *o, const uintptr_t *pcs, size_t n)
{
	if (!write_frames(o, pcs, n, false))
		write_frames(o, pcs, n, true);
}

const char *text_name(const char *name, uintptr_t entry)
{
	struct symbol s[SYMBOL_INLINE_MAX];

	if (name)
		return name;
	return symbol_of(entry, s) > 0 ? s[0].function : "?";
}

static const char *noun(enum text_style style)
{
	return style == TEXT_GO ? "goroutine" : "coroutine";
}

static const char *status(const struct snap_co *co)
{
	return co->state == CO_WAITING && co->reason != WAIT_NONE ? wait_reason_name(co->reason) :
								     co_state_name(co->state);
}

static void write_creation(struct out *o, const struct snap_co *co, enum text_style style)
{
	struct symbol s[SYMBOL_INLINE_MAX];
	int k = co->parent_id ? symbol_of(co->created_at - 1, s) : 0;
	const char *file = k && s[0].file ? s[0].file : "?";

	if (k == 0)
		return;
	out_printf(o, "created by %s in %s %" PRIu64, s[0].function, noun(style), co->parent_id);
	if (style == TEXT_OWN)
		out_printf(o, " at %s:%u\n", file, s[0].line);
	else
		out_printf(o, "\n\t%s:%u +%#" PRIxPTR "\n", file, s[0].line,
			   s[0].entry ? co->created_at - s[0].entry : 0);
}

static void write_waiting(struct out *o, int64_t ns, enum text_style style)
{
	if (style == TEXT_GO && ns >= NS_PER_MINUTE)
		out_printf(o, ", %" PRId64 " minutes", ns / NS_PER_MINUTE);
	if (style == TEXT_OWN && ns > 0)
		out_printf(o, ", %.3f s", (double)ns / 1e9);
}

static void write_coroutine(struct out *o, const struct snap_co *co, const struct snap_stack *stack,
			    int64_t now, enum text_style style)
{
	out_printf(o, "%s %" PRIu64, noun(style), co->id);
	if (co->name && style == TEXT_OWN)
		out_printf(o, " \"%s\"", co->name);
	out_printf(o, " [%s", status(co));
	if (co->waits_since)
		write_waiting(o, now - co->waits_since, style);
	out_text(o, "]:\n");
	text_stack(o, stack->pcs, stack->n);
	write_creation(o, co, style);
	out_text(o, "\n");
}

void text_coroutine(struct out *o, const struct snapshot *s, const struct snap_co *co,
		    enum text_style style)
{
	write_coroutine(o, co, snapshot_stack(s, co->stack), s->taken_ns, style);
}

void text_one(struct out *o, const struct rt_co *co, const uintptr_t *pcs, int n)
{
	struct snap_co c = snapshot_of(co);
	struct snap_stack *stack = calloc(1, sizeof *stack + (size_t)n * sizeof *pcs);

	if (!stack)
		return;
	stack->n = (uint32_t)n;
	memcpy(stack->pcs, pcs, (size_t)n * sizeof *pcs);
	write_coroutine(o, &c, stack, now_ns(), TEXT_OWN);
	free(stack);
}
