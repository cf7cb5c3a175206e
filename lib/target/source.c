/*
 * The rows of sources.def and what is common to them: every call goes through here, so that an
 * error always names its source.
 */
#include "target.h"

#include "../base/suggest.h"

#include <errno.h>

#define SOURCE(type) extern const struct target_source_type type;
#include "sources.def"
#undef SOURCE

static const struct target_source_type *const types[] = {
#define SOURCE(type) &type,
#include "sources.def"
#undef SOURCE
};

enum { N_TYPES = ARRAY_SIZE(types) };

const struct target_source_type *target_source_for_tests;

const struct target_source_type *target_source_find(const char *name)
{
	if (target_source_for_tests && streq(target_source_for_tests->name, name))
		return target_source_for_tests;
	for (size_t i = 0; i < N_TYPES; i++)
		if (streq(types[i]->name, name))
			return types[i];
	return NULL;
}

const char *const *target_source_names(void)
{
	static const char *names[N_TYPES + 1];

	for (size_t i = 0; i < N_TYPES; i++)
		names[i] = types[i]->name;
	return names;
}

static int unknown_source(const char *name, struct err *e)
{
	const char *near = suggest_nearest(name, target_source_names(), N_TYPES);

	if (near)
		return err_set(e, EINVAL, "unknown target source \"%s\" (did you mean \"%s\"?)",
			       name, near);
	return err_set(e, EINVAL, "unknown target source \"%s\"", name);
}

int target_source_open(const char *name, const struct source_config *c, struct target_source **ret,
		       struct err *e)
{
	const struct target_source_type *type = target_source_find(name);
	struct target_source *s;
	int r;

	if (!type)
		return unknown_source(name, e);
	s = xcalloc(1, sizeof *s);
	s->type = type;
	r = type->open(s, c, e);
	if (r < 0) {
		free(s);
		err_wrap(e, "source %s", name);
		return r;
	}
	*ret = s;
	return 0;
}

int target_source_list(struct target_source *s, struct target_list *ret, struct err *e)
{
	int r = s->type->list(s, ret, e);

	if (r < 0)
		err_wrap(e, "source %s", s->type->name);
	return r;
}

int target_source_vantage(struct target_source *s, struct vantage *ret, struct err *e)
{
	int r = s->type->vantage(s, ret, e);

	if (r < 0)
		err_wrap(e, "source %s", s->type->name);
	return r;
}

void target_source_close(struct target_source *s)
{
	if (!s)
		return;
	s->type->close(s);
	free(s);
}
