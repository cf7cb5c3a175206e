/* /debug/escape.html: the escape report as sources with the lines that allocate in colour. */
#include "escape_page.h"
#include "heap.h"
#include "obs.h"
#include "page.h"
#include "symbol.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct heat {
	const char *file;
	unsigned line;
	double bytes[VERDICTS]; /* allocated there, estimated */
};

struct job {
	struct out *out;
	struct heat *lines;
	size_t n;
	double hottest;
};

static int by_place(const void *a, const void *b)
{
	const struct heat *x = a, *y = b;
	int r = strcmp(x->file, y->file);

	return r ? r : (x->line > y->line) - (x->line < y->line);
}

static double sum(const struct heat *h)
{
	return h->bytes[CANDIDATE] + h->bytes[UNKNOWN] + h->bytes[ESCAPES];
}

/* Neighbours of one place become one. */
static void merge(struct job *j)
{
	size_t n = 0;

	for (size_t i = 0; i < j->n; i++) {
		if (n && by_place(&j->lines[n - 1], &j->lines[i]) == 0) {
			for (int v = 0; v < VERDICTS; v++)
				j->lines[n - 1].bytes[v] += j->lines[i].bytes[v];
		} else {
			j->lines[n++] = j->lines[i];
		}
	}
	j->n = n;
	for (size_t i = 0; i < n; i++)
		j->hottest = sum(&j->lines[i]) > j->hottest ? sum(&j->lines[i]) : j->hottest;
}

static void collect(struct job *j)
{
	struct symbol s[SYMBOL_INLINE_MAX];
	size_t room = 0;

	for (struct heap_site *site = heap_site_next(NULL); site; site = heap_site_next(site))
		room++;
	j->lines = calloc(room + 1, sizeof *j->lines);
	if (!j->lines)
		rt_fatal("out of memory for %zu places of the escape report", room);
	for (struct heap_site *site = heap_site_next(NULL); site; site = heap_site_next(site)) {
		double sampled = (double)(count_read(&site->allocs) * site->bytes);

		if (j->n == room || !site->n || symbol_of(site->pcs[0] - 1, s) < 1 || !s[0].file)
			continue;
		j->lines[j->n] = (struct heat){.file = s[0].file, .line = s[0].line};
		j->lines[j->n++].bytes[verdict_of(site)] = sampled * heap_weight(site, site->rate);
	}
	qsort(j->lines, j->n, sizeof *j->lines, by_place);
	merge(j);
}

static void write_escaped(struct out *o, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			out_text(o, "&lt;");
		else if (*text == '&')
			out_text(o, "&amp;");
		else
			out_add(o, text, 1);
	}
}

/* The colour says what becomes of most of it, its strength how much it is. */
static void write_line(const struct job *j, unsigned number, const struct heat *h, const char *text)
{
	static const char *const colours[VERDICTS] = {
		[CANDIDATE] = "0,160,0", [UNKNOWN] = "128,128,128", [ESCAPES] = "220,60,0",
	};
	static const char *const words[VERDICTS] = {
		[CANDIDATE] = "candidate", [UNKNOWN] = "unknown", [ESCAPES] = "escapes",
	};
	enum verdict most = CANDIDATE;

	if (!h) {
		out_printf(j->out, "<div>%5u %24s  ", number, "");
	} else {
		for (enum verdict v = 0; v < VERDICTS; v++)
			most = h->bytes[v] > h->bytes[most] ? v : most;
		out_printf(j->out, "<div class=\"%s\" style=\"background:rgba(%s,%.2f)\">%5u %14.0f %9s  ",
			   words[most], colours[most], 0.2 + 0.6 * sum(h) / j->hottest, number, sum(h),
			   words[most]);
	}
	write_escaped(j->out, text);
	out_text(j->out, "</div>\n");
}

/* Lines [i, end) are of one file. Without the source, only they are there. */
static void write_file(const struct job *j, size_t i, size_t end)
{
	FILE *f = fopen(j->lines[i].file, "re");
	char *text = NULL;
	size_t room = 0;

	out_text(j->out, "<h2>");
	write_escaped(j->out, j->lines[i].file);
	out_text(j->out, "</h2>\n<pre>\n");
	for (unsigned number = 1; f && getline(&text, &room, f) >= 0; number++) {
		bool hot = i < end && j->lines[i].line == number;

		text[strcspn(text, "\n")] = 0;
		write_line(j, number, hot ? &j->lines[i] : NULL, text);
		i += hot;
	}
	for (; i < end; i++)
		write_line(j, j->lines[i].line, &j->lines[i], "(no source)");
	out_text(j->out, "</pre>\n");
	free(text);
	if (f)
		fclose(f);
}

static void work(void *arg)
{
	struct job j = {.out = arg};

	collect(&j);
	out_text(j.out, "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"/>"
		 "<title>escape report</title></head><body>\n<h1>escape report</h1>\n"
		 "<p>Bytes allocated by each line, estimated. "
		 "Green: candidates for the stack or an arena; red: escape; "
		 "grey: unknown. /debug/escape has the evidence.</p>\n");
	for (size_t i = 0, end; i < j.n; i = end) {
		for (end = i + 1; end < j.n && strcmp(j.lines[end].file, j.lines[i].file) == 0;)
			end++;
		write_file(&j, i, end);
	}
	out_text(j.out, "</body></html>\n");
	free(j.lines);
}

int page_escape_heat(struct page *p)
{
	if (!escape_is_on())
		return page_escape(p);
	p->type = "text/html; charset=utf-8";
	obs_work(work, &p->out);
	return 0;
}
