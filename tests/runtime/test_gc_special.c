/*
 * Weak references and finalisers: what they keep and what not, beside a cycle, before and after the sweep.
 * Mutants: test_gc_special_mutants.py, which chooses one case by an argument.
 */
#include "keep.h"
#include "tap.h"

enum { LEFT_OVER = 2 }; /* a word that is left over somewhere may keep one, and the one before it */
enum { FAR = 10000 }; /* objects that fill more than a block: those before are in no run any more */

static struct rt_weak *weak[FEW]; /* a root */
static char *volatile known;      /* another; to the inside, so that it does not keep the cell before too */

static void *make_far(void *arg)
{
	for (int i = 0; i < FAR; i++) {
		new_node(NULL);
		RT_POLL();
	}
	return arg;
}

/* In blocks that the sweep beside the program comes by, not only in the P's own. */
static void go_far(void)
{
	rt_join(rt_spawn(make_far, NULL, NULL), NULL);
}

__attribute__((noinline)) static void refer(const hidden *what)
{
	for (int i = 0; i < FEW; i++)
		weak[i] = rt_weak_new(unhide(what[i]));
}

__attribute__((noinline)) static int count_got(void)
{
	int n = 0;

	for (int i = 0; i < FEW; i++)
		n += rt_weak_get(weak[i]) != NULL;
	return n;
}

__attribute__((noinline)) static void know(const hidden *what, int n)
{
	struct node *list = NULL;

	for (int i = 0; i < n; i++) {
		list = new_node(list);
		RT_SET(list->other, unhide(what[i]));
	}
	known = list ? (char *)list + 8 : NULL;
}

/* Weak references ------------------------------------------------------------------------------------- */

static int weak_case(bool far)
{
	hidden what[FEW];
	int wrong;

	make(what);
	if (far)
		go_far();
	refer(what);
	know(what, FEW);
	scrub();
	rt_gc();
	wrong = FEW - count_got() + FEW - count_there(what, FEW);
	know(what, FEW / 2);
	scrub();
	rt_gc();
	wrong += abs(count_got() - FEW / 2) + abs(count_there(what, FEW) - FEW / 2);
	know(what, 0);
	scrub();
	rt_gc();
	return wrong + count_got() + count_there(what, FEW);
}

static int case_weak_near(void)
{
	return weak_case(false);
}

static int case_weak_far(void)
{
	return weak_case(true);
}

static int case_weak_same(void)
{
	struct node *a = new_node(NULL), *b = new_node(NULL);
	struct rt_weak *wa = rt_weak_new(a);

	return (rt_weak_new(a) != wa) + (rt_weak_new(b) == wa) + (rt_weak_get(wa) != a) +
	       (rt_weak_get(NULL) != NULL);
}

/* Its record alone knows the reference, for whoever asks next. */
static int case_weak_kept(void)
{
	hidden what[FEW], w[FEW];
	int wrong = 0;

	make(what);
	refer(what);
	know(what, FEW);
	for (int i = 0; i < FEW; i++)
		w[i] = hide(weak[i]);
	memset(weak, 0, sizeof weak);
	scrub();
	rt_gc();
	refer(what);
	for (int i = 0; i < FEW; i++)
		wrong += !is_there(w[i]) || hide(weak[i]) != w[i];
	return wrong;
}

/* The cell of a dead one is somebody else's soon; the reference must not name that. */
static int case_weak_reused(void)
{
	hidden what[FEW];

	make(what);
	refer(what);
	scrub();
	rt_gc();
	go_far();
	return count_got();
}

static void *get_all(void *arg)
{
	struct node *volatile mine[FEW];
	int *got = arg;

	until_marking();
	for (int i = 0; i < FEW; i++) {
		mine[i] = rt_weak_get(weak[i]);
		*got += mine[i] != NULL;
	}
	until_marked();
	RT_KEEP(mine);
	return NULL;
}

/* Nobody knows it any more, but a marking that is under way has not told yet. */
static int case_weak_marking(void)
{
	hidden what[FEW];
	int got = 0;

	make(what);
	refer(what);
	make_chain();
	scrub();
	beside_cycle(get_all, &got);
	return FEW - got + FEW - count_there(what, FEW);
}

static int case_weak_large(void)
{
	hidden what;
	int wrong;

	known = rt_new_bytes(300000);
	what = hide(known);
	weak[0] = rt_weak_new(known);
	scrub();
	rt_gc();
	wrong = !rt_weak_get(weak[0]) + !is_there(what);
	known = NULL;
	scrub();
	rt_gc();
	return wrong + (rt_weak_get(weak[0]) != NULL) + is_there(what);
}

/* Finalisers ------------------------------------------------------------------------------------------- */

static _Atomic int called, bad;
static _Atomic bool block;

/* The object and what it names are whole. */
static void note(void *obj)
{
	struct node *volatile mine = obj;

	if (block) {
		until_marking();
		block = false; /* and the next one is taken while marking */
	} else if (gc_is_marking()) {
		until_marked();
	}
	bad += !is_there(hide(mine)) || mine->value[0] != GOOD;
	bad += !mine->next || !is_there(hide(mine->next)) || mine->next->value[0] != GOOD;
	mine->value[0] = 0;
	called++;
}

/* n finalisers, and no more than there are objects; if they come. */
static bool are_called(int n)
{
	int64_t deadline = rt_now() + 10 * RT_SEC;

	while (called < n && rt_now() < deadline)
		rt_sleep(100 * RT_USEC);
	settle();
	return called >= n && called <= FEW;
}

static void *make_finalised(void *arg)
{
	hidden *what = arg;

	for (int i = 0; i < FEW; i++) {
		struct node *n = new_node(new_node(NULL));

		what[i] = hide(n);
		rt_finalise(n, note);
	}
	scrub();
	return NULL;
}

static void make_final(hidden *what)
{
	called = bad = 0;
	rt_join(rt_spawn(make_finalised, what, NULL), NULL);
}

/* After the calls; the stack on which they were is parked by now. */
static int are_left(const hidden *what)
{
	int left = 0;

	scrub();
	rt_gc();
	rt_gc();
	settle();
	for (int i = 0; i < FEW; i++)
		left += is_there(what[i]);
	return left > LEFT_OVER ? left : 0;
}

/* The second cycle begins by sweeping what is in runs. */
static int case_final(bool far)
{
	hidden what[FEW];
	int wrong;

	make_final(what);
	if (far)
		go_far();
	know(what, FEW);
	scrub();
	rt_gc();
	rt_gc();
	settle();
	wrong = called + FEW - count_there(what, FEW);
	know(what, 0);
	scrub();
	rt_gc();
	rt_gc();
	wrong += !are_called(FEW) + bad;
	return wrong + are_left(what) + (called != FEW);
}

static int case_final_near(void)
{
	return case_final(false);
}

static int case_final_far(void)
{
	return case_final(true);
}

/* Due, and not called while another cycle goes by: the first one waits for that. */
static int case_final_due(void)
{
	hidden what[FEW];

	make_final(what);
	go_far();
	make_chain();
	scrub();
	block = true;
	rt_gc();
	settle();
	rt_gc();
	return !are_called(FEW) + bad;
}

__attribute__((noinline)) static void take_off(const hidden *what)
{
	for (int i = 0; i < FEW; i++)
		rt_finalise(unhide(what[i]), NULL);
}

static int case_final_off(void)
{
	hidden what[FEW];

	make_final(what);
	take_off(what);
	return called + are_left(what);
}

/* The reference is cleared before, although the object stays for the call. */
static int case_final_weak(void)
{
	hidden what[FEW];
	int got;

	make_final(what);
	go_far();
	refer(what);
	scrub();
	block = true;
	make_chain();
	rt_gc();
	settle();
	got = count_got();
	rt_gc();
	return (got > LEFT_OVER ? got : 0) + !are_called(FEW - got) + bad;
}

static struct node *const *back; /* a root */

static void bring_back(void *obj)
{
	RT_SET(back[called], obj);
	called++;
}

static int case_final_back(void)
{
	hidden what[FEW];
	int wrong;

	make(what);
	back = rt_new_ptrs(FEW);
	called = 0;
	for (int i = 0; i < FEW; i++)
		rt_finalise(unhide(what[i]), bring_back);
	scrub();
	rt_gc();
	rt_gc();
	wrong = !are_called(FEW);
	rt_gc();
	wrong += FEW - count_there(what, FEW);
	back = NULL;
	return wrong + are_left(what) + (called != FEW);
}

static const struct {
	const char *name, *what;
	int (*fn)(void);
} cases[] = {
	{"weak-near", "a weak reference tells before its block is swept", case_weak_near},
	{"weak-far", "and after", case_weak_far},
	{"weak-same", "an object has one weak reference", case_weak_same},
	{"weak-kept", "the reference is kept as long as the object", case_weak_kept},
	{"weak-reused", "a weak reference never names another object", case_weak_reused},
	{"weak-marking", "what is got from one while marking stays", case_weak_marking},
	{"weak-large", "weak references to large objects", case_weak_large},
	{"final-near", "finalisers run once, on whole objects, in blocks of runs", case_final_near},
	{"final-far", "and in others", case_final_far},
	{"final-due", "what is due stays while other cycles go by", case_final_due},
	{"final-off", "a finaliser that was taken off does not run", case_final_off},
	{"final-weak", "weak references are cleared before the finaliser runs", case_final_weak},
	{"final-back", "an object that comes back goes without another call", case_final_back},
};

static void *run(void *arg)
{
	rt_gc_set_percent(-1); /* cycles are the cases' own */
	return (void *)(intptr_t)((int (*)(void))arg)();
}

int main(int argc, char **argv)
{
	setenv("RT_DEBUG", "gcverify=1", 0);
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		struct rt_options o = {.procs = 1};
		void *wrong;
		int r;

		if (argc > 1 && strcmp(argv[1], cases[i].name) != 0)
			continue;
		chain = NULL;
		known = NULL;
		memset(weak, 0, sizeof weak);
		r = rt_run(&o, run, (void *)(uintptr_t)cases[i].fn, &wrong);
		CHECK(r == 0 && wrong == NULL, "%s: %s (%ld wrong)", cases[i].name, cases[i].what,
		      (long)(intptr_t)wrong);
	}
	return tap_done();
}
