#include "command.h"

#include "../rt_mem.h"
#include "../sched/sched.h"
#include "../sched/slow.h"
#include "job.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t probes;

void command_note_probe(void)
{
	atomic_fetch_add_explicit(&probes, 1, memory_order_relaxed);
}

static int refuse(char *ret, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int refuse(char *ret, const char *fmt, ...)
{
	size_t n = (size_t)snprintf(ret, CONTROL_ANSWER_MAX, "error ");
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(ret + n, CONTROL_ANSWER_MAX - n - 1, fmt, ap);
	va_end(ap);
	strcat(ret, "\n");
	return -EINVAL;
}

static bool is_tag(const char *s)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-";
	size_t n = strlen(s);

	return n > 0 && n < CONTROL_TAG_MAX && strspn(s, letters) == n;
}

static int read_number(const struct action_param *p, const char *text, int64_t *value, char *ret)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (end == text || *end || errno || n < p->min || n > p->max)
		return refuse(ret, "%s: \"%s\" is not a number from %lld to %lld", p->name, text,
			      (long long)p->min, (long long)p->max);
	*value = n;
	return 0;
}

enum { LEASE, FOR, COMMON };
static const struct action_param common[COMMON] = {
	[LEASE] = {"lease_ms", 10, CONTROL_LEASE_MAX_MS, 0},
	[FOR] = {"for_ms", 1, INT64_C(1) << 32, 1},
};

/* What one key=value of an action's line says. */
static int read_word(struct job_request *r, int64_t values[COMMON], char *word, char *ret)
{
	const struct action_param *own = r->action->params;
	char *value = strchr(word, '=');

	if (!value)
		return refuse(ret, "\"%s\" is not key=value", word);
	*value++ = '\0';
	if (!strcmp(word, "tag")) {
		r->tag = value;
		return is_tag(value) ? 0 : refuse(ret, "tag: want letters, digits, . _ / - only, "
						       "fewer than %d", CONTROL_TAG_MAX);
	}
	for (size_t i = 0; i < COMMON; i++)
		if (!strcmp(common[i].name, word))
			return read_number(&common[i], value, &values[i], ret);
	for (size_t i = 0; i < ACTION_PARAMS_MAX && own[i].name; i++)
		if (!strcmp(own[i].name, word))
			return read_number(&own[i], value, &r->values[i], ret);
	return refuse(ret, "%s has no parameter \"%s\" (help lists them)", r->action->name, word);
}

static int read_action(struct job_request *r, char *rest, char *ret)
{
	const struct action_param *own = r->action->params;
	int64_t values[COMMON] = {0};
	char *word;

	for (size_t i = 0; i < ACTION_PARAMS_MAX && own[i].name; i++)
		r->values[i] = own[i].deflt;
	while ((word = strsep(&rest, " ")))
		if (*word && read_word(r, values, word, ret) < 0)
			return -EINVAL;
	if (!r->tag || !values[LEASE])
		return refuse(ret, "%s is missing", r->tag ? common[LEASE].name : "tag");
	for (size_t i = 0; i < ACTION_PARAMS_MAX && own[i].name; i++)
		if (r->values[i] < own[i].min)
			return refuse(ret, "%s is missing", own[i].name);
	r->lease_ns = values[LEASE] * RT_MSEC;
	r->for_ns = values[FOR] * RT_MSEC;
	return 0;
}

static void begin(int connection, const struct control_action *action, char *rest, int64_t now,
		  char *ret)
{
	struct job_request r = {.action = action, .connection = connection};
	char why[ACTION_WHY_MAX] = "";
	uint64_t id;

	if (read_action(&r, rest, ret) < 0)
		return;
	if (job_begin(&r, now, &id, why) < 0)
		refuse(ret, "%s: %s", action->name, why);
	else
		snprintf(ret, CONTROL_ANSWER_MAX, "ok id=%llu\n", (unsigned long long)id);
}

static void renew(int connection, char *rest, int64_t now, char *ret)
{
	unsigned n = job_renew(connection, now);

	if (n)
		snprintf(ret, CONTROL_ANSWER_MAX, "ok %u\n", n);
	else
		refuse(ret, "no action of this connection is alive");
}

static void end(int connection, char *rest, int64_t now, char *ret)
{
	if (!rest || strncmp(rest, "tag=", 4) || !is_tag(rest + 4))
		refuse(ret, "end: want tag=TAG");
	else
		snprintf(ret, CONTROL_ANSWER_MAX, "ok %u\n", job_end_tagged(rest + 4));
}

static void status(int connection, char *rest, int64_t now, char *ret)
{
	struct slow_seen slow = slow_seen();
	struct rt_mem_stats m;
	int n;

	rt_mem_stats(&m);
	n = snprintf(ret, CONTROL_ANSWER_MAX,
		     "ok procs=%u live=%u parked=%u coroutines=%lld cycles=%llu percent=%d allocated=%llu "
		     "slow_calls=%llu slow_us=%llu probes=%llu actions=",
		     rt_procs(), procs_live(), procs_parked(), (long long)co_count(),
		     (unsigned long long)m.cycles, rt_gc_percent(), (unsigned long long)m.alloc_bytes,
		     (unsigned long long)slow.calls, (unsigned long long)(slow.ns / RT_USEC),
		     (unsigned long long)atomic_load_explicit(&probes, memory_order_relaxed));
	job_list(now, ret + n, CONTROL_ANSWER_MAX - (size_t)n - 1);
	strcat(ret, "\n");
}

static void help(int connection, char *rest, int64_t now, char *ret)
{
	const struct control_action *a;
	size_t n = (size_t)snprintf(ret, CONTROL_ANSWER_MAX, "ok");

	for (size_t i = 0; (a = action_at(i)); i++) {
		n += (size_t)snprintf(ret + n, CONTROL_ANSWER_MAX - n, "%s %s tag= lease_ms= [for_ms=]",
				      i ? "," : "", a->name);
		for (size_t k = 0; k < ACTION_PARAMS_MAX && a->params[k].name; k++)
			n += (size_t)snprintf(ret + n, CONTROL_ANSWER_MAX - n,
					      a->params[k].deflt < a->params[k].min ? " %s=" : " [%s=]",
					      a->params[k].name);
	}
	snprintf(ret + n, CONTROL_ANSWER_MAX - n, "\n");
}

static const struct {
	const char *name;
	void (*fn)(int connection, char *rest, int64_t now, char *ret);
} commands[] = {
	{"end", end},
	{"help", help},
	{"renew", renew},
	{"status", status},
};

void command_answer(int connection, char *line, int64_t now, char ret[CONTROL_ANSWER_MAX])
{
	const struct control_action *a;
	char *rest = line, *name = strsep(&rest, " ");

	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (!strcmp(commands[i].name, name)) {
			commands[i].fn(connection, rest, now, ret);
			return;
		}
	for (size_t i = 0; (a = action_at(i)); i++)
		if (!strcmp(a->name, name)) {
			begin(connection, a, rest, now, ret);
			return;
		}
	refuse(ret, "no such command: \"%.40s\" (help lists them)", name);
}
