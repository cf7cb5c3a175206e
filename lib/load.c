#include "load.h"

#include "base/text.h"
#include "kernel/hosts.h"
#include "kernel/pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

enum { OUTPUT_MAX = 8192, STOP_GRACE_MS = 1000 };

struct load {
	pid_t pid;
	int pidfd, out_fd;
	char output[OUTPUT_MAX + 1]; /* the last of it */
	size_t len;
	sd_event_source *exit_source, *output_source;
	void (*exited)(void *data, int status, const char *text);
	void *data;
};

/* What the child needs, made before the fork: only async-signal-safe calls come after it. */
struct child {
	char **argv;
	const char *dir;
	const struct workgroup *group;
	int netns_fd, out_fd, report_fd;
	const char *beside; /* the program beside brunt's own, when PATH has none; NULL: not asked */
	const char *hosts; /* path of a file to be seen as /etc/hosts; NULL: as it is */
};

static int enter(const struct child *c)
{
	if (workgroup_join(c->group) < 0 || setpgid(0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	if (dup2(c->out_fd, STDOUT_FILENO) < 0 || dup2(c->out_fd, STDERR_FILENO) < 0)
		return -errno;
	if (c->dir && chdir(c->dir) < 0)
		return -errno;
	if (c->netns_fd >= 0 && setns(c->netns_fd, CLONE_NEWNET) < 0)
		return -errno;
	if (c->hosts && (unshare(CLONE_NEWNS) < 0 ||
			 mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0))
		return -errno;
	return c->hosts ? hosts_bind(c->hosts) : 0;
}

static void child_main(const struct child *c)
{
	sigset_t none;
	int r;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	r = enter(c);
	if (r == 0) {
		execvp(c->argv[0], c->argv);
		r = -errno;
		if (r == -ENOENT && c->beside)
			execv(c->beside, c->argv);
	}
	if (write(c->report_fd, &r, sizeof r) < 0)
		_exit(126);
	_exit(127);
}

static int add_file(FILE *to, const char *path)
{
	FILE *from = fopen(path, "re");
	char buf[4096];
	size_t n;

	if (!from)
		return 0;
	while ((n = fread(buf, 1, sizeof buf, from)) > 0)
		fwrite(buf, 1, n, to);
	fclose(from);
	return 0;
}

/* The machine's hosts and the vantage's; path becomes the file's, "" when none is needed. */
static int make_hosts(const struct vantage *v, char *path, size_t size, struct err *e)
{
	FILE *f;
	int fd;

	path[0] = '\0';
	if (v->hosts.n == 0)
		return 0;
	snprintf(path, size, "/tmp/brunt-hosts-XXXXXX");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "load: %s", path);
	fchmod(fd, 0644);
	f = fdopen(fd, "w");
	add_file(f, "/etc/hosts");
	for (size_t i = 0; i < v->hosts.n; i++) {
		autofree char *addresses = xstrdup(v->hosts.items[i].value);
		char *save = NULL;

		for (char *a = strtok_r(addresses, ",", &save); a; a = strtok_r(NULL, ",", &save))
			fprintf(f, "%s %s\n", a, v->hosts.items[i].key);
	}
	if (fclose(f) != 0)
		return err_errno(e, errno, "load: %s", path);
	return 0;
}

static void read_output(struct load *l)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(l->out_fd, buf, sizeof buf)) > 0) {
		size_t add = (size_t)n, over = l->len + add > OUTPUT_MAX ? l->len + add - OUTPUT_MAX : 0;

		memmove(l->output, l->output + over, l->len - over);
		l->len -= over;
		memcpy(l->output + l->len, buf, add);
		l->len += add;
		l->output[l->len] = '\0';
	}
	if (n == 0)
		l->output_source = sd_event_source_unref(l->output_source);
}

static int on_output(sd_event_source *s, int fd, uint32_t revents, void *data)
{
	read_output(data);
	return 0;
}

static const char *last_line(const struct load *l)
{
	const char *end = l->output + l->len, *p;

	while (end > l->output && end[-1] == '\n')
		end--;
	for (p = end; p > l->output && p[-1] != '\n'; p--)
		;
	return p;
}

static int on_child_exit(sd_event_source *s, int fd, uint32_t revents, void *data)
{
	struct load *l = data;
	siginfo_t si = {0};
	autofree char *text = NULL;
	const char *line;

	read_output(l);
	waitid(P_PIDFD, (id_t)l->pidfd, &si, WEXITED);
	l->exit_source = sd_event_source_unref(l->exit_source);
	line = last_line(l);
	text = xasprintf("%s %d%s%.*s", si.si_code == CLD_EXITED ? "exit code" : "signal",
			 si.si_status, l->len ? ": " : "", (int)strcspn(line, "\n"), line);
	l->exited(l->data, si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status, text);
	return 0;
}

/* As for a lab's pods: cron has a short PATH, and liveroom is beside brunt. */
static char *beside_brunt(const char *name)
{
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

	if (n <= 0 || strchr(name, '/'))
		return NULL;
	exe[n] = '\0';
	return xasprintf("%.*s/%s", (int)(strrchr(exe, '/') - exe), exe, name);
}

/* The pipe closes without a word when exec succeeded. */
static int spawn(struct load *l, struct child *c, struct err *e)
{
	int report[2], child_errno = 0;
	ssize_t n;

	if (pipe2(report, O_CLOEXEC) < 0)
		return err_errno(e, errno, "load: pipe");
	c->report_fd = report[1];
	l->pid = fork();
	if (l->pid == 0)
		child_main(c);
	close(report[1]);
	n = l->pid < 0 ? 0 : read(report[0], &child_errno, sizeof child_errno);
	close(report[0]);
	if (l->pid < 0)
		return err_errno(e, errno, "load: fork");
	if (n == sizeof child_errno) {
		waitpid(l->pid, NULL, 0);
		l->pid = 0;
		err_errno(e, -child_errno, "load: %s", c->argv[0]);
		if (child_errno == -ENOENT)
			err_hint(e, "install %s, or put its folder into PATH", c->argv[0]);
		return child_errno;
	}
	l->pidfd = pidfd_open_pid(l->pid, e);
	return l->pidfd < 0 ? err_wrap(e, "load") : 0;
}

static int watch(struct load *l, struct sd_event *loop, struct err *e)
{
	int r = sd_event_add_io(loop, &l->output_source, l->out_fd, EPOLLIN, on_output, l);

	if (r >= 0)
		r = sd_event_add_io(loop, &l->exit_source, l->pidfd, EPOLLIN, on_child_exit, l);
	return r < 0 ? err_errno(e, -r, "load: watch") : 0;
}

int load_start(const struct strlist *command, const char *dir, const struct vantage *v,
	       const struct workgroup *group, struct sd_event *loop,
	       void (*exited)(void *data, int status, const char *text),
	       void *data, struct load **ret, struct err *e)
{
	autoptr(load) l = xcalloc(1, sizeof *l);
	autofree char **argv = strlist_argv(command);
	autofree char *beside = beside_brunt(argv[0]);
	char hosts[] = "/tmp/brunt-hosts-XXXXXX";
	struct child c = {.argv = argv, .dir = dir, .group = group, .netns_fd = v->netns_fd,
			  .beside = beside};
	int out[2], r;

	l->pidfd = l->out_fd = -1;
	l->exited = exited;
	l->data = data;
	r = make_hosts(v, hosts, sizeof hosts, e);
	if (r < 0)
		return r;
	if (pipe2(out, O_CLOEXEC) < 0)
		return err_errno(e, errno, "load: pipe");
	l->out_fd = out[0];
	fcntl(l->out_fd, F_SETFL, O_NONBLOCK);
	c.out_fd = out[1];
	c.hosts = hosts[0] ? hosts : NULL;
	r = spawn(l, &c, e);
	close(out[1]);
	if (hosts[0])
		unlink(hosts); /* the bind mount keeps the file for whoever sees it */
	if (r == 0)
		r = watch(l, loop, e);
	if (r < 0)
		return r;
	*ret = take(l);
	return 0;
}

static void terminate(struct load *l)
{
	l->exit_source = sd_event_source_unref(l->exit_source);
	l->output_source = sd_event_source_unref(l->output_source);
	/* Not reaped yet, or reaped and its pid free: only the pidfd can tell. */
	if (l->pidfd >= 0 && pidfd_wait(l->pidfd, 0) == 0) {
		kill(-l->pid, SIGTERM);
		if (pidfd_wait(l->pidfd, STOP_GRACE_MS) == 0)
			kill(-l->pid, SIGKILL);
		waitid(P_PIDFD, (id_t)l->pidfd, &(siginfo_t){0}, WEXITED);
	}
}

void load_stop(struct load *l)
{
	if (!l)
		return;
	terminate(l);
	if (l->pidfd >= 0)
		close(l->pidfd);
	if (l->out_fd >= 0)
		close(l->out_fd);
	free(l);
}

char *load_finish(struct load *l)
{
	char *output;

	terminate(l);
	read_output(l);
	output = xstrdup(l->output);
	text_make_printable(output, true);
	load_stop(l);
	return output;
}
