/*
 * A container that ends is started again after a pause that doubles from 100 ms to 10 s and is
 * short again once it ran for 10 s. Kubernetes waits 10 s to 5 min; a lab is watched by somebody.
 *
 * What the program left behind in its group (children that outlived it) is killed before it is
 * started again: they may hold its port.
 */
#include "pod.h"

#include "environ.h"
#include "readiness.h"

#include "../base/clock.h"
#include "../kernel/pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

#define BACKOFF_FIRST_NS (100 * NSEC_PER_MSEC)
#define BACKOFF_MAX_NS (10 * NSEC_PER_SEC)
#define STABLE_NS (10 * NSEC_PER_SEC)

static int on_output(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct pod_container *c = data;
	char buf[32768];
	ssize_t n = read(fd, buf, sizeof buf);

	if (n > 0)
		lab_log_write(&c->log, buf, n);
	return 0;
}

static int open_output(struct pod_container *c, struct err *e)
{
	autofree char *path = xasprintf("%s/logs/%s.%s.%s.log", c->pod->host->dir, c->pod->spec->ns,
					c->pod->spec->name, c->spec->name);
	int r;

	if (pipe2(c->output, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	fcntl(c->output[0], F_SETFL, O_NONBLOCK);
	r = lab_log_open(path, 0, &c->log, e);
	if (r < 0)
		return r;
	r = sd_event_add_io(c->pod->host->loop, &c->on_output, c->output[0], EPOLLIN, on_output, c);
	return r < 0 ? err_errno(e, -r, "watch output") : 0;
}

int container_open(struct pod_container *c, struct pod *p, const struct lab_container *spec,
		   struct err *e)
{
	int r;

	*c = (struct pod_container){.pod = p, .spec = spec, .output = {-1, -1},
				    .log = {.fd = -1}, .process = {.pidfd = -1, .go_fd = -1},
				    .backoff_ns = BACKOFF_FIRST_NS};
	r = lab_group_make(&p->group, spec->name, &c->group, e);
	if (r == 0)
		r = lab_group_limit(&c->group, &spec->resources.limits, e);
	if (r == 0)
		r = open_output(c, e);
	return r;
}

static void report(struct pod_container *c)
{
	c->pod->host->changed(c->pod->host->data);
}

static void on_ready(void *data, bool ready)
{
	struct pod_container *c = data;

	if (ready != (c->ready_ns != 0))
		c->ready_ns = ready ? clock_now_ns() : 0;
	report(c);
}

static int on_restart(sd_event_source *s, uint64_t usec, void *data)
{
	struct pod_container *c = data;
	struct err e = {0};

	c->on_restart = sd_event_source_disable_unref(c->on_restart);
	container_start(c, &e);
	return 0;
}

static void start_later(struct pod_container *c)
{
	uint64_t at_us = (clock_now_ns() + c->backoff_ns) / 1000;

	c->backoff_ns = MIN_OF(c->backoff_ns * 2, BACKOFF_MAX_NS);
	c->on_restart = sd_event_source_disable_unref(c->on_restart);
	if (sd_event_add_time(c->pod->host->loop, &c->on_restart, CLOCK_MONOTONIC, at_us, 1000,
			      on_restart, c) < 0)
		abort();
}

static void say_how_it_ended(struct pod_container *c, const siginfo_t *si)
{
	uint64_t oom_kills = lab_group_oom_kills(&c->group);

	c->failed = si->si_code != CLD_EXITED || si->si_status != 0;
	if (si->si_code == CLD_EXITED)
		snprintf(c->why, sizeof c->why, "exit code %d", si->si_status);
	else if (oom_kills > c->oom_kills)
		snprintf(c->why, sizeof c->why, "OOMKilled");
	else
		snprintf(c->why, sizeof c->why, "killed by signal %d (%s)", si->si_status,
			 strsignal(si->si_status));
	c->oom_kills = oom_kills;
}

static void forget_process(struct pod_container *c)
{
	readiness_stop(take(c->probe));
	c->on_exit = sd_event_source_disable_unref(c->on_exit);
	if (c->process.pidfd >= 0)
		close(c->process.pidfd);
	if (c->process.go_fd >= 0)
		close(c->process.go_fd);
	c->process = (struct lab_process){.pidfd = -1, .go_fd = -1};
	c->started_ns = c->ready_ns = 0;
}

static bool wants_restart(const struct pod_container *c)
{
	switch (c->pod->spec->restart_policy) {
	case RESTART_ALWAYS:
		return true;
	case RESTART_ON_FAILURE:
		return c->failed;
	case RESTART_NEVER:
		break;
	}
	return false;
}

static int on_exit_event(sd_event_source *s, const siginfo_t *si, void *data)
{
	struct pod_container *c = data;
	bool stable = clock_now_ns() - c->started_ns > STABLE_NS;

	say_how_it_ended(c, si);
	forget_process(c);
	lab_group_kill(&c->group);
	if (stable)
		c->backoff_ns = BACKOFF_FIRST_NS;
	if (!c->pod->host->stopping && wants_restart(c))
		start_later(c);
	else
		c->finished = true;
	pod_container_ended(c->pod);
	report(c);
	return 0;
}

static int spawn(struct pod_container *c, struct err *e)
{
	autofd int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct kvs env = {0};
	struct strlist args = {0}, envs = {0};
	autofree char **argv = NULL, **envp = NULL;
	int r;

	lab_environ(c->pod->spec, c->spec, c->pod->host->path, c->pod->host->beside, &env);
	lab_arguments(c->spec, &env, &args);
	lab_environ_list(&env, &envs);
	argv = strlist_argv(&args);
	envp = strlist_argv(&envs);
	r = lab_pod_ns_spawn(c->pod->ns.pidfd,
			     &(struct lab_command){.path = c->spec->path, .argv = argv,
						   .envp = envp, .dir = c->spec->working_dir,
						   .stdin_fd = null, .stdout_fd = c->output[1],
						   .stderr_fd = c->output[1], .own_session = true},
			     &c->process, e);
	kvs_done(&env);
	strlist_done(&args);
	strlist_done(&envs);
	return r;
}

static int start_process(struct pod_container *c, struct err *e)
{
	int r = pod_ensure_ns(c->pod, e);

	if (r == 0)
		r = spawn(c, e);
	if (r < 0)
		return r;
	pidfd_start_time(c->process.pid, &c->start_ticks);
	r = sd_event_add_child_pidfd(c->pod->host->loop, &c->on_exit, c->process.pidfd, WEXITED,
				     on_exit_event, c);
	if (r < 0)
		return err_errno(e, -r, "watch process");
	return lab_group_attach(&c->group, c->process.pid, e);
}

int container_start(struct pod_container *c, struct err *e)
{
	int r = start_process(c, e);

	if (r < 0) {
		/* Without its byte the process, if there is one, exits and is reaped as usual. */
		if (c->process.go_fd >= 0)
			close(c->process.go_fd);
		c->process.go_fd = -1;
		if (!c->on_exit) {
			forget_process(c);
			start_later(c);
		}
		snprintf(c->why, sizeof c->why, "%s", e->text);
		report(c);
		return err_wrap(e, "container %s", c->spec->name);
	}
	lab_pod_ns_go(&c->process);
	c->starts++;
	c->started_ns = clock_now_ns();
	if (c->spec->has_probe)
		c->probe = readiness_start(c->pod->host->loop, &c->spec->probe, c->pod->spec->address4,
				       on_ready, c);
	else
		c->ready_ns = c->started_ns;
	report(c);
	return 0;
}

void container_signal(struct pod_container *c, int sig)
{
	c->on_restart = sd_event_source_disable_unref(c->on_restart);
	if (c->process.pidfd >= 0)
		pidfd_signal(c->process.pidfd, sig, NULL);
	else
		c->finished = true;
}

void container_state(const struct pod_container *c, struct lab_container_state *ret)
{
	bool running = c->process.pid && c->started_ns;
	const char *why = running && c->probe && !c->ready_ns ? readiness_why(c->probe) :
			  running ? "" : c->why;

	*ret = (struct lab_container_state){
		.name = xstrdup(c->spec->name),
		.pid = running ? c->process.pid : 0,
		.start_ticks = running ? c->start_ticks : 0,
		.restarts = c->starts ? c->starts - 1 : 0,
		.started_ns = c->started_ns,
		.ready_ns = c->ready_ns,
		.state = xstrdup(running ? "running" : c->finished ? "terminated" : "waiting"),
		.why = xstrdup(why),
	};
}

void container_environ(const struct pod_container *c, struct strlist *ret)
{
	struct kvs env = {0};

	lab_environ(c->pod->spec, c->spec, c->pod->host->path, c->pod->host->beside, &env);
	lab_environ_list(&env, ret);
	kvs_done(&env);
}

void container_done(struct pod_container *c)
{
	forget_process(c);
	c->on_restart = sd_event_source_disable_unref(c->on_restart);
	c->on_output = sd_event_source_disable_unref(c->on_output);
	for (size_t i = 0; i < ARRAY_SIZE(c->output); i++)
		if (c->output[i] >= 0)
			close(c->output[i]);
	lab_log_close(&c->log);
	lab_group_done(&c->group);
}
