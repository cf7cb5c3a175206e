/*
 * Targets keep their identity over listings: a fault holds a reference, and learns that a target
 * died from the object itself (phase "", no handles) when the source lists again.
 */
#include "target.h"

#include <poll.h>

struct target *target_new(const char *ns, const char *name)
{
	struct target *t = xcalloc(1, sizeof *t);

	t->refs = 1;
	t->ns = xstrdup(ns);
	t->name = xstrdup(name);
	t->phase = xstrdup("");
	t->netns_fd = -1;
	return t;
}

struct target *target_ref(struct target *t)
{
	if (t)
		t->refs++;
	return t;
}

struct container *target_add_container(struct target *t, const char *name)
{
	struct container *c = array_push(t->containers, t->n_containers);

	c->name = xstrdup(name);
	c->pidfd = -1;
	return c;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

bool container_has_ended(const struct container *c)
{
	struct pollfd p = {.fd = c->pidfd, .events = POLLIN};

	return c->pid <= 0 || (c->pidfd >= 0 && poll(&p, 1, 0) == 1);
}

void container_stopped(struct container *c)
{
	close_fd(&c->pidfd);
	c->pid = 0;
	c->ready_ns = 0;
}

void target_set_phase(struct target *t, const char *phase)
{
	if (streq(t->phase, phase))
		return;
	free(t->phase);
	t->phase = xstrdup(phase);
}

void target_gone(struct target *t)
{
	close_fd(&t->netns_fd);
	for (size_t i = 0; i < t->n_containers; i++)
		container_stopped(&t->containers[i]);
	t->ready = false;
	target_set_phase(t, "");
}

void target_unref(struct target *t)
{
	if (!t || --t->refs > 0)
		return;
	target_gone(t);
	for (size_t i = 0; i < t->n_containers; i++)
		free(t->containers[i].name);
	free(t->containers);
	strlist_done(&t->addresses);
	kvs_done(&t->labels);
	kvs_done(&t->annotations);
	free(t->ns);
	free(t->name);
	free(t->phase);
	free(t->node);
	free(t);
}

char *target_id(const struct target *t)
{
	return xasprintf("%s/%s", t->ns, t->name);
}

void target_list_add(struct target_list *l, struct target *t)
{
	*array_push(l->items, l->n) = target_ref(t);
}

void target_list_copy(struct target_list *dst, const struct target_list *src)
{
	for (size_t i = 0; i < src->n; i++)
		target_list_add(dst, src->items[i]);
}

struct target *target_list_find(const struct target_list *l, const char *ns, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (streq(l->items[i]->name, name) && streq(l->items[i]->ns, ns))
			return l->items[i];
	return NULL;
}

void target_list_done(struct target_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		target_unref(l->items[i]);
	free(l->items);
	*l = (struct target_list){0};
}

static bool target_list_holds(const struct target_list *l, const struct target *t, size_t guess)
{
	if (guess < l->n && l->items[guess] == t)
		return true;
	for (size_t i = 0; i < l->n; i++)
		if (l->items[i] == t)
			return true;
	return false;
}

void target_list_replace(struct target_list *known, const struct target_list *now)
{
	struct target_list next = {0};

	target_list_copy(&next, now);
	for (size_t i = 0; i < known->n; i++)
		if (!target_list_holds(now, known->items[i], i))
			target_gone(known->items[i]);
	target_list_done(known);
	*known = next;
}
