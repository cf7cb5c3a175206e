/*
 * The way is walked part by part, each opened with O_PATH | O_NOFOLLOW below the one before, and
 * judged by fstat of what was opened. openat2's RESOLVE_NO_SYMLINKS would do it in one call and
 * refuse /var/run and /sys's like; RESOLVE_BENEATH says nothing about owners. Once the walk is through,
 * nobody but root and the user can change any part of it, so that the path itself may be used.
 *
 * An access control list that lets others write shows as the group's bits: they are its mask.
 */
#include "private_dir.h"

#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>

enum { LINKS_MAX = 40 };

struct walk {
	const char *path; /* as the user gave it */
	int fd;           /* the folder reached */
	char *done;       /* its path, for messages */
	char *rest;       /* what is still to go */
	int links;
	bool make; /* what is not there yet */
};

static int refuse(const struct walk *w, const char *what, const char *why, struct err *e)
{
	const char *kept = getenv("XDG_STATE_HOME");

	if (streq(what, w->path))
		err_set(e, EPERM, "%s %s", w->path, why);
	else
		err_set(e, EPERM, "%s is not safe to use: %s %s", w->path, what, why);
	if (geteuid() == 0 && kept && *kept && strncmp(w->path, kept, strlen(kept)) == 0)
		err_hint(e, "XDG_STATE_HOME=%s is another user's: unset it (sudo kept it), or "
			    "choose a folder of root's with --state-dir", kept);
	else
		err_hint(e, "choose a folder that belongs to user %d and that nobody else may write, "
			    "with --state-dir or BRUNT_STATE_DIR", (int)geteuid());
	return -EPERM;
}

static int refuse_owner(const struct walk *w, const char *what, uid_t owner, struct err *e)
{
	char why[96];

	snprintf(why, sizeof why, "belongs to user %u (brunt runs as user %u)", (unsigned)owner,
		 (unsigned)geteuid());
	return refuse(w, what, why, e);
}

static bool is_trusted(uid_t owner)
{
	return owner == 0 || owner == geteuid();
}

/* Members of root's own group are as good as root. */
static bool others_may_write(const struct stat *st)
{
	return (st->st_mode & S_IWOTH) || ((st->st_mode & S_IWGRP) && st->st_gid != 0);
}

static int check_way(const struct walk *w, const char *what, const struct stat *st, struct err *e)
{
	if (!is_trusted(st->st_uid))
		return refuse_owner(w, what, st->st_uid, e);
	if (S_ISDIR(st->st_mode) && others_may_write(st) && !(st->st_mode & S_ISVTX))
		return refuse(w, what, "may be written by other users", e);
	return 0;
}

static int check_last(const struct walk *w, const struct stat *st, struct err *e)
{
	if (!S_ISDIR(st->st_mode))
		return err_errno(e, ENOTDIR, "%s", w->path);
	if (st->st_uid != geteuid())
		return refuse_owner(w, w->path, st->st_uid, e);
	if (st->st_mode & (S_IWGRP | S_IWOTH)) {
		err_set(e, EPERM, "%s may be written by other users", w->path);
		err_hint(e, "chmod go-w %s, if you know all that is in it; or choose another place "
			    "with --state-dir or BRUNT_STATE_DIR", w->path);
		return -EPERM;
	}
	return 0;
}

static int start_at_root(struct walk *w, struct err *e)
{
	struct stat st;

	if (w->fd >= 0)
		close(w->fd);
	w->fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	free(w->done);
	w->done = xstrdup("");
	if (w->fd < 0 || fstat(w->fd, &st) < 0)
		return err_errno(e, errno, "/");
	return check_way(w, "/", &st, e);
}

/* The next part of the way; NULL at the end. */
static char *next_part(struct walk *w)
{
	char *from = w->rest + strspn(w->rest, "/");
	size_t n = strcspn(from, "/");
	char *part = n ? xstrndup(from, n) : NULL;
	char *rest = xstrdup(from + n);

	free(w->rest);
	w->rest = rest;
	return part;
}

/* Puts the link's text in front of what is still to go. */
static int follow(struct walk *w, int link, const char *what, struct err *e)
{
	char text[PATH_MAX];
	ssize_t n = readlinkat(link, "", text, sizeof text - 1);
	char *rest;

	if (n < 0 || ++w->links > LINKS_MAX)
		return err_errno(e, n < 0 ? errno : ELOOP, "%s", what);
	text[n] = '\0';
	rest = xasprintf("%s/%s", text, w->rest);
	free(w->rest);
	w->rest = rest;
	return text[0] == '/' ? start_at_root(w, e) : 0;
}

/* Opens the next part; makes it when that is asked for and it is not there. */
static int open_part(const struct walk *w, const char *part, const char *what, struct err *e)
{
	bool last = !w->rest[strspn(w->rest, "/")];
	int fd = openat(w->fd, part, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno != ENOENT || !w->make)
		return err_errno(e, errno, "%s", what);
	if (mkdirat(w->fd, part, last ? 0700 : 0755) < 0 && errno != EEXIST)
		return err_errno(e, errno, "make folder %s", what);
	fd = openat(w->fd, part, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? err_errno(e, errno, "%s", what) : fd;
}

static int step(struct walk *w, const char *part, struct err *e)
{
	autofree char *what = xasprintf("%s/%s", w->done, part);
	autofd int fd = open_part(w, part, what, e);
	struct stat st;
	int r;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "%s", what);
	r = check_way(w, what, &st, e);
	if (r < 0)
		return r;
	if (S_ISLNK(st.st_mode))
		return follow(w, fd, what, e);
	if (!S_ISDIR(st.st_mode))
		return err_errno(e, ENOTDIR, "%s", what);
	close(w->fd);
	w->fd = take_fd(fd);
	free(w->done);
	w->done = take(what);
	return 0;
}

static int walk(struct walk *w, struct err *e)
{
	struct stat st;
	char *part;
	int r = start_at_root(w, e);

	while (r == 0 && (part = next_part(w))) {
		r = step(w, part, e);
		free(part);
	}
	if (r < 0)
		return r;
	return fstat(w->fd, &st) < 0 ? err_errno(e, errno, "%s", w->path) : check_last(w, &st, e);
}

static int check(const char *path, bool make, struct err *e)
{
	autofree char *here = *path == '/' ? NULL : getcwd(NULL, 0);
	struct walk w = {.path = path, .fd = -1, .make = make};
	int r;

	w.rest = here ? xasprintf("%s/%s", here, path) : xstrdup(path);
	r = walk(&w, e);
	if (w.fd >= 0)
		close(w.fd);
	free(w.done);
	free(w.rest);
	return r;
}

int private_dir_check(const char *path, struct err *e)
{
	return check(path, false, e);
}

int private_dir_make(const char *path, struct err *e)
{
	return check(path, true, e);
}

static int refuse_file(const char *path, const char *why, struct err *e)
{
	err_set(e, EPERM, "%s %s", path, why);
	err_hint(e, "brunt did not make this file as it is: look who did, or choose another place "
		    "with --state-dir or BRUNT_STATE_DIR");
	return -EPERM;
}

int private_file_check(const char *path, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return err_errno(e, errno, "%s", path);
	if (!S_ISREG(st.st_mode))
		return refuse_file(path, "is not a plain file", e);
	if (st.st_uid != geteuid())
		return refuse_file(path, "belongs to another user", e);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return refuse_file(path, "may be written by other users", e);
	return st.st_nlink > 1 ? refuse_file(path, "has another name elsewhere (a hard link)", e) : 0;
}
