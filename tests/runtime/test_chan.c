/* What rt.h promises of channels, and that no value is lost or doubled whatever races with it. */
#include "help.h"
#include "tap.h"

#include <errno.h>
#include <string.h>

/* Situations ----------------------------------------------------------------------------------- */

struct talk {
	struct rt_chan *c;
	_Atomic int began, ended, closed, timed_out;
	int64_t deadline;
	_Atomic uint64_t value;
};

static void one_send(void *arg, int i)
{
	struct talk *t = arg;
	uint64_t v = 100 + (uint64_t)i;

	atomic_fetch_add(&t->began, 1);
	rt_send(t->c, &v);
	atomic_fetch_add(&t->ended, 1);
}

static void one_recv(void *arg, int i)
{
	struct talk *t = arg;
	uint64_t v = 77;

	atomic_fetch_add(&t->began, 1);
	if (!rt_recv(t->c, &v))
		atomic_fetch_add(&t->closed, v == 0);
	t->value = v;
	atomic_fetch_add(&t->ended, 1);
}

static void one_recv_dl(void *arg, int i)
{
	struct talk *t = arg;
	uint64_t v = 77;
	int r;

	atomic_fetch_add(&t->began, 1);
	r = rt_recv_dl(t->c, &v, t->deadline);
	atomic_fetch_add(&t->timed_out, r == -ETIMEDOUT && v == 77);
	atomic_fetch_add(&t->closed, r == -EPIPE && v == 0);
	atomic_fetch_add(&t->ended, 1);
}

static void test_buffered(void)
{
	struct rt_chan *c = rt_chan_new(8, 4);
	int wrong = 0;
	uint64_t v, x;

	for (v = 0; v < 4; v++)
		rt_send(c, &v);
	CHECK(rt_chan_len(c) == 4, "a buffer of four takes four values without a receiver");
	CHECK(rt_send_dl(c, &v, 0) == -ETIMEDOUT, "a fifth finds no room");
	for (v = 4; v < 1000; v++) {
		rt_recv(c, &x);
		wrong += x != v - 4;
		rt_send(c, &v);
	}
	CHECK(wrong == 0, "values come in the order in which they were sent, round the ring");
	rt_close(c);
	for (wrong = 0; rt_recv(c, &x);)
		wrong += x != 996 + 4 - rt_chan_len(c) - 1;
	CHECK(wrong == 0 && x == 0, "a closed channel gives what is left, then false and zeroes");
	CHECK(rt_recv_dl(c, &x, 0) == -EPIPE, "with a deadline that is -EPIPE");
	CHECK(!rt_recv(c, NULL), "the value need not be asked for");
	rt_chan_free(c);
	rt_chan_free(NULL);
}

static void test_rendezvous(void)
{
	struct talk t = {.c = rt_chan_new(8, 0)};
	struct crew_member crew[3];
	uint64_t v = 0;

	rt_set_procs(1);
	CHECK(rt_send_dl(t.c, &v, 0) == -ETIMEDOUT && rt_recv_dl(t.c, &v, 0) == -ETIMEDOUT,
	      "without a partner a rendezvous that tries once does nothing");
	crew_start(crew, 3, one_send, &t);
	until(&t.began, 3);
	settle();
	CHECK(atomic_load(&t.ended) == 0, "senders wait for receivers");
	for (uint64_t i = 0, sum = 0; i < 3; i++) {
		rt_recv(t.c, &v);
		sum += v;
		if (i == 2)
			CHECK(sum == 303, "each sender's value arrives");
	}
	crew_join(crew, 3);
	crew_start(crew, 1, one_recv, &t);
	until(&t.began, 4);
	settle();
	v = 5;
	CHECK(rt_send_dl(t.c, &v, 0) == 0, "a send that tries once finds the waiting receiver");
	crew_join(crew, 1);
	CHECK(t.value == 5, "and hands the value to it");
	rt_set_procs(0);
	rt_chan_free(t.c);
}

static void test_first_come(void)
{
	struct talk t = {.c = rt_chan_new(8, 0)};
	struct crew_member crew[10];
	int wrong = 0;
	uint64_t v;

	rt_set_procs(1);
	for (int i = 0; i < 10; i++) {
		crew[i] = (struct crew_member){one_send, &t, i, NULL};
		crew[i].co = rt_spawn(crew_entry, &crew[i], NULL);
		settle();
	}
	for (uint64_t i = 0; i < 10; i++) {
		rt_recv(t.c, &v);
		wrong += v != 100 + i;
	}
	crew_join(crew, 10);
	rt_set_procs(0);
	CHECK(wrong == 0, "who waits longest is served first");
	rt_chan_free(t.c);
}

static void test_full_hands_on(void)
{
	struct talk t = {.c = rt_chan_new(8, 1)};
	struct crew_member crew[1];
	uint64_t v = 1;

	rt_set_procs(1);
	rt_send(t.c, &v);
	crew_start(crew, 1, one_send, &t);
	until(&t.began, 1);
	settle();
	CHECK(rt_chan_len(t.c) == 1 && atomic_load(&t.ended) == 0, "a sender waits for room");
	rt_recv(t.c, &v);
	CHECK(v == 1 && rt_chan_len(t.c) == 1,
	      "a receive gives the oldest value and lets the sender in");
	rt_recv(t.c, &v);
	CHECK(v == 100, "whose value comes next");
	crew_join(crew, 1);
	rt_set_procs(0);
	rt_chan_free(t.c);
}

static void test_close_wakes(void)
{
	enum { PLAIN = REPEAT(900), TIMED = 20 };
	struct talk t = {.c = rt_chan_new(8, 2), .deadline = rt_now() + 600 * RT_SEC};
	static struct crew_member crew[PLAIN + TIMED];

	crew_start(crew, PLAIN, one_recv, &t);
	crew_start(crew + PLAIN, TIMED, one_recv_dl, &t);
	until(&t.began, PLAIN + TIMED);
	rt_sleep(RT_MSEC);
	rt_close(t.c);
	crew_join(crew, PLAIN + TIMED);
	CHECK(atomic_load(&t.closed) == PLAIN + TIMED,
	      "closing wakes all who receive, with zeroed values");
	rt_chan_free(t.c);
}

static void test_deadlines(void)
{
	struct talk t = {.c = rt_chan_new(8, 0), .deadline = rt_now() + 5 * RT_MSEC};
	struct crew_member crew[10];
	uint64_t v = 9;
	int64_t begin = rt_now();

	rt_preempt_off(); /* waiting here would end the process */
	CHECK(rt_recv_dl(t.c, &v, 0) == -ETIMEDOUT && rt_send_dl(t.c, &v, 0) == -ETIMEDOUT,
	      "a try does not wait");
	CHECK(rt_recv_dl(t.c, &v, begin - RT_SEC) == -ETIMEDOUT &&
		      rt_send_dl(t.c, &v, -1) == -ETIMEDOUT,
	      "nor does a deadline in the past");
	rt_preempt_on();
	crew_start(crew, 10, one_recv_dl, &t);
	crew_join(crew, 10);
	CHECK(atomic_load(&t.timed_out) == 10,
	      "a receive gives up at its deadline, the value untouched");
	CHECK(rt_now() >= t.deadline, "and not before");
	CHECK(rt_send_dl(t.c, &v, 0) == -ETIMEDOUT, "who gave up is no receiver any more");
	CHECK(rt_send_dl(t.c, &v, rt_now() + RT_MSEC) == -ETIMEDOUT,
	      "a send gives up at its deadline");
	CHECK(rt_recv_dl(t.c, &v, 0) == -ETIMEDOUT, "and is no sender any more");
	rt_chan_free(t.c);
}

static void size_echo(void *arg, int i)
{
	struct rt_chan **c = arg;
	unsigned char big[5000];

	while (rt_recv(c[0], big))
		rt_send(c[1], big);
}

static void test_sizes(void)
{
	static const size_t sizes[] = {0, 1, 3, 4, 8, 16, 100, 5000};
	int wrong = 0;

	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		for (size_t cap = 0; cap < 3; cap++) {
			struct rt_chan *c[2] = {rt_chan_new(sizes[i], cap),
						rt_chan_new(sizes[i], cap)};
			unsigned char out[5001], in[5001];
			struct crew_member crew[1];

			crew_start(crew, 1, size_echo, c);
			for (int k = 0; k < 20; k++) {
				memset(out, k + 1, sizeof(out));
				memset(in, 0xee, sizeof(in));
				rt_send(c[0], out);
				rt_recv(c[1], in);
				wrong += memcmp(out, in, sizes[i]) != 0 || in[sizes[i]] != 0xee;
			}
			rt_close(c[0]);
			crew_join(crew, 1);
			rt_chan_free(c[0]);
			rt_chan_free(c[1]);
		}
	CHECK(wrong == 0,
	      "elements of 0 to 5000 bytes are copied exactly, with and without buffer");
}

/* Conservation --------------------------------------------------------------------------------- */

enum { SENDERS = 12, RECEIVERS = 10, EACH = 15000 };

struct exchange {
	struct rt_chan *c;
	bool timed;
	_Atomic unsigned char sent[SENDERS * EACH], got[SENDERS * EACH];
	_Atomic int timeouts, zero_after_close, senders_left;
};
static struct exchange x;

static void sender(void *arg, int me)
{
	uint32_t r = (uint32_t)me * 7919 + 1;

	for (int i = 0; i < EACH; i++) {
		uint64_t v = (uint64_t)(me * EACH + i);
		int e = 0;

		if (x.timed && random_next(&r) % 2)
			e = rt_send_dl(x.c, &v, random_next(&r) % 4 ? soon(&r) : 0);
		else
			rt_send(x.c, &v);
		if (e == 0)
			atomic_fetch_add(&x.sent[v], 1);
		else
			atomic_fetch_add(&x.timeouts, 1);
	}
	if (atomic_fetch_sub(&x.senders_left, 1) == 1)
		rt_close(x.c);
}

static void receiver(void *arg, int me)
{
	uint32_t r = (uint32_t)me * 104729 + 5;

	for (;;) {
		uint64_t v = 0;
		int e;

		if (x.timed && random_next(&r) % 2)
			e = rt_recv_dl(x.c, &v, random_next(&r) % 4 ? soon(&r) : 0);
		else
			e = rt_recv(x.c, &v) ? 0 : -EPIPE;
		if (e == 0)
			atomic_fetch_add(&x.got[v], 1);
		else if (e == -ETIMEDOUT)
			atomic_fetch_add(&x.timeouts, 1);
		else
			break;
	}
}

static void test_conservation(size_t cap, bool timed)
{
	struct crew_member crew[SENDERS + RECEIVERS];
	long wrong = 0, n = 0;

	memset(&x, 0, sizeof(x));
	x.c = rt_chan_new(8, cap);
	x.timed = timed;
	atomic_store(&x.senders_left, SENDERS);
	crew_start(crew, SENDERS, sender, NULL);
	crew_start(crew + SENDERS, RECEIVERS, receiver, NULL);
	crew_join(crew, SENDERS + RECEIVERS);
	for (int i = 0; i < SENDERS * EACH; i++) {
		wrong += x.sent[i] != x.got[i] || x.sent[i] > 1;
		n += x.got[i];
	}
	printf("# cap %zu: %ld values, %d timeouts\n", cap, n, atomic_load(&x.timeouts));
	CHECK(wrong == 0 && (timed || n == SENDERS * EACH),
	      "every value sent arrives once (buffer of %zu%s)", cap,
	      timed ? ", deadlines racing" : "");
	rt_chan_free(x.c);
}

static void ping(void *arg, int i)
{
	struct rt_chan **c = arg;
	uint64_t v;

	while (rt_recv(c[0], &v)) {
		v++;
		rt_send(c[1], &v);
	}
}

static void test_ping_pong(void)
{
	struct rt_chan *c[2] = {rt_chan_new(8, 0), rt_chan_new(8, 0)};
	struct crew_member crew[1];
	int wrong = 0;
	uint64_t v;

	crew_start(crew, 1, ping, c);
	for (uint64_t i = 0; i < 20000; i++) {
		rt_send(c[0], &i);
		rt_recv(c[1], &v);
		wrong += v != i + 1;
	}
	rt_close(c[0]);
	crew_join(crew, 1);
	CHECK(wrong == 0, "two coroutines hand a value to and fro");
	rt_chan_free(c[0]);
	rt_chan_free(c[1]);
}

static void *everything(void *arg)
{
	test_buffered();
	test_rendezvous();
	test_first_come();
	test_full_hands_on();
	test_close_wakes();
	test_deadlines();
	test_sizes();
	test_ping_pong();
	rt_set_procs(4);
	for (size_t cap = 0; cap < 4; cap += cap + 1) {
		test_conservation(cap, false);
		test_conservation(cap, true);
	}
	test_ping_pong();
	return NULL;
}

int main(void)
{
	CHECK(rt_run(NULL, everything, NULL, NULL) == 0, "the runtime ends");
	return tap_done();
}
