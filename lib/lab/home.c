/*
 * Locks belong to the open file description (OFD): they go with the last copy of the descriptor,
 * which no exec and no pod inherits, so a free lock means that the supervisor is dead, whatever
 * killed it. Names are reused: whoever gets the lock of a file that was unlinked meanwhile starts
 * over, because the folder at that path is another one by now.
 *
 * The record names groups by path. A path is only swept when its last part says that a lab made
 * it; after a reboot the record's boot id differs and there is nothing left to sweep but files.
 * Whoever deletes the folder deletes the record: the supervisor and its sweeper have it in memory too.
 */
#include "home.h"

#include "../base/clock.h"
#include "../base/private_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { REMOVE_TRIES = 200, REMOVE_PAUSE_MS = 25 };

char *lab_home_dir(const char *state_dir, const char *name)
{
	return xasprintf("%s/lab/%s", state_dir, name);
}

static int set_lock(int fd, int cmd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, cmd, &lock) < 0 ? -errno : 0;
}

/* The lock of an existing folder: fd; -ENOENT; -EEXIST when somebody has it. */
static int take_lock(const char *dir, int flags)
{
	autofree char *path = xasprintf("%s/lock", dir);
	autofd int fd = open(path, flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (set_lock(fd, F_OFD_SETLK) < 0)
		return -EEXIST;
	if (fstat(fd, &st) < 0 || st.st_nlink == 0)
		return -ENOENT;
	return take_fd(fd);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
	/* The lock goes last, with the folder. */
	if (at->level == 0 || (at->level == 1 && streq(path + at->base, "lock")))
		return 0;
	remove(path);
	return 0;
}

static void remove_files(const char *dir)
{
	nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static bool is_our_group(const char *path)
{
	const char *base = strrchr(path, '/');

	return base && strncmp(base, "/brunt-lab-", 11) == 0 && !strstr(path, "/../");
}

/* A process that is just dying still counts as a member. */
static int empty_group(const struct cgroup *cg, struct err *e)
{
	int r = cgroup_kill_all(cg, e);

	if (r == -EPERM) /* whatever it is, it is no group: not for us to empty or remove */
		return r;
	r = -EBUSY;
	for (int i = 0; i < REMOVE_TRIES; i++) {
		if (i)
			nanosleep(&(struct timespec){.tv_nsec = REMOVE_PAUSE_MS * NSEC_PER_MSEC}, NULL);
		r = cgroup_remove(cg, e);
		if (r != -EBUSY)
			return r;
		cgroup_kill_all(cg, NULL);
	}
	return r;
}

/* Takes record, which may be NULL. */
static int sweep_recorded(json_t *record, struct err *e)
{
	json_t *group;
	char boot_id[CLOCK_BOOT_ID_MAX] = "";
	size_t i;
	int r = 0;

	clock_boot_id(boot_id);
	if (!record || !streq(json_string_value(json_object_get(record, "boot_id")), boot_id)) {
		json_decref(record);
		return 0;
	}
	json_array_foreach(json_object_get(record, "groups"), i, group) {
		const char *folder = json_string_value(json_object_get(group, "path"));
		struct cgroup cg = {.path = (char *)folder,
				    .version = json_integer_value(json_object_get(group, "version"))};

		if (folder && is_our_group(folder) && empty_group(&cg, e) < 0)
			r = -EBUSY;
	}
	json_decref(record);
	return r;
}

int lab_home_sweep_groups(int groups_fd, struct err *e)
{
	if (lseek(groups_fd, 0, SEEK_SET) < 0)
		return err_errno(e, errno, "read the lab's groups");
	return sweep_recorded(json_loadfd(groups_fd, 0, NULL), e);
}

bool lab_home_is_deleted(const struct lab_home *h)
{
	struct stat st;

	return fstat(h->lock_fd, &st) == 0 && st.st_nlink == 0;
}

/* With the lock held. */
static int sweep_locked(const struct lab_home *h, struct err *e)
{
	autofree char *path = xasprintf("%s/record.json", h->dir);
	int r;

	if (lab_home_is_deleted(h))
		return h->groups_fd < 0 ? 0 : lab_home_sweep_groups(h->groups_fd, e);
	r = sweep_recorded(json_load_file(path, 0, NULL), e);
	if (r == 0)
		remove_files(h->dir);
	return r;
}

static void remove_folder(const char *dir)
{
	autofree char *lock = xasprintf("%s/lock", dir);
	autofree char *parent = xstrndup(dir, strrchr(dir, '/') - dir);

	unlink(lock);
	rmdir(dir);
	rmdir(parent); /* when it was the last lab */
}

int lab_home_take(const char *dir, struct lab_home *ret, struct err *e)
{
	int fd = -ENOENT;

	do {
		int r = private_dir_make(dir, e);

		if (r == -ENOENT) /* a lab beside this one has just taken the folder above away */
			continue;
		if (r < 0)
			return r;
		fd = take_lock(dir, O_CREAT);
	} while (fd == -ENOENT);
	if (fd == -EEXIST)
		return err_set(e, EEXIST, "it is up already");
	if (fd < 0)
		return err_errno(e, -fd, "lock %s", dir);
	*ret = (struct lab_home){.dir = xstrdup(dir), .lock_fd = fd,
				 .groups_fd = memfd_create("brunt-lab-groups", MFD_CLOEXEC)};
	if (ret->groups_fd < 0)
		return err_errno(e, errno, "memory for the lab's groups");
	return sweep_locked(ret, e);
}

int lab_home_record(const struct lab_home *h, const struct cgroup *groups, size_t n, struct err *e)
{
	autofree char *path = xasprintf("%s/record.json", h->dir);
	autofree char *next = xasprintf("%s/record.new", h->dir);
	char boot_id[CLOCK_BOOT_ID_MAX] = "";
	json_t *record, *list = json_array();
	int r = 0;

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:s, s:i}", "path", groups[i].path, "version",
						      groups[i].version));
	clock_boot_id(boot_id);
	record = json_pack("{s:i, s:s, s:o}", "pid", (int)getpid(), "boot_id", boot_id, "groups", list);
	if (json_dump_file(record, next, JSON_INDENT(1)) < 0 || rename(next, path) < 0)
		r = err_errno(e, errno, "write %s", path);
	else if (ftruncate(h->groups_fd, 0) < 0 || lseek(h->groups_fd, 0, SEEK_SET) < 0 ||
		 json_dumpfd(record, h->groups_fd, JSON_COMPACT) < 0)
		r = err_errno(e, errno, "note the lab's groups");
	json_decref(record);
	return r;
}

int lab_home_remove(struct lab_home *h, struct err *e)
{
	int r;

	if (!h->dir)
		return 0;
	r = sweep_locked(h, e);
	if (r == 0 && !lab_home_is_deleted(h))
		remove_folder(h->dir);
	lab_home_done(h);
	return r;
}

void lab_home_done(struct lab_home *h)
{
	if (h->dir && h->lock_fd >= 0)
		close(h->lock_fd);
	if (h->dir && h->groups_fd >= 0)
		close(h->groups_fd);
	free(h->dir);
	*h = (struct lab_home){.lock_fd = -1, .groups_fd = -1};
}

bool lab_home_is_live(const char *dir)
{
	autofree char *path = xasprintf("%s/lock", dir);
	autofd int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

int lab_home_sweep(const char *dir, struct err *e)
{
	struct lab_home h;
	int fd = take_lock(dir, 0), r;

	if (fd == -ENOENT || fd == -EEXIST)
		return 0;
	if (fd < 0)
		return err_errno(e, -fd, "lock %s", dir);
	h = (struct lab_home){.dir = xstrdup(dir), .lock_fd = fd, .groups_fd = -1};
	r = lab_home_remove(&h, e);
	return r < 0 ? r : 1;
}

static int is_name(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static int list_labs(const char *state_dir, struct strlist *ret, struct err *e)
{
	autofree char *dir = xasprintf("%s/lab", state_dir);
	struct dirent **names;
	int r = private_dir_check(dir, e), n;

	if (r == -ENOENT)
		err_clear(e);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	n = scandir(dir, &names, is_name, alphasort);
	if (n < 0)
		return errno == ENOENT ? 0 : err_errno(e, errno, "%s", dir);
	for (int i = 0; i < n; i++) {
		strlist_add(ret, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	return 0;
}

int lab_home_sweep_all(const char *state_dir, struct err *e)
{
	struct strlist names = {0};
	int swept = 0, r = list_labs(state_dir, &names, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < names.n; i++) {
		autofree char *dir = lab_home_dir(state_dir, names.items[i]);
		int one = lab_home_sweep(dir, e);

		if (one < 0)
			r = one;
		else
			swept += one;
	}
	strlist_done(&names);
	return r < 0 ? r : swept;
}

int lab_home_live(const char *state_dir, struct strlist *ret)
{
	struct strlist names = {0};
	int r = list_labs(state_dir, &names, NULL);

	for (size_t i = 0; i < names.n; i++) {
		autofree char *dir = lab_home_dir(state_dir, names.items[i]);

		if (lab_home_is_live(dir))
			strlist_add(ret, names.items[i]);
	}
	strlist_done(&names);
	return r;
}
