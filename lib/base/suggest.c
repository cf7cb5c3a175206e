#include "suggest.h"

#include "mem.h"

#include <ctype.h>
#include <stdbool.h>

size_t suggest_distance(const char *a, const char *b, size_t limit)
{
	size_t la = strlen(a), lb = strlen(b), width = lb + 1;
	autofree size_t *d = NULL;
	size_t ret;

	if ((la > lb ? la - lb : lb - la) > limit)
		return limit + 1;
	d = xcalloc((la + 1) * width, sizeof *d);
	for (size_t i = 0; i <= la; i++)
		d[i * width] = i;
	for (size_t j = 0; j <= lb; j++)
		d[j] = j;
	for (size_t i = 1; i <= la; i++)
		for (size_t j = 1; j <= lb; j++) {
			int ca = tolower((unsigned char)a[i - 1]);
			int cb = tolower((unsigned char)b[j - 1]);
			size_t best = d[(i - 1) * width + j - 1] + (ca != cb);

			best = MIN_OF(best, d[(i - 1) * width + j] + 1);
			best = MIN_OF(best, d[i * width + j - 1] + 1);
			if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
			    tolower((unsigned char)a[i - 2]) == cb)
				best = MIN_OF(best, d[(i - 2) * width + j - 2] + 1);
			d[i * width + j] = best;
		}
	ret = d[la * width + lb];
	return MIN_OF(ret, limit + 1);
}

/* Two letters that lack in "use" may still make it "usage"; two others make another word of "any". */
static bool is_another_word(size_t len, const char *candidate, size_t distance)
{
	return distance > 1 && len < 5 && strlen(candidate) <= len;
}

const char *suggest_nearest(const char *name, const char *const *candidates, size_t n)
{
	/* A third of the letters may be wrong; longer texts are not compared at all. */
	size_t len = strlen(name), best = len / 3 + 2;
	const char *ret = NULL;

	if (len > 64)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t d = suggest_distance(name, candidates[i], best);

		if (d < best && !is_another_word(len, candidates[i], d)) {
			best = d;
			ret = candidates[i];
		}
	}
	return ret;
}
