/*
 * PID namespaces are entered for children only, so the parent sets its own "namespace for
 * children" for the length of one fork and takes it back. The other namespaces are entered by the
 * child itself.
 *
 * PR_SET_PDEATHSIG makes the kernel kill the init when its parent dies; the parent is outside of
 * the namespace, so the signal counts even for an init. What is left to sweep after kill -9 of
 * everything are cgroup folders and files.
 *
 * Source: pid_namespaces(7), setns(2) on pidfds (5.8), prctl(2)
 */
#include "pod_ns.h"

#include "../kernel/hosts.h"
#include "../kernel/netns.h"
#include "../kernel/pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static void reset_signals(void)
{
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* fork(), the child being born into the PID namespace that enter() chose. */
static pid_t fork_after(int (*enter)(int fd), int fd, struct err *e)
{
	autofd int home = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	int error = 0;
	pid_t pid;

	if (home < 0)
		return err_errno(e, errno, "/proc/self/ns/pid");
	if (enter(fd) < 0)
		return err_errno(e, errno, "PID namespace");
	pid = fork();
	if (pid == 0)
		return 0;
	if (pid < 0)
		error = errno;
	if (setns(home, CLONE_NEWPID) < 0)
		abort(); /* every later child would be born into this pod */
	return pid < 0 ? err_errno(e, error, "fork") : pid;
}

static int new_pid_ns(int fd)
{
	return unshare(CLONE_NEWPID);
}

static int join_pid_ns(int init_pidfd)
{
	return setns(init_pidfd, CLONE_NEWPID);
}

static int set_up_mounts(const char *hosts, struct err *e)
{
	int r;

	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return err_errno(e, errno, "make mounts private");
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return err_errno(e, errno, "mount /proc");
	r = hosts_bind(hosts);
	if (r < 0)
		return err_errno(e, -r, "bind %s on /etc/hosts", hosts);
	/* A pod's own, as in Kubernetes: replicas may have a socket of the same name there. */
	if (mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "mode=1777,size=64M") < 0 && errno != ENOENT)
		return err_errno(e, errno, "mount /dev/shm");
	return 0;
}

static int set_up_pod(const char *hostname, const char *hosts, struct err *e)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC) < 0)
		return err_errno(e, errno, "make namespaces");
	if (sethostname(hostname, strlen(hostname)) < 0)
		return err_errno(e, errno, "set host name %s", hostname);
	return set_up_mounts(hosts, e);
}

/* An init has no default actions: signals it does not handle do nothing to it. Ignoring SIGCHLD
 * makes the kernel reap what is orphaned in the pod. */
static void __attribute__((noreturn)) be_init(void)
{
	prctl(PR_SET_NAME, "lab-pod");
	close_range(0, ~0U, 0);
	signal(SIGCHLD, SIG_IGN);
	for (;;)
		pause();
}

static void __attribute__((noreturn)) init_main(const char *hostname, const char *hosts,
						int parent_pidfd, int report)
{
	struct pollfd parent = {.fd = parent_pidfd, .events = POLLIN};
	struct err e = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (poll(&parent, 1, 0) != 0) /* it died before the line above */
		_exit(1);
	setsid();
	reset_signals();
	set_up_pod(hostname, hosts, &e);
	if (write(report, &e, sizeof e) != sizeof e || e.code)
		_exit(1);
	be_init();
}

static int adopt_init(pid_t pid, struct lab_pod_ns *ret, struct err *e)
{
	ret->init = pid;
	ret->netns_fd = netns_open_pid(pid, e);
	if (ret->netns_fd < 0)
		return ret->netns_fd;
	return netns_identity(ret->netns_fd, &ret->netns_id, e);
}

int lab_pod_ns_make(const char *hostname, const char *hosts, struct lab_pod_ns *ret, struct err *e)
{
	autofd int self = pidfd_open_pid(getpid(), e);
	struct err child = {0};
	int pipe_fds[2], r;
	pid_t pid;

	*ret = (struct lab_pod_ns){.pidfd = -1, .netns_fd = -1};
	if (self < 0)
		return self;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	pid = fork_after(new_pid_ns, -1, e);
	if (pid == 0)
		init_main(hostname, hosts, self, pipe_fds[1]);
	close(pipe_fds[1]);
	if (pid < 0) {
		close(pipe_fds[0]);
		return pid;
	}
	if (read(pipe_fds[0], &child, sizeof child) != sizeof child)
		err_set(&child, ECHILD, "the pod's init died");
	close(pipe_fds[0]);
	ret->pidfd = pidfd_open_pid(pid, e);
	r = child.code ? -child.code : ret->pidfd < 0 ? ret->pidfd : adopt_init(pid, ret, e);
	if (r < 0) {
		if (child.code && e)
			*e = child;
		lab_pod_ns_done(ret);
		kill(pid, SIGKILL); /* our own child, not reaped yet */
		waitpid(pid, NULL, 0);
	}
	return r;
}

void lab_pod_ns_done(struct lab_pod_ns *ns)
{
	if (ns->pidfd >= 0) {
		pidfd_signal(ns->pidfd, SIGKILL, NULL);
		close(ns->pidfd);
	}
	if (ns->netns_fd >= 0)
		close(ns->netns_fd);
	*ns = (struct lab_pod_ns){.pidfd = -1, .netns_fd = -1};
}

static void __attribute__((noreturn)) fail(const char *what, const char *path)
{
	int error = errno;

	dprintf(STDERR_FILENO, "brunt: %s%s%s: %s\n", what, *path ? " " : "", path, strerror(error));
	_exit(error == ENOENT ? 127 : 126);
}

static void __attribute__((noreturn)) process_main(int init_pidfd, const struct lab_command *c,
						   int go)
{
	char byte;

	if (read(go, &byte, 1) != 1) /* the parent gave up or died */
		_exit(125);
	if (setns(init_pidfd, CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET) < 0)
		_exit(125);
	if (c->own_session)
		setsid();
	reset_signals();
	if (dup2(c->stdin_fd, STDIN_FILENO) < 0 || dup2(c->stdout_fd, STDOUT_FILENO) < 0 ||
	    dup2(c->stderr_fd, STDERR_FILENO) < 0)
		_exit(125);
	close_range(STDERR_FILENO + 1, ~0U, 0);
	if (chdir(c->dir) < 0)
		fail("change to folder", c->dir);
	execve(c->path, c->argv, c->envp);
	fail("start", c->path);
}

int lab_pod_ns_spawn(int init_pidfd, const struct lab_command *c, struct lab_process *ret,
		     struct err *e)
{
	int pipe_fds[2];
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	pid = fork_after(join_pid_ns, init_pidfd, e);
	if (pid == 0) {
		close(pipe_fds[1]);
		process_main(init_pidfd, c, pipe_fds[0]);
	}
	close(pipe_fds[0]);
	if (pid < 0) {
		close(pipe_fds[1]);
		return pid;
	}
	*ret = (struct lab_process){.pid = pid, .go_fd = pipe_fds[1]};
	ret->pidfd = pidfd_open_pid(pid, e);
	if (ret->pidfd < 0) {
		close(ret->go_fd);
		waitpid(pid, NULL, 0);
		return ret->pidfd;
	}
	return 0;
}

void lab_pod_ns_go(struct lab_process *p)
{
	/* The child may be dead already; its exit status says so. */
	(void)!write(p->go_fd, "g", 1);
	close(p->go_fd);
	p->go_fd = -1;
}
