/*
 * Source netns: the named namespaces of `ip netns`, one target each.
 *
 * A name is a file below /run/netns on which the namespace's nsfs inode is bind-mounted; after a
 * crash or a reboot a name may be left as an empty file, which is no namespace and no target. A
 * known name costs one stat() a listing: nsfs answers with the namespace's own inode, so a name
 * that was deleted and made anew is seen as a different target.
 *
 * The held descriptor keeps a deleted namespace alive until the next listing closes it.
 */
#include "target.h"

#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>

struct netns_source {
	char *dir;
	struct target_list known;
};

static int netns_source_open(struct target_source *s, const struct source_config *c, struct err *e)
{
	struct netns_source *n = xcalloc(1, sizeof *n);

	n->dir = xstrdup(c->netns_dir ? c->netns_dir : "/run/netns");
	s->impl = n;
	return 0;
}

static struct target *target_of_name(const char *path, const char *name)
{
	autofd int fd = netns_open_path(path, NULL);
	struct target *t;
	struct statfs fs;

	if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != NSFS_MAGIC)
		return NULL;
	t = target_new("default", name);
	if (netns_identity(fd, &t->netns_id, NULL) < 0) {
		target_unref(t);
		return NULL;
	}
	t->netns_fd = take_fd(fd);
	t->host_network = netns_is_host(t->netns_id);
	t->ready = true;
	t->no_namespace = true;
	kvs_set(&t->labels, "name", name);
	target_set_phase(t, "Running");
	return t;
}

/* Names come sorted, so between two listings most keep their place. */
static struct target *known_target(struct netns_source *n, const char *name, size_t guess)
{
	if (guess < n->known.n && streq(n->known.items[guess]->name, name))
		return n->known.items[guess];
	return target_list_find(&n->known, "default", name);
}

static void list_name(struct netns_source *n, const char *name, struct target_list *ret)
{
	autofree char *path = xasprintf("%s/%s", n->dir, name);
	struct target *t = known_target(n, name, ret->n);
	struct stat st;

	if (stat(path, &st) < 0)
		return;
	if (t && t->netns_id.dev == st.st_dev && t->netns_id.ino == st.st_ino) {
		target_list_add(ret, t);
		return;
	}
	t = target_of_name(path, name);
	if (t)
		target_list_add(ret, t);
	target_unref(t);
}

static int is_name(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static int netns_source_list(struct target_source *s, struct target_list *ret, struct err *e)
{
	struct netns_source *n = s->impl;
	struct dirent **names;
	int count;

	/* No folder means that no namespace was ever named since boot. */
	count = scandir(n->dir, &names, is_name, alphasort);
	if (count < 0 && errno != ENOENT)
		return err_errno(e, errno, "%s", n->dir);
	for (int i = 0; i < count; i++) {
		list_name(n, names[i]->d_name, ret);
		free(names[i]);
	}
	if (count >= 0)
		free(names);
	target_list_replace(&n->known, ret);
	return 0;
}

static int netns_source_vantage(struct target_source *s, struct vantage *ret, struct err *e)
{
	*ret = (struct vantage){.netns_fd = -1};
	return 0;
}

static void netns_source_close(struct target_source *s)
{
	struct netns_source *n = s->impl;

	target_list_done(&n->known);
	free(n->dir);
	free(n);
}

const struct target_source_type netns_source = {
	.name = "netns",
	.doc = "Named network namespaces (ip netns), with the label name.",
	.open = netns_source_open,
	.list = netns_source_list,
	.vantage = netns_source_vantage,
	.close = netns_source_close,
};
