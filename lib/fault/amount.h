/*
 * amount - a field that is so much of something, or a percentage of what there is
 *
 * Owns:    the text, which amount_free() frees: struct amount is the storage of a FIELD_CUSTOM
 * Errors:  as field_error() has it
 */
#pragma once

#include "../base/field.h"

struct amount {
	char *text;     /* as it was written */
	uint64_t fixed; /* in the unit of the field; 0: a percentage */
	uint32_t ppm;
};

/* parse reads what is no percentage; nothing at all of `what` is refused. */
int amount_parse(struct amount *a, const struct yaml_node *node, struct field_ctx *ctx,
		 int (*parse)(const char *text, uint64_t *ret, struct err *e), const char *what);
void amount_free(void *storage);

/* Of a percentage. */
uint64_t amount_share(const struct amount *a, uint64_t all);
