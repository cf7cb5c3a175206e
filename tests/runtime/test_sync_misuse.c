/*
 * Misuse ends the process with a message that names what was done, the coroutine, and where that
 * coroutine was created. Each case runs in a child.
 */
#include "child.h"
#include "help.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void send_on_closed(void *arg)
{
	struct rt_chan *c = rt_chan_new(0, 1);

	rt_close(c);
	rt_send(c, NULL);
}

static void close_under_me(void *arg)
{
	rt_close(arg);
}

static void closed_while_sending(void *arg)
{
	struct rt_chan *c = rt_chan_new(0, 0);

	rt_go(close_under_me, c);
	rt_send(c, NULL);
}

static void closed_while_sending_in_select(void *arg)
{
	struct rt_chan *c = rt_chan_new(0, 0);
	struct rt_case k = {c, RT_SEND, NULL, false};

	rt_go(close_under_me, c);
	rt_select(&k, 1, RT_FOREVER);
}

static void select_send_on_closed(void *arg)
{
	struct rt_chan *c = rt_chan_new(0, 0);
	struct rt_case k = {c, RT_SEND, NULL, false};

	rt_close(c);
	rt_select(&k, 1, 0);
}

static void close_twice(void *arg)
{
	struct rt_chan *c = rt_chan_new(0, 0);

	rt_close(c);
	rt_close(c);
}

static void select_of_65(void *arg)
{
	struct rt_case k[65] = {0};

	rt_select(k, 65, 0);
}

static void too_large(void *arg)
{
	rt_chan_new(SIZE_MAX / 2, 4);
}

static void receive_for_ever(void *arg)
{
	rt_recv(arg, NULL);
}

static void free_while_waited_on(void *arg)
{
	struct rt_chan *c = rt_chan_new(0, 0);

	rt_set_procs(1);
	rt_go(receive_for_ever, c);
	settle();
	rt_chan_free(c);
}

static void unlock_unlocked(void *arg)
{
	struct rt_mutex m = {0};

	rt_unlock(&m);
}

static void rdunlock_unlocked(void *arg)
{
	struct rt_rwlock l = {0};

	rt_rdunlock(&l);
}

static void wrunlock_read_locked(void *arg)
{
	struct rt_rwlock l = {0};

	rt_rdlock(&l);
	rt_wrunlock(&l);
}

static void group_below_zero(void *arg)
{
	struct rt_group g = {0};

	rt_group_add(&g, 1);
	rt_group_add(&g, -2);
}

static void group_too_many(void *arg)
{
	struct rt_group g = {0};

	rt_group_add(&g, INT32_MAX);
	rt_group_add(&g, 1);
}

static void negative_acquire(void *arg)
{
	struct rt_sem s = {0};

	rt_sem_acquire(&s, -1);
}

static void negative_release(void *arg)
{
	struct rt_sem s = {0};

	rt_sem_release(&s, -1);
}

static void release_too_much(void *arg)
{
	struct rt_sem s = {.count = INT64_MAX};

	rt_sem_release(&s, 1);
}

static volatile int endless = 1;

static __attribute__((noinline)) int deeper(volatile char *above)
{
	volatile char here[512];

	here[0] = above[0];
	return endless ? deeper(here) + here[0] : 0;
}

static void stack_overflow(void *arg)
{
	char first = 0;

	deeper(&first);
}

static void wait_without_mutex(void *arg)
{
	struct rt_cond c = {0};
	struct rt_mutex m = {0};

	rt_cond_wait(&c, &m);
}

static void wait_for_nobody(void *arg)
{
	rt_recv(rt_chan_new(0, 0), NULL);
}

static const struct misuse {
	const char *name;
	void (*fn)(void *arg);
	const char *text;
} misuses[] = {
	{"closed_while_sending", closed_while_sending, "send on closed channel"},
	{"closed_while_sending_in_select", closed_while_sending_in_select,
	 "send on closed channel"},
	{"close_twice", close_twice, "close of closed channel"},
	{"free_while_waited_on", free_while_waited_on, "is freed while coroutines wait on it"},
	{"group_below_zero", group_below_zero, "the count would be negative (-1)"},
	{"group_too_many", group_too_many, "are too many"},
	{"negative_acquire", negative_acquire, "acquire of -1"},
	{"negative_release", negative_release, "release of -1"},
	{"rdunlock_unlocked", rdunlock_unlocked, "which has no reader"},
	{"release_too_much", release_too_much, "are too many"},
	{"select_of_65", select_of_65, "select of 65 cases: at most 64"},
	{"select_send_on_closed", select_send_on_closed, "send on closed channel"},
	{"send_on_closed", send_on_closed, "send on closed channel"},
	{"stack_overflow", stack_overflow, "stack overflow"},
	{"too_large", too_large, "more than there is memory"},
	{"unlock_unlocked", unlock_unlocked, "which is not locked"},
	{"wait_for_nobody", wait_for_nobody, "deadlock"},
	{"wait_without_mutex", wait_without_mutex, "which is not locked"},
	{"wrunlock_read_locked", wrunlock_read_locked, "which has no writer"},
};

static void test_misuse(const struct misuse *m)
{
	static char text[65536];
	int status = 0;

	run_child(m->fn, text, sizeof(text), &status);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s ends the process", m->name);
	CHECK(strstr(text, m->text), "%s: the message says \"%s\"", m->name, m->text);
	CHECK(names_creation_site(text), "%s: it names the coroutine and where it was created",
	      m->name);
	if (!strstr(text, m->text) || !names_creation_site(text))
		fprintf(stderr, "%s\n", text);
}

int main(void)
{
	for (size_t i = 0; i < COUNT_OF(misuses); i++)
		test_misuse(&misuses[i]);
	return tap_done();
}
