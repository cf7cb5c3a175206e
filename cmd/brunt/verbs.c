#include "verbs.h"

static const struct verb *const verbs[] = {
#define VERB(v) &v,
#include "verbs.def"
#undef VERB
};

const struct verb *verb_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (streq(verbs[i]->name, name))
			return verbs[i];
	return NULL;
}

const struct verb *verb_find_sub(const struct verb *v, const char *name)
{
	for (const struct verb *const *sub = v->subs; *sub; sub++)
		if (streq(strrchr((*sub)->name, ' ') + 1, name))
			return *sub;
	return NULL;
}

const struct verb *const *verbs_all(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(verbs);
	return verbs;
}
