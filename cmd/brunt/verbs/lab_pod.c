/* lab logs, exec and port-forward: the verbs for one pod. */
#include "lab.h"

#include "../../../lib/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

struct pod_ref {
	char *dir;
	struct lab_client *client;
	struct lab_state state;
	const struct lab_pod_state *pod;
};

static int find_pod(const struct globals *g, const char *lab, const char *pod, struct pod_ref *ret,
		    struct err *e)
{
	int r;

	*ret = (struct pod_ref){.dir = lab_dir_of(g->state_dir, lab ? lab : LAB_DEFAULT_NAME)};
	r = lab_connect(ret->dir, &ret->client, e);
	if (r == 0)
		r = lab_client_list(ret->client, &ret->state, e);
	if (r == 0)
		r = lab_state_find(&ret->state, pod, &ret->pod, e);
	return r;
}

static void pod_ref_done(struct pod_ref *r)
{
	lab_disconnect(r->client);
	lab_state_done(&r->state);
	free(r->dir);
}

static int usage_error(struct err *e, const struct verb *v)
{
	err_set(e, EINVAL, "%s: want %s", v->name, v->usage);
	return EXIT_USAGE;
}

/* logs ------------------------------------------------------------------------------------------- */

struct logs_options {
	const char *name, *container;
	bool follow;
	int64_t tail;
};

/* The file as it was opened: it is turned over under another name when it is full. */
struct tail {
	char *path;
	int fd;
};

static void copy_rest(struct tail *t)
{
	char buf[65536];
	ssize_t n;

	while (t->fd >= 0 && (n = read(t->fd, buf, sizeof buf)) > 0)
		fwrite(buf, 1, n, stdout);
	fflush(stdout);
}

static bool is_turned_over(const struct tail *t)
{
	struct stat mine, now;

	return t->fd < 0 || (fstat(t->fd, &mine) == 0 && stat(t->path, &now) == 0 &&
			     mine.st_ino != now.st_ino);
}

static void catch_up(struct tail *t)
{
	copy_rest(t);
	if (!is_turned_over(t))
		return;
	if (t->fd >= 0)
		close(t->fd);
	t->fd = open(t->path, O_RDONLY | O_CLOEXEC);
	copy_rest(t);
}

/* Until the lab is gone or somebody interrupts. */
static int follow(const struct pod_ref *ref, struct tail *t, struct err *e)
{
	autofree char *folder = xasprintf("%s/logs", ref->dir);
	autofd int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	struct pollfd fds[] = {{.fd = watch, .events = POLLIN},
			       {.fd = lab_client_fd(ref->client), .events = POLLIN}};
	char events[4096];

	if (watch < 0 || inotify_add_watch(watch, folder, IN_MODIFY | IN_MOVED_FROM | IN_CREATE) < 0)
		return err_errno(e, errno, "watch %s", folder);
	do {
		catch_up(t);
		if (ferror(stdout))
			return 0;
		poll(fds, ARRAY_SIZE(fds), -1);
		while (read(watch, events, sizeof events) > 0)
			;
	} while (!fds[1].revents);
	catch_up(t);
	return 0;
}

static const char *last_lines(const char *text, size_t len, int64_t n)
{
	const char *p = text + len;

	if (p > text && p[-1] == '\n')
		p--;
	for (; n > 0 && p > text; p--)
		if (p[-1] == '\n' && --n == 0)
			break;
	return n && p > text ? text + len : p;
}

static void print_tail(const struct strlist *files, struct tail *t, int64_t lines)
{
	autostr all = {0};
	char buf[65536];
	const char *from;
	ssize_t n;

	for (size_t i = 0; i < files->n; i++) {
		int fd = open(files->items[i], O_RDONLY | O_CLOEXEC);

		while (fd >= 0 && (n = read(fd, buf, sizeof buf)) > 0)
			str_addn(&all, buf, n);
		if (fd >= 0 && streq(files->items[i], t->path))
			t->fd = fd;
		else if (fd >= 0)
			close(fd);
	}
	if (!all.len)
		return;
	from = lines < 0 ? all.s : last_lines(all.s, all.len, lines);
	fwrite(from, 1, all.s + all.len - from, stdout);
	fflush(stdout);
}

static const char *container_of(const struct pod_ref *ref, const char *name, struct err *e)
{
	for (size_t i = 0; i < ref->pod->n_containers; i++)
		if (!name || streq(ref->pod->containers[i].name, name))
			return ref->pod->containers[i].name;
	err_set(e, ENOENT, "pod %s has no container %s", ref->pod->name, name);
	return NULL;
}

static int print_logs(const struct pod_ref *ref, const struct logs_options *o, struct err *e)
{
	const char *container = container_of(ref, o->container, e);
	struct strlist files = {0};
	struct tail t = {.fd = -1};
	int r = 0;

	if (!container)
		return -ENOENT;
	lab_log_files(ref->dir, ref->pod->ns, ref->pod->name, container, &files);
	t.path = xstrdup(files.n ? files.items[files.n - 1] : "");
	print_tail(&files, &t, o->tail ? o->tail : -1);
	if (o->follow)
		r = follow(ref, &t, e);
	if (t.fd >= 0)
		close(t.fd);
	free(t.path);
	strlist_done(&files);
	return r;
}

static int run_logs(const struct globals *g, const void *opts, const struct strlist *args,
		    struct err *e)
{
	const struct logs_options *o = opts;
	struct pod_ref ref;
	int r;

	if (args->n != 1)
		return usage_error(e, &verb_lab_logs);
	r = find_pod(g, o->name, args->items[0], &ref, e);
	if (r == 0)
		r = print_logs(&ref, o, e);
	pod_ref_done(&ref);
	return r < 0 ? EXIT_ERROR : EXIT_PASSED;
}

static const struct option_row logs_rows[] = {
	{"--container", 'c', "NAME", "which container (default: the first)", OPT_STRING,
	 offsetof(struct logs_options, container)},
	{"--follow", 'f', NULL, "go on with what comes", OPT_FLAG,
	 offsetof(struct logs_options, follow)},
	{"--name", 0, "NAME", "the lab's name (default: default)", OPT_STRING,
	 offsetof(struct logs_options, name)},
	{"--tail", 0, "N", "only the last N lines of what is there", OPT_INT,
	 offsetof(struct logs_options, tail)},
};

const struct verb verb_lab_logs = {
	.name = "lab logs",
	.summary = "print what a container wrote",
	.usage = "[--name NAME] [-f] [--tail N] [-c CONTAINER] POD",
	.doc = "Prints standard output and error of a container, over all its restarts. The newest 4 "
	       "to 8 MiB are kept while the lab is up.",
	.options = logs_rows,
	.n_options = ARRAY_SIZE(logs_rows),
	.options_size = sizeof(struct logs_options),
	.run = run_logs,
};

/* exec ------------------------------------------------------------------------------------------- */

struct exec_options {
	const char *name, *container;
};

static int run_exec(const struct globals *g, const void *opts, const struct strlist *args,
		    struct err *e)
{
	const struct exec_options *o = opts;
	autofree char **argv = strlist_argv(args);
	struct pod_ref ref;
	int r, status = 0;

	if (args->n < 2)
		return usage_error(e, &verb_lab_exec);
	r = find_pod(g, o->name, args->items[0], &ref, e);
	if (r == 0)
		r = lab_client_exec(ref.client, ref.pod->ns, ref.pod->name, o->container, argv + 1,
				    &status, e);
	pod_ref_done(&ref);
	if (r < 0)
		return EXIT_ERROR;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static const struct option_row exec_rows[] = {
	{"--container", 'c', "NAME", "whose environment and limits (default: the first container's)",
	 OPT_STRING, offsetof(struct exec_options, container)},
	{"--name", 0, "NAME", "the lab's name (default: default)", OPT_STRING,
	 offsetof(struct exec_options, name)},
};

const struct verb verb_lab_exec = {
	.name = "lab exec",
	.summary = "run a command inside a pod",
	.usage = "[--name NAME] [-c CONTAINER] POD -- COMMAND...",
	.doc = "Runs a command in the pod's namespaces, with the container's environment and control "
	       "groups. The exit code is the command's.",
	.options = exec_rows,
	.n_options = ARRAY_SIZE(exec_rows),
	.options_size = sizeof(struct exec_options),
	.run = run_exec,
};

/* port-forward ----------------------------------------------------------------------------------- */

struct forward_options {
	const char *name;
};

static int parse_port(const char *s, int64_t *ret)
{
	return units_parse_int(s, ret, NULL) < 0 || *ret < 0 || *ret > 65535 ? -EINVAL : 0;
}

static int parse_ports(const char *s, int64_t *ret_local, int64_t *ret_remote, struct err *e)
{
	autofree char *local = xstrdup(s);
	char *remote = strchr(local, ':');

	if (remote)
		*remote++ = '\0';
	if (parse_port(local, ret_local) < 0 || parse_port(remote ? remote : local, ret_remote) < 0 ||
	    !*ret_remote)
		return err_set(e, EINVAL, "\"%s\" is not LOCAL:REMOTE", s);
	return 0;
}

static int on_lab_gone(sd_event_source *s, int fd, uint32_t events, void *data)
{
	return sd_event_exit(sd_event_source_get_event(s), -EPIPE);
}

static int on_interrupt(sd_event_source *s, const struct signalfd_siginfo *si, void *data)
{
	return sd_event_exit(sd_event_source_get_event(s), 0);
}

static int forward_all(const struct pod_ref *ref, sd_event *loop, const struct strlist *args,
		       struct lab_forward **forwards, struct err *e)
{
	for (size_t i = 1; i < args->n; i++) {
		int64_t local, remote;
		uint16_t port;
		int r = parse_ports(args->items[i], &local, &remote, e);

		if (r == 0)
			r = lab_forward_new(ref->client, loop, ref->pod->addresses.items[0], local, remote,
					    &port, &forwards[i - 1], e);
		if (r < 0)
			return r;
		printf("127.0.0.1:%u -> %s:%d\n", port, ref->pod->name, (int)remote);
	}
	return fflush(stdout);
}

static int serve(const struct pod_ref *ref, sd_event *loop, struct err *e)
{
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sd_event_add_signal(loop, NULL, SIGINT, on_interrupt, NULL);
	sd_event_add_signal(loop, NULL, SIGTERM, on_interrupt, NULL);
	sd_event_add_io(loop, NULL, lab_client_fd(ref->client), POLLIN, on_lab_gone, NULL);
	r = sd_event_loop(loop);
	return r < 0 ? err_set(e, EPIPE, "the lab is gone") : 0;
}

static int run_forward(const struct globals *g, const void *opts, const struct strlist *args,
		       struct err *e)
{
	const struct forward_options *o = opts;
	struct lab_forward **forwards;
	sd_event *loop = NULL;
	struct pod_ref ref;
	int r;

	if (args->n < 2)
		return usage_error(e, &verb_lab_forward);
	forwards = xcalloc(args->n, sizeof *forwards);
	r = find_pod(g, o->name, args->items[0], &ref, e);
	if (r == 0)
		r = sd_event_new(&loop);
	if (r >= 0)
		r = forward_all(&ref, loop, args, forwards, e);
	if (r == 0)
		r = serve(&ref, loop, e);
	for (size_t i = 0; i < args->n; i++)
		lab_forward_free(forwards[i]);
	free(forwards);
	sd_event_unref(loop);
	pod_ref_done(&ref);
	return r == -EINVAL ? EXIT_USAGE : r < 0 ? EXIT_ERROR : EXIT_PASSED;
}

static const struct option_row forward_rows[] = {
	{"--name", 0, "NAME", "the lab's name (default: default)", OPT_STRING,
	 offsetof(struct forward_options, name)},
};

const struct verb verb_lab_forward = {
	.name = "lab port-forward",
	.summary = "reach a pod's port from this machine",
	.usage = "[--name NAME] POD LOCAL:REMOTE...",
	.doc = "Listens on 127.0.0.1:LOCAL (0: any free port) and carries each connection to the pod's "
	       "port REMOTE, until Ctrl-C.",
	.options = forward_rows,
	.n_options = ARRAY_SIZE(forward_rows),
	.options_size = sizeof(struct forward_options),
	.run = run_forward,
};
