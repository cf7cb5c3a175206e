/*
 * What a user can ask about the kinds, answered from their tables: nothing here names a field.
 */
#include "experiment_schema.h"

#include "base/explain.h"
#include "base/suggest.h"

#include <errno.h>

static int no_such_kind(const char *kind, struct err *e)
{
	autofree char *unsupported = experiment_unsupported_kind(kind);
	const char *const *kinds = experiment_kinds();
	autostr all = {0};
	const char *nearest;
	size_t n = 0;

	for (; kinds[n]; n++)
		str_addf(&all, "%s%s", n ? ", " : "", kinds[n]);
	nearest = suggest_nearest(kind, kinds, n);
	if (unsupported)
		return err_set(e, ENOENT, "%s", unsupported);
	if (nearest)
		return err_set(e, ENOENT, "no kind \"%s\" (did you mean \"%s\"?)", kind, nearest);
	return err_set(e, ENOENT, "no kind \"%s\" (there are %s)", kind, all.s);
}

/* The kind as it is spelt, for one that was written in another case. */
static const char *find_kind(const char *name)
{
	const char *const *kinds = experiment_kinds();

	for (size_t i = 0; kinds[i]; i++)
		if (strcasecmp(kinds[i], name) == 0)
			return kinds[i];
	return NULL;
}

/* "spec.delay" and "delay" are the same; "metadata.name" is the head's. */
static int explain_path(const char *kind, const char *path, struct str *ret, struct err *e)
{
	static const char *const heads[] = {"apiVersion", "kind", "metadata"};
	size_t len = strcspn(path, ".");

	for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
		if (strlen(heads[i]) == len && strncmp(heads[i], path, len) == 0)
			return explain_field(&experiment_head_schema, path, ret, e);
	if (len == 4 && strncmp(path, "spec", 4) == 0)
		path += len + (path[len] == '.');
	return explain_field(experiment_schema(kind), path, ret, e);
}

int experiment_explain(const char *path, char **ret, struct err *e)
{
	size_t len = strcspn(path, ".");
	autofree char *name = xstrndup(path, len);
	const char *kind = find_kind(name);
	const char *rest = path + len + (path[len] == '.');
	autostr b = {0};

	if (!kind)
		return no_such_kind(name, e);
	str_addf(&b, "KIND     %s (apiVersion %s)\n", kind, experiment_api_version(kind));
	if (*rest)
		str_addf(&b, "FIELD    %s  ", rest);
	else
		str_add(&b, "\n");
	if (explain_path(kind, rest, &b, e) < 0)
		return err_wrap(e, "%s", kind);
	*ret = str_take(&b);
	return 0;
}

char *experiment_template(const char *name)
{
	const char *kind = find_kind(name);
	struct str b = {0};

	if (!kind)
		return NULL;
	explain_comment(experiment_schema(kind)->doc, 0, &b);
	str_addf(&b, "# What is commented out is optional; `brunt explain %s` says more.\n", kind);
	str_addf(&b, "apiVersion: %s\nkind: %s\nmetadata:\n", experiment_api_version(kind), kind);
	explain_template(field_find(&experiment_head_schema, "metadata")->sub, 2, &b);
	str_add(&b, "spec:\n");
	explain_template(experiment_schema(kind), 2, &b);
	return str_take(&b);
}
