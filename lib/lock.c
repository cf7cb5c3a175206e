/*
 * Open file description locks (fcntl(2), F_OFD_SETLK): they belong to the description, not to
 * the process, so a descriptor that was sent to the guard over SCM_RIGHTS keeps them, the kernel
 * drops them at the last close however the processes die, and no stale pid file can lie.
 *
 * The kernel does not say who holds such a lock. The holder of a name is found in the run files,
 * which list their names.
 */
#include "lock.h"

#include "base/private_dir.h"
#include "base/rng.h"
#include "kernel/pidfd.h"
#include "kernel/workgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <jansson.h>
#include <limits.h>
#include <sys/stat.h>

struct lock {
	char *dir;         /* STATE_DIR/locks */
	char *path;        /* the run's file */
	char *machine_dir; /* dir where there is no other */
	int run_fd, names_fd, machine_fd;
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

/* A run's file may lie where others can write too: what is none of ours (a FIFO, a device) neither
 * blocks nor is read. */
static int open_run_file(const char *path, int flags)
{
	autofd int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? take_fd(fd) : -EINVAL;
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

static char *machine_dir(void)
{
	const char *user = getenv("XDG_RUNTIME_DIR");
	const char *given = getenv("BRUNT_RUN_DIR");

	if (given && *given == '/')
		return xstrdup(given);
	if (geteuid() == 0)
		return xstrdup("/run/brunt");
	return user && *user == '/' ? xasprintf("%s/brunt", user) : NULL;
}

/* The machine's folder as others may have left it: NULL when it is not to be believed. */
static char *trusted_machine_dir(void)
{
	autofree char *dir = machine_dir();

	return dir && private_dir_check(dir, NULL) == 0 ? take(dir) : NULL;
}

/* Where a link leads, NULL when it is none. */
static char *linked_path(const char *link)
{
	char path[PATH_MAX];
	ssize_t n = readlink(link, path, sizeof path);

	return n > 0 && n < (ssize_t)sizeof path ? xstrndup(path, (size_t)n) : NULL;
}

/* Links of runs whose state directory was removed. */
static void sweep(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *de;

	while (d && (de = readdir(d))) {
		autofree char *link = xasprintf("%s/%s", dir, de->d_name);
		struct stat st;

		if (de->d_type == DT_LNK && stat(link, &st) < 0 && errno == ENOENT)
			unlink(link);
	}
	if (d)
		closedir(d);
}

/* 1; 0 when there is no such place here; negative when others may have a hand in it. */
static int open_machine(struct lock *l, const char *run_id, struct err *e)
{
	autofree char *dir = machine_dir();
	autofree char *file = dir ? xasprintf("%s/names", dir) : NULL;
	autofree char *link = dir ? xasprintf("%s/%s", dir, run_id) : NULL;
	autofree char *target = realpath(l->path, NULL);

	struct err why = {0};

	if (!dir || !target)
		return 0;
	if (private_dir_make(dir, &why) < 0) {
		if (why.code != EPERM)
			return 0;
		err_set(e, EPERM, "the machine's list of runs: %s", why.text);
		err_hint(e, "remove that folder if it is not in use: brunt makes it anew");
		return -EPERM;
	}
	l->machine_fd = open(file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (l->machine_fd < 0 || (symlink(target, link) < 0 && errno != EEXIST))
		return 0;
	sweep(dir);
	l->machine_dir = take(dir);
	return 1;
}

static int open_files(struct lock *l, const char *run_id, struct err *e)
{
	autofree char *names = xasprintf("%s/names", l->dir);
	int r;

	if (private_dir_make(l->dir, e) < 0)
		return err_wrap(e, "lock files");
	l->names_fd = open(names, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (l->names_fd < 0)
		return err_errno(e, errno, "%s", names);
	l->run_fd = open(l->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (l->run_fd < 0)
		return err_errno(e, errno, "%s", l->path);
	r = open_machine(l, run_id, e);
	if (r)
		return r < 0 ? r : 0;
	if (l->machine_fd >= 0)
		close(l->machine_fd);
	l->machine_dir = xstrdup(l->dir);
	l->machine_fd = fcntl(l->names_fd, F_DUPFD_CLOEXEC, 0);
	return l->machine_fd < 0 ? err_errno(e, errno, "%s", names) : 0;
}

int lock_new(const char *state_dir, const char *run_id, const char *experiment, struct lock **ret,
	     struct err *e)
{
	autoptr(lock) l = xcalloc(1, sizeof *l);
	int r;

	l->run_fd = l->names_fd = l->machine_fd = -1;
	l->dir = xasprintf("%s/locks", state_dir);
	l->path = xasprintf("%s/%s", l->dir, run_id);
	r = open_files(l, run_id, e);
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

/* The run's link among the machine's, if it is this run's and not its namesake's. */
static void unlink_machine(const char *dir, const char *path)
{
	autofree char *real = realpath(path, NULL);
	autofree char *link = xasprintf("%s/%s", dir, strrchr(path, '/') + 1);
	autofree char *target = linked_path(link);

	if (real && target && streq(real, target))
		unlink(link);
}

void lock_free(struct lock *l)
{
	if (!l)
		return;
	/* The guard may hold its copy for a moment longer: unlock, do not only close. */
	lock_drop_names(l);
	if (l->run_fd >= 0) {
		if (l->machine_dir)
			unlink_machine(l->machine_dir, l->path);
		unlink(l->path);
		ofd(l->run_fd, F_OFD_SETLK, F_UNLCK, 0, 0);
		close(l->run_fd);
	}
	if (l->names_fd >= 0)
		close(l->names_fd);
	if (l->machine_fd >= 0)
		close(l->machine_fd);
	json_decref(l->about);
	free(l->dir);
	free(l->path);
	free(l->machine_dir);
	free(l);
}

static bool lists_name(const json_t *about, const char *name)
{
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(about, "names"), i, item)
		if (streq(json_string_value(item), name))
			return true;
	return false;
}

/* A run whose lock nobody holds is dead, and so are its names. */
static json_t *read_live(const char *path)
{
	autofd int fd = open_run_file(path, O_RDONLY);

	if (fd < 0 || ofd(fd, F_OFD_GETLK, F_WRLCK, 0, 0) == F_UNLCK)
		return NULL;
	return json_loadfd(fd, JSON_DISABLE_EOF_CHECK, NULL);
}

/* Of a link to STATE_DIR/locks/RUN; NULL for any other. */
static char *linked_state_dir(const char *link)
{
	autofree char *path = linked_path(link);
	char *run = path && *path == '/' ? strrchr(path, '/') : NULL, *locks;

	if (!run || !run[1])
		return NULL;
	*run = '\0';
	locks = strrchr(path, '/');
	if (!locks || locks == path || !streq(locks, "/locks"))
		return NULL;
	*locks = '\0';
	return xstrdup(path);
}

/* Says whose the name is, and how to end that run. */
static void tell_holder(const struct lock *l, const char *path, const char *name, json_t *about,
			struct err *e)
{
	const char *run = strrchr(path, '/') + 1;
	const char *experiment = json_string_value(json_object_get(about, "experiment"));
	autofree char *theirs = linked_state_dir(path);
	autofree char *ours = xasprintf("%s/..", l->dir);
	autofree char *real = realpath(ours, NULL);

	if (!theirs || (real && streq(theirs, real))) {
		err_set(e, EBUSY, "%s is held by run %s of experiment %s", name, run, experiment);
		err_hint(e, "wait for it with --wait, or end it with brunt stop %s", run);
		return;
	}
	err_set(e, EBUSY, "%s is held by run %s of experiment %s, in state directory %s", name, run,
		experiment, theirs);
	err_hint(e, "wait for it with --wait, or end it with brunt stop --state-dir %s %s", theirs,
		 run);
}

/* False when it cannot be told: the holder has just taken it, or its files are out of sight. */
static bool find_holder(const struct lock *l, const char *where, const char *name, struct err *e)
{
	DIR *d = opendir(where);
	bool found = false;
	struct dirent *de;

	while (d && !found && (de = readdir(d))) {
		autofree char *path = xasprintf("%s/%s", where, de->d_name);
		json_t *about = NULL;

		if (de->d_name[0] != '.' && !streq(de->d_name, strrchr(l->path, '/') + 1))
			about = read_live(path);
		found = lists_name(about, name);
		if (found)
			tell_holder(l, path, name, about, e);
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

int lock_name(struct lock *l, enum lock_scope scope, const char *name, struct err *e)
{
	bool machine = scope == LOCK_MACHINE;
	int r = ofd(machine ? l->machine_fd : l->names_fd, F_OFD_SETLK, F_WRLCK, place_of(name), 1);

	if (busy(r)) {
		if (!find_holder(l, machine ? l->machine_dir : l->dir, name, e)) {
			err_set(e, EBUSY, "%s is held by another run", name);
			err_hint(e, "wait for it with --wait; brunt status lists the runs");
		}
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
	ofd(l->machine_fd, F_OFD_SETLK, F_UNLCK, 0, 0);
	json_array_clear(json_object_get(l->about, "names"));
	write_about(l, NULL);
}

int lock_set_guard(struct lock *l, pid_t pid, struct err *e)
{
	json_object_set_new(l->about, "guard", process_json(pid));
	return write_about(l, e);
}

int lock_set_group(struct lock *l, const char *path, struct err *e)
{
	json_object_set_new(l->about, "group", json_string(path));
	return write_about(l, e);
}

int lock_end_group(const char *state_dir, const char *run_id, struct err *e)
{
	autofree char *path = xasprintf("%s/locks/%s", state_dir, run_id);
	autofd int fd = open_run_file(path, O_RDONLY);
	json_auto_t *about = fd < 0 ? NULL : json_loadfd(fd, JSON_DISABLE_EOF_CHECK, NULL);
	const char *group = json_string_value(json_object_get(about, "group"));

	return group ? workgroup_end_at(group, run_id, e) : 0;
}

void lock_note_ending(struct lock *l)
{
	json_object_set_new(l->about, "ending", json_true());
	write_about(l, NULL);
}

void lock_fds(const struct lock *l, int ret[LOCK_FDS])
{
	ret[0] = l->run_fd;
	ret[1] = l->names_fd;
	ret[2] = l->machine_fd;
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
	autofd int fd = open_run_file(path, O_RDONLY);
	const char *experiment;
	json_t *about;

	if (fd < 0)
		return err_errno(e, -fd, "%s", path);
	about = json_loadfd(fd, JSON_DISABLE_EOF_CHECK, NULL);
	experiment = json_string_value(json_object_get(about, "experiment"));
	ret->run_id = xstrdup(run_id);
	ret->experiment = xstrdup(experiment ? experiment : "");
	ret->live = ofd(fd, F_OFD_GETLK, F_WRLCK, 0, 0) != F_UNLCK;
	ret->ending = json_is_true(json_object_get(about, "ending"));
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

bool lock_holder_lives(pid_t pid, unsigned long long start_time)
{
	autofd int fd = lock_holder_pidfd(pid, start_time, NULL);

	return fd >= 0 && pidfd_wait(fd, 0) != 1;
}

int lock_take_over(const char *state_dir, const char *run_id, int *ret_fd, struct err *e)
{
	autofree char *path = xasprintf("%s/locks/%s", state_dir, run_id);
	autofd int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
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
	autofree char *dir = trusted_machine_dir();

	if (dir)
		unlink_machine(dir, path);
	unlink(path);
}

void lock_live_runs(const char *state_dir, struct strlist *ret)
{
	autofree char *folder = xasprintf("%s/locks", state_dir);
	DIR *d = opendir(folder);
	struct dirent *de;

	while (d && (de = readdir(d))) {
		struct lock_holder h = {0};

		if (de->d_name[0] != '.' && !streq(de->d_name, "names") &&
		    lock_holder_read(state_dir, de->d_name, &h, NULL) == 0 && h.live)
			strlist_add(ret, de->d_name);
		lock_holder_done(&h);
	}
	if (d)
		closedir(d);
}

static void add_linked(const char *folder, bool own_folder, struct lock_run **ret, size_t *ret_n)
{
	DIR *d = opendir(folder);
	struct dirent *de;
	struct stat st, owner;

	while (d && (de = readdir(d))) {
		autofree char *link = xasprintf("%s/%s", folder, de->d_name);
		autofree char *dir = linked_state_dir(link);

		if (!dir || stat(dir, &st) < 0 || !S_ISDIR(st.st_mode))
			continue;
		/* A user's links lead to that user's runs, or they are a trap. */
		if (!own_folder && (fstat(dirfd(d), &owner) < 0 || owner.st_uid != st.st_uid))
			continue;
		*array_push(*ret, *ret_n) = (struct lock_run){
			.state_dir = take(dir),
			.run_id = xstrdup(de->d_name),
			.uid = st.st_uid,
		};
	}
	if (d)
		closedir(d);
}

void lock_machine_runs(struct lock_run **ret, size_t *ret_n)
{
	autofree char *machine = trusted_machine_dir();
	glob_t users = {0};

	if (machine)
		add_linked(machine, true, ret, ret_n);
	if (geteuid() != 0 || !machine || !streq(machine, "/run/brunt"))
		return;
	if (glob("/run/user/*/brunt", GLOB_NOSORT, NULL, &users) == 0)
		for (size_t i = 0; i < users.gl_pathc; i++)
			add_linked(users.gl_pathv[i], false, ret, ret_n);
	globfree(&users);
}

void lock_runs_free(struct lock_run *runs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(runs[i].state_dir);
		free(runs[i].run_id);
	}
	free(runs);
}

void lock_other_state_dirs(const char *state_dir, struct strlist *ret)
{
	autofree char *ours = realpath(state_dir, NULL);
	struct lock_run *runs = NULL;
	size_t n = 0;

	lock_machine_runs(&runs, &n);
	for (size_t i = 0; i < n; i++) {
		const char *theirs = runs[i].state_dir;

		if (runs[i].uid == geteuid() && !(ours && streq(ours, theirs)) &&
		    !strlist_has(ret, theirs))
			strlist_add(ret, theirs);
	}
	lock_runs_free(runs, n);
}
