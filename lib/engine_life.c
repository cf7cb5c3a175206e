/* An engine made and released, and what it says of itself. */
#include "engine_state.h"

#include "base/clock.h"

#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#define DEFAULT_LEASE_NS (2 * NSEC_PER_SEC)
#define DEFAULT_EVALUATION_NS (250 * NSEC_PER_MSEC)

static char *folder_of(const char *file)
{
	const char *slash = file ? strrchr(file, '/') : NULL;

	return slash ? xstrndup(file, (size_t)(slash - file) + (slash == file)) : xstrdup(".");
}

/* Sorts by time, and is short enough to type. */
static void make_run_id(char *buf)
{
	time_t now = time(NULL);
	uint16_t tail;
	struct tm tm;
	size_t n;

	gmtime_r(&now, &tm);
	n = strftime(buf, RUN_ID_MAX, "%Y%m%d-%H%M%S", &tm);
	if (getrandom(&tail, sizeof tail, 0) != sizeof tail)
		tail = (uint16_t)getpid();
	snprintf(buf + n, RUN_ID_MAX - n, "-%04x", tail);
}

static uint64_t random_seed(void)
{
	uint32_t seed = 0;

	if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
		seed = (uint32_t)clock_now_ns();
	return seed;
}

static const struct target_list *current_targets(void *data)
{
	return place_targets(((struct engine *)data)->place);
}

static void helper_started(void *data, int pidfd)
{
	struct engine *en = data;

	if (en->guard)
		guard_see_off(en->guard, pidfd);
}

static bool was_hit(void *data, const char *ns, const char *name)
{
	const struct engine *en = data;
	autofree char *id = xasprintf("%s/%s", ns, name);

	for (size_t i = 0; i < en->n_faults; i++)
		if (strlist_has(&en->injections[i]->names, id))
			return true;
	return false;
}

static void lend(struct engine *en)
{
	en->listener = (struct listener){.fn = record_event, .data = en};
	en->env = (struct fault_env){
		.run_id = en->run_id,
		.seed = en->seed,
		.loop = en->loop,
		.listener = &en->listener,
		.net_backend = en->o.net_backend,
		.lease_ns = en->o.lease_ns,
		.allow_host_network = en->o.allow_host_network,
		.started = helper_started,
		.data = en,
	};
	en->slo_env = (struct slo_env){
		.loop = en->loop,
		.listener = &en->listener,
		.seed = en->seed,
		.targets = current_targets,
		.was_hit = was_hit,
		.data = en,
	};
}

int engine_new(const struct experiment *x, const struct engine_options *o, struct sd_event *loop,
	       struct engine **ret, struct err *e)
{
	struct engine *en = xcalloc(1, sizeof *en);

	en->x = x;
	en->o = *o;
	en->o.net_backend = o->net_backend ? o->net_backend : "auto";
	en->o.lease_ns = o->lease_ns ? o->lease_ns : DEFAULT_LEASE_NS;
	en->o.evaluation_ns = o->evaluation_ns ? o->evaluation_ns : DEFAULT_EVALUATION_NS;
	en->loop = sd_event_ref(loop);
	en->seed = x->seed_given ? (uint64_t)x->seed : random_seed();
	en->events = json_array();
	make_run_id(en->run_id);
	lend(en);
	en->slo_env.base_dir = folder_of(x->file);
	*ret = en;
	return 0;
}

void engine_free(struct engine *en)
{
	if (!en)
		return;
	sd_event_source_unref(en->step_timer);
	sd_event_source_unref(en->period_timer);
	sd_event_source_unref(en->done_source);
	committer_free(en->committer);
	load_stop(en->load);
	for (size_t i = 0; i < en->n_slos; i++)
		slo_free(en->slos[i]);
	for (size_t i = 0; en->slo_results && i < en->n_slos; i++)
		slo_result_done(&en->slo_results[i]);
	workgroup_end(en->group);
	free(en->slos);
	free(en->slo_results);
	faults_free(en);
	plan_free(en->plan);
	guard_free(en->guard);
	place_free(en->place);
	broker_stop(en->broker);
	lock_free(en->lock);
	restoration_done(&en->restoration);
	json_decref(en->plan_json);
	json_decref(en->record);
	json_decref(en->events);
	free((char *)en->slo_env.base_dir);
	free(en->interrupted);
	free(en->aborted);
	free(en->unsteady);
	free(en->load_output);
	sd_event_unref(en->loop);
	free(en);
}

enum verdict engine_verdict(const struct engine *en)
{
	return en->verdict.verdict;
}

const char *engine_sentence(const struct engine *en)
{
	return en->verdict.sentence;
}

const json_t *engine_record(const struct engine *en)
{
	return en->record;
}

const json_t *engine_plan(const struct engine *en)
{
	return en->plan_json;
}

const struct err *engine_error(const struct engine *en)
{
	return en->error.code ? &en->error : NULL;
}

const char *engine_run_id(const struct engine *en)
{
	return en->run_id;
}

const char *engine_experiment(const struct engine *en)
{
	return en->x->name;
}
