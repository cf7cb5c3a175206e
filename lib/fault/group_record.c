#include "group_record.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

static int each_of_target(struct fault *f, struct target *t, const char *what,
			  int (*fn)(struct fault *f, struct target *t, pid_t pid, void *data,
				    struct err *e),
			  void *data, struct err *e)
{
	const struct fault_common *common = f->params;
	const struct strlist *names = &common->selection.container_names;
	size_t n = 0;
	int r = 0;

	for (size_t k = 0; r == 0 && k < t->n_containers; k++)
		if (t->containers[k].pid > 0 &&
		    (!names->n || strlist_has(names, t->containers[k].name))) {
			r = fn(f, t, t->containers[k].pid, data, e);
			n++;
		}
	if (r < 0)
		return err_wrap(e, "%s/%s", t->ns, t->name);
	if (n)
		return 0;
	if (names->n)
		return err_set(e, ESRCH, "%s/%s runs none of the containers in containerNames", t->ns,
			       t->name);
	return err_set(e, ESRCH, "%s/%s has no process, so no %s to limit", t->ns, t->name, what);
}

int group_each_process(const struct fault *f, const char *what,
		       int (*fn)(struct fault *f, struct target *t, pid_t pid, void *data, struct err *e),
		       void *data, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < f->targets.n; i++)
		r = each_of_target((struct fault *)f, f->targets.items[i], what, fn, data, e);
	return r;
}

bool group_holds_brunt(const struct cgroup *cg, const char *controller)
{
	autocgroup own = {0};
	size_t n = strlen(cg->path);

	if (cgroup_of_pid(getpid(), controller, &own, NULL) < 0)
		return false;
	return !strncmp(own.path, cg->path, n) && (!own.path[n] || own.path[n] == '/');
}

json_t *group_record_new(const struct cgroup *cg, struct err *e)
{
	struct stat st;

	if (stat(cg->path, &st) < 0) {
		err_errno(e, errno, "control group %s", cg->path);
		return NULL;
	}
	return json_pack("{s:s, s:i, s:I}", "path", cg->path, "version", cg->version, "ino",
			 (json_int_t)st.st_ino);
}

static const char *path_of(const json_t *record)
{
	return json_string_value(json_object_get(record, "path"));
}

int group_record_find(const json_t *record, struct cgroup *ret)
{
	struct stat st;

	if (!path_of(record) || stat(path_of(record), &st) < 0 ||
	    st.st_ino != (ino_t)json_integer_value(json_object_get(record, "ino")))
		return -ENOENT;
	*ret = (struct cgroup){.path = xstrdup(path_of(record)),
			       .version = (int)json_integer_value(json_object_get(record, "version"))};
	return 0;
}

int group_prepare(struct fault *f,
		  int (*add)(const struct fault *f, const struct target *t, json_t *groups, struct err *e),
		  struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < f->targets.n; i++) {
		struct undo *u = array_push(f->undo.items, f->undo.n);
		json_t *groups = json_array();

		*u = (struct undo){.fault = xstrdup(f->name), .target = target_id(f->targets.items[i]),
				   .driver = f->driver, .netns_fd = -1};
		r = add(f, f->targets.items[i], groups, e);
		undo_set_json(u, json_pack("{s:o}", "groups", groups));
	}
	return r;
}

bool group_is_limit(const json_t *text)
{
	const char *s = json_string_value(text);

	return s && *s && strlen(s) < 64 && strspn(s, "0123456789 -max") == strlen(s);
}

static int vet_group(const json_t *record, int (*one)(const json_t *record, struct err *e),
		     struct err *e)
{
	const struct cgroup cg = {.path = (char *)path_of(record),
				  .version = (int)json_integer_value(json_object_get(record, "version"))};
	int r = cgroup_check(&cg, e);

	return r == 0 || r == -ENOENT ? one(record, e) : r;
}

int group_vet(const struct undo *u, int (*one)(const json_t *record, struct err *e), struct err *e)
{
	json_auto_t *data = undo_json(u);
	const json_t *groups = json_object_get(data, "groups"), *record;
	size_t i;

	if (!json_is_array(groups))
		return err_set(e, EINVAL, "it lists no control groups");
	json_array_foreach(groups, i, record) {
		int r = vet_group(record, one, e);

		if (r < 0)
			return r;
	}
	return 0;
}

/* The worse outcome of several groups stands for all; gone only when all are. */
static void revert_record(const struct undo *u, struct undo_result *ret,
			  enum undo_outcome (*one)(const json_t *record, char *text, size_t size))
{
	static const int rank[] = {[UNDO_GONE] = 0, [UNDO_REVERTED] = 1, [UNDO_FOREIGN] = 2,
				   [UNDO_FAILED] = 3};
	json_auto_t *data = undo_json(u);
	const json_t *group;
	size_t i;

	*ret = (struct undo_result){.outcome = data ? UNDO_GONE : UNDO_FAILED};
	if (!data)
		snprintf(ret->text, sizeof ret->text, "undo record of %s is damaged", u->driver->kind);
	json_array_foreach(json_object_get(data, "groups"), i, group) {
		enum undo_outcome o = one(group, ret->text, sizeof ret->text);

		ret->outcome = rank[o] > rank[ret->outcome] ? o : ret->outcome;
	}
}

int group_revert(const struct undo *undo, size_t n, struct undo_result *results,
		 enum undo_outcome (*one)(const json_t *record, char *text, size_t size))
{
	for (size_t i = 0; i < n; i++)
		revert_record(&undo[i], &results[i], one);
	return 0;
}

/* The lines of a snapshot that are about the group of this path. */
static void add_lines(const char *snapshot, const char *path, struct str *ret)
{
	size_t n = path ? strlen(path) : 0;

	for (const char *p = snapshot; n && p && *p;) {
		size_t len = strcspn(p, "\n");

		len += p[len] == '\n';
		if (strncmp(p, path, n) == 0 && p[n] == ' ')
			str_addn(ret, p, len);
		p += len;
	}
}

int group_resnapshot(const struct undo *u, struct str *ret,
		     int (*snapshot)(const json_t *record, struct str *ret, struct err *e), struct err *e)
{
	json_auto_t *data = undo_json(u);
	const json_t *groups = json_object_get(data, "groups"), *record;
	size_t i, gone = 0;

	json_array_foreach(groups, i, record) {
		struct err why = {0};
		int r = snapshot(record, ret, &why);

		if (r == -ENOENT) {
			gone++;
			add_lines(u->before, path_of(record), ret);
		} else if (r < 0) {
			*(e ? e : &why) = why;
			return r;
		}
	}
	return gone && gone == json_array_size(groups)
		       ? err_set(e, ENOENT, "the control group is gone")
		       : 0;
}
