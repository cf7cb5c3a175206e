/*
 * The starter's side. It reads and checks the manifests, so that errors are told before anything
 * is made, and hands their text to the supervisor over a socket pair. That connection then
 * carries the states; for a lab that must not outlive its starter its closing is the order to die,
 * which the kernel gives whatever happens to the starter.
 */
#include "lab.h"

#include "environ.h"
#include "home.h"
#include "manifest.h"
#include "state.h"
#include "talk.h"

#include "../base/clock.h"
#include "../kernel/role.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

#define READY_TIMEOUT_NS (60 * NSEC_PER_SEC)

struct lab {
	char *name, *dir;
	struct listener listener;
	void (*changed)(void *data, struct lab *lab, int r, const struct err *e);
	void *data;
	void (*stopped)(void *data, struct lab *lab);
	void *stopped_data;

	sd_event *loop;
	sd_event_source *io, *timer, *exit, *late;
	int fd, pidfd;
	struct talk_buffer in;
	struct str out;
	struct lab_state state;
	struct err said; /* the supervisor's last words */
	bool settled;    /* ready or failed was told */
	bool stopping;
	int64_t timeout_ns;
};

char *lab_dir_of(const char *state_dir, const char *name)
{
	return lab_home_dir(state_dir, name);
}

int lab_names(const char *state_dir, struct strlist *ret)
{
	return lab_home_live(state_dir, ret);
}

int lab_sweep(const char *state_dir, struct err *e)
{
	return lab_home_sweep_all(state_dir, e);
}

void lab_log_files(const char *dir, const char *ns, const char *pod, const char *container,
		   struct strlist *ret)
{
	autofree char *path = xasprintf("%s/logs/%s.%s.%s.log", dir, ns, pod, container);
	autofree char *old = xasprintf("%s.1", path);

	if (access(old, F_OK) == 0)
		strlist_add(ret, old);
	if (access(path, F_OK) == 0)
		strlist_add(ret, path);
}

/* States ----------------------------------------------------------------------------------------- */

static char *pod_text(const struct lab_pod_state *p)
{
	struct str b = {0};

	str_add(&b, p->ready ? "ready" : p->phase);
	for (size_t i = 0; i < p->n_containers; i++) {
		const struct lab_container_state *c = &p->containers[i];

		if (c->restarts)
			str_addf(&b, ", %s restarted %u times", c->name, c->restarts);
		if (!streq(c->state, "running") && *c->why)
			str_addf(&b, ", %s: %s", c->name, c->why);
	}
	return str_take(&b);
}

static void emit_changes(struct lab *lab, const struct lab_state *now)
{
	for (size_t i = 0; i < now->n_pods; i++) {
		bool known = i < lab->state.n_pods;
		autofree char *text = pod_text(&now->pods[i]);
		autofree char *before = known ? pod_text(&lab->state.pods[i]) : NULL;

		if (!streq(text, before))
			event_emit(&lab->listener, (struct event){.type = EVENT_LAB, .text = text,
								  .name = now->pods[i].name});
	}
}

static void settle(struct lab *lab, int r, const struct err *e)
{
	lab->settled = true;
	lab->timer = sd_event_source_disable_unref(lab->timer);
	lab->changed(lab->data, lab, r, e);
}

static int failed_pod(const struct lab_state *s, struct err *e)
{
	for (size_t i = 0; i < s->n_pods; i++)
		if (streq(s->pods[i].phase, "Failed")) {
			autofree char *text = pod_text(&s->pods[i]);

			return err_set(e, ECHILD, "pod %s: %s", s->pods[i].name, text);
		}
	return 0;
}

static void take_state(struct lab *lab, const json_t *line)
{
	struct lab_state now = {0};
	struct err e = {0};

	if (lab_state_decode(json_object_get(line, "state"), &now, NULL) < 0)
		return;
	if (!lab->stopping) /* that its pods end now is what was asked for */
		emit_changes(lab, &now);
	lab_state_done(&lab->state);
	lab->state = now;
	if (lab->stopping)
		return;
	if (lab->settled || !json_is_true(json_object_get(line, "started")))
		lab->changed(lab->data, lab, -EINPROGRESS, NULL);
	else if (lab_state_is_ready(&lab->state))
		settle(lab, 0, NULL);
	else if (failed_pod(&lab->state, &e) < 0)
		settle(lab, -ECHILD, &e);
	else
		lab->changed(lab->data, lab, -EINPROGRESS, NULL);
}

static void take_line(struct lab *lab, const json_t *line)
{
	const char *error = json_string_value(json_object_get(line, "error"));
	const char *hint = json_string_value(json_object_get(line, "hint"));

	if (json_object_get(line, "state"))
		take_state(lab, line);
	if (!error)
		return;
	err_set(&lab->said, json_integer_value(json_object_get(line, "code")), "%s", error);
	if (hint && *hint)
		err_hint(&lab->said, "%s", hint);
}

static int read_lines(struct lab *lab)
{
	int r = talk_read(lab->fd, &lab->in, MSG_DONTWAIT);
	json_t *line;

	while (talk_line(&lab->in, &line) > 0) {
		take_line(lab, line);
		json_decref(line);
	}
	return r;
}

static void flush(struct lab *lab)
{
	int n = 0;

	while (lab->out.len && (n = talk_send(lab->fd, lab->out.s, lab->out.len, NULL, 0,
					      MSG_DONTWAIT)) > 0) {
		lab->out.len -= n;
		memmove(lab->out.s, lab->out.s + n, lab->out.len + 1);
	}
	if (n < 0 && n != -EAGAIN)
		str_reset(&lab->out);
	if (lab->io)
		sd_event_source_set_io_events(lab->io, EPOLLIN | (lab->out.len ? EPOLLOUT : 0));
}

static int on_io(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct lab *lab = data;

	if (events & EPOLLOUT)
		flush(lab);
	/* The end is told by the process's exit, which comes after everything it did. */
	if (events & ~EPOLLOUT && read_lines(lab) < 0)
		lab->io = sd_event_source_disable_unref(lab->io);
	return 0;
}

static int on_exit_event(sd_event_source *s, int pidfd, uint32_t events, void *data)
{
	struct lab *lab = data;
	siginfo_t si;

	waitid(P_PIDFD, pidfd, &si, WEXITED);
	while (read_lines(lab) > 0)
		;
	lab->io = sd_event_source_disable_unref(lab->io);
	lab->exit = sd_event_source_disable_unref(lab->exit);
	if (!lab->said.code && !lab->stopping)
		err_set(&lab->said, EPIPE, "lab %s: its supervisor died", lab->name);
	else if (lab->said.code)
		err_wrap(&lab->said, "lab %s", lab->name);
	if (lab->stopping && lab->stopped)
		lab->stopped(lab->stopped_data, lab);
	else if (!lab->stopping)
		settle(lab, -lab->said.code, &lab->said);
	return 0;
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *data)
{
	struct lab *lab = data;
	autofree char *obstacle = lab_state_obstacle(&lab->state);
	struct err e = {0};

	err_set(&e, ETIMEDOUT, "lab %s: not ready after %lld s: %s", lab->name,
		(long long)(lab->timeout_ns / NSEC_PER_SEC), *obstacle ? obstacle : "still starting");
	settle(lab, -ETIMEDOUT, &e);
	return 0;
}

/* Start ------------------------------------------------------------------------------------------ */

static int check_name(const char *name, struct err *e)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	size_t n = strlen(name);

	if (n < 1 || n > LAB_NAME_MAX || strspn(name, letters) != n || *name == '-')
		return err_set(e, EINVAL, "\"%s\" is not a lab's name (want a-z, 0-9 and -, up to %d "
					  "letters)", name, LAB_NAME_MAX);
	return 0;
}

static int check_manifests(const struct lab_files *files, struct diags *all, struct err *e)
{
	autofree char *beside = lab_program_folder();
	const char *path = getenv("PATH");
	autoptr(lab_spec) spec = NULL;
	autodiags own = {0};
	struct diags *d = all ? all : &own;

	if (lab_spec_parse(files, d, &spec) < 0 ||
	    lab_spec_resolve(spec, path ? path : "/usr/bin:/bin", beside, d) < 0) {
		diags_sort(d);
		return diags_err(d, e);
	}
	return 0;
}

static char *order_line(const struct lab *lab, bool owned, const struct lab_files *files)
{
	autofree char *text = NULL;
	json_t *list = json_array(), *order;

	for (size_t i = 0; i < files->n; i++)
		json_array_append_new(list, json_pack("{s:s, s:s%}", "name", files->items[i].name,
						      "text", files->items[i].text,
						      files->items[i].len));
	order = json_pack("{s:s, s:s, s:b, s:o}", "name", lab->name, "dir", lab->dir, "owned", owned,
			  "files", list);
	text = json_dumps(order, JSON_COMPACT);
	json_decref(order);
	return xasprintf("%s\n", text ? text : "{}");
}

static int spawn_supervisor(struct lab *lab, struct err *e)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, errno, "socket pair");
	lab->fd = pair[0];
	lab->pidfd = role_spawn(LAB_ROLE, lab_supervisor_main, &pair[1], 1, &pid, e);
	close(pair[1]);
	return lab->pidfd < 0 ? lab->pidfd : 0;
}

static int watch(struct lab *lab, struct err *e)
{
	uint64_t at_us = (clock_now_ns() + lab->timeout_ns) / 1000;
	int r = sd_event_add_io(lab->loop, &lab->io, lab->fd, EPOLLIN, on_io, lab);

	if (r >= 0)
		r = sd_event_add_io(lab->loop, &lab->exit, lab->pidfd, EPOLLIN, on_exit_event, lab);
	if (r >= 0)
		r = sd_event_add_time(lab->loop, &lab->timer, CLOCK_MONOTONIC, at_us, 1000,
				      on_timeout, lab);
	return r < 0 ? err_errno(e, -r, "watch lab") : 0;
}

static char *unique_name(void)
{
	unsigned id = 0;

	(void)!getrandom(&id, sizeof id, 0);
	return xasprintf("run-%08x", id);
}

static char *absolute(const char *path)
{
	char cwd[PATH_MAX];

	return *path == '/' || !getcwd(cwd, sizeof cwd) ? xstrdup(path) :
							  xasprintf("%s/%s", cwd, path);
}

static struct lab *lab_new(const struct lab_options *o)
{
	autofree char *state_dir = absolute(o->state_dir);
	struct lab *lab = xcalloc(1, sizeof *lab);

	lab->name = o->name ? xstrdup(o->name) : unique_name();
	lab->dir = lab_home_dir(state_dir, lab->name);
	lab->fd = lab->pidfd = -1;
	lab->timeout_ns = o->timeout_ns ? o->timeout_ns : READY_TIMEOUT_NS;
	if (o->listener)
		lab->listener = *o->listener;
	return lab;
}

static int check_and_start(struct lab *lab, const struct lab_options *o, struct err *e)
{
	autofree char *line = NULL;
	struct lab_files files = {0};
	int r = check_name(lab->name, e);

	if (r == 0)
		r = lab_files_read(o->manifests, o->n_manifests, &files, e);
	if (r == 0)
		r = check_manifests(&files, o->diags, e);
	if (r == 0 && lab_home_is_live(lab->dir)) {
		r = err_set(e, EEXIST, "lab %s is up already", lab->name);
		err_hint(e, "brunt lab down --name %s, or another --name", lab->name);
	}
	if (r == 0)
		r = spawn_supervisor(lab, e);
	if (r == 0) {
		line = order_line(lab, !o->name || o->owned, &files);
		str_add(&lab->out, line);
	}
	lab_files_done(&files);
	return r;
}

int lab_start(const struct lab_options *o, struct sd_event *loop,
	      void (*changed)(void *data, struct lab *lab, int r, const struct err *e), void *data,
	      struct lab **ret, struct err *e)
{
	autoptr(lab) lab = lab_new(o);
	int r;

	lab->loop = loop;
	lab->changed = changed;
	lab->data = data;
	r = check_and_start(lab, o, e);
	if (r == 0)
		r = watch(lab, e);
	if (r < 0)
		return r;
	flush(lab);
	*ret = take(lab);
	return 0;
}

const char *lab_name(const struct lab *lab)
{
	return lab->name;
}

const char *lab_dir(const struct lab *lab)
{
	return lab->dir;
}

const struct lab_state *lab_last_state(const struct lab *lab)
{
	return &lab->state;
}

static int on_late_stop(sd_event_source *s, void *data)
{
	struct lab *lab = data;

	if (lab->stopped)
		lab->stopped(lab->stopped_data, lab);
	return 0;
}

void lab_stop(struct lab *lab, bool now, void (*stopped)(void *data, struct lab *lab), void *data)
{
	lab->timer = sd_event_source_disable_unref(lab->timer);
	lab->stopping = true;
	lab->stopped = stopped;
	lab->stopped_data = data;
	if (!lab->exit) { /* the supervisor is gone already */
		sd_event_source_unref(lab->late);
		if (sd_event_add_defer(lab->loop, &lab->late, on_late_stop, lab) < 0)
			abort();
		return;
	}
	str_add(&lab->out, now ? "{\"op\":\"down\",\"now\":true}\n" : "{\"op\":\"down\"}\n");
	flush(lab);
}

void lab_free(struct lab *lab)
{
	if (!lab)
		return;
	sd_event_source_disable_unref(lab->io);
	sd_event_source_disable_unref(lab->timer);
	sd_event_source_disable_unref(lab->exit);
	sd_event_source_disable_unref(lab->late);
	if (lab->fd >= 0)
		close(lab->fd);
	if (lab->pidfd >= 0)
		close(lab->pidfd);
	talk_buffer_done(&lab->in);
	str_done(&lab->out);
	lab_state_done(&lab->state);
	free(lab->name);
	free(lab->dir);
	free(lab);
}
