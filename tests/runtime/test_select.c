/* What rt.h promises of rt_select, and that one case and no other happens whatever races. */
#include "help.h"
#include "tap.h"

#include <errno.h>
#include <string.h>

static void fill(struct rt_chan *c, uint64_t v)
{
	rt_send(c, &v);
}

static void test_one_ready(void)
{
	struct rt_chan *a = rt_chan_new(8, 1), *b = rt_chan_new(8, 1);
	uint64_t x = 0, y = 7;
	struct rt_case cases[] = {
		{NULL, RT_RECV, &x, false},
		{a, RT_RECV, &x, true},
		{b, RT_SEND, &y, true},
	};

	fill(b, 1);
	rt_preempt_off(); /* waiting here would end the process */
	CHECK(rt_select(cases, 3, 0) == -ETIMEDOUT && rt_select(cases, 3, rt_now()) == -ETIMEDOUT,
	      "nothing is ready: a try, or a deadline in the past, gives up without waiting");
	rt_preempt_on();
	CHECK(rt_select(cases, 3, rt_now() + RT_MSEC) == -ETIMEDOUT,
	      "a wait gives up at its deadline");
	fill(a, 42);
	CHECK(rt_select(cases, 3, RT_FOREVER) == 1 && x == 42, "the case that is ready is done");
	CHECK(!cases[1].closed, "and says that the channel is open");
	rt_recv(b, &x);
	CHECK(rt_select(cases, 3, RT_FOREVER) == 2 && rt_chan_len(b) == 1,
	      "a send with room is ready");
	rt_recv(b, &x);
	CHECK(x == 7, "and sends its value");
	fill(b, 1);
	rt_close(a);
	x = 9;
	CHECK(rt_select(cases, 3, RT_FOREVER) == 1 && cases[1].closed && x == 0,
	      "a closed channel is ready to receive from, and says so");
	rt_chan_free(a);
	rt_chan_free(b);
}

static void test_none(void)
{
	struct rt_case never = {NULL, RT_RECV, NULL, false};
	int64_t until_ns = rt_now() + 2 * RT_MSEC;

	CHECK(rt_select(NULL, 0, until_ns) == -ETIMEDOUT && rt_now() >= until_ns,
	      "a select of no cases waits for its deadline");
	CHECK(rt_select(&never, 1, rt_now() + RT_MSEC) == -ETIMEDOUT,
	      "and so does one of NULL channels");
	CHECK(rt_select(&never, 1, 0) == -ETIMEDOUT, "or does not wait at all");
}

/* Of five cases 0, 3 and 4 are ready: a start at random that goes round would choose 0 two times of
 * five less and 3 three times of five. */
static void test_even(void)
{
	enum { TURNS = 30000 };
	struct rt_chan *c[5];
	struct rt_case cases[5];
	int chosen[5] = {0}, wrong = 0;

	for (int i = 0; i < 5; i++) {
		c[i] = rt_chan_new(0, 1);
		cases[i] = (struct rt_case){c[i], RT_RECV, NULL, false};
		if (i == 0 || i > 2)
			rt_send(c[i], NULL);
	}
	for (int i = 0; i < TURNS; i++) {
		int k = rt_select(cases, 5, 0);

		if (k < 0)
			break;
		chosen[k]++;
		rt_send(c[k], NULL);
	}
	for (int i = 0; i < 5; i++) /* 12 standard deviations */
		wrong += i == 1 || i == 2 ? chosen[i] != 0 : abs(chosen[i] - TURNS / 3) > 1000;
	printf("# chosen: %d %d %d %d %d\n", chosen[0], chosen[1], chosen[2], chosen[3], chosen[4]);
	CHECK(wrong == 0, "the choice is even among those that are ready");
	for (int i = 0; i < 5; i++)
		rt_chan_free(c[i]);
}

struct meeting {
	struct rt_chan *c;
	_Atomic int sends, wrong;
};

static void select_side(void *arg, int i)
{
	struct meeting *m = arg;
	uint64_t out = 1000 + (uint64_t)i, in = 0;
	struct rt_case cases[] = {{m->c, RT_SEND, &out, false}, {m->c, RT_RECV, &in, false}};

	if (rt_select(cases, 2, RT_FOREVER) == 0)
		atomic_fetch_add(&m->sends, 1);
	else
		atomic_fetch_add(&m->wrong, in != 1000 + (uint64_t)!i);
}

static void test_meets_itself(void)
{
	struct rt_chan *c = rt_chan_new(8, 0);
	uint64_t v = 3;
	struct rt_case both[] = {{c, RT_SEND, &v, false}, {c, RT_RECV, &v, false}};
	struct meeting m = {.c = c};
	struct crew_member crew[2];

	CHECK(rt_select(both, 2, rt_now() + RT_MSEC) == -ETIMEDOUT,
	      "one that would send and receive on a channel does not meet itself");
	crew_start(crew, 2, select_side, &m);
	crew_join(crew, 2);
	CHECK(atomic_load(&m.sends) == 1 && atomic_load(&m.wrong) == 0,
	      "two of them meet: one sends, the other receives");
	rt_chan_free(c);
}

static void send_on_each(void *arg, int i)
{
	struct rt_chan **c = arg;
	uint64_t v = (uint64_t)i;

	rt_send(c[i], &v);
}

static void test_many(void)
{
	struct rt_chan *c[64];
	struct rt_case cases[64];
	struct crew_member crew[64];
	uint64_t got[64], seen = 0;
	int wrong = 0;

	for (int i = 0; i < 64; i++) {
		c[i] = rt_chan_new(8, 0);
		cases[63 - i] = (struct rt_case){c[i], RT_RECV, &got[63 - i], false};
	}
	CHECK(rt_select(cases, 64, rt_now() + RT_MSEC) == -ETIMEDOUT, "64 cases wait");
	crew_start(crew, 64, send_on_each, c);
	for (int i = 0; i < 64; i++) {
		int k = rt_select(cases, 64, RT_FOREVER);

		wrong += k < 0 || got[k] != (uint64_t)(63 - k) || seen >> k & 1;
		seen |= UINT64_C(1) << k;
	}
	crew_join(crew, 64);
	CHECK(wrong == 0 && seen == UINT64_MAX, "and each of 64 channels is received from once");
	for (int i = 0; i < 64; i++)
		rt_chan_free(c[i]);
}

struct waiting {
	struct rt_chan *a, *b;
	_Atomic int began, a_times, b_times, closed;
};

static void wait_both(void *arg, int i)
{
	struct waiting *w = arg;
	struct rt_case cases[] = {{w->a, RT_RECV, NULL, true}, {w->b, RT_RECV, NULL, true}};
	int k;

	atomic_fetch_add(&w->began, 1);
	k = rt_select(cases, 2, i % 2 ? RT_FOREVER : rt_now() + 600 * RT_SEC);
	atomic_fetch_add(k == 0 ? &w->a_times : &w->b_times, 1);
	atomic_fetch_add(&w->closed, cases[k].closed);
}

static void test_losers_leave(void)
{
	struct waiting w = {.a = rt_chan_new(0, 0), .b = rt_chan_new(0, 0)};
	struct crew_member crew[20];

	crew_start(crew, 20, wait_both, &w);
	until(&w.began, 20);
	for (int i = 0; i < 10; i++)
		rt_send(w.a, NULL);
	for (int i = 0; i < 10; i++)
		rt_send(w.b, NULL);
	crew_join(crew, 20);
	CHECK(atomic_load(&w.closed) == 0, "a value received while waiting is no closed channel");
	CHECK(atomic_load(&w.a_times) == 10 && atomic_load(&w.b_times) == 10,
	      "who was served by one channel waits on the other no more");
	CHECK(rt_send_dl(w.a, NULL, 0) == -ETIMEDOUT && rt_send_dl(w.b, NULL, 0) == -ETIMEDOUT,
	      "nobody is left behind on either");
	atomic_store(&w.began, 0);
	atomic_store(&w.closed, 0);
	crew_start(crew, 20, wait_both, &w);
	until(&w.began, 20);
	rt_sleep(RT_MSEC);
	rt_close(w.b);
	crew_join(crew, 20);
	CHECK(atomic_load(&w.closed) == 20 && atomic_load(&w.b_times) == 30,
	      "closing wakes all who select");
	rt_chan_free(w.a);
	rt_chan_free(w.b);
}

/* Conservation: everybody does what comes, on channels of several kinds
 * ------------------------------ */

enum { CHANS = 5, SELECTORS = 16, PLAIN = 4, TURNS = 12000, VALUES = (SELECTORS + PLAIN) * TURNS };

static struct {
	struct rt_chan *c[CHANS];
	_Atomic unsigned char sent[VALUES], got[VALUES];
	_Atomic int timeouts, working;
} x;

static void turn(uint32_t *r, uint64_t mine)
{
	struct rt_case cases[12];
	uint64_t out[12], in[12];
	size_t n = 1 + random_next(r) % 11;
	int64_t deadline = random_next(r) % 3 ? soon(r) : 0;
	int k;

	for (size_t i = 0; i < n; i++) {
		bool send = random_next(r) % 2;

		out[i] = mine;
		in[i] = UINT64_MAX;
		cases[i] = (struct rt_case){x.c[random_next(r) % CHANS], send ? RT_SEND : RT_RECV,
					    send ? &out[i] : &in[i], true};
	}
	k = rt_select(cases, n, deadline);
	if (k < 0)
		atomic_fetch_add(&x.timeouts, 1);
	else if (cases[k].dir == RT_SEND)
		atomic_fetch_add(&x.sent[mine], 1);
	else
		atomic_fetch_add(&x.got[in[k]], 1);
}

static void selector(void *arg, int me)
{
	uint32_t r = (uint32_t)me * 7919 + 1;

	for (int i = 0; i < TURNS; i++)
		turn(&r, (uint64_t)(me * TURNS + i));
	atomic_fetch_sub(&x.working, 1);
}

static void plain_sender(void *arg, int me)
{
	uint32_t r = (uint32_t)me * 104729 + 1;

	for (int i = 0; i < TURNS; i++) {
		uint64_t v = (uint64_t)((SELECTORS + me) * TURNS + i);

		if (rt_send_dl(x.c[random_next(&r) % CHANS], &v, soon(&r)) == 0)
			atomic_fetch_add(&x.sent[v], 1);
	}
	atomic_fetch_sub(&x.working, 1);
}

static void drain(struct rt_chan *c)
{
	uint64_t v;

	while (rt_recv_dl(c, &v, 0) == 0)
		atomic_fetch_add(&x.got[v], 1);
}

static void test_conservation(void)
{
	struct crew_member crew[SELECTORS + PLAIN];
	long wrong = 0, n = 0;

	memset(&x, 0, sizeof(x));
	for (size_t i = 0; i < CHANS; i++)
		x.c[i] = rt_chan_new(8, i % 3);
	atomic_store(&x.working, SELECTORS + PLAIN);
	crew_start(crew, SELECTORS, selector, NULL);
	crew_start(crew + SELECTORS, PLAIN, plain_sender, NULL);
	crew_join(crew, SELECTORS + PLAIN);
	for (size_t i = 0; i < CHANS; i++)
		drain(x.c[i]);
	for (size_t i = 0; i < VALUES; i++) {
		wrong += x.sent[i] != x.got[i] || x.sent[i] > 1;
		n += x.got[i];
	}
	printf("# %ld values, %d timeouts\n", n, atomic_load(&x.timeouts));
	CHECK(wrong == 0 && n > 0 && atomic_load(&x.timeouts) > 0,
	      "selects of up to 11 cases, sends and deadlines racing: every value sent arrives "
	      "once");
	for (size_t i = 0; i < CHANS; i++) {
		CHECK(rt_chan_len(x.c[i]) == 0, "channel %zu is left empty", i);
		rt_chan_free(x.c[i]); /* ends the process if a waiter was left behind */
	}
}

/* Channels that close one by one under selects that take what is left -------------------------- */

enum { LINES = 6, SENDERS = 3, TAKERS = 8, EACH = 4000, SENT = LINES * SENDERS * EACH };

static struct {
	struct rt_chan *c[LINES];
	_Atomic int senders[LINES];
	_Atomic unsigned char sent[SENT], got[SENT];
	_Atomic int wrong;
} y;

static void send_and_close(void *arg, int me)
{
	uint32_t r = (uint32_t)me * 7919 + 1;
	int line = me % LINES;

	for (int i = 0; i < EACH; i++) {
		uint64_t v = (uint64_t)(me * EACH + i);
		struct rt_case k = {y.c[line], RT_SEND, &v, false};
		int64_t deadline = random_next(&r) % 2 ? RT_FOREVER : soon(&r);

		if (random_next(&r) % 2 ? rt_select(&k, 1, deadline) == 0
					: rt_send_dl(y.c[line], &v, deadline) == 0)
			atomic_fetch_add(&y.sent[v], 1);
	}
	if (atomic_fetch_sub(&y.senders[line], 1) == 1)
		rt_close(y.c[line]);
}

/* A case whose channel has closed is no case any more; without cases there is nothing to wait for. */
static void take_until_closed(void *arg, int me)
{
	uint32_t r = (uint32_t)me * 104729 + 1;
	struct rt_case cases[LINES];
	uint64_t v[LINES];
	int open = LINES;

	for (int i = 0; i < LINES; i++)
		cases[i] = (struct rt_case){y.c[i], RT_RECV, &v[i], false};
	while (open) {
		int k = rt_select(cases, LINES, random_next(&r) % 2 ? RT_FOREVER : soon(&r));

		if (k < 0)
			continue;
		if (!cases[k].closed) {
			atomic_fetch_add(&y.got[v[k]], 1);
			continue;
		}
		atomic_fetch_add(&y.wrong, v[k] != 0 || rt_chan_len(y.c[k]) != 0);
		cases[k].chan = NULL;
		open--;
	}
}

static void test_closing_conserves(void)
{
	struct crew_member crew[LINES * SENDERS + TAKERS];
	long wrong = 0, n = 0;

	memset(&y, 0, sizeof(y));
	for (size_t i = 0; i < LINES; i++) {
		y.c[i] = rt_chan_new(8, i % 3);
		atomic_store(&y.senders[i], SENDERS);
	}
	crew_start(crew, LINES * SENDERS, send_and_close, NULL);
	crew_start(crew + LINES * SENDERS, TAKERS, take_until_closed, NULL);
	crew_join(crew, LINES * SENDERS + TAKERS);
	for (size_t i = 0; i < SENT; i++) {
		wrong += y.sent[i] != y.got[i] || y.sent[i] > 1;
		n += y.got[i];
	}
	printf("# %ld values\n", n);
	CHECK(wrong == 0 && n > 0 && atomic_load(&y.wrong) == 0,
	      "channels that close under selects give all that was sent first, once");
	for (size_t i = 0; i < LINES; i++)
		rt_chan_free(y.c[i]);
}

static void *everything(void *arg)
{
	test_one_ready();
	test_none();
	test_even();
	test_meets_itself();
	test_many();
	test_losers_leave();
	rt_set_procs(4);
	test_meets_itself();
	test_losers_leave();
	test_conservation();
	test_closing_conserves();
	return NULL;
}

int main(void)
{
	CHECK(rt_run(NULL, everything, NULL, NULL) == 0, "the runtime ends");
	return tap_done();
}
