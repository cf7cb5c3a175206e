/*
 * Open file description locks (fcntl(2), F_OFD_SETLK): they belong to the description, not to
 * the process, so a descriptor that was sent to the guard over SCM_RIGHTS keeps them, the kernel
 * drops them at the last close however the processes die, and no stale pid file can lie.
 *
 * The kernel does not say who holds such a lock. The holder of a name is found in the run files,
 * which list their names.
 */
#include "lock.h"

#include "base/mem.h"
#include "base/rng.h"
#include "kernel/pidfd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>

struct lock {
	char *dir;  /* STATE_DIR/locks */
	char *path; /* the run's file */
	int run_fd, names_fd;
	json_t *about;
};

static int ofd(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock fl = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = start,
		.l_len = len,
	};

	return fcntl(fd, cmd, &fl) < 0 ? -errno : fl.l_type;
}

static bool busy(int r)
{
	return r == -EAGAIN || r == -EACCES;
}

static int write_about(struct lock *l, struct err *e)
{
	autofree char *text = json_dumps(l->about, JSON_INDENT(1));
	ssize_t len = (ssize_t)strlen(text);

	/* A reader between the two sees old text after the new, which is no JSON: it then knows
	 * the run from the lock alone. */
	if (pwrite(l->run_fd, text, (size_t)len, 0) != len || ftruncate(l->run_fd, len) < 0)
		return err_errno(e, errno ? errno : ENOSPC, "write %s", l->path);
	return 0;
}

static json_t *process_json(pid_t pid)
{
	unsigned long long start = 0;

	pidfd_start_time(pid, &start);
	return json_pack("{s:I, s:I}", "pid", (json_int_t)pid, "start", (json_int_t)start);
}

static int open_files(struct lock *l, struct err *e)
{
	autofree char *names = xasprintf("%s/names", l->dir);

	if (mkdir(l->dir, 0700) < 0 && errno != EEXIST)
		return err_errno(e, errno, "%s", l->dir);
	l->names_fd = open(names, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (l->names_fd < 0)
		return err_errno(e, errno, "%s", names);
	l->run_fd = open(l->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (l->run_fd < 0)
		return err_errno(e, errno, "%s", l->path);
	return 0;
}

int lock_new(const char *state_dir, const char *run_id, const char *experiment, struct lock **ret,
	     struct err *e)
{
	autoptr(lock) l = xcalloc(1, sizeof *l);
	int r;

	l->run_fd = l->names_fd = -1;
	l->dir = xasprintf("%s/locks", state_dir);
	l->path = xasprintf("%s/%s", l->dir, run_id);
	r = open_files(l, e);
	if (r < 0)
		return r;
	r = ofd(l->run_fd, F_OFD_SETLK, F_WRLCK, 0, 0);
	if (r < 0)
		return err_errno(e, -r, "lock %s", l->path);
	l->about = json_pack("{s:s, s:s, s:o, s:[]}", "run", run_id, "experiment", experiment,
			     "owner", process_json(getpid()), "names");
	r = write_about(l, e);
	if (r < 0)
		return r;
	*ret = take(l);
	return 0;
}

void lock_free(struct lock *l)
{
	if (!l)
		return;
	/* The guard may hold its copy for a moment longer: unlock, do not only close. */
	lock_drop_names(l);
	if (l->run_fd >= 0) {
		unlink(l->path);
		ofd(l->run_fd, F_OFD_SETLK, F_UNLCK, 0, 0);
		close(l->run_fd);
	}
	if (l->names_fd >= 0)
		close(l->names_fd);
	json_decref(l->about);
	free(l->dir);
	free(l->path);
	free(l);
}

/* The run whose file lists the name, with its experiment; NULL when it cannot be told. */
static char *find_holder(const struct lock *l, const char *name)
{
	DIR *d = opendir(l->dir);
	char *found = NULL;
	struct dirent *de;

	while (d && !found && (de = readdir(d))) {
		autofree char *path = xasprintf("%s/%s", l->dir, de->d_name);
		json_t *about = json_load_file(path, 0, NULL);
		json_t *item;
		size_t i;

		if (!streq(path, l->path))
			json_array_foreach(json_object_get(about, "names"), i, item)
				if (!found && streq(json_string_value(item), name))
					found = xasprintf("run %s of experiment %s", de->d_name,
							  json_string_value(json_object_get(
								  about, "experiment")));
		json_decref(about);
	}
	if (d)
		closedir(d);
	return found;
}

static off_t place_of(const char *name)
{
	return (off_t)(rng_stream(name) & (INT64_MAX >> 1));
}

int lock_name(struct lock *l, const char *name, struct err *e)
{
	autofree char *holder = NULL;
	int r;

	r = ofd(l->names_fd, F_OFD_SETLK, F_WRLCK, place_of(name), 1);
	if (busy(r)) {
		holder = find_holder(l, name);
		err_set(e, EBUSY, "%s is held by %s", name, holder ? holder : "another run");
		err_hint(e, "wait for it with --wait, or end it with brunt stop");
		return -EBUSY;
	}
	if (r < 0)
		return err_errno(e, -r, "lock %s", name);
	json_array_append_new(json_object_get(l->about, "names"), json_string(name));
	return write_about(l, e);
}

void lock_drop_names(struct lock *l)
{
	if (l->names_fd < 0 || !l->about)
		return;
	ofd(l->names_fd, F_OFD_SETLK, F_UNLCK, 0, 0);
	json_array_clear(json_object_get(l->about, "names"));
	write_about(l, NULL);
}

int lock_set_guard(struct lock *l, pid_t pid, struct err *e)
{
	json_object_set_new(l->about, "guard", process_json(pid));
	return write_about(l, e);
}

void lock_fds(const struct lock *l, int ret[LOCK_FDS])
{
	ret[0] = l->run_fd;
	ret[1] = l->names_fd;
}

void lock_holder_done(struct lock_holder *h)
{
	free(h->run_id);
	free(h->experiment);
	*h = (struct lock_holder){0};
}

static void read_process(json_t *o, pid_t *ret_pid, unsigned long long *ret_start)
{
	*ret_pid = (pid_t)json_integer_value(json_object_get(o, "pid"));
	*ret_start = (unsigned long long)json_integer_value(json_object_get(o, "start"));
}

int lock_holder_read(const char *state_dir, const char *run_id, struct lock_holder *ret,
		     struct err *e)
{
	autofree char *path = xasprintf("%s/locks/%s", state_dir, run_id);
	autofd int fd = open(path, O_RDWR | O_CLOEXEC);
	const char *experiment;
	json_t *about;

	if (fd < 0)
		return err_errno(e, errno, "%s", path);
	about = json_loadfd(fd, JSON_DISABLE_EOF_CHECK, NULL);
	experiment = json_string_value(json_object_get(about, "experiment"));
	ret->run_id = xstrdup(run_id);
	ret->experiment = xstrdup(experiment ? experiment : "");
	ret->live = ofd(fd, F_OFD_GETLK, F_WRLCK, 0, 0) != F_UNLCK;
	read_process(json_object_get(about, "owner"), &ret->owner, &ret->owner_start);
	read_process(json_object_get(about, "guard"), &ret->guard, &ret->guard_start);
	json_decref(about);
	return 0;
}

int lock_holder_pidfd(pid_t pid, unsigned long long start_time, struct err *e)
{
	unsigned long long now = 0;
	autofd int fd = -1;

	if (pid <= 0)
		return err_set(e, ESRCH, "no such process");
	fd = pidfd_open_pid(pid, e);
	if (fd < 0)
		return fd;
	/* Read after the pidfd is held: the pid cannot be reused from here on. */
	if (pidfd_start_time(pid, &now) < 0 || now != start_time)
		return err_set(e, ESRCH, "process %d has gone", pid);
	return take_fd(fd);
}

int lock_take_over(const char *state_dir, const char *run_id, int *ret_fd, struct err *e)
{
	autofree char *path = xasprintf("%s/locks/%s", state_dir, run_id);
	autofd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return err_errno(e, errno, "%s", path);
	r = ofd(fd, F_OFD_SETLK, F_WRLCK, 0, 0);
	if (busy(r))
		return 0;
	if (r < 0)
		return err_errno(e, -r, "lock %s", path);
	*ret_fd = take_fd(fd);
	return 1;
}

void lock_forget(const char *state_dir, const char *run_id)
{
	autofree char *path = xasprintf("%s/locks/%s", state_dir, run_id);

	unlink(path);
}
