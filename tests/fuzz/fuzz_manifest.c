/* Any bytes as a manifest: an error with its place or a set of experiments, and nothing leaks. */
#include "experiment.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was said must be presentable, and what was accepted must be whole. */
static void check(const struct diags *d, const struct experiment_set *set)
{
	autofree char *text = diags_text(d);

	if ((d->n == 0) != (set != NULL))
		abort();
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 && *p != '\n')
			abort();
	for (size_t i = 0; set && i < set->n; i++)
		if (!set->items[i]->name || set->items[i]->fault_ns <= 0)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoptr(experiment_set) set = NULL;
	autodiags d = {0};

	experiment_load_text("fuzz", (const char *)data, size, &d, &set);
	check(&d, set);
	return 0;
}
