#include "amount.h"

#include "../base/units.h"

int amount_parse(struct amount *a, const struct yaml_node *node, struct field_ctx *ctx,
		 int (*parse)(const char *text, uint64_t *ret, struct err *e), const char *what)
{
	const char *text = node->kind == YAML_SCALAR ? node->text : "";
	struct err e = {0};
	int r;

	a->text = xstrdup(text);
	r = strchr(text, '%') ? units_parse_percent(text, &a->ppm, &e) : parse(text, &a->fixed, &e);
	if (r < 0)
		return field_error(ctx, node, NULL, "%s", e.text);
	if (a->fixed + a->ppm == 0)
		return field_error(ctx, node, NULL, "\"%s\" leaves no %s at all", text, what);
	return 0;
}

void amount_free(void *storage)
{
	free(((struct amount *)storage)->text);
}

uint64_t amount_share(const struct amount *a, uint64_t all)
{
	return (uint64_t)((double)all * a->ppm / 1000000);
}
