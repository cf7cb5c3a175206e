/*
 * Pod kill: the processes of a pod's containers end, and whoever runs the pod starts them again.
 *
 * A container's process is signalled through the pidfd that its source opened, never by number.
 * The fault keeps a descriptor of its own: when the container comes back, the source's describes
 * the new process. What came after is read off the target, which its source keeps up to date: the
 * number of restarts, the time of the last start and of the last change to ready.
 *
 * gracePeriod is Chaos Mesh's: SIGTERM first, SIGKILL to what is left when it is over. Nothing is
 * undone: a killed process is restarted by its supervisor or not at all.
 */
#include "driver.h"

#include "../base/clock.h"
#include "../base/units.h"
#include "../kernel/pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

enum pod_action { CONTAINER_KILL, POD_FAILURE, POD_KILL };

static const char *const action_names[] = {
	[CONTAINER_KILL] = "container-kill",
	[POD_FAILURE] = "pod-failure",
	[POD_KILL] = "pod-kill",
	NULL,
};

struct pod_kill_params {
	struct fault_common common;
	int action;
	int64_t grace_s;
};

static int check_params(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct pod_kill_params *p = obj;

	if (p->action != POD_KILL)
		return field_error(ctx, node, "action", "%s is not supported yet (only pod-kill is)",
				   action_names[p->action]);
	return 0;
}

static const struct field fields[] = {
	FAULT_COMMON_FIELDS,
	{
		.name = "action", .type = FIELD_ENUM, .names = action_names, .required = true,
		.offset = offsetof(struct pod_kill_params, action), .example = "pod-kill",
		.doc = "pod-kill ends the processes of the pod's containers, which are restarted "
		       "by whoever runs the pod. pod-failure and container-kill are not supported "
		       "yet.",
	},
	{
		.name = "gracePeriod", .type = FIELD_INT, .deflt = "0", .example = "5",
		.offset = offsetof(struct pod_kill_params, grace_s),
		.has_range = true, .min = 0, .max = INT64_MAX,
		.doc = "Seconds between SIGTERM and SIGKILL. 0 sends SIGKILL at once.",
	},
};

static const struct schema pod_kill_schema = {
	.name = "PodChaos",
	.doc = "Kills pods and measures how long they take to restart and to be ready again.",
	.size = sizeof(struct pod_kill_params),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
	.check = check_params,
};

/* One process that is to end, and what its container looked like before. */
struct victim {
	struct target *target;
	size_t container;
	int pidfd;
	pid_t pid;
	unsigned restarts;
	bool dead, terminated_in_time, killed;
};

struct pod_kill {
	struct victim *victims;
	size_t n;
	int64_t signalled_ns; /* 0: not yet */
};

static const struct pod_kill_params *params_of(const struct fault *f)
{
	return f->params;
}

/* No run is as long; a longer grace would not fit into nanoseconds. */
static const int64_t grace_max_s = 86400 * 365;

static int64_t grace_ns(const struct fault *f)
{
	return MIN_OF(params_of(f)->grace_s, grace_max_s) * NSEC_PER_SEC;
}

static bool is_chosen(const struct fault *f, const struct container *c)
{
	const struct strlist *names = &params_of(f)->common.selection.container_names;

	return c->pid > 0 && (!names->n || strlist_has(names, c->name));
}

static int plan_target(const struct fault *f, const struct target *t, struct strlist *ops,
		       struct err *e)
{
	size_t before = ops->n;

	for (size_t i = 0; i < t->n_containers; i++) {
		const struct container *c = &t->containers[i];
		autofree char *op = NULL;

		if (!is_chosen(f, c))
			continue;
		op = grace_ns(f) ? xasprintf("process %d (%s in %s/%s): SIGTERM, after %" PRId64
					     "s SIGKILL", c->pid, c->name, t->ns, t->name,
					     params_of(f)->grace_s)
				 : xasprintf("process %d (%s in %s/%s): SIGKILL", c->pid, c->name,
					     t->ns, t->name);
		strlist_add(ops, op);
	}
	if (ops->n == before)
		return err_set(e, ESRCH, params_of(f)->common.selection.container_names.n
					       ? "%s/%s runs none of the containers in containerNames"
					       : "%s/%s has no process of its own to kill", t->ns, t->name);
	return 0;
}

static int pod_kill_plan(struct fault *f, struct strlist *ops, struct err *e)
{
	f->backend = "pidfd";
	for (size_t i = 0; i < f->targets.n; i++) {
		int r = plan_target(f, f->targets.items[i], ops, e);

		if (r < 0)
			return r;
	}
	return 0;
}

static int add_victim(struct pod_kill *k, struct target *t, size_t i, struct err *e)
{
	const struct container *c = &t->containers[i];
	int fd = c->pidfd >= 0 ? fcntl(c->pidfd, F_DUPFD_CLOEXEC, 0) : pidfd_open_pid(c->pid, e);

	if (fd < 0)
		return c->pidfd >= 0 ? err_errno(e, errno, "%s/%s: %s", t->ns, t->name, c->name)
				     : err_wrap(e, "%s/%s: %s", t->ns, t->name, c->name);
	*array_push(k->victims, k->n) = (struct victim){
		.target = target_ref(t),
		.container = i,
		.pidfd = fd,
		.pid = c->pid,
		.restarts = c->restarts,
	};
	return 0;
}

/* The processes of this moment: one that was restarted since the plan is a new one. */
static int find_victims(struct fault *f, struct pod_kill *k, struct err *e)
{
	for (size_t i = 0; i < f->targets.n; i++) {
		struct target *t = f->targets.items[i];

		for (size_t j = 0; j < t->n_containers; j++) {
			int r = is_chosen(f, &t->containers[j]) ? add_victim(k, t, j, e) : 0;

			if (r < 0 && r != -ESRCH)
				return r;
		}
	}
	return k->n ? 0 : err_set(e, ESRCH, "none of the targets has a running process");
}

static int signal_victims(struct fault *f, struct pod_kill *k, struct err *e)
{
	int sig = grace_ns(f) ? SIGTERM : SIGKILL;

	k->signalled_ns = clock_now_ns();
	for (size_t i = 0; i < k->n; i++) {
		struct victim *v = &k->victims[i];
		int r = pidfd_signal(v->pidfd, sig, e);

		if (r < 0 && r != -ESRCH)
			return err_wrap(e, "%s/%s", v->target->ns, v->target->name);
		v->killed = sig == SIGKILL;
	}
	return 0;
}

static int pod_kill_inject(struct fault *f, struct err *e)
{
	struct pod_kill *k = xcalloc(1, sizeof *k);
	int r;

	f->state = k;
	r = find_victims(f, k, e);
	return r < 0 ? r : signal_victims(f, k, e);
}

static int pod_kill_tick(struct fault *f, struct err *e)
{
	struct pod_kill *k = f->state;
	bool grace_over = clock_now_ns() - k->signalled_ns >= grace_ns(f);

	for (size_t i = 0; i < k->n; i++) {
		struct victim *v = &k->victims[i];
		int r = 0;

		if (!v->dead && pidfd_wait(v->pidfd, 0) == 1) {
			v->dead = true;
			v->terminated_in_time = !v->killed;
		}
		if (!v->dead && !v->killed && grace_over) {
			r = pidfd_signal(v->pidfd, SIGKILL, e);
			v->killed = true;
		}
		if (r < 0 && r != -ESRCH)
			return err_wrap(e, "%s/%s", v->target->ns, v->target->name);
	}
	return 0;
}

/* Nanoseconds from the signal to the container's next start and to its being ready; -1: not so
 * far. */
static void recovery_times(const struct pod_kill *k, const struct victim *v, int64_t *ret_restart,
			   int64_t *ret_ready)
{
	const struct container *c = v->container < v->target->n_containers
					    ? &v->target->containers[v->container]
					    : NULL;
	bool back = c && c->pid > 0 && (c->restarts > v->restarts || c->pid != v->pid) &&
		    c->started_ns > k->signalled_ns;

	*ret_restart = back ? c->started_ns - k->signalled_ns : -1;
	*ret_ready = back && c->ready_ns > k->signalled_ns ? c->ready_ns - k->signalled_ns : -1;
}

struct tally {
	size_t dead, restarted, ready;
	int64_t slowest_restart_ns, slowest_ready_ns;
};

static struct tally count_victims(const struct pod_kill *k)
{
	struct tally t = {0};

	for (size_t i = 0; i < k->n; i++) {
		int64_t restart, ready;

		recovery_times(k, &k->victims[i], &restart, &ready);
		t.dead += k->victims[i].dead || restart >= 0;
		t.restarted += restart >= 0;
		t.ready += ready >= 0;
		t.slowest_restart_ns = MAX_OF(t.slowest_restart_ns, restart);
		t.slowest_ready_ns = MAX_OF(t.slowest_ready_ns, ready);
	}
	return t;
}

static bool pod_kill_is_over(const struct fault *f)
{
	const struct pod_kill *k = f->state;

	return k && count_victims(k).ready == k->n;
}

/* "killed 1 of 1, restarted after 1.02 s, ready after 1.31 s" */
static void describe(const struct pod_kill *k, char *buf, size_t size)
{
	char restart[UNITS_TEXT_MAX], ready[UNITS_TEXT_MAX];
	struct tally t = count_victims(k);
	autostr s = {0};

	str_addf(&s, "killed %zu of %zu", t.dead, k->n);
	if (t.restarted == k->n)
		str_addf(&s, ", restarted after %s", units_duration(t.slowest_restart_ns, restart));
	else
		str_addf(&s, ", restarted %zu of %zu", t.restarted, k->n);
	if (t.ready == k->n)
		str_addf(&s, ", ready after %s", units_duration(t.slowest_ready_ns, ready));
	else
		str_addf(&s, ", ready %zu of %zu", t.ready, k->n);
	snprintf(buf, size, "%s", s.s);
}

/* A process that is gone was killed, whether or not anybody restarts it. */
static int pod_kill_effect(struct fault *f, struct effect *ret, struct err *e)
{
	const struct pod_kill *k = f->state;
	const struct pod_kill_params *p = params_of(f);
	double dead;

	*ret = (struct effect){.state = EFFECT_UNKNOWN};
	if (p->grace_s)
		snprintf(ret->requested, sizeof ret->requested, "pod-kill, grace %" PRId64 " s",
			 p->grace_s);
	else
		snprintf(ret->requested, sizeof ret->requested, "pod-kill");
	if (!k || !k->n)
		return 0;
	dead = (double)count_victims(k).dead;
	effect_add(ret, &(struct effect_figure){
				.name = "processes killed",
				.asked = (double)k->n,
				.value = dead,
				.low = dead,
				.high = dead,
				/* Not four of five: one that is left serves on. */
				.tolerance = tolerance_given(&p->common.tolerance)
						     ? p->common.tolerance
						     : (struct tolerance){1, 1},
			});
	describe(k, ret->measured, sizeof ret->measured);
	return 0;
}

static json_t *time_json(int64_t ns)
{
	return ns < 0 ? json_null() : json_integer(ns);
}

static json_t *victim_json(const struct pod_kill *k, const struct victim *v)
{
	const struct target *t = v->target;
	const char *container = v->container < t->n_containers
					? t->containers[v->container].name
					: "";
	int64_t restart, ready;

	recovery_times(k, v, &restart, &ready);
	return json_pack("{s:s++, s:s, s:i, s:b, s:b, s:o, s:o}", "target", t->ns, "/", t->name,
			 "container", container, "pid", (int)v->pid, "killed",
			 v->dead || restart >= 0, "endedWithinGrace",
			 v->terminated_in_time, "restartNs", time_json(restart), "readyNs",
			 time_json(ready));
}

static int pod_kill_report(struct fault *f, json_t **ret, struct err *e)
{
	const struct pod_kill *k = f->state;
	json_t *list = json_array();

	for (size_t i = 0; k && i < k->n; i++)
		json_array_append_new(list, victim_json(k, &k->victims[i]));
	*ret = json_pack("{s:I, s:o}", "gracePeriodSeconds", (json_int_t)params_of(f)->grace_s,
			 "processes", list);
	return 0;
}

static void pod_kill_release(struct fault *f)
{
	struct pod_kill *k = f->state;

	for (size_t i = 0; k && i < k->n; i++) {
		target_unref(k->victims[i].target);
		close(k->victims[i].pidfd);
	}
	if (k)
		free(k->victims);
	free(k);
	f->state = NULL;
}

static int pod_kill_doctor(struct broker *broker, struct capability_list *ret, struct err *e)
{
	struct err why = {0};
	pid_t pid = fork();
	autofd int fd = -1;
	bool ok;

	if (pid < 0)
		return err_errno(e, errno, "fork");
	if (pid == 0)
		for (;;)
			pause();
	fd = pidfd_open_pid(pid, &why);
	ok = fd >= 0 && pidfd_signal(fd, SIGKILL, &why) == 0 && pidfd_wait(fd, 1000) == 1;
	if (!ok)
		kill(pid, SIGKILL); /* our own child, not yet reaped: the number is still its own */
	waitpid(pid, NULL, 0);
	capability_add(ret, "PodChaos", "pod-kill by pidfd", true, ok,
		       ok ? "a process of our own was killed" : why.text,
		       ok ? NULL : "run on Linux 5.3 or later and allow pidfd_send_signal");
	return 0;
}

static int pod_kill_vet(const struct undo *u, struct err *e)
{
	return err_set(e, EINVAL, "killing leaves nothing to undo");
}

const struct fault_driver pod_kill = {
	.kind = "PodChaos",
	.field = "podChaos",
	.api_version = "chaos-mesh.org/v1alpha1",
	.advice = "look at what the targets' containers were doing",
	.schema = &pod_kill_schema,
	.one_shot = true,
	.plan = pod_kill_plan,
	.inject = pod_kill_inject,
	.tick = pod_kill_tick,
	.vet = pod_kill_vet,
	.is_over = pod_kill_is_over,
	.effect = pod_kill_effect,
	.report = pod_kill_report,
	.release = pod_kill_release,
	.doctor = pod_kill_doctor,
};
