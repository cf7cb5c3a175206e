/*
 * What keeps an object, one thing at a time: each case makes an object that a single word names, hidden
 * from every other place, lets a collection go by at the worst moment for that word, and looks whether
 * the object is still there. So a collector that leaves one of them out is caught at once, and not by
 * luck (test_gc_mutants.py does that; an argument chooses one case).
 *
 * A chain of CHAIN objects hangs on a global. With one P the collector's first slice ends long before
 * the chain does, and what was not a root in the pause comes after it: a coroutine that sees marking on
 * acts while nothing else is marked yet.
 */
#include "hold_x86_64.h"
#include "keep.h"
#include "tap.h"

enum { MANY_NEW = 2000 };

static struct node *known; /* a root */

/* Stores ------------------------------------------------------------------------------------------- */

/* The fields of objects at the chain's end lose their values to a stack that was searched. */
static void *take_from_fields(void *arg)
{
	struct node *volatile mine[FEW];
	hidden *holders = arg;

	until_marking();
	for (int i = 0; i < FEW; i++) {
		struct node *holder = unhide(holders[i]);

		mine[i] = holder->next;
		RT_SET(holder->next, NULL);
	}
	until_marked();
	RT_KEEP(mine);
	return NULL;
}

/* holders hang on the end of the chain and name what. */
static void hang(const hidden *holders, const hidden *what)
{
	struct node *end = new_node(NULL);

	for (int i = 0; i < FEW; i++) {
		RT_SET(((struct node *)unhide(holders[i]))->next, unhide(what[i]));
		RT_SET(((struct node *)unhide(holders[i]))->other, end->other);
		RT_SET(end->other, unhide(holders[i]));
	}
	chain = end;
	make_chain();
	scrub();
}

static int case_store(void)
{
	hidden holders[FEW], what[FEW];

	make(holders);
	make(what);
	hang(holders, what);
	beside_cycle(take_from_fields, holders);
	return FEW - count_there(what, FEW);
}

static void *copy_over_fields(void *arg)
{
	struct node *volatile mine[FEW];
	struct node *empty = new_node(NULL);
	hidden *holders = arg;

	until_marking();
	for (int i = 0; i < FEW; i++) {
		struct node *holder = unhide(holders[i]);

		mine[i] = holder->next;
		rt_copy(&node_type, holder, empty, 1);
	}
	until_marked();
	RT_KEEP(mine);
	return NULL;
}

static int case_copy(void)
{
	hidden holders[FEW], what[FEW];

	make(holders);
	make(what);
	hang(holders, what);
	beside_cycle(copy_over_fields, holders);
	return FEW - count_there(what, FEW);
}

/* A store that a pause cuts in two: one coroutine stores all the time, with no poll but what the store
 * itself may have; another takes the value once marking is on. */
struct split {
	hidden holder, what;
	_Atomic bool taken, over;
};

__attribute__((noinline)) static void put_null(hidden holder)
{
	RT_SET(((struct node *)unhide(holder))->next, NULL);
}

__attribute__((noinline)) static void put_back(hidden holder, hidden what)
{
	RT_SET(((struct node *)unhide(holder))->next, unhide(what));
}

static void *store_on_and_on(void *arg)
{
	struct split *s = arg;

	while (!gc_is_marking() && !s->over) {
		for (int i = 0; i < 1000 && !gc_is_marking(); i++) {
			put_back(s->holder, s->what);
			put_null(s->holder);
		}
		RT_POLL();
	}
	return NULL;
}

static void *take_while_split(void *arg)
{
	struct split *s = arg;
	struct node *volatile mine;

	until_marking();
	mine = ((struct node *)unhide(s->holder))->next;
	s->taken = mine;
	until_marked();
	RT_KEEP(mine);
	return NULL;
}

/* The value is known when it was seen; every round in which it was counts. */
static int split_round(hidden holder, hidden what)
{
	struct split s = {.holder = holder, .what = what};
	struct rt_co *taker, *storer;

	RT_SET(((struct node *)unhide(holder))->next, unhide(what));
	scrub();
	taker = rt_spawn(take_while_split, &s, NULL);
	settle();
	storer = rt_spawn(store_on_and_on, &s, NULL);
	rt_yield(); /* back when the storer's slice is over, in a store if that has a poll */
	rt_gc();
	s.over = true;
	rt_join(storer, NULL);
	rt_join(taker, NULL);
	return s.taken && !is_there(what);
}

static int case_split(void)
{
	hidden holders[FEW], what[FEW];
	int lost = 0;

	make(holders);
	make(what);
	hang(holders, what);
	for (int i = 0; i < FEW && !lost; i++)
		lost += split_round(holders[i], what[i]);
	return lost;
}

/* Stacks ---------------------------------------------------------------------------------------------- */

/* On a parked coroutine's stack only; it goes on before a marker came by, and moves it where markers
 * have been. */
static void *take_from_own_stack(void *arg)
{
	struct node *volatile mine[FEW];
	hidden *what = arg;

	for (int i = 0; i < FEW; i++)
		mine[i] = unhide(what[i]);
	until_marking();
	known = new_node(NULL);
	for (int i = 0; i < FEW; i++) {
		struct node *n = new_node(known);

		RT_SET(n->other, mine[i]);
		mine[i] = NULL;
		known = n;
	}
	until_marked();
	return NULL;
}

static int case_resume(void)
{
	hidden what[FEW];

	make(what);
	make_chain();
	beside_cycle(take_from_own_stack, what);
	return FEW - count_there(what, FEW);
}

static void *keep_on_stack(void *arg)
{
	struct node *volatile mine[FEW];
	hidden *what = arg;

	for (int i = 0; i < FEW; i++)
		mine[i] = unhide(what[i]);
	until_cycle();
	until_marked();
	RT_KEEP(mine);
	return NULL;
}

static int case_stack(void)
{
	hidden what[FEW];

	make(what);
	beside_cycle(keep_on_stack, what);
	return FEW - count_there(what, FEW);
}

static void *make_new(void *arg)
{
	struct node *volatile mine[MANY_NEW];
	hidden *what = arg;

	until_marking();
	for (int i = 0; i < MANY_NEW; i++) {
		mine[i] = new_node(NULL);
		what[i] = hide(mine[i]);
	}
	until_marked();
	RT_KEEP(mine);
	return NULL;
}

/* Of the run that was begun before, and of runs claimed since. */
static int case_new(void)
{
	static hidden what[MANY_NEW];

	make_chain();
	beside_cycle(make_new, what);
	return MANY_NEW - count_there(what, MANY_NEW);
}

static void *make_large(void *arg)
{
	struct node *const *volatile mine;
	hidden *what = arg;

	until_marking();
	mine = rt_new_ptrs(10000);
	*what = hide(mine);
	until_marked();
	RT_KEEP(mine);
	return NULL;
}

static int case_new_large(void)
{
	hidden what;

	make_chain();
	beside_cycle(make_large, &what);
	return !is_there(what);
}

/* Registers -------------------------------------------------------------------------------------------- */

static int case_vector(void)
{
	return held_lost(hold_in_xmm15);
}

static int case_register(void)
{
	return held_lost(hold_in_r11);
}

static int case_red_zone(void)
{
	return held_lost(hold_in_red_zone);
}

static int case_syscall(void)
{
	return held_lost(hold_in_syscall);
}

/* Other places ------------------------------------------------------------------------------------------- */

static void *take_from_channel(void *arg)
{
	struct node *volatile mine[FEW];
	struct rt_chan *c = arg;

	until_marking();
	for (int i = 0; i < FEW; i++) {
		void *p;

		rt_recv(c, &p);
		mine[i] = p;
	}
	until_marked();
	RT_KEEP(mine);
	return NULL;
}

__attribute__((noinline)) static void send_all(struct rt_chan *c, const hidden *what)
{
	for (int i = 0; i < FEW; i++) {
		void *p = unhide(what[i]);

		rt_send(c, &p);
	}
}

static int case_channel(void)
{
	struct rt_chan *c = rt_chan_new(sizeof(void *), FEW);
	hidden what[FEW];
	int lost;

	make(what);
	make_chain();
	send_all(c, what);
	scrub();
	beside_cycle(take_from_channel, c);
	lost = FEW - count_there(what, FEW);
	rt_chan_free(c);
	return lost;
}

static int case_sends(void)
{
	struct rt_chan *c = rt_chan_new(sizeof(void *), FEW);
	hidden what[FEW];
	int lost;

	make(what);
	send_all(c, what);
	scrub();
	rt_gc();
	lost = FEW - count_there(what, FEW);
	rt_chan_free(c);
	return lost;
}

/* Senders that wait: from stack to stack. */
struct sender {
	struct rt_chan *c;
	hidden what;
};

static void *send_one(void *arg)
{
	struct sender *s = arg;
	void *p = unhide(s->what);

	rt_send(s->c, &p);
	p = NULL;
	RT_KEEP(&p);
	until_marked();
	return NULL;
}

static int case_hand_over(void)
{
	struct rt_chan *c = rt_chan_new(sizeof(void *), 0);
	struct sender senders[FEW];
	struct rt_co *cos[FEW];
	hidden what[FEW];

	make(what);
	make_chain();
	for (int i = 0; i < FEW; i++) {
		senders[i] = (struct sender){c, what[i]};
		cos[i] = rt_spawn(send_one, &senders[i], NULL);
	}
	settle();
	beside_cycle(take_from_channel, c);
	for (int i = 0; i < FEW; i++)
		rt_join(cos[i], NULL);
	rt_chan_free(c);
	return FEW - count_there(what, FEW);
}

static void *return_it(void *arg)
{
	return unhide(*(hidden *)arg);
}

struct joins {
	struct rt_co *cos[FEW];
};

static void *join_all(void *arg)
{
	struct node *volatile mine[FEW];
	struct joins *j = arg;

	until_marking();
	for (int i = 0; i < FEW; i++) {
		void *p;

		rt_join(j->cos[i], &p);
		mine[i] = p;
	}
	until_marked();
	RT_KEEP(mine);
	return NULL;
}

static int case_join(void)
{
	struct joins j;
	hidden what[FEW];

	make(what);
	make_chain();
	for (int i = 0; i < FEW; i++)
		j.cos[i] = rt_spawn(return_it, &what[i], NULL);
	settle();
	beside_cycle(join_all, &j);
	return FEW - count_there(what, FEW);
}

__attribute__((noinline)) static void pin_all(const hidden *what, void (*fn)(void *obj))
{
	for (int i = 0; i < FEW; i++)
		fn(unhide(what[i]));
}

static void *unpin_all(void *arg)
{
	struct node *volatile mine[FEW];
	hidden *what = arg;

	until_marking();
	for (int i = 0; i < FEW; i++)
		mine[i] = unhide(what[i]);
	pin_all(what, rt_unpin);
	until_marked();
	RT_KEEP(mine);
	return NULL;
}

static int case_unpin(void)
{
	hidden what[FEW];

	make(what);
	make_chain();
	pin_all(what, rt_pin);
	scrub();
	beside_cycle(unpin_all, what);
	return FEW - count_there(what, FEW);
}

static int case_pin(void)
{
	hidden what[FEW];
	int lost;

	make(what);
	pin_all(what, rt_pin);
	scrub();
	rt_gc();
	lost = FEW - count_there(what, FEW);
	pin_all(what, rt_unpin);
	return lost;
}

/* Pointers into objects, from where anything may stand. */
static char *inside[FEW];

__attribute__((noinline)) static void point(const hidden *what, size_t at)
{
	for (int i = 0; i < FEW; i++)
		inside[i] = (char *)unhide(what[i]) + at;
}

static int pointed_lost(size_t at)
{
	hidden what[FEW];
	int lost;

	make(what);
	point(what, at);
	scrub();
	rt_gc();
	lost = FEW - count_there(what, FEW);
	memset(inside, 0, sizeof inside);
	return lost;
}

static int case_start(void)
{
	return pointed_lost(0);
}

static int case_inside(void)
{
	return pointed_lost(9);
}

static int case_past_end(void)
{
	return pointed_lost(sizeof(struct node));
}

/* The heap ----------------------------------------------------------------------------------------------- */

/* Every object of full blocks is whole after each of several cycles with garbage between them. */
static int case_sweep(void)
{
	enum { N = 20000 };
	struct node *const *all = rt_new_ptrs(N);
	int lost = 0;

	for (int i = 0; i < N; i++) {
		RT_SET(all[i], new_node(NULL));
		RT_POLL();
	}
	for (int round = 0; round < 3; round++) {
		rt_gc();
		for (int i = 0; i < 2 * N; i++) {
			((struct node *)rt_new(&node_type))->value[0] = ~GOOD;
			RT_POLL();
		}
		for (int i = 0; i < N; i++) {
			lost += all[i]->value[0] != GOOD;
			RT_POLL();
		}
	}
	return lost;
}

static struct node *new_tree(int depth)
{
	struct node *n = new_node(NULL);

	if (depth) {
		RT_SET(n->next, new_tree(depth - 1));
		RT_SET(n->other, new_tree(depth - 1));
	}
	return n;
}

static int count_good(const struct node *n)
{
	return n && n->value[0] == GOOD ? 1 + count_good(n->next) + count_good(n->other) : 0;
}

/* A tree that was made in one go: nearly all its pointers stay in their block. */
static int case_near(void)
{
	enum { DEPTH = 14 };
	struct node *const root = new_tree(DEPTH);

	for (int round = 0; round < 3; round++) {
		rt_gc();
		for (int i = 0; i < 4 << DEPTH; i++) {
			((struct node *)rt_new(&node_type))->value[0] = ~GOOD;
			RT_POLL();
		}
	}
	return (2 << DEPTH) - 1 - count_good(root);
}

/* Every second object of full blocks is garbage, and is freed wherever in the block it is. */
static int case_frees(void)
{
	enum { N = 20000 };
	struct node *const *all = rt_new_ptrs(N);
	hidden *gone = malloc(N / 2 * sizeof *gone);
	int left;

	for (int i = 0; i < N; i++) {
		struct node *n = new_node(NULL);

		if (i % 2)
			RT_SET(all[i], n);
		else
			gone[i / 2] = hide(n);
		RT_POLL();
	}
	scrub();
	rt_gc();
	left = count_there(gone, N / 2);
	free(gone);
	RT_KEEP(all);
	return left > 4 ? left : 0; /* a word on this stack may name one */
}

/* The last element of a large array is as good as the first. */
static int case_large(void)
{
	enum { N = 100000 };
	struct node *const *all = rt_new_ptrs(N);
	hidden what[FEW];

	make(what);
	for (int i = 0; i < FEW; i++)
		RT_SET(all[N - 1 - i], unhide(what[i]));
	known = (void *)(uintptr_t)all;
	all = NULL;
	scrub();
	rt_gc();
	known = NULL;
	return FEW - count_there(what, FEW);
}

/* And what nobody knows does go: the other cases could not fail otherwise. */
static int case_nobody(void)
{
	hidden what[FEW];

	make(what);
	scrub();
	rt_gc();
	return count_there(what, FEW);
}

/* TSan takes signals at its own calls only. */
#ifdef __SANITIZE_THREAD__
#define HELD_ANYWHERE false
#else
#define HELD_ANYWHERE true
#endif

static const struct {
	const char *name, *what;
	int (*fn)(void);
	unsigned procs;
	enum rt_preempt_mode mode;
} cases[] = {
	{"nobody", "an object that nobody knows is freed", case_nobody, 1, RT_PREEMPT_ALL},
	{"store", "the value that a store overwrites", case_store, 1, RT_PREEMPT_ALL},
	{"copy", "the values that rt_copy overwrites", case_copy, 1, RT_PREEMPT_ALL},
	{"split", "the value that a store beside a pause overwrites", case_split, 1, RT_PREEMPT_COOPERATIVE},
	{"resume", "what a coroutine knew that goes on while marking", case_resume, 1, RT_PREEMPT_ALL},
	{"stack", "a waiting coroutine's stack", case_stack, 1, RT_PREEMPT_ALL},
	{"new", "objects made while marking", case_new, 1, RT_PREEMPT_ALL},
	{"new-large", "a large object made while marking", case_new_large, 1, RT_PREEMPT_ALL},
	{"vector-held", "a vector register of a thread that is held", case_vector, 2, RT_PREEMPT_SIGNAL},
	{"vector-preempted", "a vector register of a preempted coroutine", case_vector, 1, RT_PREEMPT_SIGNAL},
	{"register-held", "a register of a thread that is held", case_register, 2, RT_PREEMPT_SIGNAL},
	{"register-preempted", "a register of a preempted coroutine", case_register, 1, RT_PREEMPT_SIGNAL},
	{"red-zone-held", "the red zone of a thread that is held", case_red_zone, 2, RT_PREEMPT_SIGNAL},
	{"red-zone-preempted", "the red zone of a preempted coroutine", case_red_zone, 1, RT_PREEMPT_SIGNAL},
	{"syscall", "a register that is kept across a system call", case_syscall, 2, RT_PREEMPT_ALL},
	{"channel", "an element that is received while marking", case_channel, 1, RT_PREEMPT_ALL},
	{"sends", "the elements in a channel", case_sends, 1, RT_PREEMPT_ALL},
	{"hand-over", "an element from a waiting sender", case_hand_over, 1, RT_PREEMPT_ALL},
	{"join", "a result that is taken while marking", case_join, 1, RT_PREEMPT_ALL},
	{"pin", "a pin", case_pin, 1, RT_PREEMPT_ALL},
	{"unpin", "an object that is unpinned while marking", case_unpin, 1, RT_PREEMPT_ALL},
	{"start", "a pointer to the start", case_start, 1, RT_PREEMPT_ALL},
	{"inside", "a pointer to the inside", case_inside, 1, RT_PREEMPT_ALL},
	{"past-end", "a pointer past the end", case_past_end, 1, RT_PREEMPT_ALL},
	{"sweep", "objects in blocks that are swept", case_sweep, 1, RT_PREEMPT_ALL},
	{"near", "a tree whose pointers stay in their blocks", case_near, 1, RT_PREEMPT_ALL},
	{"frees", "garbage in blocks with objects is freed", case_frees, 1, RT_PREEMPT_ALL},
	{"large", "the last elements of a large array", case_large, 1, RT_PREEMPT_ALL},
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
		struct rt_options o = {.preempt = cases[i].mode, .procs = cases[i].procs};
		void *lost;
		int r;

		if (argc > 1 && strcmp(argv[1], cases[i].name) != 0)
			continue;
		if (cases[i].mode == RT_PREEMPT_SIGNAL && !HELD_ANYWHERE)
			continue;
		chain = known = NULL;
		r = rt_run(&o, run, (void *)(uintptr_t)cases[i].fn, &lost);
		CHECK(r == 0 && lost == NULL, "%s: %s (%ld lost)", cases[i].name, cases[i].what,
		      (long)(intptr_t)lost);
	}
	return tap_done();
}
