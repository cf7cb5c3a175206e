/*
 * Contexts form a tree under one lock, which all its nodes share and the last one frees. Children
 * hang on a circular list with its head in the parent, so a node leaves in O(1).
 *
 * Cancelling goes down from the node that is cancelled, a node at a time with the lock released in
 * between, which bounds how long it is held. A node that is reached is marked and closed first, so
 * what is made from it from then on is born cancelled; it leaves the tree once it has no children.
 * Nodes may come and go meanwhile, only the first must stay. Who finds a node cancelled already
 * helps with what is below, so that rt_ctx_cancel() has always done all of it when it returns.
 *
 * A deadline is a timer of the node that set it; its descendants go with it. A timer's callback may
 * be running on another thread while the context is freed, so it holds a reference of its own.
 */
#include "chan.h"

#include <errno.h>
#include <stdlib.h>

struct link {
	struct link *next, *prev;
};

struct tree {
	struct lock lock;
	_Atomic uint32_t nodes;
};

struct rt_ctx {
	struct tree *tree;
	struct rt_ctx *parent; /* valid while it is linked */
	struct link siblings;  /* in the parent's children; alone: a root, or off the tree */
	struct link children;
	_Atomic int err; /* set once, under the lock */
	bool has_timer;
	int64_t deadline;
	_Atomic uint32_t refs; /* the owner's, and the timer's until it has fired or was stopped */
	struct timer timer;
	struct rt_chan done;
};

static void link_init(struct link *l)
{
	l->next = l->prev = l;
}

static void link_append(struct link *head, struct link *l)
{
	l->next = head;
	l->prev = head->prev;
	head->prev->next = l;
	head->prev = l;
}

static void link_remove(struct link *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	link_init(l);
}

static struct rt_ctx *first_child(struct rt_ctx *c)
{
	struct link *l = c->children.next;

	return l == &c->children ? NULL
				 : (struct rt_ctx *)((char *)l - offsetof(struct rt_ctx, siblings));
}

static void *allocate(size_t n)
{
	void *p = calloc(1, n);

	if (!p)
		rt_fatal("context: out of memory");
	return p;
}

static void unref(struct rt_ctx *c)
{
	struct tree *t = c->tree;

	/* acq_rel, both: what others did to it comes before the free */
	if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(c);
	if (atomic_fetch_sub_explicit(&t->nodes, 1, memory_order_acq_rel) == 1)
		free(t);
}

static void drop_timer(struct rt_ctx *c)
{
	/* relaxed: the owner's reference is still there */
	if (c->has_timer && timer_stop(&c->timer))
		atomic_fetch_sub_explicit(&c->refs, 1, memory_order_relaxed);
}

/* Under the lock. */
static void cancel_node(struct rt_ctx *c, int err, struct wake_list *wake)
{
	/* release: pairs with the acquire in rt_ctx_err(), for what the canceller did before */
	atomic_store_explicit(&c->err, err, memory_order_release);
	lock_get(&c->done.lock);
	chan_close(&c->done, wake, SIZE_MAX);
	lock_put(&c->done.lock);
	drop_timer(c);
}

/* Under the lock: a node below c that is not cancelled, NULL: there is none. What has been
 * cancelled and is without children leaves the tree on the way. */
static struct rt_ctx *next_below(struct rt_ctx *c)
{
	struct rt_ctx *n = c, *child;

	for (;;) {
		child = first_child(n);
		if (child && !rt_ctx_err(child))
			return child;
		if (!child && n == c)
			return NULL;
		if (!child)
			link_remove(&n->siblings);
		n = child ? child : n->parent;
	}
}

static void cancel_all(struct rt_ctx *c, int err)
{
	struct tree *t = c->tree;
	struct rt_ctx *n;

	lock_get(&t->lock);
	n = rt_ctx_err(c) ? next_below(c) : c;
	while (n) {
		struct wake_list wake = {0};

		cancel_node(n, n == c ? err : rt_ctx_err(n->parent), &wake);
		lock_put(&t->lock);
		wake_all(&wake);
		lock_get(&t->lock);
		n = next_below(c);
	}
	link_remove(&c->siblings);
	lock_put(&t->lock);
}

static void deadline_reached(void *arg, uint64_t seq)
{
	struct rt_ctx *c = arg;

	(void)seq; /* the timer is started once */
	cancel_all(c, -ETIMEDOUT);
	unref(c);
}

/* Errors: why it is cancelled already */
static int join_parent(struct rt_ctx *c, struct rt_ctx *parent)
{
	int err;

	c->parent = parent;
	c->tree = parent->tree;
	atomic_fetch_add_explicit(&c->tree->nodes, 1, memory_order_relaxed); /* parent holds one */
	lock_get(&c->tree->lock);
	err = rt_ctx_err(parent);
	if (!err)
		link_append(&parent->children, &c->siblings);
	lock_put(&c->tree->lock);
	return err;
}

static void plant(struct rt_ctx *c)
{
	c->tree = allocate(sizeof(*c->tree));
	atomic_store_explicit(&c->tree->nodes, 1, memory_order_relaxed);
}

struct rt_ctx *rt_ctx_new(struct rt_ctx *parent, int64_t deadline)
{
	struct rt_ctx *c = allocate(sizeof(*c));
	int64_t parents = parent ? parent->deadline : RT_FOREVER;
	int err = 0;

	c->deadline = deadline < parents ? deadline : parents;
	c->has_timer = deadline < parents && !deadline_passed(deadline);
	c->timer = (struct timer){.when = deadline, .fn = deadline_reached, .arg = c};
	atomic_store_explicit(&c->refs, c->has_timer ? 2 : 1, memory_order_relaxed);
	link_init(&c->siblings);
	link_init(&c->children);
	chan_init(&c->done, 0, 0, NULL);
	if (parent)
		err = join_parent(c, parent);
	else
		plant(c);
	/* Cancelled by the parent in between, it is still right: the timer finds nothing to do. */
	if (c->has_timer)
		timer_start(&c->timer);
	else if (!err && deadline_passed(c->deadline)) /* its own, or the parent's, whose timer is late */
		err = -ETIMEDOUT;
	if (err)
		cancel_all(c, err);
	poll_here();
	return c;
}

void rt_ctx_cancel(struct rt_ctx *c)
{
	cancel_all(c, -ECANCELED);
	poll_here();
}

int rt_ctx_err(const struct rt_ctx *c)
{
	/* acquire: pairs with the release in cancel_node() */
	return atomic_load_explicit(&c->err, memory_order_acquire);
}

int64_t rt_ctx_deadline(const struct rt_ctx *c)
{
	return c->deadline;
}

struct rt_chan *rt_ctx_done(struct rt_ctx *c)
{
	return &c->done;
}

void rt_ctx_free(struct rt_ctx *c)
{
	if (!c)
		return;
	cancel_all(c, -ECANCELED);
	/* Again: a parent's cancellation may have come before rt_ctx_new() started it. */
	drop_timer(c);
	unref(c);
	poll_here();
}
