#include "cpu.h"

#include "flame.h"
#include "obs.h"
#include "profile.h"

#include <errno.h>
#include <time.h>

static unsigned profile_hz;

struct job {
	struct out *out;
	enum cpu_form form;
	int64_t ended_ns;
};

int cpu_profile_start(unsigned hz)
{
	int r = cpu_sampling_start(hz);

	if (r == 0)
		profile_hz = hz;
	return r;
}

static int64_t real_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * RT_SEC + t.tv_nsec;
}

static void write_proto(const struct job *j)
{
	int64_t period = RT_SEC / profile_hz, took = j->ended_ns - cpu_begun_ns();
	struct profile_kind kind = {
		.types = {{"samples", "count"}, {"cpu", "nanoseconds"}},
		.period_type = {"cpu", "nanoseconds"},
		.period = period,
	};
	struct profile *p = profile_new(&kind);

	profile_set_time(p, real_ns() - took, took);
	for (const struct cpu_record *r = cpu_next(NULL); r; r = cpu_next(r))
		profile_add(p, r->pcs, r->n,
			    (int64_t[]){(int64_t)r->count, (int64_t)r->count * period});
	profile_write(p, j->out);
	profile_free(p);
}

static void write_flame(const struct job *j)
{
	struct flame *f = flame_new("CPU time", "samples");

	for (const struct cpu_record *r = cpu_next(NULL); r; r = cpu_next(r))
		flame_add(f, r->pcs, r->n, (int64_t)r->count);
	flame_write(f, j->out);
	flame_free(f);
}

static void work(void *arg)
{
	struct job *j = arg;

	if (j->form == CPU_FLAME)
		write_flame(j);
	else
		write_proto(j);
	cpu_sampling_free();
}

int cpu_profile_stop(struct out *o, enum cpu_form form)
{
	struct job j = {.out = o, .form = form};

	if (!cpu_is_sampling())
		return -EINVAL;
	cpu_sampling_stop();
	j.ended_ns = now_ns();
	obs_work(work, &j);
	return 0;
}
