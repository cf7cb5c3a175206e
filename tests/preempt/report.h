/*
 * report - what the runs of rt-preempt found: lines on stdout, JSON, JUnit
 *
 * Owns: the lines; names of fields are constants
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { FIELDS_MAX = 16 };

struct line {
	char name[64], text[320];
	bool right, must_fail;
	struct {
		const char *name;
		double value;
	} fields[FIELDS_MAX];
	size_t n_fields;
};

struct line *report_add(const char *name, const char *group);
void report_number(struct line *l, const char *name, double value);
void report_show(const struct line *l);
size_t report_count(bool wrong_only);
/* Ends the process when the file cannot be written. */
void report_write_json(const char *path);
void report_write_junit(const char *path, const char *what); /* what: was run */
