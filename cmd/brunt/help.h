/*
 * help - usage texts made from the verbs' tables
 */
#pragma once

#include "verb.h"

void help_overview(struct str *ret);
void help_verb(const struct verb *v, struct str *ret);
