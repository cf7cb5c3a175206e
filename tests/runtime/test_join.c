/* Joining with deadlines that race with the end: each handle ends once, with the right result. */
#include "help.h"
#include "tap.h"

#include <errno.h>

enum { JOINERS = 8, TURNS = REPEAT(4000) };

static _Atomic int wrong, timeouts;

static void *take_a_while(void *arg)
{
	int64_t until_ns = rt_now() + (long)arg;

	while (rt_now() < until_ns)
		rt_yield();
	return arg;
}

static void joiner(void *arg, int me)
{
	uint32_t r = (uint32_t)me * 7919 + 1;

	for (int i = 0; i < TURNS; i++) {
		void *ret = NULL, *ns = (void *)(long)(random_next(&r) % 60000);
		struct rt_co *co = rt_spawn(take_a_while, ns, NULL);

		while (rt_join_dl(co, rt_now() + random_next(&r) % 3000, &ret) == -ETIMEDOUT) {
			atomic_fetch_add(&timeouts, 1);
			if (random_next(&r) %
			    2) /* its wait is over: nothing may wake it but this timer */
				rt_sleep(random_next(&r) % 2000);
		}
		atomic_fetch_add(&wrong, ret != ns);
	}
}

static void *everything(void *arg)
{
	struct crew_member crew[JOINERS];

	for (unsigned procs = 1; procs <= 4; procs += 3) {
		rt_set_procs(procs);
		crew_start(crew, JOINERS, joiner, NULL);
		crew_join(crew, JOINERS);
		printf("# %u procs: %d timeouts\n", procs, atomic_exchange(&timeouts, 0));
		CHECK(atomic_load(&wrong) == 0, "each of %d ends is met once, deadlines racing",
		      JOINERS * TURNS);
	}
	return NULL;
}

int main(void)
{
	CHECK(rt_run(NULL, everything, NULL, NULL) == 0, "the runtime ends");
	return tap_done();
}
