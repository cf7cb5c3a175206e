/*
 * Memory of which the collector knows nothing: what malloc gave, data of libraries, stacks of threads,
 * mappings. Read through /proc/self: a thread in foreign code may unmap what is being looked at.
 *
 * A page that was never touched holds no word, and is not read: pagemap tells. That is not believed of a
 * shared mapping, whose pages have contents although this process did not touch them.
 */
#include "leak_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

enum {
	PAGE = 4096,
	LINE_BYTES = 64 << 10,   /* of the buffer, for lines of maps */
	ENTRIES_BYTES = 64 << 10, /* for entries of pagemap */
	COPY_BYTES = LEAK_MEMORY_BUFFER - LINE_BYTES - ENTRIES_BYTES,
};
#define TOUCHED (UINT64_C(3) << 62) /* present, or swapped out */

struct reader {
	const struct span *large;
	size_t n_large, at_large;
	char *lines;
	uint64_t *entries;
	uintptr_t *copy;
	int maps, mem, pagemap;
	void (*words)(uintptr_t addr, const uintptr_t *copy, size_t n, void *arg);
	void *arg;
};

static void read_pages(struct reader *r, uintptr_t lo, uintptr_t hi)
{
	while (lo < hi) {
		size_t want = hi - lo < COPY_BYTES ? hi - lo : COPY_BYTES;
		ssize_t n = pread(r->mem, r->copy, want, (off_t)lo);
		size_t got = n > 0 ? (size_t)n : 0;

		r->words(lo, r->copy, got / sizeof(uintptr_t), r->arg);
		lo += got;
		if (got < want) /* behind the end of a file, or gone: the next page may be there */
			lo = lo / PAGE * PAGE + PAGE;
	}
}

static void read_touched(struct reader *r, uintptr_t lo, uintptr_t hi)
{
	while (lo < hi) {
		size_t pages = (hi - lo + PAGE - 1) / PAGE, from = 0;
		ssize_t n;

		if (pages > ENTRIES_BYTES / sizeof(uint64_t))
			pages = ENTRIES_BYTES / sizeof(uint64_t);
		n = pread(r->pagemap, r->entries, pages * sizeof(uint64_t),
			  (off_t)(lo / PAGE * sizeof(uint64_t)));
		if (n != (ssize_t)(pages * sizeof(uint64_t)))
			memset(r->entries, 0xff, pages * sizeof(uint64_t)); /* it cannot tell */
		for (size_t i = 0; i <= pages; i++) {
			if (i < pages && r->entries[i] & TOUCHED)
				continue;
			if (i > from)
				read_pages(r, lo + from * PAGE, lo + i * PAGE);
			from = i + 1;
		}
		lo += pages * PAGE;
	}
}

/* But for the large spans in it. */
static void read_mapping(struct reader *r, uintptr_t lo, uintptr_t hi, bool shared)
{
	while (lo < hi) {
		const struct span *s = &r->large[r->at_large];
		uintptr_t end = hi;

		if (r->at_large < r->n_large && s->hi <= lo) {
			r->at_large++;
			continue;
		}
		if (r->at_large < r->n_large && s->lo <= lo) {
			lo = (s->hi + PAGE - 1) / PAGE * PAGE;
			continue;
		}
		if (r->at_large < r->n_large && s->lo < hi)
			end = (s->lo + PAGE - 1) / PAGE * PAGE;
		if (shared)
			read_pages(r, lo, end);
		else
			read_touched(r, lo, end);
		lo = end;
	}
}

static const char *hex(const char *p, uintptr_t *ret)
{
	uintptr_t v = 0;

	for (;; p++) {
		if (*p >= '0' && *p <= '9')
			v = v << 4 | (uintptr_t)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			v = v << 4 | (uintptr_t)(*p - 'a' + 10);
		else
			break;
	}
	*ret = v;
	return p;
}

static bool starts(const char *s, const char *with)
{
	return strncmp(s, with, strlen(with)) == 0;
}

/* Devices are left alone: reading one may do something. */
static bool may_hold_words(const char *perms, const char *path)
{
	if (perms[0] != 'r' || (perms[1] != 'w' && *path && !starts(path, "[anon")))
		return false;
	return !starts(path, "/dev/") || starts(path, "/dev/shm/") || starts(path, "/dev/zero");
}

/* "LO-HI PERMS OFFSET DEVICE INODE   PATH" */
static void read_line(struct reader *r, const char *line)
{
	uintptr_t lo, hi;
	const char *perms, *p;

	p = hex(line, &lo);
	p = hex(p + (*p == '-'), &hi);
	perms = p + (*p == ' ');
	p = perms;
	for (unsigned i = 0; i < 4 && *p; i++) { /* offset, device and inode lie between */
		p += strcspn(p, " ");
		p += strspn(p, " ");
	}
	if (strlen(perms) >= 4 && may_hold_words(perms, p))
		read_mapping(r, lo, hi, perms[3] == 's');
}

static int read_all(struct reader *r)
{
	size_t have = 0;

	for (;;) {
		ssize_t n = read(r->maps, r->lines + have, LINE_BYTES - 1 - have);
		char *line = r->lines, *end;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		have += (size_t)n;
		r->lines[have] = 0;
		while ((end = strchr(line, '\n'))) {
			*end = 0;
			read_line(r, line);
			line = end + 1;
		}
		have -= (size_t)(line - r->lines);
		memmove(r->lines, line, have);
	}
}

int leak_memory_each(const struct span *large, size_t n, void *buffer,
		     void (*words)(uintptr_t addr, const uintptr_t *copy, size_t n, void *arg), void *arg)
{
	struct reader r = {.large = large, .n_large = n, .words = words, .arg = arg};
	int result = 0;

	r.copy = buffer;
	r.entries = (void *)((char *)buffer + COPY_BYTES);
	r.lines = (char *)buffer + COPY_BYTES + ENTRIES_BYTES;
	r.maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	r.mem = r.maps < 0 ? -1 : open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	if (r.mem < 0)
		result = -errno;
	r.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (result == 0)
		result = read_all(&r);
	if (r.pagemap >= 0)
		close(r.pagemap);
	if (r.mem >= 0)
		close(r.mem);
	if (r.maps >= 0)
		close(r.maps);
	return result;
}
