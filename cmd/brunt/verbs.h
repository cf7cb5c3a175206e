/* The verbs, in the order of verbs.def. */
#pragma once

#include "verb.h"

#define VERB(v) extern const struct verb v;
#include "verbs.def"
#undef VERB

const struct verb *verb_find(const char *name);
const struct verb *const *verbs_all(size_t *ret_n);
