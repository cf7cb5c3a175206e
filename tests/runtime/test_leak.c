/*
 * Leaked coroutines. Each situation parks some on a wait that has no deadline, and keeps or does not keep
 * what could wake them. Those who know nothing else are made by a coroutine that has ended, so that
 * nothing is left over of them in who asks; kept ones must never be reported.
 */
#include "../../runtime/obs/leak.h"
#include "help.h"
#include "tap.h"

#include <string.h>

struct pair {
	struct rt_chan *a, *b;
};

enum { ROOM = 256 };
static uint64_t found[ROOM];
static int n_found;
static _Atomic int ended;

static bool is_found(uint64_t id)
{
	for (int i = 0; i < n_found && i < ROOM; i++)
		if (found[i] == id)
			return true;
	return false;
}

__attribute__((noinline)) static void scrub(void)
{
	volatile char b[16 << 10];

	for (size_t i = 0; i < sizeof b; i++)
		b[i] = 0;
}

static void look(void)
{
	scrub();
	settle();
	n_found = leak_find(found, ROOM);
}

/* Ids of those who wait in the current situation. */
static uint64_t ids[ROOM];
static int n_ids;

static int reported(void)
{
	int n = 0;

	look();
	for (int i = 0; i < n_ids; i++)
		n += is_found(ids[i]);
	return n;
}

static void *make(void *arg)
{
	((void (*)(void))arg)();
	scrub();
	return NULL;
}

/* Runs what makes the situation on a stack that is gone then. */
static void situation(void (*fn)(void))
{
	n_ids = 0;
	rt_join(rt_spawn(make, (void *)fn, NULL), NULL);
	settle();
}

static void start(void (*fn)(void *), void *arg)
{
	struct rt_co *co = rt_spawn((void *(*)(void *))(void (*)(void))fn, arg, NULL);

	ids[n_ids++] = rt_id(co);
	rt_detach(co);
	settle();
}

static void receive(void *arg)
{
	rt_recv(arg, NULL);
	atomic_fetch_add(&ended, 1);
}

static void ping_pong(void *arg)
{
	struct pair *p = arg;

	rt_recv(p->a, NULL);
	rt_send(p->b, NULL);
	rt_recv(p->a, NULL);
}

/* What is not to be found: each stays, and is reported in all later looks. -------------------------- */

static void make_pair(void)
{
	struct pair *p = rt_new_bytes(sizeof *p), *q = rt_new_bytes(sizeof *q);

	p->a = q->b = rt_chan_new(0, 0);
	p->b = q->a = rt_chan_new(0, 0);
	start(ping_pong, p);
	start(ping_pong, q);
}

static void make_receiver(void)
{
	start(receive, rt_chan_new(0, 0));
}

static void wait_select(void *arg)
{
	struct pair *p = arg;
	struct rt_case cases[] = {{.chan = p->a, .dir = RT_RECV}, {.chan = p->b, .dir = RT_SEND}};

	rt_select(cases, 2, RT_FOREVER);
}

static void make_select(void)
{
	struct pair *p = rt_new_bytes(sizeof *p);

	p->a = rt_chan_new(0, 0);
	p->b = rt_chan_new(0, 0);
	start(wait_select, p);
}

static void wait_group(void *arg)
{
	rt_group_wait(arg);
}

static void make_group(void)
{
	struct rt_group *g = rt_new_bytes(sizeof *g);

	memset(g, 0, sizeof *g);
	rt_group_add(g, 1);
	start(wait_group, g);
}

static void wait_own_group(void *arg)
{
	struct rt_group g = {0};

	rt_group_add(&g, 1);
	rt_group_wait(&g);
}

static void make_own_group(void)
{
	start(wait_own_group, NULL);
}

static void join_it(void *arg)
{
	rt_join(arg, NULL);
}

static void *receive_joined(void *arg)
{
	rt_recv(arg, NULL);
	return NULL;
}

static void make_join(void)
{
	struct rt_co *co = rt_spawn(receive_joined, rt_chan_new(0, 0), NULL);

	ids[n_ids++] = rt_id(co);
	start(join_it, co);
}

static void wait_nothing(void *arg)
{
	rt_select(NULL, 0, RT_FOREVER);
}

static void make_nothing(void)
{
	start(wait_nothing, NULL);
}

/* One waits on what the next one alone knows, the last one on what nobody does. */
static void make_chain(void)
{
	struct rt_chan *last = rt_chan_new(0, 0);

	start(receive, last);
	for (int i = 0; i < 20; i++) {
		struct pair *p = rt_new_bytes(sizeof *p);

		p->b = last;
		last = p->a = rt_chan_new(0, 0);
		start(ping_pong, p);
	}
}

static void make_in_buffer(void)
{
	struct rt_chan *c = rt_chan_new(0, 0), *holder = rt_chan_new(sizeof c, 4);

	start(receive, c);
	rt_send(holder, &c);
	start(wait_nothing, holder);
}

static void test_leaks(void)
{
	static const struct {
		void (*fn)(void);
		const char *what;
	} all[] = {
		{make_receiver, "one that waits on a channel that nobody knows"},
		{make_pair, "two that wait for each other"},
		{make_select, "one in a select"},
		{make_group, "one that waits for a group in the heap"},
		{make_own_group, "one that waits for a group on its own stack"},
		{make_join, "one that waits for the end of a leaked one"},
		{make_nothing, "one that waits for nothing"},
		{make_chain, "a chain of them"},
		{make_in_buffer, "one whose channel lies in the buffer of one that nobody knows"},
	};

	for (size_t i = 0; i < COUNT_OF(all); i++) {
		int n;

		situation(all[i].fn);
		n = reported();
		CHECK(n == n_ids, "%s: %d of %d reported", all[i].what, n, n_ids);
	}
}

/* What may still be woken ----------------------------------------------------------------------------- */

static struct rt_chan *volatile global;
static struct rt_chan *volatile holder;
static struct rt_chan **volatile malloced;
static _Atomic bool spin;

static void make_global(void)
{
	global = rt_chan_new(0, 0);
	start(receive, global);
}

struct deep {
	struct deep *const next;
	struct rt_chan *chan;
};
RT_TYPE(deep_type, struct deep, next);
static struct deep *volatile global_list;

static void make_global_object(void)
{
	struct deep *d = NULL, *up;

	for (int i = 0; i < 10; i++) {
		up = rt_new(&deep_type);
		if (!d)
			up->chan = rt_chan_new(0, 0);
		RT_SET(up->next, d);
		if (!d)
			start(receive, up->chan);
		d = up;
	}
	global_list = d;
}

static void make_malloced(void)
{
	malloced = malloc(sizeof *malloced);
	*malloced = rt_chan_new(0, 0);
	start(receive, *malloced);
}

static void sleep_and_wake(void *arg)
{
	rt_sleep(3600 * RT_SEC);
	rt_send(arg, NULL);
}

static void make_sleeper(void)
{
	struct rt_chan *c = rt_chan_new(0, 0);

	start(receive, c);
	start(sleep_and_wake, c);
}

static void wait_long(void *arg)
{
	rt_recv_dl(arg, NULL, rt_now() + 3600 * RT_SEC);
	rt_send(arg, NULL);
}

static void make_deadline(void)
{
	start(wait_long, rt_chan_new(0, 0));
}

static void sleep_with_group(void *arg)
{
	struct rt_group g = {0};

	rt_group_add(&g, 1);
	start(wait_group, &g);
	rt_sleep(3600 * RT_SEC);
	rt_group_done(&g);
}

static void make_stack_object(void)
{
	start(sleep_with_group, NULL);
}

static void make_held_buffer(void)
{
	struct rt_chan *c = rt_chan_new(0, 0);

	holder = rt_chan_new(sizeof c, 4);
	start(receive, c);
	rt_send(holder, &c);
}

static void make_chain_to_sleeper(void)
{
	struct rt_chan *last = rt_chan_new(0, 0);

	start(receive, last);
	for (int i = 0; i < 20; i++) {
		struct pair *p = rt_new_bytes(sizeof *p);

		p->b = last;
		last = p->a = rt_chan_new(0, 0);
		start(ping_pong, p);
	}
	start(sleep_and_wake, last);
}

static void *sleep_joined(void *arg)
{
	rt_sleep(3600 * RT_SEC);
	return NULL;
}

static void make_join_sleeper(void)
{
	start(join_it, rt_spawn(sleep_joined, NULL, NULL));
}

static void run_with(void *arg)
{
	struct rt_chan *c = arg;

	while (atomic_load(&spin))
		RT_POLL();
	rt_send(c, NULL);
}

static void make_running(void)
{
	struct rt_chan *c = rt_chan_new(0, 0);

	start(receive, c);
	atomic_store(&spin, true);
	start(run_with, c);
}

static void make_pinned(void)
{
	struct rt_group *g = rt_new_bytes(sizeof *g);

	memset(g, 0, sizeof *g);
	rt_group_add(g, 1);
	rt_pin(g);
	start(wait_group, g);
}

static void lock_it(void *arg)
{
	rt_lock(arg);
}

static void make_malloced_mutex(void)
{
	struct { char pad[4000]; struct rt_mutex m; } *far = calloc(1, sizeof *far);

	malloced = (struct rt_chan **)far;
	rt_lock(&far->m);
	start(lock_it, &far->m);
}

static void wait_ctx(void *arg)
{
	rt_recv(rt_ctx_done(arg), NULL);
}

static void make_ctx(void)
{
	struct rt_ctx *c = rt_ctx_new(NULL, rt_now() + 3600 * RT_SEC);

	start(wait_ctx, c);
}

static void test_not_leaked(void)
{
	static const struct {
		void (*fn)(void);
		const char *what;
	} all[] = {
		{make_global, "a global names the channel"},
		{make_global_object, "an object that a global leads to does"},
		{make_malloced, "memory of malloc does"},
		{make_sleeper, "a sleeper's stack does"},
		{make_deadline, "the wait has a deadline"},
		{make_stack_object, "the group is on a sleeper's stack"},
		{make_held_buffer, "the channel lies in the buffer of one that a global names"},
		{make_chain_to_sleeper, "a chain whose last one sleeps"},
		{make_join_sleeper, "the one to end sleeps"},
		{make_running, "a running one names the channel"},
		{make_pinned, "the object is pinned"},
		{make_malloced_mutex, "the mutex is a member of a malloc'ed struct"},
		{make_ctx, "a context has a deadline"},
	};

	for (size_t i = 0; i < COUNT_OF(all); i++) {
		int n;

		situation(all[i].fn);
		n = reported();
		CHECK(n == 0 && n_found >= 0 && n_ids > 0, "not reported: %s (%d of %d)", all[i].what, n,
		      n_ids);
	}
	atomic_store(&spin, false);
}

/* In who asks. */
static void test_own_stack(void)
{
	struct rt_chan *volatile mine = rt_chan_new(0, 0);

	n_ids = 0;
	start(receive, mine);
	CHECK(reported() == 0 && n_ids == 1, "not reported: who asks knows the channel");
	rt_send(mine, NULL);
}

static void *everything(void *arg)
{
	test_own_stack();
	test_not_leaked();
	test_leaks();
	return NULL;
}

int main(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	printf("1..0 # SKIP a sanitizer's copies of memory hide leaks\n");
	return 0;
#endif
	if (rt_run(NULL, everything, NULL, NULL) < 0)
		return 1;
	return tap_done();
}
