#include "capability.h"

void capability_add(struct capability_list *l, const char *area, const char *name, bool needed,
		    bool ok, const char *detail, const char *fix)
{
	*array_push(l->items, l->n) = (struct capability){
		.area = xstrdup(area),
		.name = xstrdup(name),
		.needed = needed,
		.ok = ok,
		.detail = xstrdup(detail),
		.fix = ok ? NULL : xstrdup(fix),
	};
}

void capability_list_done(struct capability_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->items[i].area);
		free(l->items[i].name);
		free(l->items[i].detail);
		free(l->items[i].fix);
	}
	free(l->items);
	*l = (struct capability_list){0};
}
