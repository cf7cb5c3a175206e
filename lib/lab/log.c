/*
 * The file is turned over at a line's end, so that no line is cut in two as long as lines are
 * shorter than a quarter of the limit.
 */
#include "log.h"

#include "../base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static int open_file(struct lab_log *l)
{
	struct stat st;

	l->fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (l->fd < 0)
		return -errno;
	l->size = fstat(l->fd, &st) == 0 ? st.st_size : 0;
	return 0;
}

int lab_log_open(const char *path, uint64_t limit, struct lab_log *ret, struct err *e)
{
	autofree char *folder = xstrndup(path, strrchr(path, '/') - path);
	int r;

	*ret = (struct lab_log){.path = xstrdup(path), .fd = -1,
				.limit = limit ? limit : LAB_LOG_BYTES};
	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		return err_errno(e, errno, "make folder %s", folder);
	r = open_file(ret);
	return r < 0 ? err_errno(e, -r, "open %s", path) : 0;
}

static void turn_over(struct lab_log *l)
{
	autofree char *old = xasprintf("%s.1", l->path);

	close(l->fd);
	rename(l->path, old);
	open_file(l);
}

static void put(struct lab_log *l, const char *data, size_t n)
{
	ssize_t done = l->fd < 0 ? -1 : write(l->fd, data, n);

	if (done > 0)
		l->size += done;
}

void lab_log_write(struct lab_log *l, const char *data, size_t n)
{
	while (l->size + n > l->limit) {
		uint64_t room = l->limit > l->size ? l->limit - l->size : 0;
		size_t piece = MIN_OF((uint64_t)n, room);
		const char *end = memrchr(data, '\n', piece);

		/* Up to the last line's end that fits; a monster line is cut. */
		piece = end ? (size_t)(end - data + 1) : l->size < l->limit - l->limit / 4 ? piece : 0;
		put(l, data, piece);
		data += piece;
		n -= piece;
		turn_over(l);
		if (l->fd < 0)
			return;
	}
	put(l, data, n);
}

void lab_log_close(struct lab_log *l)
{
	if (l->path && l->fd >= 0)
		close(l->fd);
	free(l->path);
	*l = (struct lab_log){.fd = -1};
}
