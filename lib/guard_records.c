/*
 * Each record is its numbers and then its texts, each with its length before it. Not JSON: a snapshot
 * holds names that others gave to their devices, in whatever bytes.
 */
#include "guard_records.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct record_numbers {
	int64_t id;
	struct netns_id netns_id;
};

enum { NO_TEXT = -1 };

/* The file as it is read: what is left of it. */
struct record_file {
	void *map;
	size_t size;
	const char *at, *end;
};

static int write_file(const struct str *b, struct err *e)
{
	autofd int fd = memfd_create("brunt-undo", MFD_CLOEXEC);

	if (fd < 0)
		return err_errno(e, errno, "guard: make memory for records");
	for (size_t done = 0; done < b->len;) {
		ssize_t n = write(fd, b->s + done, b->len - done);

		if (n < 0 && errno != EINTR)
			return err_errno(e, errno, "guard: write records to memory");
		done += n > 0 ? (size_t)n : 0;
	}
	return take_fd(fd);
}

static void record_file_done(struct record_file *f)
{
	if (f->map)
		munmap(f->map, f->size);
}

static int record_file_open(int fd, struct record_file *ret)
{
	struct stat st;

	*ret = (struct record_file){0};
	if (fd < 0 || fstat(fd, &st) < 0)
		return -EBADMSG;
	if (st.st_size == 0)
		return 0;
	ret->map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (ret->map == MAP_FAILED) {
		ret->map = NULL;
		return -EBADMSG;
	}
	ret->size = (size_t)st.st_size;
	ret->at = ret->map;
	ret->end = ret->at + ret->size;
	return 0;
}

static bool read_bytes(struct record_file *f, void *to, size_t n)
{
	if ((size_t)(f->end - f->at) < n)
		return false;
	memcpy(to, f->at, n);
	f->at += n;
	return true;
}

static void add_text(struct str *b, const char *text)
{
	int64_t len = text ? (int64_t)strlen(text) : NO_TEXT;

	str_addn(b, (const char *)&len, sizeof len);
	if (len > 0)
		str_addn(b, text, (size_t)len);
}

static bool read_text(struct record_file *f, char **ret)
{
	int64_t len;

	*ret = NULL;
	if (!read_bytes(f, &len, sizeof len) || len < NO_TEXT || len > f->end - f->at)
		return false;
	if (len != NO_TEXT)
		*ret = xstrndup(f->at, (size_t)len);
	f->at += len > 0 ? len : 0;
	return true;
}

int guard_records_pack(const struct undo_list *l, struct err *e)
{
	autostr b = {0};

	for (size_t i = 0; i < l->n; i++) {
		const struct undo *u = &l->items[i];
		const struct record_numbers numbers = {u->id, u->netns_id};

		str_addn(&b, (const char *)&numbers, sizeof numbers);
		add_text(&b, u->driver->kind);
		add_text(&b, u->fault);
		add_text(&b, u->target);
		add_text(&b, u->data);
		add_text(&b, u->before);
	}
	return write_file(&b, e);
}

static bool read_record(struct record_file *f, struct undo *u)
{
	struct record_numbers numbers;
	autofree char *kind = NULL;

	if (!read_bytes(f, &numbers, sizeof numbers) || !read_text(f, &kind) ||
	    !read_text(f, &u->fault) || !read_text(f, &u->target) || !read_text(f, &u->data) ||
	    !read_text(f, &u->before) || !kind)
		return false;
	u->id = numbers.id;
	u->netns_id = numbers.netns_id;
	u->netns_fd = -1;
	u->driver = fault_driver_by_kind(kind);
	return true;
}

int guard_records_unpack(int fd, struct undo_list *l)
{
	struct record_file f;
	int r = record_file_open(fd, &f);

	while (r == 0 && f.at < f.end)
		if (!read_record(&f, array_push(l->items, l->n)))
			r = -EBADMSG;
	record_file_done(&f);
	return r;
}

int guard_records_pack_ids(const int64_t *ids, size_t n, struct err *e)
{
	autostr b = {0};

	str_addn(&b, (const char *)ids, n * sizeof *ids);
	return write_file(&b, e);
}

static bool lists_id(const struct record_file *f, int64_t id)
{
	for (const char *at = f->at; at + sizeof id <= f->end; at += sizeof id)
		if (memcmp(at, &id, sizeof id) == 0)
			return true;
	return false;
}

int guard_records_drop(int fd, struct undo_list *l)
{
	struct record_file f;
	size_t kept = 0;
	int r = record_file_open(fd, &f);

	for (size_t i = 0; r == 0 && i < l->n; i++) {
		if (lists_id(&f, l->items[i].id))
			undo_done(&l->items[i]);
		else
			l->items[kept++] = l->items[i];
	}
	if (r == 0)
		l->n = kept;
	record_file_done(&f);
	return r;
}
