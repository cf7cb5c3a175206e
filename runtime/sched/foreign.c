/*
 * Threads that the runtime did not make. Such a thread has no P, and a coroutine is made with one: what
 * is posted lies in a list that a coroutine of the runtime's own drains, and is made runnable
 * through the global queue.
 */
#include "sched.h"

#include <errno.h>
#include <stdlib.h>

int rt_attach(void)
{
	int r = 0;

	lock_get(&sched.lock);
	if (atomic_load(&sched.running))
		sched.attached++;
	else
		r = -ESRCH;
	lock_put(&sched.lock);
	return r;
}

void rt_detach_thread(void)
{
	lock_get(&sched.lock);
	if (sched.attached && --sched.attached == 0)
		deadlock_check();
	lock_put(&sched.lock);
}

struct posted {
	void (*fn)(void *arg);
	void *arg;
	struct posted *next;
};

static struct {
	struct lock lock;
	struct posted *first, **last;
	struct rt_co *_Atomic server;
	bool waiting;
} post;

static bool put_post(struct rt_co *co, void *arg)
{
	post.waiting = true;
	lock_put(&post.lock);
	return true;
}

static void serve_posts(void *arg)
{
	for (;;) {
		struct posted *p;

		lock_get(&post.lock);
		p = post.first;
		if (!p) {
			atomic_store(&post.server, this_co());
			co_park(WAIT_POST, put_post, NULL);
			continue;
		}
		post.first = p->next;
		if (!post.first)
			post.last = &post.first;
		lock_put(&post.lock);
		if (rt_go(p->fn, p->arg) < 0)
			rt_fatal("out of address space for the stack of what rt_post was given");
		free(p);
	}
}

void post_init(void)
{
	post.first = NULL;
	post.last = &post.first;
	post.waiting = false;
	rt_go_attr(serve_posts, NULL, &(struct rt_attr){.name = "rt.post"});
}

int rt_post(void (*fn)(void *arg), void *arg)
{
	struct posted *p;
	bool wake;

	if (this_co()) /* a coroutine has a P of its own */
		return rt_go(fn, arg);
	p = malloc(sizeof *p);
	if (!p)
		return -ENOMEM;
	*p = (struct posted){fn, arg, NULL};
	lock_get(&post.lock);
	if (!atomic_load(&sched.running) || atomic_load(&sched.exiting)) {
		lock_put(&post.lock);
		free(p);
		return -ESRCH;
	}
	*post.last = p;
	post.last = &p->next;
	wake = post.waiting;
	post.waiting = false;
	lock_put(&post.lock);
	if (wake)
		co_ready(atomic_load(&post.server));
	return 0;
}

struct call {
	void *(*fn)(void *arg);
	void *arg, *ret;
	_Atomic uint32_t done;
};

static void run_call(void *arg)
{
	struct call *c = arg;

	c->ret = c->fn(c->arg);
	/* release: pairs with the acquire in rt_call() */
	atomic_store_explicit(&c->done, 1, memory_order_release);
	futex_wake(&c->done, 1);
}

int rt_call(void *(*fn)(void *arg), void *arg, void **ret)
{
	struct call c = {.fn = fn, .arg = arg};
	int r = rt_attach();

	if (r < 0)
		return r;
	r = rt_post(run_call, &c);
	while (r == 0 && !atomic_load_explicit(&c.done, memory_order_acquire)) {
		futex_wait(&c.done, 0, 100 * RT_MSEC);
		/* The runtime may have ended under it. */
		if (!atomic_load(&sched.running) && !atomic_load(&c.done))
			r = -ESRCH;
	}
	rt_detach_thread();
	if (r == 0 && ret)
		*ret = c.ret;
	return r;
}
