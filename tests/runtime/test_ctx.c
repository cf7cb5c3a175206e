/* Contexts: who is cancelled with whom, why, and when; trees that grow and shrink meanwhile. */
#include "help.h"
#include "tap.h"

#include <errno.h>
#include <string.h>

static bool is_done(struct rt_ctx *c)
{
	return rt_recv_dl(rt_ctx_done(c), NULL, 0) == -EPIPE;
}

static void test_tree(void)
{
	struct rt_ctx *root = rt_ctx_new(NULL, RT_FOREVER);
	struct rt_ctx *a = rt_ctx_new(root, RT_FOREVER), *b = rt_ctx_new(root, RT_FOREVER);
	struct rt_ctx *aa = rt_ctx_new(a, RT_FOREVER), *late;

	CHECK(!rt_ctx_err(aa) && !is_done(aa), "a new one is not cancelled");
	rt_ctx_cancel(a);
	CHECK(rt_ctx_err(a) == -ECANCELED && is_done(a),
	      "one that is cancelled says so and is done");
	CHECK(rt_ctx_err(aa) == -ECANCELED && is_done(aa), "and so is what was made from it");
	CHECK(!rt_ctx_err(root) && !rt_ctx_err(b), "parent and sibling are not");
	rt_ctx_cancel(a);
	CHECK(rt_ctx_err(a) == -ECANCELED, "cancelling again is no news");
	late = rt_ctx_new(aa, RT_FOREVER);
	CHECK(rt_ctx_err(late) == -ECANCELED && is_done(late),
	      "what is made from a cancelled one is born so");
	rt_ctx_free(root);
	CHECK(rt_ctx_err(b) == -ECANCELED, "freeing cancels first");
	rt_ctx_free(a);
	rt_ctx_free(late);
	rt_ctx_free(aa);
	rt_ctx_free(b); /* the last one, long after the root */
	rt_ctx_free(NULL);
}

static void test_deadline(void)
{
	int64_t until_ns = rt_now() + 3 * RT_MSEC, much_later = rt_now() + 600 * RT_SEC;
	struct rt_ctx *root = rt_ctx_new(NULL, until_ns);
	struct rt_ctx *same = rt_ctx_new(root, RT_FOREVER), *later = rt_ctx_new(root, much_later);
	struct rt_ctx *past = rt_ctx_new(root, rt_now() - 1), *zero = rt_ctx_new(NULL, 0);

	CHECK(rt_ctx_deadline(root) == until_ns && rt_ctx_deadline(same) == until_ns &&
		      rt_ctx_deadline(later) == until_ns,
	      "a deadline is the parent's or earlier");
	CHECK(rt_ctx_err(past) == -ETIMEDOUT && is_done(past) && rt_ctx_err(zero) == -ETIMEDOUT,
	      "one in the past is over at once");
	CHECK(!rt_recv(rt_ctx_done(later), NULL) && rt_now() >= until_ns,
	      "a deadline closes what hangs on it");
	CHECK(rt_ctx_err(later) == -ETIMEDOUT && rt_ctx_err(root) == -ETIMEDOUT,
	      "and is the reason");
	rt_ctx_free(same);
	rt_ctx_free(later);
	rt_ctx_free(past);
	rt_ctx_free(zero);
	rt_ctx_free(root);
	root = rt_ctx_new(NULL, RT_FOREVER);
	CHECK(rt_ctx_deadline(root) == RT_FOREVER, "without one it lasts for ever");
	same = rt_ctx_new(root, until_ns = rt_now() + 600 * RT_SEC);
	rt_ctx_cancel(root);
	CHECK(rt_ctx_err(same) == -ECANCELED, "cancelled before its deadline, the reason is that");
	rt_ctx_free(root);
	rt_ctx_free(same);
}

struct wait {
	struct rt_ctx *c;
	struct rt_chan *never;
	_Atomic int began, done;
};

static void wait_for_work(void *arg, int i)
{
	struct wait *w = arg;
	struct rt_case cases[] = {
		{w->never, RT_RECV, NULL, false},
		{rt_ctx_done(w->c), RT_RECV, NULL, false},
	};

	atomic_fetch_add(&w->began, 1);
	if (rt_select(cases, 2, RT_FOREVER) == 1 && cases[1].closed && rt_ctx_err(w->c))
		atomic_fetch_add(&w->done, 1);
}

static void test_select(void)
{
	struct wait w = {.c = rt_ctx_new(NULL, RT_FOREVER), .never = rt_chan_new(8, 0)};
	struct crew_member crew[30];

	crew_start(crew, 30, wait_for_work, &w);
	until(&w.began, 30);
	rt_ctx_cancel(w.c);
	crew_join(crew, 30);
	CHECK(atomic_load(&w.done) == 30, "who selects on done wakes, and finds the reason");
	rt_ctx_free(w.c);
	rt_chan_free(w.never);
}

static void test_shapes(void)
{
	enum { DEEP = 2000 };
	struct rt_ctx **c = calloc(DEEP, sizeof(*c));
	int wrong = 0;

	for (int i = 0; i < DEEP; i++)
		c[i] = rt_ctx_new(i ? c[i - 1] : NULL, RT_FOREVER);
	rt_ctx_cancel(c[DEEP / 2]);
	for (int i = 0; i < DEEP; i++)
		wrong += !rt_ctx_err(c[i]) != (i < DEEP / 2);
	CHECK(wrong == 0, "in a chain, those below the cancelled one go with it");
	for (int i = 0; i < DEEP; i++)
		rt_ctx_free(c[i]);
	for (int i = 0; i < DEEP; i++)
		c[i] = rt_ctx_new(i ? c[(i - 1) / 3] : NULL, RT_FOREVER);
	rt_ctx_cancel(c[1]);
	for (int i = 0; i < DEEP; i++) {
		int up = i;

		while (up > 1)
			up = (up - 1) / 3;
		wrong += !rt_ctx_err(c[i]) != (up != 1);
	}
	CHECK(wrong == 0, "in a tree, those below and no others");
	for (int i = DEEP - 1; i >= 0; i--)
		rt_ctx_free(c[i]);
	free(c);
}

/* Life and death together ---------------------------------------------------------------------- */

enum { HANDS = 12, TURNS = 3000, SHARED = 8 };

static struct {
	struct rt_ctx *shared[SHARED]; /* each under the one before; nobody frees them */
	_Atomic int wrong, timed_out, cancelled, alive;
} x;

static void use(struct rt_ctx *c, uint32_t *r)
{
	int err = rt_ctx_err(c);

	if (random_next(r) % 4 == 0)
		err = rt_recv_dl(rt_ctx_done(c), NULL, soon(r)) == -EPIPE ? rt_ctx_err(c) : err;
	atomic_fetch_add(err == -ETIMEDOUT   ? &x.timed_out
			 : err == -ECANCELED ? &x.cancelled
					     : &x.alive,
			 1);
}

static void family(void *arg, int me)
{
	uint32_t r = (uint32_t)me * 7919 + 1;

	for (int i = 0; i < TURNS; i++) {
		struct rt_ctx *top = x.shared[random_next(&r) % SHARED];
		struct rt_ctx *a = rt_ctx_new(top, random_next(&r) % 2 ? soon(&r) : RT_FOREVER);
		struct rt_ctx *b = rt_ctx_new(a, random_next(&r) % 4 ? RT_FOREVER : soon(&r));

		use(b, &r);
		if (random_next(&r) % 2)
			rt_ctx_cancel(a);
		if (rt_ctx_err(a) && random_next(&r) % 2) {
			rt_ctx_cancel(a); /* somebody's cancellation may be on its way down */
			atomic_fetch_add(&x.wrong, !rt_ctx_err(b) || !is_done(b));
		}
		if (random_next(&r) % 2) {
			rt_ctx_free(a);
			atomic_fetch_add(&x.wrong, !rt_ctx_err(b) || !is_done(b));
			rt_ctx_free(b);
		} else {
			rt_ctx_free(b);
			rt_ctx_free(a);
		}
	}
}

static void canceller(void *arg, int i)
{
	for (int k = SHARED - 1; k >= 0; k--) {
		rt_sleep(2 * RT_MSEC);
		rt_ctx_cancel(x.shared[k]);
	}
}

static void test_stress(void)
{
	struct crew_member crew[HANDS + 1];

	memset(&x, 0, sizeof(x));
	for (int i = 0; i < SHARED; i++)
		x.shared[i] = rt_ctx_new(i ? x.shared[i - 1] : NULL, RT_FOREVER);
	crew_start(crew, HANDS, family, NULL);
	crew_start(crew + HANDS, 1, canceller, NULL);
	crew_join(crew, HANDS + 1);
	printf("# seen: %d alive, %d timed out, %d cancelled\n", atomic_load(&x.alive),
	       atomic_load(&x.timed_out), atomic_load(&x.cancelled));
	CHECK(atomic_load(&x.wrong) == 0, "a cancellation has reached all below when it returns, "
					  "whoever else cancels, makes and frees");
	for (int i = 0; i < SHARED; i++)
		rt_ctx_free(x.shared[i]);
}

static void *everything(void *arg)
{
	test_tree();
	test_deadline();
	for (unsigned procs = 1; procs <= 4; procs += 3) {
		rt_set_procs(procs);
		test_select();
		test_shapes();
		test_stress();
	}
	return NULL;
}

int main(void)
{
	CHECK(rt_run(NULL, everything, NULL, NULL) == 0, "the runtime ends");
	return tap_done();
}
