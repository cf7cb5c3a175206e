/* /debug/escape: places whose objects could live on the stack or in an arena. */
#include "escape_page.h"

#include "obs.h"
#include "page.h"
#include "text.h"

#include <inttypes.h>
#include <stdlib.h>

enum verdict verdict_of(const struct heap_site *s)
{
	if (count_read(&s->stored) || count_read(&s->outlived))
		return ESCAPES;
	return count_read(&s->kept_in_frame) && count_read(&s->died) ? CANDIDATE : UNKNOWN;
}

static void write_site(struct out *o, const struct heap_site *s)
{
	out_printf(o, "%" PRIu64 " sampled of %zu bytes each: %" PRIu32 " died, %" PRIu32
		   " kept in their frame, %" PRIu32 " outlived it, %" PRIu32 " stored\n",
		   count_read(&s->allocs), s->bytes, count_read(&s->died), count_read(&s->kept_in_frame),
		   count_read(&s->outlived), count_read(&s->stored));
	text_record(o, s->pcs, s->n);
}

static int most_bytes_first(const void *a, const void *b)
{
	const struct heap_site *const *x = a, *const *y = b;
	uint64_t in_x = count_read(&(*x)->allocs) * (*x)->bytes;
	uint64_t in_y = count_read(&(*y)->allocs) * (*y)->bytes;

	return (in_x < in_y) - (in_x > in_y);
}

static void write_all(struct out *o, struct heap_site **sites, size_t n, enum verdict v)
{
	static const char *const heads[VERDICTS] = {
		[CANDIDATE] = "candidates: never stored, and no collection saw one outlive its frame",
		[UNKNOWN] = "unknown: no collection saw one in its frame, or none died",
		[ESCAPES] = "escape",
	};

	out_printf(o, "%s\n\n", heads[v]);
	for (size_t i = 0; i < n; i++)
		if (verdict_of(sites[i]) == v)
			write_site(o, sites[i]);
	out_text(o, "\n");
}

static void work(void *arg)
{
	struct page *p = arg;
	struct heap_site **sites;
	size_t n = 0, i = 0;

	for (struct heap_site *s = heap_site_next(NULL); s; s = heap_site_next(s))
		n++;
	sites = calloc(n + 1, sizeof *sites);
	if (!sites)
		rt_fatal("out of memory for %zu places of the escape report", n);
	for (struct heap_site *s = heap_site_next(NULL); s && i < n; s = heap_site_next(s))
		sites[i++] = s;
	qsort(sites, n, sizeof *sites, most_bytes_first);
	out_printf(&p->out, "escape report: of one object in about %" PRId64 " bytes\n"
		   "evidence, not proof: a pointer in a global counts when a collection sees it there\n\n",
		   sample_rate());
	for (enum verdict v = 0; v < VERDICTS; v++)
		write_all(&p->out, sites, n, v);
	free(sites);
}

int page_escape(struct page *p)
{
	if (!escape_is_on()) {
		out_text(&p->out, "/debug/escape: is off (start the program with RT_DEBUG=escape=1)\n");
		return 0;
	}
	obs_work(work, p);
	return 0;
}
