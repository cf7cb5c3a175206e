/*
 * Everything at once, at random: spawn, join, sleep, yield, select, rendezvous, mutex, stealing, changes of
 * the number of Ps; what must be kept is counted. SOAK_SECONDS (default 4, all modes together) and
 * SOAK_SEED come from the environment.
 */
#include "rt.h"

#include "help.h"
#include "tap.h"

#include <string.h>

enum { PLAYERS = 24, CHANS = 4, TOKENS = 16, ACTS = 7 };

struct player {
	uint32_t random;
	uint64_t done[ACTS];
	uint64_t locked, sent, received, wrong;
};

static struct {
	struct player players[PLAYERS];
	struct rt_chan *chans[CHANS]; /* with room for every token */
	struct rt_chan *meeting;
	struct rt_mutex mutex;
	uint64_t locked; /* mutex */
	int64_t end;
} soak;

static void *twice(void *arg)
{
	rt_yield();
	return (void *)(2 * (uintptr_t)arg);
}

static void spawn_and_join(struct player *p)
{
	uintptr_t n = random_next(&p->random);
	struct rt_co *co = rt_spawn(twice, (void *)n, NULL);
	void *ret = NULL;

	rt_join(co, &ret);
	p->wrong += (uintptr_t)ret != 2 * n;
}

/* Takes a token from where one is, and puts it elsewhere. */
static void pass_token(struct player *p)
{
	uint64_t a = TOKENS, b = TOKENS;
	uint32_t at = random_next(&p->random) % CHANS;
	struct rt_case cases[] = {
		{.chan = soak.chans[at], .dir = RT_RECV, .elem = &a},
		{.chan = soak.chans[(at + 1) % CHANS], .dir = RT_RECV, .elem = &b},
	};
	int got = rt_select(cases, 2, soon(&p->random));
	uint64_t token = got == 0 ? a : b;

	if (got < 0)
		return;
	p->wrong += token >= TOKENS;
	rt_send(soak.chans[random_next(&p->random) % CHANS], &token);
}

static void meet(struct player *p)
{
	uint64_t n = random_next(&p->random) % 1000, got = 0;

	if (n & 1)
		p->sent += rt_send_dl(soak.meeting, &n, soon(&p->random)) == 0 ? n : 0;
	else
		p->received += rt_recv_dl(soak.meeting, &got, soon(&p->random)) == 0 ? got : 0;
}

static void lock(struct player *p)
{
	uint64_t was;

	rt_lock(&soak.mutex);
	was = soak.locked;
	if (was & 1)
		rt_yield();
	soak.locked = was + 1;
	rt_unlock(&soak.mutex);
	p->locked++;
}

static void burn(struct player *p)
{
	int64_t end = rt_now() + random_next(&p->random) % 100000;

	while (rt_now() < end)
		RT_POLL();
}

static void nap(struct player *p)
{
	rt_sleep(random_next(&p->random) % 200000);
}

static void change_procs(struct player *p)
{
	rt_set_procs(random_next(&p->random) % 8 ? 2 : 1 + random_next(&p->random) % 4);
}

static void play(void *arg, int i)
{
	static void (*const acts[ACTS])(struct player *p) = {
		spawn_and_join, pass_token, meet, lock, burn, nap, change_procs,
	};
	struct player *p = &soak.players[i];

	while (rt_now() < soak.end) {
		uint32_t a = random_next(&p->random) % ACTS;

		acts[a](p);
		p->done[a]++;
	}
}

/* Each token is somewhere once. */
static bool tokens_are_there(void)
{
	uint32_t seen = 0, n = 0;
	uint64_t token;

	for (int i = 0; i < CHANS; i++)
		while (rt_recv_dl(soak.chans[i], &token, 0) == 0) {
			n++;
			seen |= token < TOKENS ? 1u << token : 0;
		}
	return n == TOKENS && seen == (1u << TOKENS) - 1;
}

static void begin(uint32_t seed, int64_t ns)
{
	memset(&soak, 0, sizeof soak);
	for (int i = 0; i < PLAYERS; i++)
		soak.players[i].random = (seed + (uint32_t)i) * 2654435761u | 1;
	for (int i = 0; i < CHANS; i++)
		soak.chans[i] = rt_chan_new(sizeof(uint64_t), TOKENS);
	for (uint64_t t = 0; t < TOKENS; t++)
		rt_send(soak.chans[t % CHANS], &t);
	soak.meeting = rt_chan_new(sizeof(uint64_t), 0);
	soak.end = rt_now() + ns;
}

struct turn {
	const char *mode;
	uint32_t seed;
	int64_t ns;
};

static void *run(void *arg)
{
	static struct crew_member crew[PLAYERS];
	const struct turn *t = arg;
	struct player sum = {0};
	bool idle = false;

	begin(t->seed, t->ns);
	crew_start(crew, PLAYERS, play, NULL);
	crew_join(crew, PLAYERS);
	rt_set_procs(0);
	for (int i = 0; i < PLAYERS; i++) {
		const struct player *p = &soak.players[i];

		sum.locked += p->locked;
		sum.sent += p->sent;
		sum.received += p->received;
		sum.wrong += p->wrong;
		for (int a = 0; a < ACTS; a++)
			sum.done[a] += p->done[a];
	}
	printf("# %s, seed %u:", t->mode, t->seed);
	for (int a = 0; a < ACTS; a++) {
		printf(" %llu", (unsigned long long)sum.done[a]);
		idle |= sum.done[a] == 0;
	}
	printf("\n");
	CHECK(!idle, "%s: everything was done", t->mode);
	CHECK(tokens_are_there(), "%s: each token is there once", t->mode);
	CHECK(sum.sent == sum.received, "%s: what was sent was received", t->mode);
	CHECK(soak.locked == sum.locked, "%s: a mutex lets one in at a time", t->mode);
	CHECK(sum.wrong == 0, "%s: joins and selects give what was given", t->mode);
	for (int i = 0; i < CHANS; i++)
		rt_chan_free(soak.chans[i]);
	rt_chan_free(soak.meeting);
	return NULL;
}

int main(void)
{
	static const char *const modes[] = {"all", "cooperative", "page", "signal"};
	const char *only = getenv("RT_PREEMPT"), *seconds = getenv("SOAK_SECONDS"),
		   *seed = getenv("SOAK_SEED");
	struct turn t = {.seed = seed ? (uint32_t)strtoul(seed, NULL, 10) : (uint32_t)getpid()};

	t.ns = (int64_t)((seconds ? strtod(seconds, NULL) : 4) * 1e9 / COUNT_OF(modes));
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		if (only && strcmp(only, modes[i]))
			continue;
		t.mode = modes[i];
		rt_run(&(struct rt_options){.preempt = (enum rt_preempt_mode)i}, run, &t, NULL);
	}
	return tap_done();
}
