#include "debug.h"

#include "contention.h"
#include "cpu.h"
#include "goroutine.h"
#include "heap.h"
#include "leak.h"
#include "obs.h"
#include "page.h"
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECONDS_MAX = 3600 };

#define TEXT "text/plain; charset=utf-8"
#define BINARY "application/octet-stream"

/* The value of a number in "a=1&b=2"; fallback: it is not there. -1: it is no number. */
static long query_number(const char *query, const char *name, long fallback)
{
	size_t n = strlen(name);

	for (const char *at = query; at && *at; at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL) {
		char *end;
		long v;

		if (strncmp(at, name, n) != 0 || at[n] != '=')
			continue;
		v = strtol(at + n + 1, &end, 10);
		return end == at + n + 1 || (*end && *end != '&') || v < 0 ? -1 : v;
	}
	return fallback;
}

static const char *form(const struct page *p)
{
	return p->debug > 0 ? TEXT : BINARY;
}

static int sleep_for(struct page *p)
{
	rt_sleep(p->seconds * RT_SEC);
	return 0;
}

static int page_goroutine(struct page *p)
{
	p->type = form(p);
	return goroutine_profile(&p->out, p->debug);
}

static int page_threadcreate(struct page *p)
{
	p->type = form(p);
	return threadcreate_profile(&p->out, p->debug);
}

static int page_block(struct page *p)
{
	p->type = form(p);
	block_profile(&p->out, p->debug);
	return 0;
}

static int page_mutex(struct page *p)
{
	p->type = form(p);
	mutex_profile(&p->out, p->debug);
	return 0;
}

static int page_of_heap(struct page *p, enum heap_profile which)
{
	p->type = form(p);
	if (p->collect)
		rt_gc();
	heap_profile(&p->out, which, p->debug);
	return 0;
}

static int page_heap_profile(struct page *p)
{
	return page_of_heap(p, HEAP_PROFILE);
}

static int page_allocs(struct page *p)
{
	return page_of_heap(p, ALLOCS_PROFILE);
}

static int take_cpu(struct page *p, enum cpu_form as)
{
	int r = cpu_profile_start(CPU_HZ);

	if (r < 0)
		return r;
	sleep_for(p);
	return cpu_profile_stop(&p->out, as);
}

static int page_profile(struct page *p)
{
	p->type = BINARY;
	return take_cpu(p, CPU_PROTO);
}

static int page_flame(struct page *p)
{
	p->type = "image/svg+xml";
	return take_cpu(p, CPU_FLAME);
}

static int page_trace(struct page *p)
{
	int r = trace_start();

	if (r < 0)
		return r;
	p->type = BINARY;
	sleep_for(p);
	return trace_stop(&p->out);
}

static int page_leak(struct page *p)
{
	uint64_t *ids = calloc(LEAKS_SHOWN, sizeof *ids);
	int n = ids ? leak_find(ids, LEAKS_SHOWN) : -ENOMEM;
	struct snapshot s;
	int r = n < 0 ? n : snapshot_take(&s, "leak profile");

	if (r == 0) { /* they are where they were: nobody can have woken them */
		out_printf(&p->out, "goroutineleak profile: total %d\n\n", n);
		leak_write_found(&p->out, &s, ids, n < LEAKS_SHOWN ? (size_t)n : LEAKS_SHOWN);
		snapshot_done(&s);
	}
	free(ids);
	return r;
}

static int page_cmdline(struct page *p)
{
	FILE *f = fopen("/proc/self/cmdline", "re");
	char buf[4096];
	size_t n;

	if (!f)
		return -errno;
	while ((n = fread(buf, 1, sizeof buf, f)) > 0)
		out_add(&p->out, buf, n);
	fclose(f);
	return 0;
}

static const struct debug_page {
	const char *path;
	int (*make)(struct page *p);
	long seconds; /* by default; 0: it takes no time */
	const char *about;
} pages[] = {
	{"/debug/escape", page_escape, 0, "objects that the stack or an arena could hold"},
	{"/debug/escape.html", page_escape_heat, 0, "the same in the sources, by colour"},
	{"/debug/heap", page_heap, 0, "the heap and its collector"},
	{"/debug/pprof/allocs", page_allocs, 0, "where objects were made, since the start"},
	{"/debug/pprof/block", page_block, 0, "where coroutines waited for each other"},
	{"/debug/pprof/cmdline", page_cmdline, 0, "the command line"},
	{"/debug/pprof/flame", page_flame, 30, "CPU time as a flame graph"},
	{"/debug/pprof/goroutine", page_goroutine, 0, "stacks of all coroutines"},
	{"/debug/pprof/goroutineleak", page_leak, 0, "coroutines that nobody can wake"},
	{"/debug/pprof/heap", page_heap_profile, 0, "where objects in use were made"},
	{"/debug/pprof/mutex", page_mutex, 0, "who made others wait for a mutex"},
	{"/debug/pprof/profile", page_profile, 30, "CPU time"},
	{"/debug/pprof/threadcreate", page_threadcreate, 0, "where threads were started"},
	{"/debug/pprof/trace", page_trace, 1, "the scheduler's events, for Perfetto"},
	{"/debug/sched", page_sched, 0, "the scheduler's state"},
};
enum { N_PAGES = sizeof pages / sizeof pages[0] };

static void write_index(struct out *o)
{
	out_text(o, "<html><head><title>/debug/pprof/</title></head><body><h1>/debug/pprof/</h1>\n<ul>\n");
	for (size_t i = 0; i < N_PAGES; i++)
		out_printf(o, "<li><a href=\"%s%s\">%s</a>: %s</li>\n", pages[i].path,
			   pages[i].seconds ? "" : "?debug=1", pages[i].path, pages[i].about);
	out_text(o, "</ul></body></html>\n");
}

static const struct debug_page *find(const char *path)
{
	for (size_t i = 0; i < N_PAGES; i++)
		if (strcmp(pages[i].path, path) == 0)
			return &pages[i];
	return NULL;
}

static bool is_index(const char *path)
{
	return strcmp(path, "/debug/pprof/") == 0 || strcmp(path, "/debug/pprof") == 0;
}

bool rt_debug_owns(const char *path)
{
	return is_index(path) || find(path);
}

static void explain(struct page *p, int r, const char *path)
{
	out_done(&p->out);
	p->type = TEXT;
	if (r == -EBUSY)
		out_printf(&p->out, "%s: one is being taken already; try again later\n", path);
	else if (r == -ENOSYS)
		out_printf(&p->out, "%s: needs the garbage collector, and none runs\n", path);
	else
		out_printf(&p->out, "%s: %s\n", path, strerror(-r));
}

static int status_of(int r)
{
	return r == 0 ? 200 : r == -EBUSY ? 409 : r == -ENOSYS ? 501 : 500;
}

static int make(struct page *p, const char *path, const char *query)
{
	const struct debug_page *page = find(path);
	int r;

	if (is_index(path)) {
		p->type = "text/html; charset=utf-8";
		write_index(&p->out);
		return 200;
	}
	if (!page) {
		out_printf(&p->out, "%s: no such page; /debug/pprof/ lists them\n", path);
		return 404;
	}
	p->debug = (int)query_number(query, "debug", 0);
	p->detail = query_number(query, "detail", 0) > 0;
	p->collect = query_number(query, "gc", 0) > 0;
	p->seconds = query_number(query, "seconds", page->seconds);
	if (p->debug < 0 || p->seconds < 0 || p->seconds > SECONDS_MAX) {
		out_printf(&p->out, "%s?%s: debug and seconds are numbers, seconds at most %d\n", path,
			   query, SECONDS_MAX);
		return 400;
	}
	r = page->make(p);
	if (r < 0)
		explain(p, r, path);
	return status_of(r);
}

void rt_debug_serve(const char *path, const char *query, const struct rt_debug_sink *sink)
{
	struct page p = {.type = TEXT};
	int status = make(&p, path, query);

	sink->head(sink->arg, status, p.type);
	sink->write(sink->arg, p.out.data, p.out.n);
	out_done(&p.out);
}
