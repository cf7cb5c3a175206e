/*
 * Any bytes as a metrics page, and its first line as a selector: an answer or an error, and nothing
 * read outside or left behind.
 */
#include "base/mem.h"
#include "slo/openmetrics.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void touch(void *data, const struct openmetrics_sample *s)
{
	size_t *n = data;

	if (s->n_labels > OPENMETRICS_LABELS_MAX)
		abort();
	*n += strlen(s->name);
	for (size_t i = 0; i < s->n_labels; i++)
		*n += strlen(s->labels[i].name) + strlen(s->labels[i].value);
}

static void try_selector(const char *page, const struct openmetrics_sample *s)
{
	autofree char *line = xstrndup(page, strcspn(page, "\n"));
	struct openmetrics_selector sel;
	struct err e = {0};

	/* A regular expression may be as slow as its size allows; short ones do. */
	if (strlen(line) > 64 || strpbrk(line, "{") != strrchr(line, '{') || strchr(line, '~') ||
	    openmetrics_selector_parse(line, &sel, &e) < 0)
		return;
	openmetrics_selector_matches(&sel, s);
	openmetrics_selector_done(&sel);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct openmetrics_sample s = {
		.name = "up", .labels = {{"code", "503"}}, .n_labels = 1};
	autofree char *page = xmalloc(size + 1);
	size_t n = 0;

	memcpy(page, data, size);
	page[size] = '\0';
	try_selector(page, &s);
	openmetrics_parse(page, size, touch, &n, NULL);
	return 0;
}
