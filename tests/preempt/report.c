#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LINES_MAX = 256 };

static struct line *lines; /* not global: 200 KiB that the collector would search in its pauses */
static size_t n_lines;

struct line *report_add(const char *name, const char *group)
{
	struct line *l;

	if (!lines)
		lines = calloc(LINES_MAX, sizeof *lines);
	if (!lines || n_lines == LINES_MAX)
		abort();
	l = &lines[n_lines++];
	snprintf(l->name, sizeof l->name, "%s/%s", name, group);
	return l;
}

void report_number(struct line *l, const char *name, double value)
{
	if (l->n_fields == FIELDS_MAX)
		abort();
	l->fields[l->n_fields].name = name;
	l->fields[l->n_fields++].value = value;
}

void report_show(const struct line *l)
{
	printf("%-8s %-32s %s\n", l->right ? "ok" : "NOT OK", l->name, l->text);
	fflush(stdout);
}

size_t report_count(bool wrong_only)
{
	size_t n = 0;

	for (size_t i = 0; i < n_lines; i++)
		n += !wrong_only || !lines[i].right;
	return n;
}

static FILE *open_report(const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f) {
		perror(path);
		exit(2);
	}
	return f;
}

static void close_report(FILE *f, const char *path)
{
	if (ferror(f) | fclose(f)) {
		perror(path);
		exit(2);
	}
}

static void write_json_line(FILE *f, const struct line *l)
{
	fprintf(f, "  {\"name\": \"%s\", \"ok\": %s, \"expected\": \"%s\", \"text\": \"%s\"", l->name,
		l->right ? "true" : "false", l->must_fail ? "fail" : "pass", l->text);
	for (size_t i = 0; i < l->n_fields; i++)
		fprintf(f, ", \"%s\": %.15g", l->fields[i].name, l->fields[i].value);
	fputs("}", f);
}

void report_write_json(const char *path)
{
	FILE *f = open_report(path);

	fputs("[\n", f);
	for (size_t i = 0; i < n_lines; i++) {
		write_json_line(f, &lines[i]);
		fputs(i + 1 < n_lines ? ",\n" : "\n", f);
	}
	fputs("]\n", f);
	close_report(f, path);
}

static void write_xml_text(FILE *f, const char *s)
{
	for (; *s; s++)
		switch (*s) {
		case '<': fputs("&lt;", f); break;
		case '>': fputs("&gt;", f); break;
		case '&': fputs("&amp;", f); break;
		case '"': fputs("&quot;", f); break;
		default: fputc(*s, f);
		}
}

static void write_xml_line(FILE *f, const char *what, const struct line *l)
{
	fprintf(f, "    <testcase classname=\"%s\" name=\"%s\">\n      %s", what, l->name,
		l->right ? "<system-out>" : "<failure message=\"");
	write_xml_text(f, l->text);
	fputs(l->right ? "</system-out>\n    </testcase>\n" : "\"/>\n    </testcase>\n", f);
}

void report_write_junit(const char *path, const char *what)
{
	FILE *f = open_report(path);
	time_t now = time(NULL);
	char when[32];

	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
	fprintf(f, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"rt-preempt\">\n"
		"  <testsuite name=\"%s\" tests=\"%zu\" failures=\"%zu\" errors=\"0\" skipped=\"0\" "
		"timestamp=\"%s\">\n", what, n_lines, report_count(true), when);
	for (size_t i = 0; i < n_lines; i++)
		write_xml_line(f, what, &lines[i]);
	fputs("  </testsuite>\n</testsuites>\n", f);
	close_report(f, path);
}
