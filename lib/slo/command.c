/*
 * command - a program of the user's own: its exit code, or the number it prints
 *
 * It runs in a process group of its own, so that a timeout ends what it started too and a Ctrl-C
 * on the terminal ends the run in order and not the program under it; and in the run's control
 * group, with which it ends however it detached itself. It is started as posix_spawn does it and not
 * by fork, because brunt may have grown by then and has threads; posix_spawn itself cannot enter a
 * group before exec.
 */
#include "slo.h"

#include "../base/clock.h"
#include "../base/text.h"
#include "../base/units.h"
#include "../kernel/pidfd.h"
#include "../kernel/workgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

/* What is kept of the output; the rest is read and dropped. */
enum { OUTPUT_MAX = 4096, CHILD_STACK_BYTES = 128 << 10 };

struct command_params {
	struct strlist argv;
	int result;
	int64_t interval_ns, timeout_ns;
};

enum { RESULT_EXIT_CODE, RESULT_NUMBER };
static const char *const result_names[] = {"exitCode", "number", NULL};

static int check_command(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct command_params *p = obj;

	if (!p->argv.n || !p->argv.items[0][0])
		return field_error(ctx, node, "command", "want a program and its arguments");
	return 0;
}

static enum sample_type command_yields(const void *params)
{
	const struct command_params *p = params;

	return p->result == RESULT_NUMBER ? SAMPLE_VALUE : SAMPLE_LATENCY;
}

struct command {
	struct indicator *indicator;
	const struct command_params *params;
	sd_event_source *start_timer, *kill_timer, *exit_source, *output_source;
	int64_t first_ns;
	int64_t rounds; /* number of the next start */
	int64_t due_ns; /* of the one that runs */
	pid_t pid; /* 0: none runs */
	int pidfd, output_fd;
	int64_t begun_ns;
	struct str output;
	bool timed_out;
	uint64_t runs, skipped, timeouts, nonzero, not_started, not_a_number;
	char last_error[200];
};

static int read_output(struct command *c)
{
	char buf[1024];
	ssize_t n;

	while ((n = read(c->output_fd, buf, sizeof buf)) > 0)
		if (c->output.len < OUTPUT_MAX)
			str_addn(&c->output, buf, MIN_OF((size_t)n, OUTPUT_MAX - c->output.len));
	return n < 0 && errno == EAGAIN ? 0 : -EPIPE;
}

static int on_output(sd_event_source *src, int fd, uint32_t revents, void *data)
{
	struct command *c = data;

	if (read_output(c) < 0)
		sd_event_source_set_enabled(src, SD_EVENT_OFF);
	return 0;
}

/* The first line of the output without the blanks around it. */
static char *first_line(const struct command *c)
{
	const char *s = c->output.s ? c->output.s : "";
	char *line;
	size_t len;

	s += strspn(s, " \t");
	len = strcspn(s, "\r\n");
	while (len && (s[len - 1] == ' ' || s[len - 1] == '\t'))
		len--;
	line = xstrndup(s, len);
	text_make_printable(line, false);
	return line;
}

static void note_failure(struct command *c, const siginfo_t *si)
{
	autofree char *line = first_line(c);

	if (c->timed_out) {
		c->timeouts++;
		snprintf(c->last_error, sizeof c->last_error, "ran longer than its timeout");
	} else if (si->si_code == CLD_EXITED) {
		c->nonzero++;
		snprintf(c->last_error, sizeof c->last_error, "exit code %d%s%s", si->si_status,
			 *line ? ": " : "", line);
		/* Cut off within a character, it is no text. */
		text_make_printable(c->last_error, false);
	} else {
		c->nonzero++;
		snprintf(c->last_error, sizeof c->last_error, "ended by signal %d", si->si_status);
	}
}

static void tell_round(struct command *c, int64_t due_ns, enum round r)
{
	slo_round(c->indicator->slo, c->params->argv.items[0], due_ns, r);
}

static void tell(struct command *c, bool ok)
{
	int64_t now_ns = clock_now_ns();
	struct sample s = {.ok = ok, .at_ns = c->begun_ns, .done_ns = now_ns};
	autofree char *line = first_line(c);
	struct err e = {0};

	if (c->params->result == RESULT_NUMBER) {
		s.type = SAMPLE_VALUE;
		s.at_ns = now_ns;
		if (ok && units_parse_double(line, &s.value, &e) < 0) {
			c->not_a_number++;
			snprintf(c->last_error, sizeof c->last_error, "%s", e.text);
			s.ok = false;
		}
	} else {
		s.type = SAMPLE_LATENCY;
		s.latency_ns = ok || c->timed_out ? now_ns - c->begun_ns : -1;
	}
	/* A run that failed is an observation; a number that is not there is none. */
	tell_round(c, c->due_ns, s.type == SAMPLE_LATENCY || s.ok ? ROUND_ANSWERED : ROUND_SILENT);
	slo_sample(c->indicator->slo, &s);
}

static void forget(struct command *c)
{
	c->exit_source = sd_event_source_disable_unref(c->exit_source);
	c->output_source = sd_event_source_disable_unref(c->output_source);
	c->kill_timer = sd_event_source_disable_unref(c->kill_timer);
	if (c->pidfd >= 0)
		close(take_fd(c->pidfd));
	if (c->output_fd >= 0)
		close(take_fd(c->output_fd));
	c->pid = 0;
}

static int on_exit_of(sd_event_source *src, int fd, uint32_t revents, void *data)
{
	struct command *c = data;
	siginfo_t si = {0};
	bool ok;

	/* Looked at first and reaped last: until then nobody else can have its group's number. */
	if (waitid(P_PIDFD, (id_t)c->pidfd, &si, WEXITED | WNOWAIT | WNOHANG) < 0 || !si.si_pid)
		return 0;
	read_output(c);
	if (c->timed_out)
		kill(-c->pid, SIGKILL);
	waitid(P_PIDFD, (id_t)c->pidfd, &si, WEXITED);
	ok = !c->timed_out && si.si_code == CLD_EXITED && si.si_status == 0;
	if (!ok)
		note_failure(c, &si);
	tell(c, ok);
	forget(c);
	return 0;
}

static int on_timeout(sd_event_source *src, uint64_t usec, void *data)
{
	struct command *c = data;

	c->timed_out = true;
	kill(-c->pid, SIGKILL); /* not reaped yet: the number is still its group's */
	return 0;
}

/* What the child needs between its start and exec. It shares the parent's memory, as posix_spawn's
 * does, and makes system calls alone. */
struct child {
	char **argv;
	const char *dir;
	const struct workgroup *group;
	int output;
	bool errors_too; /* standard error is wanted with the output */
	int error;       /* what kept it from being started */
};

static int prepare_child(const struct child *k)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || setpgid(0, 0) < 0 || workgroup_join(k->group) < 0 ||
	    dup2(null, STDIN_FILENO) < 0 || dup2(k->output, STDOUT_FILENO) < 0 ||
	    dup2(k->errors_too ? k->output : null, STDERR_FILENO) < 0 ||
	    (k->dir && chdir(k->dir) < 0))
		return -errno;
	return 0;
}

static int child_main(void *data)
{
	const struct sigaction deflt = {.sa_handler = SIG_DFL};
	struct child *k = data;
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &deflt, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	k->error = -prepare_child(k);
	if (!k->error) {
		execvp(k->argv[0], k->argv);
		k->error = errno;
	}
	_exit(127);
}

/* Standard input empty, output into the pipe, all signals as a shell would have them. */
static int spawn(struct command *c, int output)
{
	const struct command_params *p = c->params;
	autofree char **argv = strlist_argv(&p->argv);
	struct child k = {
		.argv = argv,
		.dir = c->indicator->env->base_dir,
		.group = c->indicator->env->group,
		.output = output,
		.errors_too = p->result != RESULT_NUMBER,
	};
	autofree char *stack = xcalloc(1, CHILD_STACK_BYTES);
	sigset_t all, old;
	int r;

	/* No handler of ours may run in the child, on the memory that both have. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	c->pid = clone(child_main, stack + CHILD_STACK_BYTES, CLONE_VM | CLONE_VFORK | SIGCHLD, &k);
	r = c->pid < 0 ? -errno : -k.error;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (c->pid > 0 && r < 0)
		waitpid(c->pid, NULL, 0);
	return r;
}

static int watch(struct command *c)
{
	struct sd_event *loop = c->indicator->env->loop;
	uint64_t end_us = (uint64_t)(c->begun_ns + c->params->timeout_ns) / NSEC_PER_USEC;
	int r;

	if ((r = sd_event_add_io(loop, &c->exit_source, c->pidfd, EPOLLIN, on_exit_of, c)) < 0 ||
	    (r = sd_event_add_io(loop, &c->output_source, c->output_fd, EPOLLIN, on_output, c)) < 0)
		return r;
	return sd_event_add_time(loop, &c->kill_timer, CLOCK_MONOTONIC, end_us, 1000, on_timeout, c);
}

/* Nothing but the end of it is left to be done: no sample. */
static void end_at_once(struct command *c)
{
	if (c->pid > 0) {
		kill(-c->pid, SIGKILL);
		waitid(P_PID, (id_t)c->pid, NULL, WEXITED);
	}
	forget(c);
}

static int begin(struct command *c)
{
	int pipe_fds[2], r;

	str_reset(&c->output);
	c->timed_out = false;
	c->begun_ns = clock_now_ns();
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	c->output_fd = pipe_fds[0];
	fcntl(c->output_fd, F_SETFL, O_NONBLOCK);
	r = spawn(c, pipe_fds[1]);
	close(pipe_fds[1]);
	if (r < 0) {
		c->pid = 0;
		return r;
	}
	c->pidfd = pidfd_open_pid(c->pid, NULL);
	return c->pidfd < 0 ? c->pidfd : watch(c);
}

static void run(struct command *c, int64_t due_ns)
{
	int r;

	if (c->pid) {
		c->skipped++;
		tell_round(c, due_ns, ROUND_SILENT);
		return;
	}
	c->runs++;
	c->due_ns = due_ns;
	r = begin(c);
	if (r == 0)
		return;
	end_at_once(c);
	c->not_started++;
	snprintf(c->last_error, sizeof c->last_error, "%s: %s", c->params->argv.items[0],
		 strerror(-r));
	tell(c, false);
}

/* Starts that a stalled loop has left out were due all the same. */
static void skip_rounds(struct command *c, int64_t until)
{
	for (; c->rounds < until; c->rounds++)
		tell_round(c, c->first_ns + c->rounds * c->params->interval_ns, ROUND_SILENT);
}

static int on_due(sd_event_source *src, uint64_t usec, void *data)
{
	struct command *c = data;
	int64_t interval_ns = c->params->interval_ns;
	int64_t next = (clock_now_ns() - c->first_ns) / interval_ns + 1;

	skip_rounds(c, next - 1);
	run(c, c->first_ns + c->rounds++ * interval_ns);
	sd_event_source_set_time(src, (uint64_t)(c->first_ns + next * interval_ns) / NSEC_PER_USEC);
	return 0;
}

static double command_rate(const void *params)
{
	return (double)NSEC_PER_SEC / (double)((const struct command_params *)params)->interval_ns;
}

static int command_start(struct indicator *i, struct err *e)
{
	struct command *c = xcalloc(1, sizeof *c);
	int r;

	*c = (struct command){.indicator = i, .params = i->params, .pidfd = -1, .output_fd = -1};
	i->state = c;
	c->first_ns = clock_now_ns();
	r = sd_event_add_time(i->env->loop, &c->start_timer, CLOCK_MONOTONIC,
			      (uint64_t)c->first_ns / NSEC_PER_USEC, 1000, on_due, c);
	if (r < 0)
		return err_errno(e, -r, "timer");
	sd_event_source_set_enabled(c->start_timer, SD_EVENT_ON);
	return 0;
}

static void command_stop(struct indicator *i)
{
	struct command *c = i->state;

	if (c->start_timer)
		skip_rounds(c, (clock_now_ns() - c->first_ns) / c->params->interval_ns);
	/* What runs for longer than an interval has not answered. */
	if (c->pid && clock_now_ns() - c->due_ns > c->params->interval_ns)
		tell_round(c, c->due_ns, ROUND_SILENT);
	c->start_timer = sd_event_source_disable_unref(c->start_timer);
	end_at_once(c);
}

static int command_report(struct indicator *i, json_t **ret)
{
	const struct command *c = i->state;
	json_t *o;

	if (!c)
		return 0;
	o = json_pack("{s:I, s:I, s:{s:I, s:I, s:I, s:I}}", "runs", (json_int_t)c->runs, "skipped",
		      (json_int_t)c->skipped, "errors", "timeout", (json_int_t)c->timeouts,
		      "exit", (json_int_t)c->nonzero, "start", (json_int_t)c->not_started,
		      "number", (json_int_t)c->not_a_number);
	if (c->last_error[0])
		json_object_set_new(o, "last_error", json_string(c->last_error));
	*ret = o;
	return 0;
}

static void command_free(struct indicator *i)
{
	struct command *c = take(i->state);

	if (!c)
		return;
	sd_event_source_disable_unref(c->start_timer);
	str_done(&c->output);
	free(c);
}

#define O(field) offsetof(struct command_params, field)
static const struct field fields[] = {
	{.name = "command", .type = FIELD_STRINGS, .offset = O(argv), .required = true,
	 .example = "[./check-queue.sh]",
	 .doc = "Program and arguments. A program with a slash is relative to the experiment's "
		"folder, which is also its working directory."},
	{.name = "result", .type = FIELD_ENUM, .offset = O(result), .names = result_names,
	 .deflt = "exitCode",
	 .doc = "exitCode: success is exit code 0, and the run time is the latency. number: the first "
		"line of its output is the value."},
	{.name = "interval", .type = FIELD_DURATION, .offset = O(interval_ns), .deflt = "1s",
	 .has_range = true, .min = 50 * NSEC_PER_MSEC, .max = 3600 * NSEC_PER_SEC,
	 .doc = "Time between two starts. A start is left out while the one before still "
		"runs, and counts as a round without an answer."},
	{.name = "timeout", .type = FIELD_DURATION, .offset = O(timeout_ns), .deflt = "5s",
	 .has_range = true, .min = NSEC_PER_MSEC, .max = 3600 * NSEC_PER_SEC,
	 .doc = "A program that runs longer is killed and has failed."},
};
#undef O

static const struct schema command_schema = {
	.name = "command",
	.doc = "Runs a program at an interval.",
	.size = sizeof(struct command_params),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
	.check = check_command,
};

const struct indicator_type indicator_command = {
	.name = "command",
	.doc = "Exit code or printed number of a program that is run at an interval.",
	.schema = &command_schema,
	.yields = command_yields,
	.rate = command_rate,
	.start = command_start,
	.stop = command_stop,
	.report = command_report,
	.free = command_free,
};
