#include "slo.h"

#define INDICATOR(t) extern const struct indicator_type t;
#include "indicators.def"
#undef INDICATOR

static const struct indicator_type *const types[] = {
#define INDICATOR(t) &t,
#include "indicators.def"
#undef INDICATOR
};

const struct indicator_type *indicator_at(size_t i)
{
	return i < ARRAY_SIZE(types) ? types[i] : NULL;
}

const struct indicator_type *indicator_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (streq(types[i]->name, name))
			return types[i];
	return NULL;
}

const char *const *indicator_names(void)
{
	static const char *names[ARRAY_SIZE(types) + 1];

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		names[i] = types[i]->name;
	return names;
}
