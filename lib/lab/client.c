/*
 * Asking a supervisor: a request, then lines until the answer, with a deadline for a supervisor
 * that is stopped or starved.
 */
#include "lab.h"

#include "home.h"
#include "manifest.h"
#include "pod_ns.h"
#include "state.h"
#include "talk.h"

#include "../kernel/cgroup.h"
#include "../kernel/pidfd.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { ANSWER_TIMEOUT_S = 10 };

struct lab_client {
	char *dir;
	int fd;
	struct talk_buffer in;
};

int lab_connect(const char *dir, struct lab_client **ret, struct err *e)
{
	const struct timeval patience = {.tv_sec = ANSWER_TIMEOUT_S};
	const char *name = strrchr(dir, '/') ? strrchr(dir, '/') + 1 : dir;
	autofd int fd = -1;

	if (!lab_home_is_live(dir)) {
		err_set(e, ENOENT, "lab %s is not up", name);
		return err_hint(e, "brunt lab ps lists those that are, brunt lab up starts one");
	}
	fd = talk_connect(dir, e);
	if (fd < 0)
		return err_wrap(e, "lab %s", name);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	*ret = xcalloc(1, sizeof **ret);
	**ret = (struct lab_client){.dir = xstrdup(dir), .fd = take_fd(fd)};
	return 0;
}

void lab_disconnect(struct lab_client *c)
{
	if (!c)
		return;
	close(c->fd);
	talk_buffer_done(&c->in);
	free(c->dir);
	free(c);
}

int lab_client_fd(const struct lab_client *c)
{
	return c->fd;
}

static int send_request(struct lab_client *c, json_t *req, struct err *e)
{
	autofree char *text = json_dumps(req, JSON_COMPACT);
	autofree char *line = xasprintf("%s\n", text ? text : "{}");
	int n = talk_send(c->fd, line, strlen(line), NULL, 0, 0);

	json_decref(req);
	return n < 0 ? err_errno(e, -n, "ask the lab") : 0;
}

/* The answer, which the caller releases; an answer that tells an error becomes that error. */
static int ask(struct lab_client *c, json_t *req, json_t **ret, struct err *e)
{
	int r = send_request(c, req, e);
	const char *error;

	if (r < 0)
		return r;
	while ((r = talk_line(&c->in, ret)) == 0) {
		r = talk_read(c->fd, &c->in, 0);
		if (r <= 0)
			return err_errno(e, r ? -r : ETIMEDOUT, "answer of the lab");
	}
	if (r < 0)
		return err_errno(e, -r, "answer of the lab");
	error = json_string_value(json_object_get(*ret, "error"));
	if (!error)
		return 0;
	r = err_set(e, json_integer_value(json_object_get(*ret, "code")), "%s", error);
	json_decref(*ret);
	return r;
}

int lab_client_list(struct lab_client *c, struct lab_state *ret, struct err *e)
{
	json_t *answer;
	int r = ask(c, json_pack("{s:s}", "op", "list"), &answer, e);

	if (r < 0)
		return r;
	r = lab_state_decode(json_object_get(answer, "state"), ret, e);
	json_decref(answer);
	return r;
}

static int supervisor_pidfd(const struct lab_client *c)
{
	struct ucred peer;
	socklen_t len = sizeof peer;

	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	return pidfd_open_pid(peer.pid, NULL);
}

int lab_client_down(struct lab_client *c, bool now, struct err *e)
{
	autofd int pidfd = supervisor_pidfd(c);
	int r = send_request(c, json_pack("{s:s, s:b}", "op", "down", "now", now), e);

	if (r < 0)
		return r;
	if (pidfd >= 0)
		pidfd_wait(pidfd, -1);
	if (lab_home_is_live(c->dir))
		return err_set(e, EBUSY, "%s is still in use", c->dir);
	if (access(c->dir, F_OK) == 0 && lab_home_sweep(c->dir, e) < 0)
		return err_wrap(e, "%s", c->dir);
	return 0;
}

/* The descriptor that came with an answer. */
static int took_fd(struct lab_client *c, struct err *e)
{
	int fd = talk_take_fd(&c->in);

	return fd < 0 ? err_set(e, EPROTO, "the lab's answer has no descriptor") : fd;
}

int lab_client_switch(struct lab_client *c, int *ret_netns_fd, struct kvs *ret_hosts,
		      struct err *e)
{
	json_t *answer, *value;
	const char *name;
	int r = ask(c, json_pack("{s:s}", "op", "switch"), &answer, e);

	if (r < 0)
		return r;
	json_object_foreach(json_object_get(answer, "hosts"), name, value)
		kvs_set(ret_hosts, name, json_string_value(value));
	json_decref(answer);
	r = took_fd(c, e);
	if (r < 0)
		return r;
	*ret_netns_fd = r;
	return 0;
}

int lab_client_netns(struct lab_client *c, const char *ns, const char *pod, int *ret_fd,
		     struct err *e)
{
	json_t *answer;
	int r = ask(c, json_pack("{s:s, s:s, s:s}", "op", "netns", "namespace", ns, "pod", pod),
		    &answer, e);

	if (r < 0)
		return r;
	json_decref(answer);
	r = took_fd(c, e);
	if (r < 0)
		return r;
	*ret_fd = r;
	return 0;
}

int lab_client_subscribe(struct lab_client *c, struct err *e)
{
	return send_request(c, json_pack("{s:s}", "op", "subscribe"), e);
}

int lab_client_next(struct lab_client *c, struct lab_state *ret, struct err *e)
{
	json_t *line = NULL, *newest = NULL;
	int r, end;

	while ((end = talk_read(c->fd, &c->in, MSG_DONTWAIT)) > 0)
		;
	while ((r = talk_line(&c->in, &line)) > 0) {
		json_decref(newest);
		newest = line;
	}
	if (newest) {
		r = lab_state_decode(json_object_get(newest, "state"), ret, e);
		json_decref(newest);
		return r < 0 ? r : 1;
	}
	return end < 0 ? err_set(e, EPIPE, "the lab's supervisor is gone") : r;
}

/* exec ------------------------------------------------------------------------------------------- */

static void list_of(const json_t *j, const char *key, struct strlist *ret)
{
	json_t *item;
	size_t i;

	json_array_foreach(json_object_get(j, key), i, item)
		strlist_add(ret, json_string_value(item));
}

static const char *path_of(const struct strlist *env)
{
	for (size_t i = 0; i < env->n; i++)
		if (strncmp(env->items[i], "PATH=", 5) == 0)
			return env->items[i] + 5;
	return "/usr/bin:/bin";
}

static int run_in_pod(int init_pidfd, const json_t *how, char **argv, int *ret_status,
		      struct err *e)
{
	struct strlist env = {0}, groups = {0};
	autofree char *program = NULL;
	autofree char **envp = NULL;
	struct lab_process p;
	int r = 0;

	list_of(how, "env", &env);
	list_of(how, "groups", &groups);
	envp = strlist_argv(&env);
	program = lab_find_program(argv[0], path_of(&env), "");
	if (!program)
		r = err_set(e, ENOENT, "%s: not found in the container's PATH", argv[0]);
	if (r == 0)
		r = lab_pod_ns_spawn(init_pidfd,
				     &(struct lab_command){
					     .path = program, .argv = argv, .envp = envp,
					     .dir = json_string_value(json_object_get(how, "dir")),
					     .stdin_fd = STDIN_FILENO, .stdout_fd = STDOUT_FILENO,
					     .stderr_fd = STDERR_FILENO},
				     &p, e);
	if (r == 0) {
		for (size_t i = 0; i < groups.n; i++)
			cgroup_attach(&(struct cgroup){.path = groups.items[i]}, p.pid, NULL);
		lab_pod_ns_go(&p);
		waitpid(p.pid, ret_status, 0);
		close(p.pidfd);
	}
	strlist_done(&env);
	strlist_done(&groups);
	return r;
}

int lab_client_exec(struct lab_client *c, const char *ns, const char *pod, const char *container,
		    char **argv, int *ret_status, struct err *e)
{
	json_t *answer, *req = json_pack("{s:s, s:s, s:s}", "op", "enter", "namespace", ns, "pod", pod);
	autofd int init_pidfd = -1;
	void (*on_int)(int), (*on_quit)(int);
	int r;

	if (container)
		json_object_set_new(req, "container", json_string(container));
	r = ask(c, req, &answer, e);
	if (r < 0)
		return r;
	r = init_pidfd = took_fd(c, e);
	/* The terminal's signals are for the program. */
	on_int = signal(SIGINT, SIG_IGN);
	on_quit = signal(SIGQUIT, SIG_IGN);
	if (r >= 0)
		r = run_in_pod(init_pidfd, answer, argv, ret_status, e);
	signal(SIGINT, on_int);
	signal(SIGQUIT, on_quit);
	json_decref(answer);
	return r;
}
