/*
 * text - what others wrote (manifests, processes, names), fit for a terminal and a record
 */
#pragma once

#include <stdbool.h>

/* In place: each byte that is not UTF-8, and each control character, becomes '?', so that no escape
 * sequence reaches a terminal and no record is lost to one bad byte. Newlines and tabs stay where
 * keep_lines. NULL is allowed. */
void text_make_printable(char *s, bool keep_lines);
