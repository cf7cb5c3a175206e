/*
 * explain - documentation and templates, made from schemas alone
 */
#pragma once

#include "field.h"

/* Adds what a schema's field at a dotted path is, or the schema itself when path is empty: type,
 * default, range, words, sentences, and the fields below it. Items of lists and rows of variants
 * are steps of the path by their names ("faults.networkChaos.delay"). -ENOENT with the nearest
 * name when there is no such field. */
int explain_field(const struct schema *schema, const char *path, struct str *ret, struct err *e);

/* Adds the fields of a schema as commented YAML, `indent` spaces deep. What is required, or marked
 * in_template, stands as it is; the rest is commented out. */
void explain_template(const struct schema *schema, int indent, struct str *ret);

/* Adds text as paragraphs of 92 columns: an empty line parts them, other line ends are blanks. */
void explain_paragraphs(const char *text, struct str *ret);

/* Adds text as comment lines, `indent` spaces deep. */
void explain_comment(const char *text, int indent, struct str *ret);
