/*
 * The supervisor lives in the switch namespace itself: it makes it by unshare() before anything
 * else, so its probes reach the pods, and when it dies the namespace has one holder less and no
 * name that could stay behind.
 *
 * It is told what to do by the first line on the descriptor it was started with: name, folder and
 * the text of the manifests, which its starter has read and checked.
 */
#include "control.h"
#include "environ.h"
#include "pod.h"
#include "state.h"
#include "talk.h"

#include "../base/clock.h"
#include "../kernel/pidfd.h"
#include "../kernel/role.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

struct supervisor {
	char *name, *path, *beside;
	bool owned;
	struct lab_files files;
	struct lab_spec *spec;
	struct lab_home home;
	struct lab_host host;
	struct control *control;
	struct pod *pods;
	size_t n_pods; /* started so far */
	sd_event_source *starter;
	pid_t sweeper;
	struct err failed; /* what ended it early */
};

/* The order -------------------------------------------------------------------------------------- */

static int read_order(int fd, json_t **ret)
{
	struct talk_buffer in = {0};
	int r;

	while ((r = talk_line(&in, ret)) == 0)
		if (talk_read(fd, &in, 0) < 0) {
			r = -EPIPE;
			break;
		}
	talk_buffer_done(&in);
	return r < 0 ? r : 0;
}

static void take_order(struct supervisor *s, const json_t *order)
{
	json_t *files = json_object_get(order, "files"), *file;
	const char *path = getenv("PATH");
	size_t i;

	s->name = xstrdup(json_string_value(json_object_get(order, "name")));
	s->owned = json_is_true(json_object_get(order, "owned"));
	s->path = xstrdup(path ? path : "/usr/bin:/bin");
	s->beside = lab_program_folder();
	json_array_foreach(files, i, file) {
		struct lab_file *f = array_push(s->files.items, s->files.n);

		f->name = xstrdup(json_string_value(json_object_get(file, "name")));
		f->text = xstrdup(json_string_value(json_object_get(file, "text")));
		f->len = strlen(f->text);
	}
}

/* State ------------------------------------------------------------------------------------------ */

static json_t *state_object(void *data)
{
	struct supervisor *s = data;
	autolabstate state = {.name = xstrdup(s->name), .stopping = s->host.stopping};

	for (size_t i = 0; i < s->n_pods; i++)
		pod_state(&s->pods[i], array_push(state.pods, state.n_pods));
	return json_pack("{s:o, s:b}", "state", lab_state_encode(&state), "started",
			 s->n_pods == s->spec->n_pods);
}

static bool all_down(const struct supervisor *s)
{
	for (size_t i = 0; i < s->n_pods; i++)
		if (!pod_is_down(&s->pods[i]))
			return false;
	return true;
}

static void on_changed(void *data)
{
	struct supervisor *s = data;

	control_state_changed(s->control);
	if (s->host.stopping && all_down(s))
		sd_event_exit(s->host.loop, 0);
}

static void stop(struct supervisor *s, bool now)
{
	s->host.stopping = true;
	s->starter = sd_event_source_disable_unref(s->starter);
	for (size_t i = 0; i < s->n_pods; i++)
		pod_stop(&s->pods[i], now);
	on_changed(s);
}

/* Requests --------------------------------------------------------------------------------------- */

static struct pod *find_pod(struct supervisor *s, const json_t *req, struct err *e)
{
	const char *ns = json_string_value(json_object_get(req, "namespace"));
	const char *name = json_string_value(json_object_get(req, "pod"));

	for (size_t i = 0; i < s->n_pods; i++)
		if (streq(s->pods[i].spec->ns, ns) && streq(s->pods[i].spec->name, name))
			return &s->pods[i];
	err_set(e, ENOENT, "no pod %s/%s", ns ? ns : "", name ? name : "");
	return NULL;
}

static int answer_netns(struct supervisor *s, struct control_client *c, const json_t *req,
			struct err *e)
{
	struct pod *p = find_pod(s, req, e);

	if (!p)
		return -ENOENT;
	if (p->ns.netns_fd < 0)
		return err_set(e, ESRCH, "pod %s does not run", p->spec->name);
	control_answer(c, json_pack("{s:b}", "ok", 1), &p->ns.netns_fd, 1);
	return 0;
}

static int answer_switch(struct supervisor *s, struct control_client *c, struct err *e)
{
	struct kvs hosts = {0};
	json_t *map = json_object();
	int fd = lab_wire_netns(s->host.wire);

	lab_spec_hosts(s->spec, NULL, &hosts);
	for (size_t i = 0; i < hosts.n; i++)
		json_object_set_new(map, hosts.items[i].key, json_string(hosts.items[i].value));
	kvs_done(&hosts);
	control_answer(c, json_pack("{s:o}", "hosts", map), &fd, 1);
	return 0;
}

static struct pod_container *find_container(struct pod *p, const char *name, struct err *e)
{
	for (size_t i = 0; i < p->n_containers; i++)
		if (!name || streq(p->containers[i].spec->name, name))
			return &p->containers[i];
	err_set(e, ENOENT, "pod %s has no container %s", p->spec->name, name);
	return NULL;
}

static int answer_enter(struct supervisor *s, struct control_client *c, const json_t *req,
			struct err *e)
{
	struct pod *p = find_pod(s, req, e);
	const char *name = json_string_value(json_object_get(req, "container"));
	struct pod_container *pc = p ? find_container(p, name, e) : NULL;
	json_t *env = json_array(), *groups = json_array();
	struct strlist lines = {0};

	if (!pc || p->ns.pidfd < 0) {
		json_decref(env);
		json_decref(groups);
		return pc ? err_set(e, ESRCH, "pod %s does not run", p->spec->name) : -ENOENT;
	}
	container_environ(pc, &lines);
	for (size_t i = 0; i < lines.n; i++)
		json_array_append_new(env, json_string(lines.items[i]));
	for (size_t i = 0; i < pc->group.n; i++)
		json_array_append_new(groups, json_string(pc->group.in[i].path));
	strlist_done(&lines);
	control_answer(c, json_pack("{s:o, s:o, s:s}", "env", env, "groups", groups, "dir",
				    pc->spec->working_dir), &p->ns.pidfd, 1);
	return 0;
}

static void on_request(void *data, struct control_client *c, const json_t *req)
{
	const char *op = json_string_value(json_object_get(req, "op"));
	struct supervisor *s = data;
	struct err e = {0};
	int r = 0;

	if (streq(op, "list"))
		control_answer(c, state_object(s), NULL, 0);
	else if (streq(op, "subscribe"))
		control_subscribe(c);
	else if (streq(op, "down"))
		stop(s, json_is_true(json_object_get(req, "now")));
	else if (streq(op, "netns"))
		r = answer_netns(s, c, req, &e);
	else if (streq(op, "switch"))
		r = answer_switch(s, c, &e);
	else if (streq(op, "enter"))
		r = answer_enter(s, c, req, &e);
	else
		r = err_set(&e, EINVAL, "no such request: %s", op ? op : "");
	if (r < 0)
		control_answer_err(c, &e);
}

static void on_owner_gone(void *data)
{
	struct supervisor *s = data;

	if (s->owned)
		stop(s, true);
}

static const struct control_ops control_ops = {
	.request = on_request,
	.state = state_object,
	.owner_gone = on_owner_gone,
};

/* Up --------------------------------------------------------------------------------------------- */

static int write_hosts(const struct supervisor *s, const char *ns, struct err *e)
{
	autofree char *path = xasprintf("%s/hosts/%s", s->home.dir, ns);
	autofd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	autostr text = {0};

	if (fd < 0 && errno == EEXIST)
		return 0;
	lab_spec_hosts_file(s->spec, ns, &text);
	if (fd < 0 || write(fd, text.s, text.len) != (ssize_t)text.len)
		return err_errno(e, errno, "write %s", path);
	return 0;
}

static int write_files(const struct supervisor *s, struct err *e)
{
	autofree char *hosts = xasprintf("%s/hosts", s->home.dir);
	autofree char *logs = xasprintf("%s/logs", s->home.dir);
	int r = 0;

	if (mkdir(hosts, 0755) < 0 || mkdir(logs, 0700) < 0)
		return err_errno(e, errno, "make folders in %s", s->home.dir);
	for (size_t i = 0; r == 0 && i < s->spec->n_pods; i++)
		r = write_hosts(s, s->spec->pods[i].ns, e);
	return r;
}

static int start_sweeper(struct supervisor *s, struct err *e)
{
	autofd int self = pidfd_open_pid(getpid(), e), dir = -1, pidfd = -1;

	if (self < 0)
		return self;
	dir = open(s->home.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_errno(e, errno, "%s", s->home.dir);
	pidfd = role_spawn(LAB_SWEEPER_ROLE, lab_sweeper_main,
			   (const int[]){self, dir, s->home.groups_fd, lab_wire_netns(s->host.wire)}, 4,
			   &s->sweeper, e);
	return pidfd < 0 ? pidfd : 0;
}

/* Who probes the pods from here closes its connections first: 500 requests a second would hold half of
 * the ports within half a minute, and from then on each connect searches the other half for
 * milliseconds. Where the kernel does not let a lab say so, that is how it is. */
static void reuse_ports(void)
{
	autofd int fd = open("/proc/sys/net/ipv4/tcp_tw_reuse", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, "1", 1);
}

static int set_up_network(struct supervisor *s, struct err *e)
{
	if (unshare(CLONE_NEWNET) < 0) {
		err_errno(e, errno, "make the switch's network namespace");
		if (errno == EPERM)
			err_hint(e, "run as root (CAP_SYS_ADMIN is needed)");
		return -e->code;
	}
	reuse_ports();
	return lab_wire_open(&s->host.wire, e);
}

static int parse_manifests(struct supervisor *s, struct err *e)
{
	autodiags d = {0};

	if (lab_spec_parse(&s->files, &d, &s->spec) < 0 ||
	    lab_spec_resolve(s->spec, s->path, s->beside, &d) < 0)
		return diags_err(&d, e);
	return 0;
}

/* One pod a turn of the loop: requests are answered meanwhile. */
static int on_start_next(sd_event_source *source, void *data)
{
	struct supervisor *s = data;
	const struct lab_pod *spec = &s->spec->pods[s->n_pods];
	int r;

	if (s->n_pods == s->spec->n_pods) {
		s->starter = sd_event_source_disable_unref(s->starter);
		on_changed(s);
		return 0;
	}
	r = pod_start(&s->pods[s->n_pods], &s->host, spec, s->n_pods, &s->failed);
	s->n_pods++;
	on_changed(s);
	if (r < 0) {
		err_wrap(&s->failed, "pod %s", spec->name);
		stop(s, true);
	}
	return 0;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *data)
{
	struct supervisor *s = data;

	stop(s, s->host.stopping);
	return 0;
}

static int set_up_loop(struct supervisor *s, struct err *e)
{
	sigset_t signals;
	int r = sd_event_new(&s->host.loop);

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGCHLD); /* sd-event wants it for its child sources */
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (r >= 0)
		r = sd_event_add_signal(s->host.loop, NULL, SIGTERM, on_signal, s);
	if (r >= 0)
		r = sd_event_add_signal(s->host.loop, NULL, SIGINT, on_signal, s);
	if (r >= 0)
		r = sd_event_add_defer(s->host.loop, &s->starter, on_start_next, s);
	if (r >= 0)
		r = sd_event_source_set_enabled(s->starter, SD_EVENT_ON);
	if (r >= 0)
		r = sd_event_source_set_priority(s->starter, SD_EVENT_PRIORITY_IDLE);
	return r < 0 ? err_errno(e, -r, "event loop") : 0;
}

/* Without its folder nobody can ask the lab to go down. */
static int on_folder(sd_event_source *source, const struct inotify_event *event, void *data)
{
	struct supervisor *s = data;

	if (!lab_home_is_deleted(&s->home))
		return 0;
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	if (!s->failed.code)
		err_set(&s->failed, ENOENT, "the lab's folder %s was deleted", s->home.dir);
	stop(s, true);
	return 0;
}

static int watch_folder(struct supervisor *s, struct err *e)
{
	autofree char *lock = xasprintf("%s/lock", s->home.dir);
	int r = sd_event_add_inotify(s->host.loop, NULL, lock, IN_ATTRIB | IN_DELETE_SELF, on_folder, s);

	return r < 0 ? err_errno(e, -r, "watch %s", lock) : 0;
}

static int set_up(struct supervisor *s, const char *dir, struct err *e)
{
	unsigned id = 0;
	int r = parse_manifests(s, e);

	if (r == 0)
		r = set_up_loop(s, e);
	if (r == 0)
		r = lab_home_take(dir, &s->home, e);
	if (r == 0)
		r = watch_folder(s, e);
	if (r == 0)
		r = write_files(s, e);
	if (r == 0)
		r = set_up_network(s, e);
	if (r == 0)
		r = start_sweeper(s, e);
	if (r == 0 && getrandom(&id, sizeof id, 0) != sizeof id)
		r = err_errno(e, errno, "random number");
	if (r == 0)
		r = lab_groups_open(&s->home, s->name, id, &s->host.group, e);
	if (r < 0)
		return r;
	s->host.dir = s->home.dir;
	s->host.path = s->path;
	s->host.beside = s->beside;
	s->host.spec = s->spec;
	s->host.changed = on_changed;
	s->host.data = s;
	s->pods = xcalloc(s->spec->n_pods, sizeof *s->pods);
	return control_open(s->host.loop, s->home.dir, &control_ops, s, &s->control, e);
}

/* Down ------------------------------------------------------------------------------------------- */

static void stop_sweeper(struct supervisor *s)
{
	if (!s->sweeper)
		return;
	kill(s->sweeper, SIGKILL); /* our own child, not reaped yet */
	waitpid(s->sweeper, NULL, 0);
}

static int tear_down(struct supervisor *s, struct err *e)
{
	int r;

	for (size_t i = 0; i < s->n_pods; i++)
		pod_done(&s->pods[i]);
	if (s->host.wire)
		lab_wire_clear(NULL);
	lab_wire_close(s->host.wire);
	lab_group_done(&s->host.group);
	r = lab_home_remove(&s->home, e);
	if (r == 0)
		stop_sweeper(s);
	return r;
}

static void say_failure(int fd, const struct err *e)
{
	autofree char *text = NULL, *line = NULL;
	json_t *j = json_pack("{s:s, s:s, s:i}", "error", e->text, "hint", e->hint, "code", e->code);

	text = json_dumps(j, JSON_COMPACT);
	line = xasprintf("%s\n", text);
	talk_send(fd, line, strlen(line), NULL, 0, MSG_DONTWAIT);
	json_decref(j);
}

static void supervisor_done(struct supervisor *s)
{
	control_close(s->control);
	s->starter = sd_event_source_disable_unref(s->starter);
	sd_event_unref(s->host.loop);
	lab_files_done(&s->files);
	lab_spec_free(s->spec);
	free(s->pods);
	free(s->name);
	free(s->path);
	free(s->beside);
}

static void leave_terminal(void)
{
	autofd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
}

int lab_supervisor_main(int argc, char **argv)
{
	struct supervisor s = {.home = {.lock_fd = -1, .groups_fd = -1}};
	autofd int owner = ROLE_FD_FIRST, report = -1;
	json_t *order = NULL;
	struct err e = {0};
	int r;

	prctl(PR_SET_NAME, "brunt-lab");
	leave_terminal();
	fcntl(owner, F_SETFD, FD_CLOEXEC);
	if (read_order(owner, &order) < 0)
		return 2;
	report = fcntl(owner, F_DUPFD_CLOEXEC, ROLE_FD_FIRST + 1);
	take_order(&s, order);
	r = set_up(&s, json_string_value(json_object_get(order, "dir")), &e);
	json_decref(order);
	if (r == 0) {
		control_add_owner(s.control, take_fd(owner));
		r = sd_event_loop(s.host.loop);
		e = s.failed;
	}
	if (tear_down(&s, e.code ? NULL : &e) < 0 || e.code)
		say_failure(report, &e);
	supervisor_done(&s);
	return r < 0 || e.code;
}
