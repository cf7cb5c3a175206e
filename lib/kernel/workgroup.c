/*
 * A process group ends with setsid, PR_SET_PDEATHSIG with the second fork, and a subreaper with its
 * own death; a control group keeps all of them, and the kernel lists who is in it. v2 first, for
 * cgroup.kill; on a hybrid host that tree is empty and takes groups as well as any.
 */
#include "workgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#define NAME_PREFIX "brunt-run-"

enum { END_TRIES = 200, END_PAUSE_MS = 5 };

static const char *const hierarchies[] = {"", "freezer", "pids"};

int workgroup_plan(const char *run_id, char **ret_path, struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(hierarchies); i++) {
		autocgroup own = {0};

		if (cgroup_own(hierarchies[i], &own, NULL) < 0 || access(own.path, W_OK) < 0)
			continue;
		*ret_path = xasprintf("%s/" NAME_PREFIX "%s", own.path, run_id);
		return 0;
	}
	return err_set(e, ENOENT, "no control group hierarchy that takes groups");
}

static int version_of(const char *path)
{
	struct statfs fs;

	if (statfs(path, &fs) < 0)
		return -errno;
	return fs.f_type == CGROUP2_SUPER_MAGIC ? 2 : fs.f_type == CGROUP_SUPER_MAGIC ? 1 : -EINVAL;
}

int workgroup_make(const char *path, struct workgroup **ret, struct err *e)
{
	autofree char *procs = xasprintf("%s/cgroup.procs", path);
	struct workgroup *w;
	int fd, version;

	if (mkdir(path, 0755) < 0)
		return err_errno(e, errno, "make cgroup %s", path);
	version = version_of(path);
	fd = version < 0 ? version : open(procs, O_WRONLY | O_CLOEXEC);
	if (fd < 0) {
		fd = version < 0 ? version : -errno;
		rmdir(path);
		return err_errno(e, -fd, "%s", procs);
	}
	w = xcalloc(1, sizeof *w);
	*w = (struct workgroup){.cg = {.path = xstrdup(path), .version = version}, .procs_fd = fd};
	*ret = w;
	return 0;
}

int workgroup_join(const struct workgroup *w)
{
	return !w || write(w->procs_fd, "0", 1) == 1 ? 0 : -errno;
}

/* Dying takes its time, and a group that somebody had frozen thaws first. */
static int end(const struct cgroup *cg, struct err *e)
{
	int r = -EBUSY;

	for (int i = 0; r < 0 && i < END_TRIES; i++) {
		if (cg->version == 2)
			cgroup_write(cg, "cgroup.freeze", "0", NULL);
		cgroup_kill_all(cg, NULL);
		r = cgroup_remove(cg, i == END_TRIES - 1 ? e : NULL);
		if (r < 0)
			nanosleep(&(struct timespec){.tv_nsec = END_PAUSE_MS * 1000000}, NULL);
	}
	return r;
}

void workgroup_end(struct workgroup *w)
{
	if (!w)
		return;
	end(&w->cg, NULL);
	close(w->procs_fd);
	cgroup_done(&w->cg);
	free(w);
}

int workgroup_end_at(const char *path, const char *run_id, struct err *e)
{
	autofree char *name = xasprintf("/" NAME_PREFIX "%s", run_id);
	const char *slash = strrchr(path, '/');
	autocgroup cg = {.path = xstrdup(path)};
	int version = version_of(path);

	if (version == -ENOENT)
		return 0;
	if (version < 0 || !slash || !streq(slash, name))
		return err_set(e, EINVAL, "%s is not the control group of run %s", path, run_id);
	cg.version = version;
	return end(&cg, e);
}
