#include "runtime_actions.h"

#include "../base/clock.h"
#include "../base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { ALLOC_STORM, COROUTINE_LEAK, GC_FORCE, GC_PAUSE, PARK_P, SLOW_SYSCALLS, STALL_SAFEPOINT, N_ACTIONS };
enum { COUNT = 1, STALL = 2, INTERVAL = 4, RATE = 8, LATENCY = 16 };
enum { PPM = 1000000 };

const char *const runtime_action_names[] = {
	[ALLOC_STORM] = "alloc-storm",
	[COROUTINE_LEAK] = "coroutine-leak",
	[GC_FORCE] = "gc-force",
	[GC_PAUSE] = "gc-pause",
	[PARK_P] = "park-p",
	[SLOW_SYSCALLS] = "slow-syscalls",
	[STALL_SAFEPOINT] = "stall-safepoint",
	NULL,
};

/* ---- each action -------------------------------------------------------------------------------- */

static void describe_storm(const struct runtime_params *p, char *buf, size_t size)
{
	char rate[UNITS_TEXT_MAX];

	snprintf(buf, size, "alloc-storm %s a second by %" PRId64, units_size(p->rate, rate), p->count);
}

static void describe_count(const struct runtime_params *p, char *buf, size_t size)
{
	snprintf(buf, size, "%s %" PRId64, runtime_action_names[p->action], p->count);
}

static void describe_force(const struct runtime_params *p, char *buf, size_t size)
{
	char interval[UNITS_TEXT_MAX];

	snprintf(buf, size, "gc-force every %s", units_duration(p->interval_ns, interval));
}

static void describe_name(const struct runtime_params *p, char *buf, size_t size)
{
	snprintf(buf, size, "%s", runtime_action_names[p->action]);
}

static void describe_slow(const struct runtime_params *p, char *buf, size_t size)
{
	char latency[UNITS_TEXT_MAX], jitter[UNITS_TEXT_MAX], share[UNITS_TEXT_MAX];
	autostr s = {0};

	str_addf(&s, "slow-syscalls by %s", units_duration(p->latency_ns, latency));
	if (p->jitter_ns)
		str_addf(&s, " +- %s", units_duration(p->jitter_ns, jitter));
	if (p->percent_ppm < PPM)
		str_addf(&s, ", %s of them", units_percent(p->percent_ppm, share));
	snprintf(buf, size, "%s", s.s);
}

static void describe_stall(const struct runtime_params *p, char *buf, size_t size)
{
	char stall[UNITS_TEXT_MAX], interval[UNITS_TEXT_MAX], n[32] = "";

	if (p->count != 1)
		snprintf(n, sizeof n, "%" PRId64 " x ", p->count);
	snprintf(buf, size, "stall-safepoint %s%s every %s", n, units_duration(p->stall_ns, stall),
		 units_duration(p->interval_ns, interval));
}

/* What was asked for up to the last look, and a machine that could do half of it. */
static int64_t half_of(const struct runtime_seen *s, double per_s)
{
	return (int64_t)(per_s * (double)(s->last_ns - s->began_ns) / (double)NSEC_PER_SEC / 2);
}

static bool felt_storm(const struct runtime_params *p, const struct runtime_seen *s)
{
	int64_t more = s->now.allocated - s->before.allocated;

	return more > 0 && more >= half_of(s, (double)p->rate);
}

static bool felt_leak(const struct runtime_params *p, const struct runtime_seen *s)
{
	return s->most_coroutines - s->before.coroutines >= p->count / 2;
}

static bool felt_force(const struct runtime_params *p, const struct runtime_seen *s)
{
	int64_t more = s->now.cycles - s->before.cycles;

	return more > 0 && more >= half_of(s, (double)NSEC_PER_SEC / (double)p->interval_ns);
}

static bool felt_pause(const struct runtime_params *p, const struct runtime_seen *s)
{
	return s->paused;
}

static bool felt_park(const struct runtime_params *p, const struct runtime_seen *s)
{
	return s->fewest_live < s->before.live;
}

/* Half a stall is what a probe that comes at any time inside one meets on average. */
static bool felt_stall(const struct runtime_params *p, const struct runtime_seen *s)
{
	return s->worst_us * NSEC_PER_USEC >= p->stall_ns / 2;
}

/* Each was to take latency - jitter longer at least. */
static bool felt_slow(const struct runtime_params *p, const struct runtime_seen *s)
{
	int64_t calls = s->now.slow_calls - s->before.slow_calls, us = s->now.slow_us - s->before.slow_us;

	return us > 0 && us >= calls * ((p->latency_ns - p->jitter_ns) / NSEC_PER_USEC) / 2;
}

static double seconds(const struct runtime_seen *s)
{
	return (double)(s->last_ns - s->began_ns) / (double)NSEC_PER_SEC;
}

static struct effect_figure exactly(const char *name, enum effect_unit unit, double asked, double value)
{
	return (struct effect_figure){
		.name = name, .unit = unit, .asked = asked, .value = value, .low = value, .high = value};
}

static void too_short(const struct runtime_seen *s, struct effect_figure *g)
{
	if (seconds(s) < 0.5)
		snprintf(g->why, sizeof g->why, "it was looked at for %.1f s only", seconds(s));
}

/* The service allocates, collects and starts coroutines besides: more is not the fault's. */
static struct effect_figure figure_storm(const struct runtime_params *p, const struct runtime_seen *s)
{
	struct effect_figure g =
		exactly("allocated", EFFECT_BYTES_PER_S, (double)p->rate,
			(double)(s->now.allocated - s->before.allocated) / MAX_OF(seconds(s), 0.001));

	g.at_least = true;
	too_short(s, &g);
	return g;
}

static struct effect_figure figure_leak(const struct runtime_params *p, const struct runtime_seen *s)
{
	struct effect_figure g = exactly("coroutines more", EFFECT_COUNT, (double)p->count,
					 (double)(s->most_coroutines - s->before.coroutines));

	g.at_least = true;
	return g;
}

/* One may be under way at either look. */
static struct effect_figure figure_force(const struct runtime_params *p, const struct runtime_seen *s)
{
	struct effect_figure g =
		exactly("collections", EFFECT_COUNT,
			seconds(s) * (double)NSEC_PER_SEC / (double)p->interval_ns,
			(double)(s->now.cycles - s->before.cycles));

	g.low = MAX_OF(g.value - 1, 0.0);
	g.high = g.value + 1;
	g.at_least = true;
	too_short(s, &g);
	return g;
}

static struct effect_figure figure_park(const struct runtime_params *p, const struct runtime_seen *s)
{
	return exactly("Ps out of service", EFFECT_COUNT, (double)p->count,
		       (double)s->before.live - (double)s->fewest_live);
}

/* A delay is over when a thread that sleeps is woken, which the machine makes later. */
static struct effect_figure figure_slow(const struct runtime_params *p, const struct runtime_seen *s)
{
	int64_t calls = s->now.slow_calls - s->before.slow_calls, us = s->now.slow_us - s->before.slow_us;
	double n = (double)MAX_OF(calls, (int64_t)1);
	struct effect_figure g = exactly("longer on average", EFFECT_NS, (double)p->latency_ns,
					 (double)us * NSEC_PER_USEC / n);
	double half = 2.576 * (double)p->jitter_ns / sqrt(3 * n); /* uniform: jitter / sqrt(3) */

	g.low = g.value - half;
	g.high = g.value + half;
	g.samples = (uint64_t)MAX_OF(calls, (int64_t)0);
	g.slack = NSEC_PER_MSEC;
	return g;
}

/* Probes come at any time inside a stall: the longest that k of them meet is the largest of k
 * uniform numbers, and the stall is longer. What waits besides may make it longer still. */
static struct effect_figure figure_stall(const struct runtime_params *p, const struct runtime_seen *s)
{
	double worst = (double)s->worst_us * NSEC_PER_USEC;
	double inside = (double)(s->now.probes - s->before.probes) * (double)p->stall_ns /
			(double)p->interval_ns;
	struct effect_figure g = exactly("longest time to safepoint", EFFECT_NS, (double)p->stall_ns, worst);

	g.high = worst / pow(0.01, 1 / MAX_OF(inside, 1.0));
	g.at_least = true;
	return g;
}

static void measured_storm(const struct runtime_seen *s, char *buf, size_t size)
{
	char more[UNITS_TEXT_MAX];

	snprintf(buf, size, "%s allocated, %" PRId64 " collections",
		 units_size((uint64_t)(s->now.allocated - s->before.allocated), more),
		 s->now.cycles - s->before.cycles);
}

static void measured_leak(const struct runtime_seen *s, char *buf, size_t size)
{
	snprintf(buf, size, "coroutines %" PRId64 " to %" PRId64, s->before.coroutines, s->most_coroutines);
}

static void measured_cycles(const struct runtime_seen *s, char *buf, size_t size)
{
	snprintf(buf, size, "%" PRId64 " collections%s", s->now.cycles - s->before.cycles,
		 s->paused ? " while they were off" : "");
}

static void measured_park(const struct runtime_seen *s, char *buf, size_t size)
{
	snprintf(buf, size, "Ps %u to %u", s->before.live, s->fewest_live);
}

static void measured_slow(const struct runtime_seen *s, char *buf, size_t size)
{
	int64_t calls = s->now.slow_calls - s->before.slow_calls, us = s->now.slow_us - s->before.slow_us;
	char mean[UNITS_TEXT_MAX];

	snprintf(buf, size, "%" PRId64 " system calls %s longer on average", calls,
		 units_duration(calls > 0 ? us * NSEC_PER_USEC / calls : 0, mean));
}

static void measured_stall(const struct runtime_seen *s, char *buf, size_t size)
{
	char worst[UNITS_TEXT_MAX];

	snprintf(buf, size, "time to safepoint up to %s", units_duration(s->worst_us * NSEC_PER_USEC, worst));
}

static bool tells_memory(const struct runtime_seen *s)
{
	return s->now.cycles >= 0;
}

static bool tells_always(const struct runtime_seen *s)
{
	return true;
}

/* A service that calls nothing has nothing to feel. */
static bool tells_calls(const struct runtime_seen *s)
{
	return s->before.slow_calls >= 0 && s->now.slow_calls > s->before.slow_calls;
}

static bool tells_probes(const struct runtime_seen *s)
{
	return s->now.probes > s->before.probes;
}

static const struct {
	unsigned takes;
	int64_t max_count;
	void (*describe)(const struct runtime_params *p, char *buf, size_t size);
	bool (*tells)(const struct runtime_seen *s);
	bool (*felt)(const struct runtime_params *p, const struct runtime_seen *s);
	void (*measured)(const struct runtime_seen *s, char *buf, size_t size);
	/* NULL: it is on or off, which is no number */
	struct effect_figure (*figure)(const struct runtime_params *p, const struct runtime_seen *s);
	const char *together; /* why two of them cannot be on at one time */
} actions[N_ACTIONS] = {
	[ALLOC_STORM] = {COUNT | RATE, 64, describe_storm, tells_memory, felt_storm, measured_storm,
			 figure_storm, NULL},
	[COROUTINE_LEAK] = {COUNT, 1000000, describe_count, tells_memory, felt_leak, measured_leak,
			    figure_leak, NULL},
	[GC_FORCE] = {INTERVAL, 0, describe_force, tells_memory, felt_force, measured_cycles,
		      figure_force, NULL},
	[GC_PAUSE] = {0, 0, describe_name, tells_memory, felt_pause, measured_cycles, NULL, NULL},
	[PARK_P] = {COUNT, 64, describe_count, tells_always, felt_park, measured_park, figure_park,
		    "together they may ask for more Ps than the service has"},
	[SLOW_SYSCALLS] = {LATENCY, 0, describe_slow, tells_calls, felt_slow, measured_slow,
			   figure_slow, "a system call has one delay"},
	[STALL_SAFEPOINT] = {COUNT | STALL | INTERVAL, 64, describe_stall, tells_probes, felt_stall,
			     measured_stall, figure_stall, NULL},
};

/* ---- parameters --------------------------------------------------------------------------------- */

static const struct {
	const char *field;
	unsigned takes;
} optional[] = {{"count", COUNT},       {"stall", STALL},     {"interval", INTERVAL}, {"rate", RATE},
		{"latency", LATENCY}, {"jitter", LATENCY}, {"percent", LATENCY}};

/* "alloc-storm, park-p" */
static void names_of(unsigned takes, struct str *ret)
{
	for (size_t i = 0; i < N_ACTIONS; i++)
		if (actions[i].takes & takes)
			str_addf(ret, "%s%s", ret->len ? ", " : "", runtime_action_names[i]);
}

static int check_optional(const struct runtime_params *p, const struct yaml_node *node,
			  struct field_ctx *ctx)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(optional); i++) {
		autostr names = {0};

		if (actions[p->action].takes & optional[i].takes || !yaml_get(node, optional[i].field))
			continue;
		names_of(optional[i].takes, &names);
		r = field_error(ctx, node, optional[i].field, "only goes with action %s", names.s);
	}
	return r;
}

static int check_params(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct runtime_params *p = obj;
	int64_t max = actions[p->action].max_count;
	int r = 0;

	if (p->control[0] != '/')
		r = field_error(ctx, node, "control", "\"%s\" is not an absolute path", p->control);
	if (check_optional(p, node, ctx) < 0)
		r = -EINVAL;
	if (p->action == STALL_SAFEPOINT && p->stall_ns >= p->interval_ns)
		r = field_error(ctx, node, yaml_get(node, "stall") ? "stall" : "interval",
				"a stall must be shorter than the interval from one to the next");
	if (p->action == SLOW_SYSCALLS && p->jitter_ns > p->latency_ns)
		r = field_error(ctx, node, "jitter", "is larger than latency: delays cannot be negative");
	if (max && p->count > max)
		r = field_error(ctx, node, "count", "%" PRId64 " is more than %s takes (%" PRId64 ")",
				p->count, runtime_action_names[p->action], max);
	return r;
}

#define OFFSET(f) offsetof(struct runtime_params, f)

static const struct field fields[] = {
	FAULT_COMMON_FIELDS,
	{.name = "action", .type = FIELD_ENUM, .names = runtime_action_names, .required = true,
	 .offset = OFFSET(action), .example = "stall-safepoint",
	 .doc = "stall-safepoint: again and again a coroutine goes through a region in which it cannot be "
		"stopped, so that stopping the world takes longer. park-p: Ps (what runs coroutines, one "
		"for each CPU) go out of service; at least one stays. gc-force: a whole collection again and "
		"again. gc-pause: no collections but those that a memory limit asks for. alloc-storm: "
		"coroutines make garbage. coroutine-leak: coroutines are started that only wait. "
		"slow-syscalls: the service's own system calls (files, sockets, names) take longer, as on a "
		"slow disk or a busy kernel; what it waits for takes no longer, and other coroutines go on."},
	{.name = "control", .type = FIELD_STRING, .required = true, .offset = OFFSET(control),
	 .example = "/dev/shm/liveroom.control",
	 .doc = "The service's control socket (liveroom serve --control PATH), as the target itself sees "
		"its files. Who answers there must be of the target."},
	{.name = "count", .type = FIELD_INT, .deflt = "1", .offset = OFFSET(count), .has_range = true,
	 .min = 1, .max = 1000000,
	 .doc = "How many coroutines stall, allocate or leak, or how many Ps are parked, at one time: at "
		"most 64, but a million may leak."},
	{.name = "stall", .type = FIELD_DURATION, .deflt = "30ms", .offset = OFFSET(stall_ns),
	 .has_range = true, .min = 100 * NSEC_PER_USEC, .max = 5 * NSEC_PER_SEC,
	 .doc = "How long each stall of stall-safepoint lasts."},
	{.name = "interval", .type = FIELD_DURATION, .deflt = "500ms", .offset = OFFSET(interval_ns),
	 .has_range = true, .min = NSEC_PER_MSEC, .max = 3600 * NSEC_PER_SEC,
	 .doc = "The time from one stall, or from one forced collection, to the next."},
	{.name = "rate", .type = FIELD_SIZE, .deflt = "64MiB", .offset = OFFSET(rate), .has_range = true,
	 .min = 1 << 10, .max = INT64_C(16) << 30,
	 .doc = "How much garbage alloc-storm makes in a second, all its coroutines together."},
	{.name = "latency", .type = FIELD_DURATION, .deflt = "20ms", .offset = OFFSET(latency_ns),
	 .has_range = true, .min = NSEC_PER_USEC, .max = 60 * NSEC_PER_SEC,
	 .doc = "How much longer each system call takes under slow-syscalls."},
	{.name = "jitter", .type = FIELD_DURATION, .deflt = "0ms", .offset = OFFSET(jitter_ns),
	 .has_range = true, .min = 0, .max = 60 * NSEC_PER_SEC,
	 .doc = "Each call's delay is drawn from latency minus to latency plus jitter."},
	{.name = "percent", .type = FIELD_PERCENT, .deflt = "100", .offset = OFFSET(percent_ppm),
	 .has_range = true, .min = 1, .max = PPM,
	 .doc = "How many of the calls are delayed; which ones is the same in every run, by their number."},
};

const struct schema runtime_schema = {
	.name = "RuntimeChaos",
	.doc = "Disturbs the scheduler or the memory inside a service that has a control socket (liveroom, "
	       "or any other on its runtime).",
	.size = sizeof(struct runtime_params),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
	.check = check_params,
};

/* ---- what the driver asks ------------------------------------------------------------------------- */

void runtime_describe(const struct runtime_params *p, char *buf, size_t size)
{
	actions[p->action].describe(p, buf, size);
}

void runtime_add_values(const struct runtime_params *p, struct str *line)
{
	unsigned takes = actions[p->action].takes;

	if (takes & COUNT)
		str_addf(line, " count=%" PRId64, p->count);
	if (takes & STALL)
		str_addf(line, " stall_us=%" PRId64, (int64_t)(p->stall_ns / NSEC_PER_USEC));
	if (takes & INTERVAL)
		str_addf(line, " interval_us=%" PRId64, (int64_t)(p->interval_ns / NSEC_PER_USEC));
	if (takes & RATE)
		str_addf(line, " bytes_per_s=%" PRIu64, p->rate);
	if (takes & LATENCY)
		str_addf(line, " latency_us=%" PRId64 " jitter_us=%" PRId64 " share_ppm=%" PRIu32,
			 (int64_t)(p->latency_ns / NSEC_PER_USEC), (int64_t)(p->jitter_ns / NSEC_PER_USEC),
			 p->percent_ppm);
}

int runtime_check_service(const struct runtime_params *p, const struct runtime_status *s, struct err *e)
{
	int r;

	if (p->action != PARK_P || p->count < s->procs)
		return 0;
	r = err_set(e, ERANGE, "it has %u Ps, and parking %" PRId64 " would leave none", s->procs, p->count);
	err_hint(e, "ask for a smaller count, or give the target more CPUs");
	return r;
}

void runtime_seen_begin(struct runtime_seen *s)
{
	s->began_ns = s->last_ns = s->asked_ns = clock_now_ns();
	s->fewest_live = s->before.live;
	s->most_coroutines = s->before.coroutines;
	s->now = s->before;
}

void runtime_seen_take(struct runtime_seen *s)
{
	s->last_ns = s->asked_ns;
	s->fewest_live = MIN_OF(s->fewest_live, s->now.live);
	s->most_coroutines = MAX_OF(s->most_coroutines, s->now.coroutines);
	s->paused |= s->now.percent < 0;
}

bool runtime_can_tell(const struct runtime_params *p, const struct runtime_seen *s)
{
	return actions[p->action].tells(s);
}

bool runtime_was_felt(const struct runtime_params *p, const struct runtime_seen *s)
{
	return actions[p->action].felt(p, s);
}

void runtime_measured(const struct runtime_params *p, const struct runtime_seen *s, char *buf, size_t size)
{
	actions[p->action].measured(s, buf, size);
}

bool runtime_figure(const struct runtime_params *p, const struct runtime_seen *s,
		    struct effect_figure *ret)
{
	if (!actions[p->action].figure)
		return false;
	*ret = actions[p->action].figure(p, s);
	ret->tolerance = p->common.tolerance;
	return true;
}

const char *runtime_conflict(const void *a, const void *b)
{
	const struct runtime_params *x = a, *y = b;

	return x->action == y->action ? actions[x->action].together : NULL;
}
