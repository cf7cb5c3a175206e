#include "session.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <systemd/sd-event.h>

static void print_note(void *data, const char *text)
{
	fprintf(stderr, "note: %s\n", text);
}

struct experiment_set *session_load(const char *verb, const struct strlist *files,
				    const struct strlist *args, const struct session_scope *scope,
				    struct err *e)
{
	autofree char *warnings = NULL;
	struct experiment_set *set = NULL;
	struct strlist paths = {0};
	autodiags d = {0};

	strlist_copy(&paths, files);
	strlist_copy(&paths, args);
	if (paths.n == 0) {
		err_set(e, EINVAL, "%s: which file?", verb);
		err_hint(e, "brunt %s FILE... (a directory, or - for stdin, will do); brunt new "
			    "Experiment prints one to start from", verb);
	} else if (experiment_load((const char *const *)paths.items, paths.n, &d, &set) < 0) {
		autofree char *errors = diags_text(&d);

		fputs(errors, stderr);
		if (d.n > 1)
			fprintf(stderr, "%zu errors; nothing was touched\n", d.n);
	}
	strlist_done(&paths);
	warnings = diags_warnings_text(&d);
	if (warnings)
		fputs(warnings, stderr);
	for (size_t i = 0; set && i < set->n; i++)
		if (!set->items[i]->ns && (scope->ns || scope->all))
			experiment_set_namespace(set->items[i], scope->all ? NULL : scope->ns);
	if (set)
		experiment_set_join(set, print_note, NULL);
	return set;
}

struct session {
	struct engine *en; /* the run that is on; NULL between two */
	bool interrupted;
	sd_event *loop;
	sd_event_source *sources[3];
};

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *data)
{
	struct session *ses = data;
	const char *reason = si->ssi_signo == SIGINT    ? "Ctrl-C"
			     : si->ssi_signo == SIGTERM ? "SIGTERM"
							: "the terminal was closed";

	ses->interrupted = true;
	if (ses->en)
		engine_interrupt(ses->en, reason);
	else
		sd_event_exit(ses->loop, 0);
	return 0;
}

/* Blocked before any thread exists, so that only the loop receives them. */
static int catch_signals(struct session *ses, struct err *e)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	sigset_t set;
	int r = 0;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(signals); i++)
		r = sd_event_add_signal(ses->loop, &ses->sources[i], signals[i], on_signal, ses);
	return r < 0 ? err_errno(e, -r, "catch signals") : 0;
}

static int on_jitter(sd_event_source *s, uint64_t usec, void *data)
{
	return sd_event_exit(data, 0);
}

/* A random part of jitter_ns, so that a fleet's cron does not strike at once. */
static int wait_jitter(struct session *ses, int64_t jitter_ns, struct err *e)
{
	sd_event_source *timer = NULL;
	uint64_t draw = 0;
	int r;

	if (jitter_ns <= 0)
		return 0;
	if (getrandom(&draw, sizeof draw, 0) != sizeof draw)
		draw = (uint64_t)getpid();
	r = sd_event_add_time_relative(ses->loop, &timer, CLOCK_MONOTONIC,
				       draw % (uint64_t)jitter_ns / 1000, 0, on_jitter, ses->loop);
	if (r >= 0)
		r = sd_event_loop(ses->loop);
	sd_event_source_unref(timer);
	return r < 0 ? err_errno(e, -r, "wait for the jitter") : 0;
}

static void on_done(void *data, struct engine *en)
{
	(void)en;
	sd_event_exit(data, 0);
}

/* A loop that was told to exit cannot go on: each run has its own. */
static int session_open(struct session *ses, struct err *e)
{
	int r = sd_event_new(&ses->loop);

	if (r < 0)
		return err_errno(e, -r, "make the event loop");
	return catch_signals(ses, e);
}

static void session_close(struct session *ses)
{
	for (size_t i = 0; i < ARRAY_SIZE(ses->sources); i++)
		ses->sources[i] = sd_event_source_unref(ses->sources[i]);
	ses->loop = sd_event_unref(ses->loop);
}

static int run_engine(struct session *ses, const struct session_hooks *h, struct err *e)
{
	int r = h->before ? h->before(h->data, ses->en, ses->loop, e) : 0;

	if (r == 0)
		r = engine_start(ses->en, on_done, ses->loop, e);
	if (r == 0) {
		r = sd_event_loop(ses->loop);
		if (r < 0)
			return err_errno(e, -r, "event loop");
		r = verdict_exit_code(engine_verdict(ses->en));
	}
	if (h->after)
		h->after(h->data, ses->en);
	return r;
}

/* The exit code, or negative when the run could not be started. */
static int run_one(struct session *ses, const struct experiment *x, const struct engine_options *o,
		   int64_t jitter_ns, const struct session_hooks *h, struct err *e)
{
	int r = session_open(ses, e);

	if (r == 0 && jitter_ns > 0) {
		r = wait_jitter(ses, jitter_ns, e);
		session_close(ses);
		if (r == 0 && ses->interrupted)
			return EXIT_INTERRUPTED;
		if (r == 0)
			r = session_open(ses, e);
	}
	if (r == 0)
		r = engine_new(x, o, ses->loop, &ses->en, e);
	if (r == 0)
		r = run_engine(ses, h, e);
	engine_free(ses->en);
	ses->en = NULL;
	session_close(ses);
	return r;
}

static int worse(int a, int b)
{
	static const int order[] = {EXIT_PASSED, EXIT_USAGE, EXIT_INCONCLUSIVE, EXIT_FAILED,
				    EXIT_INTERRUPTED, EXIT_ERROR, EXIT_NOT_RESTORED};
	size_t ra = 0, rb = 0;

	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		ra = order[i] == a ? i : ra;
		rb = order[i] == b ? i : rb;
	}
	return ra > rb ? a : b;
}

int session_run(const struct experiment_set *set, const struct engine_options *o,
		int64_t jitter_ns, const struct session_hooks *hooks, struct err *e)
{
	struct session ses = {0};
	int code = EXIT_PASSED;

	for (size_t i = 0; i < set->n && !ses.interrupted; i++) {
		int r = run_one(&ses, set->items[i], o, i == 0 ? jitter_ns : 0, hooks, e);

		if (r < 0)
			return worse(code, EXIT_ERROR);
		code = worse(code, r);
	}
	return code;
}
