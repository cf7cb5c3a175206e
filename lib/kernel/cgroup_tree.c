/*
 * Groups made, emptied and removed.
 *
 * Killing by pid races with reuse: between reading cgroup.procs and the signal a process may end
 * and its number go to a stranger. So each pass takes a pidfd for every pid listed, reads the list
 * again, and signals only handles whose pid is still there: a handle opened on a stranger is not
 * in the group's second list. v2 has cgroup.kill and needs none of this. On v1 the freezer
 * hierarchy stops forks while the first pass runs (SIGKILL lands on thawing). Passes are repeated
 * until a list comes back empty.
 *
 * Source: cgroups(7), pidfd_open(2), Documentation/admin-guide/cgroup-v2.rst (cgroup.kill, 5.14).
 */
#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <time.h>

enum { KILL_PASSES = 50 };

int cgroup_make(const struct cgroup *parent, const char *name, struct cgroup *ret, struct err *e)
{
	autofree char *path = xasprintf("%s/%s", parent->path, name);

	if (!*name || strchr(name, '/') || streq(name, ".") || streq(name, ".."))
		return err_set(e, EINVAL, "\"%s\" is not a name for a cgroup", name);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return err_errno(e, errno, "make cgroup %s", path);
	*ret = (struct cgroup){.path = take(path), .version = parent->version};
	return 0;
}

/* Calls fn on each group directly below; stops at the first negative answer. */
static int each_child(const struct cgroup *cg, int (*fn)(const struct cgroup *child, struct err *e),
		      struct err *e)
{
	DIR *dir = opendir(cg->path);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return errno == ENOENT ? 0 : err_errno(e, errno, "list cgroup %s", cg->path);
	while (r >= 0 && (entry = readdir(dir))) {
		autocgroup child = {0};

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		child = (struct cgroup){.path = xasprintf("%s/%s", cg->path, entry->d_name),
					.version = cg->version};
		r = fn(&child, e);
	}
	closedir(dir);
	return r;
}

int cgroup_remove(const struct cgroup *cg, struct err *e)
{
	int r = each_child(cg, cgroup_remove, e);

	if (r < 0)
		return r;
	if (rmdir(cg->path) < 0 && errno != ENOENT)
		return err_errno(e, errno, "remove cgroup %s", cg->path);
	return 0;
}

int cgroup_attach(const struct cgroup *cg, pid_t pid, struct err *e)
{
	char text[16];

	snprintf(text, sizeof text, "%d", pid);
	return cgroup_write(cg, "cgroup.procs", text, e);
}

int cgroup_pids(const struct cgroup *cg, pid_t **ret, size_t *ret_n, struct err *e)
{
	autofree pid_t *pids = NULL;
	autostr text = {0};
	size_t n = 0;
	char *end;
	int r = cgroup_read(cg, "cgroup.procs", &text, e);

	if (r < 0)
		return r;
	for (char *p = text.s; *p; p = end) {
		pid_t pid = strtol(p, &end, 10);

		if (end == p)
			break;
		*array_push(pids, n) = pid;
	}
	*ret = take(pids);
	*ret_n = n;
	return 0;
}

static bool has_pid(const pid_t *pids, size_t n, pid_t pid)
{
	for (size_t i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

/* One pass over one group; the number of processes seen. */
static int kill_pass(const struct cgroup *cg, struct err *e)
{
	autofree pid_t *before = NULL, *after = NULL;
	size_t n_before, n_after = 0;
	autofree int *fds = NULL;
	int r = cgroup_pids(cg, &before, &n_before, e);

	if (r < 0)
		return r == -ENOENT || r == -ENODEV ? 0 : r;
	fds = xcalloc(n_before + 1, sizeof *fds);
	for (size_t i = 0; i < n_before; i++)
		fds[i] = pidfd_open(before[i], 0);
	if (cgroup_pids(cg, &after, &n_after, NULL) < 0)
		n_after = 0;
	for (size_t i = 0; i < n_before; i++) {
		if (fds[i] < 0)
			continue;
		if (has_pid(after, n_after, before[i]))
			pidfd_send_signal(fds[i], SIGKILL, NULL, 0);
		close(fds[i]);
	}
	return n_before;
}

static int kill_listed(const struct cgroup *cg, struct err *e)
{
	int r = each_child(cg, kill_listed, e);

	if (r >= 0)
		r = kill_pass(cg, e);
	return r < 0 ? r : 0;
}

static int kill_passes(const struct cgroup *cg, struct err *e)
{
	int r = each_child(cg, kill_passes, e);

	for (int i = 0; r >= 0 && i < KILL_PASSES; i++) {
		r = kill_pass(cg, e);
		if (r == 0)
			return 0;
		if (r > 0)
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return r < 0 ? r : 0;
}

static int kill_frozen(const struct cgroup *cg, struct err *e)
{
	int r = cgroup_write(cg, "freezer.state", "FROZEN", e), thawed;

	if (r < 0)
		return r;
	r = kill_listed(cg, e);
	thawed = cgroup_write(cg, "freezer.state", "THAWED", r < 0 ? NULL : e);
	if (r < 0 || thawed < 0)
		return r < 0 ? r : thawed;
	/* Forks that were under way when the freeze began. */
	return kill_passes(cg, e);
}

int cgroup_kill_all(const struct cgroup *cg, struct err *e)
{
	autofree char *freezer = xasprintf("%s/freezer.state", cg->path);

	int r = cgroup_check(cg, e);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (cg->version == 2) {
		r = cgroup_write(cg, "cgroup.kill", "1", e);
		return r == -ENOENT ? kill_passes(cg, e) : r;
	}
	return access(freezer, F_OK) == 0 ? kill_frozen(cg, e) : kill_passes(cg, e);
}
