#include "obs.h"

struct work {
	void (*fn)(void *arg);
	void *arg;
};

static void *do_work(void *arg)
{
	struct work *w = arg;

	w->fn(w->arg);
	return NULL;
}

void obs_work(void (*fn)(void *arg), void *arg)
{
	struct work w = {fn, arg};
	struct m *m = this_m();

	if (m && m->cur && !m->on_system_stack)
		rt_blocking(do_work, &w);
	else
		fn(arg);
}
