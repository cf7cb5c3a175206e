/*
 * The lease is the undo: an action ends when its owner's connection does. What is left for a revert is
 * to say so at once where the owner lives and cannot be heard, and to ask the service until it no
 * longer lists the action. A service that cannot be asked is a failure and not a success: until
 * somebody looked, nobody knows.
 */
#include "runtime_undo.h"

#include "../base/clock.h"
#include "../kernel/pidfd.h"
#include "runtime_control.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

enum { PAUSE_MS = 5, AGAIN_MS = 100, MAX_THREADS = 256, STACK_BYTES = 256 << 10 };

struct asking {
	const struct undo *undo;
	struct undo_result *results;
	size_t n;
	atomic_size_t next;
	int64_t deadline_ns;
};

/* Of the process in the record, and no other that has its number by now. -ESRCH: it has gone. */
static int open_recorded(const json_t *record, int64_t deadline_ns, struct runtime_control **ret,
			 struct err *e)
{
	pid_t pid = (pid_t)json_integer_value(json_object_get(record, "pid"));
	unsigned long long start;

	if (pidfd_start_time(pid, &start) < 0 ||
	    start != (unsigned long long)json_integer_value(json_object_get(record, "start")))
		return err_set(e, ESRCH, "process %d has ended", pid);
	return runtime_control_open_until(pid, json_string_value(json_object_get(record, "control")),
					  deadline_ns, ret, e);
}

static const char *tag_of(const json_t *record)
{
	return json_string_value(json_object_get(record, "tag"));
}

static int ask_status(struct runtime_control *c, struct runtime_status *ret, struct err *e)
{
	char line[RUNTIME_LINE_MAX];
	int r = runtime_control_ask(c, "status", line, e);

	return r < 0 ? r : runtime_status_parse(line, ret, e);
}

/* Until the service lists the action no more: a stall in flight ends within milliseconds. */
static int wait_until_over(struct runtime_control *c, const char *tag, int64_t deadline_ns,
			   struct err *e)
{
	struct runtime_status s;
	struct runtime_action a;

	for (;;) {
		int r = ask_status(c, &s, e);

		if (r < 0 || !runtime_status_find(&s, tag, &a))
			return r;
		if (clock_now_ns() > deadline_ns)
			return err_set(e, ETIMEDOUT, "the service still runs %s %s", a.name, tag);
		nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * NSEC_PER_MSEC}, NULL);
	}
}

static int end(const json_t *record, int64_t deadline_ns, struct err *e)
{
	autofree char *command = xasprintf("end tag=%s", tag_of(record));
	autoptr(runtime_control) c = NULL;
	char answer[RUNTIME_LINE_MAX];
	int r = open_recorded(record, deadline_ns, &c, e);

	if (r == 0)
		r = runtime_control_ask(c, command, answer, e);
	return r < 0 ? r : wait_until_over(c, tag_of(record), deadline_ns, e);
}

/* A service that is about to end closes its socket first: it is asked again until it has gone. */
static int end_patiently(const json_t *record, int64_t deadline_ns, struct err *e)
{
	struct err last = {0};
	int r = end(record, deadline_ns, e);

	/* The first reason stays: the last try may have had no time left. */
	while (r < 0 && r != -ESRCH && clock_now_ns() < deadline_ns) {
		nanosleep(&(struct timespec){.tv_nsec = AGAIN_MS * NSEC_PER_MSEC}, NULL);
		err_clear(&last);
		r = end(record, deadline_ns, &last);
	}
	if (r == 0)
		err_clear(e);
	else if (r == -ESRCH)
		*e = last.code ? last : *e;
	return r;
}

static void revert_record(const struct undo *u, int64_t deadline_ns, struct undo_result *ret)
{
	json_auto_t *record = undo_json(u);
	struct err e = {0};
	int r;

	*ret = (struct undo_result){.outcome = UNDO_REVERTED};
	if (!tag_of(record)) {
		ret->outcome = UNDO_FAILED;
		snprintf(ret->text, sizeof ret->text, "undo record of RuntimeChaos is damaged");
		return;
	}
	r = end_patiently(record, deadline_ns, &e);
	if (r < 0) {
		ret->outcome = r == -ESRCH ? UNDO_GONE : UNDO_FAILED;
		snprintf(ret->text, sizeof ret->text, "%s", e.text);
	}
}

/* What becomes a line of the protocol holds no second line. */
static bool is_tag(const char *tag)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-";

	return tag && strchr(tag, '/') && tag[strspn(tag, allowed)] == '\0';
}

/* The run's id, which begins its tags, holds nothing that a tag may not. */
static bool is_of_run(const char *tag, const char *run_id)
{
	size_t n = run_id ? strnlen(run_id, 60) : 0;

	return !n || (strncmp(tag, run_id, n) == 0 && tag[n] == '/');
}

/* Whether the process is the one that it was, and whether the socket is that process's own, is looked
 * at when it is opened. */
int runtime_vet(const struct undo *u, struct err *e)
{
	json_auto_t *record = undo_json(u);
	const char *control = json_string_value(json_object_get(record, "control"));

	if (json_integer_value(json_object_get(record, "pid")) <= 1 ||
	    json_integer_value(json_object_get(record, "start")) <= 0)
		return err_set(e, EINVAL, "it names no process");
	if (!control || *control != '/')
		return err_set(e, EINVAL, "it names no control socket");
	if (!is_tag(tag_of(record)) || !is_of_run(tag_of(record), u->run_id))
		return err_set(e, EINVAL, "its tag is not of this run");
	return 0;
}

static void *ask_next(void *data)
{
	struct asking *a = data;
	size_t i;

	while ((i = atomic_fetch_add(&a->next, 1)) < a->n)
		revert_record(&a->undo[i], a->deadline_ns, &a->results[i]);
	return NULL;
}

int runtime_revert(const struct undo *undo, size_t n, struct broker *broker,
		   struct undo_result *results, struct err *e)
{
	struct asking a = {
		.undo = undo,
		.results = results,
		.n = n,
		.deadline_ns = clock_now_ns() + SLOW_REVERT_NS,
	};
	size_t n_threads = 0, wanted = MIN_OF(n, (size_t)MAX_THREADS);
	pthread_t threads[MAX_THREADS];
	pthread_attr_t attr;
	sigset_t all, old;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (n_threads + 1 < wanted &&
	       pthread_create(&threads[n_threads], &attr, ask_next, &a) == 0)
		n_threads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	ask_next(&a);
	while (n_threads > 0)
		pthread_join(threads[--n_threads], NULL);
	return 0;
}

/* Faults that overlap on a target share the earliest one's snapshot, so it is about the run. */
int runtime_snapshot(struct runtime_control *c, const char *tag, struct str *ret, struct err *e)
{
	size_t run = tag ? strcspn(tag, "/") : 0;
	struct runtime_status s;
	struct runtime_action a;
	const char *at = s.actions;
	int r = ask_status(c, &s, e);

	if (r < 0)
		return r;
	str_add(ret, "actions of this run:");
	while (runtime_action_next(&at, &a))
		if (strncmp(a.tag, tag, run) == 0 && a.tag[run] == '/')
			str_addf(ret, " %s (%s)", a.name, a.tag);
	str_add(ret, "\n");
	return 0;
}

int runtime_resnapshot(const struct undo *u, struct broker *broker, struct str *ret, struct err *e)
{
	json_auto_t *record = undo_json(u);
	autoptr(runtime_control) c = NULL;
	int r = open_recorded(record, INT64_MAX, &c, e);

	if (r == -ESRCH)
		return err_set(e, ENOENT, "the service has ended");
	if (r == -ENOENT) /* that the socket is missing says nothing about the service */
		return err_set(e, EREMOTEIO, "the service has no control socket any more");
	return r < 0 ? r : runtime_snapshot(c, tag_of(record), ret, e);
}

int runtime_lease_left(const struct undo *u, struct broker *broker, int64_t *ret_ns, struct err *e)
{
	json_auto_t *record = undo_json(u);
	autoptr(runtime_control) c = NULL;
	struct runtime_status s;
	struct runtime_action a;
	int r = open_recorded(record, INT64_MAX, &c, e);

	*ret_ns = 0;
	if (r == -ESRCH)
		return err_set(e, ENOENT, "the service has ended");
	if (r == 0)
		r = ask_status(c, &s, e);
	if (r == 0 && runtime_status_find(&s, tag_of(record), &a))
		*ret_ns = a.lease_ms * NSEC_PER_MSEC;
	return r;
}
