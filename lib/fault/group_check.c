#include "group_check.h"

#include <errno.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>

void group_watch_begin(struct group_watch *w, const struct cgroup *cg, const char *const *files)
{
	struct stat st;

	group_watch_done(w);
	w->ino = stat(cg->path, &st) == 0 ? st.st_ino : 0;
	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	for (; w->fd >= 0 && *files; files++) {
		autofree char *path = xasprintf("%s/%s", cg->path, *files);

		inotify_add_watch(w->fd, path, IN_MODIFY);
	}
}

void group_watch_done(struct group_watch *w)
{
	if (w->fd > 0)
		close(w->fd);
	*w = (struct group_watch){.fd = -1};
}

bool group_watch_take(struct group_watch *w)
{
	char events[4096];
	bool any = false;

	while (w->fd > 0 && read(w->fd, events, sizeof events) > 0)
		any = true;
	return any;
}

bool group_check_there(const struct group_watch *w, const struct cgroup *cg, struct str *ret)
{
	struct stat st;

	if (stat(cg->path, &st) < 0) {
		str_addf(ret, "control group %s was removed\n", cg->path);
		return false;
	}
	if (w->ino && st.st_ino != w->ino) {
		str_addf(ret, "control group %s was made anew\n", cg->path);
		return false;
	}
	return true;
}

void group_check_file(const struct cgroup *cg, const char *file, const char *want, struct str *ret)
{
	autostr now = {0};
	struct err e = {0};

	if (cgroup_read(cg, file, &now, &e) < 0)
		str_addf(ret, "%s\n", e.text);
	else if (!streq(now.s, want))
		str_addf(ret, "somebody set %s of %s to \"%s\", where \"%s\" had been written\n", file,
			 cg->path, now.s, want);
}

bool group_covers(const struct cgroup *cg, const char *path)
{
	size_t n = strlen(cg->path);

	return strncmp(path, cg->path, n) == 0 && (!path[n] || path[n] == '/');
}

size_t group_check_processes(const struct fault *f, const struct target *t, const char *controller,
			     bool (*known)(const struct fault *f, const char *path),
			     struct str *ret)
{
	const struct fault_common *common = f->params;
	const struct strlist *names = &common->selection.container_names;
	size_t running = 0;

	for (size_t i = 0; i < t->n_containers; i++) {
		const struct container *c = &t->containers[i];
		autocgroup cg = {0};

		if (names->n && !strlist_has(names, c->name))
			continue;
		/* Asked again after the look: an ending process is shown in the root group. */
		if (container_has_ended(c) || cgroup_of_pid(c->pid, controller, &cg, NULL) < 0 ||
		    container_has_ended(c))
			continue;
		running++;
		if (!known(f, cg.path))
			str_addf(ret, "process %d (%s) is in another control group now: %s\n",
				 (int)c->pid, c->name, cg.path);
	}
	return running;
}
