/*
 * Which folder is a process's memory group? /proc/PID/cgroup names the group inside its hierarchy,
 * mountinfo says where brunt sees that hierarchy, and possibly only a part of it (the mount's
 * root). Both are shown relative to the reader's cgroup namespace, so the two fit together in a
 * container as well: the folder is the mount point plus the group's path without the mount's root.
 *
 * A controller listed on a numbered line belongs to v1; what no numbered line lists is v2's, the
 * line "0::". This one rule serves pure v1, pure v2 and hybrid hosts, where both kinds stand side
 * by side and the v2 tree has few controllers or none.
 *
 * Source: cgroups(7), cgroup_namespaces(7), proc(5) for mountinfo and its octal escapes.
 */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

void cgroup_done(struct cgroup *cg)
{
	free(cg->path);
	*cg = (struct cgroup){0};
}

static int read_path(const char *path, struct str *ret)
{
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	char buf[4096];
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, buf, sizeof buf)) > 0)
		str_addn(ret, buf, n);
	if (n < 0)
		return -errno;
	if (!ret->s)
		str_add(ret, "");
	return 0;
}

static bool list_has(const char *list, const char *item)
{
	size_t n = strlen(item);

	for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (!strncmp(p, item, n) && (p[n] == ',' || !p[n]))
			return true;
	return false;
}

/* The group's path within its hierarchy; *ret_version says of which kind that is. */
static char *group_path(const char *cgroups, const char *controller, int *ret_version)
{
	autofree char *text = xstrdup(cgroups), *v2 = NULL;
	char *rest = text, *line;

	while ((line = strsep(&rest, "\n"))) {
		char *id = strsep(&line, ":"), *list = strsep(&line, ":");

		if (!id || !list || !line)
			continue;
		if (*controller && list_has(list, controller)) {
			*ret_version = 1;
			return xstrdup(line);
		}
		if (streq(id, "0") && !*list && !v2)
			v2 = xstrdup(line);
	}
	*ret_version = 2;
	return take(v2);
}

static void unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
			*out++ = (s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0');
			s += 3;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

struct mount {
	char *root, *point, *type, *options;
};

/* ID PARENT MAJ:MIN ROOT POINT OPTIONS [TAGS...] - TYPE SOURCE SUPER-OPTIONS */
static bool parse_mount(char *line, struct mount *ret)
{
	char *fields = line, *tail = strstr(line, " - ");

	if (!tail)
		return false;
	*tail = '\0';
	tail += 3;
	for (int i = 0; i < 3; i++)
		strsep(&fields, " ");
	*ret = (struct mount){.root = strsep(&fields, " "), .point = strsep(&fields, " "),
			      .type = strsep(&tail, " ")};
	strsep(&tail, " ");
	ret->options = tail ? tail : "";
	if (!ret->root || !ret->point || !ret->type)
		return false;
	unescape(ret->root);
	unescape(ret->point);
	return true;
}

/* The group's folder as this mount shows it, NULL when it does not. */
static char *folder_in(const struct mount *m, const char *group)
{
	size_t n = streq(m->root, "/") ? 0 : strlen(m->root);

	if (strncmp(group, m->root, n) || (group[n] && group[n] != '/'))
		return NULL;
	/* Above what a bind mount or a cgroup namespace shows, ".." would leave the mount. */
	if (strstr(group + n, "/../") || streq(group + n, "/.."))
		return NULL;
	return xasprintf("%s%s", m->point, streq(group + n, "/") ? "" : group + n);
}

static bool mount_carries(const struct mount *m, const char *controller, int version)
{
	if (version == 2)
		return streq(m->type, "cgroup2");
	return streq(m->type, "cgroup") && list_has(m->options, controller);
}

int cgroup_resolve(const char *cgroups, const char *mountinfo, const char *controller,
		   struct cgroup *ret, struct err *e)
{
	autofree char *text = xstrdup(mountinfo), *found = NULL;
	char *rest = text, *line;
	int version;
	autofree char *group = group_path(cgroups, controller, &version);

	if (!group)
		return err_set(e, ENOENT, "no cgroup hierarchy has the %s controller", controller);
	while ((line = strsep(&rest, "\n"))) {
		struct mount m;
		char *folder;

		if (!parse_mount(line, &m) || !mount_carries(&m, controller, version))
			continue;
		folder = folder_in(&m, group);
		if (folder) { /* a later mount hides an earlier one at the same place */
			free(found);
			found = folder;
		}
	}
	if (!found)
		return err_set(e, ENOENT, "no mount shows cgroup %s (v%d%s%s)", group, version,
			       *controller ? ", " : "", controller);
	*ret = (struct cgroup){.path = take(found), .version = version};
	return 0;
}

static int resolve_proc(const char *proc, const char *controller, struct cgroup *ret,
			struct err *e)
{
	autofree char *path = xasprintf("/proc/%s/cgroup", proc);
	autostr groups = {0}, mounts = {0};
	int r;

	r = read_path(path, &groups);
	if (r < 0)
		return err_errno(e, r == -ENOENT ? ESRCH : -r, "%s", path);
	r = read_path("/proc/self/mountinfo", &mounts);
	if (r < 0)
		return err_errno(e, -r, "/proc/self/mountinfo");
	if (cgroup_resolve(groups.s, mounts.s, controller, ret, e) < 0)
		return err_wrap(e, "process %s", proc);
	return 0;
}

int cgroup_of_pid(pid_t pid, const char *controller, struct cgroup *ret, struct err *e)
{
	char proc[16];

	snprintf(proc, sizeof proc, "%d", pid);
	return resolve_proc(proc, controller, ret, e);
}

int cgroup_read(const struct cgroup *cg, const char *file, struct str *ret, struct err *e)
{
	autofree char *path = xasprintf("%s/%s", cg->path, file);
	int r = read_path(path, ret);

	if (r < 0)
		return err_errno(e, -r, "%s of %s", file, cg->path);
	if (ret->len && ret->s[ret->len - 1] == '\n')
		ret->s[--ret->len] = '\0';
	return 0;
}

const char *cgroup_root_for_tests;

static bool is_below(const char *path, const char *root)
{
	return root && strncmp(path, root, strlen(root)) == 0;
}

/* What is open lies in a cgroup file system of that version. */
static int check_fs(int fd, const struct cgroup *cg, struct err *e)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return err_errno(e, errno, "%s", cg->path);
	if (fs.f_type == (cg->version == 1 ? CGROUP_SUPER_MAGIC : CGROUP2_SUPER_MAGIC) ||
	    is_below(cg->path, cgroup_root_for_tests))
		return 0;
	return err_set(e, EPERM, "%s is not in a cgroup (v%d) file system", cg->path, cg->version);
}

int cgroup_check(const struct cgroup *cg, struct err *e)
{
	/* O_NOFOLLOW is about the last part; that no other is a link, the kernel says. */
	struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
			       .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	autofd int fd = -1;

	if (!cg->path || cg->path[0] != '/' || strstr(cg->path, "/../") || cg->version < 1 ||
	    cg->version > 2)
		return err_set(e, EPERM, "\"%s\" is no path of a control group", cg->path ? cg->path : "");
	fd = (int)syscall(SYS_openat2, AT_FDCWD, cg->path, &how, sizeof how);
	if (fd < 0 && errno == ENOSYS) /* before 5.6 */
		fd = open(cg->path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ELOOP)
		return err_set(e, EPERM, "%s leads over a symbolic link, as no control group's path does",
			       cg->path);
	return fd < 0 ? err_errno(e, errno, "control group %s", cg->path) : check_fs(fd, cg, e);
}

int cgroup_write(const struct cgroup *cg, const char *file, const char *value, struct err *e)
{
	autofree char *path = xasprintf("%s/%s", cg->path, file);
	autofd int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 && check_fs(fd, cg, e) < 0)
		return -EPERM;
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		return err_errno(e, errno, "write %s to %s of %s", value, file, cg->path);
	return 0;
}

static int parse_u64(const char *text, uint64_t *ret)
{
	char *end;

	if (streq(text, "max")) {
		*ret = UINT64_MAX;
		return 0;
	}
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno || end == text || (*end && *end != '\n') ? -EINVAL : 0;
}

int cgroup_read_u64(const struct cgroup *cg, const char *file, uint64_t *ret, struct err *e)
{
	autostr text = {0};
	int r = cgroup_read(cg, file, &text, e);

	if (r < 0)
		return r;
	if (parse_u64(text.s, ret) < 0)
		return err_set(e, EINVAL, "%s of %s: \"%.40s\" is not a number", file, cg->path,
			       text.s);
	return 0;
}

int cgroup_read_key(const struct cgroup *cg, const char *file, const char *key, uint64_t *ret,
		    struct err *e)
{
	autostr text = {0};
	char *rest, *line;
	int r = cgroup_read(cg, file, &text, e);

	if (r < 0)
		return r;
	rest = text.s;
	while ((line = strsep(&rest, "\n"))) {
		char *name = strsep(&line, " ");

		if (streq(name, key) && line && parse_u64(line, ret) == 0)
			return 0;
	}
	return err_set(e, ENOENT, "%s of %s has no %s", file, cg->path, key);
}

static bool hands_on(const struct cgroup *cg, const char *controller)
{
	autostr list = {0};
	char *rest, *word;

	if (cgroup_read(cg, "cgroup.subtree_control", &list, NULL) < 0)
		return false;
	rest = list.s;
	while ((word = strsep(&rest, " ")))
		if (streq(word, controller))
			return true;
	return false;
}

/* Goes up until a group hands the controller to its children, or can be told to. Only the root
 * may do so while it has processes of its own. */
static int nearest_that_hands_on(struct cgroup *cg, const char *controller, struct err *e)
{
	autofree char *enable = xasprintf("+%s", controller);
	autofree char *first = xstrdup(cg->path);

	for (;;) {
		autofree char *procs = xasprintf("%s/cgroup.procs", cg->path);
		char *slash = strrchr(cg->path, '/');

		if (access(procs, F_OK) < 0 || !slash)
			break;
		if (hands_on(cg, controller) ||
		    cgroup_write(cg, "cgroup.subtree_control", enable, NULL) == 0)
			return 0;
		*slash = '\0';
	}
	return err_set(e, EBUSY, "no cgroup above %s hands the %s controller to its children",
		       first, controller);
}

int cgroup_own(const char *controller, struct cgroup *ret, struct err *e)
{
	autocgroup own = {0};
	int r = resolve_proc("self", controller, &own, e);

	if (r < 0)
		return r;
	if (own.version == 2 && *controller) {
		r = nearest_that_hands_on(&own, controller, e);
		if (r < 0)
			return r;
	}
	*ret = (struct cgroup){.path = take(own.path), .version = own.version};
	return 0;
}
