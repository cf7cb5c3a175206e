/* Each protocol holds in every instance, and each of its mutants breaks in one. */
#include "models.h"

#include "../tap.h"

#include <time.h>

static const struct protocol *const protocols[] = {
	&protocol_idle, &protocol_mark, &protocol_mutex, &protocol_park, &protocol_poll,
	&protocol_runq,
};

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool holds(const struct protocol *p, unsigned mutant, bool show, size_t *ret_states)
{
	*ret_states = 0;
	for (unsigned i = 0; i < p->instances; i++) {
		struct explored e;

		p->choose(i, mutant);
		e = explore(&p->model, show);
		*ret_states += e.states;
		if (e.wrong) {
			printf("# instance %u: %s (%zu states)\n", i, e.wrong, e.states);
			return false;
		}
	}
	return true;
}

int main(void)
{
	for (size_t i = 0; i < sizeof(protocols) / sizeof(*protocols); i++) {
		const struct protocol *p = protocols[i];
		double since = seconds();
		size_t states;
		bool ok = holds(p, AS_IT_IS, true, &states);

		CHECK(ok, "%s holds in all of %zu states", p->name, states);
		for (unsigned m = 0; p->mutants[m]; m++)
			CHECK(!holds(p, m + 1, false, &states), "%s breaks when %s", p->name,
			      p->mutants[m]);
		printf("# %s: %.2f s\n", p->name, seconds() - since);
	}
	return tap_done();
}
