/* The verbs, in the order of verbs.def. */
#pragma once

#include "verb.h"

#define VERB(v) extern const struct verb v;
#include "verbs.def"
#undef VERB

const struct verb *verb_find(const char *name);
/* The row of v->subs whose last word is name, NULL when there is none. */
const struct verb *verb_find_sub(const struct verb *v, const char *name);
const struct verb *const *verbs_all(size_t *ret_n);
