/*
 * rt_sync [NAME] - what channels, select and locks cost; one line "NAME LEAST MEDIAN ns/op" each
 *
 * Of many short rounds. Other load on the machine only ever adds, so the least is the cost; where
 * several Ps compete it may be a round in which they did not, and the median says more.
 */
#include "rt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 40 };

struct peer {
	struct rt_chan *in, *out;
	long n;
};

static void echo(void *arg)
{
	struct peer *p = arg;
	uint64_t v;

	while (rt_recv(p->in, &v))
		rt_send(p->out, &v);
	rt_close(p->out);
}

static void round_trips(long n)
{
	struct peer p = {rt_chan_new(8, 0), rt_chan_new(8, 0), n};
	uint64_t v = 0;

	rt_go(echo, &p);
	for (long i = 0; i < n; i++) {
		rt_send(p.in, &v);
		rt_recv(p.out, &v);
	}
	rt_close(p.in);
	rt_recv(p.out, NULL);
	rt_chan_free(p.in);
	rt_chan_free(p.out);
}

static void produce(void *arg)
{
	struct peer *p = arg;

	for (uint64_t i = 0; i < (uint64_t)p->n; i++)
		rt_send(p->out, &i);
	rt_close(p->out);
}

static void buffered(long n)
{
	struct peer p = {NULL, rt_chan_new(8, 128), n};
	uint64_t v;

	rt_go(produce, &p);
	while (rt_recv(p.out, &v))
		;
	rt_chan_free(p.out);
}

static void uncontended_channel(long n)
{
	struct rt_chan *c = rt_chan_new(8, 1);
	uint64_t v = 0;

	for (long i = 0; i < n; i++) {
		rt_send(c, &v);
		rt_recv(c, &v);
	}
	rt_chan_free(c);
}

static void select_ready(long n)
{
	struct rt_chan *c[2] = {rt_chan_new(8, 1), rt_chan_new(8, 1)};
	uint64_t v = 0;
	struct rt_case cases[] = {{c[0], RT_RECV, &v, false}, {c[1], RT_RECV, &v, false}};

	for (long i = 0; i < n; i++) {
		rt_send(c[i & 1], &v);
		rt_select(cases, 2, RT_FOREVER);
	}
	rt_chan_free(c[0]);
	rt_chan_free(c[1]);
}

static void select_produce(void *arg)
{
	struct peer *p = arg;
	uint64_t v = 0;

	for (long i = 0; i < p->n; i++)
		rt_send(i & 1 ? p->in : p->out, &v);
	rt_close(p->out);
}

static void select_parked(long n)
{
	struct peer p = {rt_chan_new(8, 0), rt_chan_new(8, 0), n};
	uint64_t v;
	struct rt_case cases[] = {{p.in, RT_RECV, &v, false}, {p.out, RT_RECV, &v, false}};

	rt_go(select_produce, &p);
	do
		rt_select(cases, 2, RT_FOREVER);
	while (!cases[1].closed);
	rt_chan_free(p.in);
	rt_chan_free(p.out);
}

static void receive_timed(long n)
{
	struct peer p = {rt_chan_new(8, 0), rt_chan_new(8, 0), n};
	uint64_t v = 0;

	rt_go(echo, &p);
	for (long i = 0; i < n; i++) {
		rt_send(p.in, &v);
		rt_recv_dl(p.out, &v, rt_now() + RT_SEC);
	}
	rt_close(p.in);
	rt_recv(p.out, NULL);
	rt_chan_free(p.in);
	rt_chan_free(p.out);
}

static void mutex_alone(long n)
{
	struct rt_mutex m = {0};

	for (long i = 0; i < n; i++) {
		rt_lock(&m);
		rt_unlock(&m);
	}
}

struct contended {
	struct rt_mutex lock;
	struct rt_group done;
	long n, count;
};

/* Some 50 ns. */
static void work(void)
{
	for (volatile int i = 0; i < 40; i++)
		;
}

/* As much work inside as outside: two Ps would like to have it all the time. */
static void take_turns(void *arg)
{
	struct contended *c = arg;

	for (long i = 0; i < c->n; i++) {
		rt_lock(&c->lock);
		c->count++;
		work();
		rt_unlock(&c->lock);
		work();
	}
	rt_group_done(&c->done);
}

static void mutex_contended(long n)
{
	enum { HANDS = 8 };
	struct contended c = {.n = n / HANDS};

	rt_group_add(&c.done, HANDS);
	for (int i = 0; i < HANDS; i++)
		rt_go(take_turns, &c);
	rt_group_wait(&c.done);
	if (c.count != c.n * HANDS)
		abort();
}

static void rwlock_alone(long n)
{
	struct rt_rwlock l = {0};

	for (long i = 0; i < n; i++) {
		rt_rdlock(&l);
		rt_rdunlock(&l);
	}
}

static void semaphore_alone(long n)
{
	struct rt_sem s = {.count = 1};

	for (long i = 0; i < n; i++) {
		rt_sem_acquire(&s, 1);
		rt_sem_release(&s, 1);
	}
}

static void context_life(long n)
{
	struct rt_ctx *root = rt_ctx_new(NULL, RT_FOREVER);

	for (long i = 0; i < n; i++)
		rt_ctx_free(rt_ctx_new(root, RT_FOREVER));
	rt_ctx_free(root);
}

static const struct bench {
	const char *name;
	void (*fn)(long n);
	long n;
	unsigned procs;
} benches[] = {
	{"sched.chan_round_trip_1p", round_trips, 30000, 1},
	{"sched.chan_round_trip_2p", round_trips, 10000, 2},
	{"sched.chan_buffered_1p", buffered, 100000, 1},
	{"sched.chan_buffered_2p", buffered, 50000, 2},
	{"sched.chan_send_recv_alone", uncontended_channel, 100000, 1},
	{"sched.chan_round_trip_deadline_1p", receive_timed, 20000, 1},
	{"sched.select_ready_of_2", select_ready, 50000, 1},
	{"sched.select_parked_of_2", select_parked, 30000, 1},
	{"sched.mutex_alone", mutex_alone, 300000, 1},
	{"sched.mutex_contended_1p", mutex_contended, 100000, 1},
	{"sched.mutex_contended_2p", mutex_contended, 100000, 2},
	{"sched.rwlock_read_alone", rwlock_alone, 100000, 1},
	{"sched.semaphore_alone", semaphore_alone, 100000, 1},
	{"sched.context_new_free", context_life, 50000, 1},
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void *run(void *arg)
{
	const struct bench *b = arg;
	double ns[ROUNDS];

	rt_set_procs(b->procs);
	for (int i = 0; i < ROUNDS; i++) {
		int64_t since = rt_now();

		b->fn(b->n);
		ns[i] = (double)(rt_now() - since) / (double)b->n;
	}
	rt_preempt_off(); /* qsort calls back */
	qsort(ns, ROUNDS, sizeof(*ns), by_value);
	rt_preempt_on();
	printf("%-36s %8.1f %8.1f ns/op\n", b->name, ns[0], ns[ROUNDS / 2]);
	fflush(stdout);
	return NULL;
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(benches) / sizeof(*benches); i++) {
		if (argc > 1 && !strstr(benches[i].name, argv[1]))
			continue;
		if (rt_run(NULL, run, (void *)&benches[i], NULL) < 0)
			return 1;
	}
	return 0;
}
