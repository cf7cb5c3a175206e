/* A process of our own listens as a service would, and is found by the way that a target's socket is. */
#include "runtime_doctor.h"

#include "runtime_control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

static void __attribute__((noreturn)) serve(const char *path, int ready)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), client;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
	if (fd < 0 || bind(fd, (void *)&at, sizeof at) < 0 || listen(fd, 1) < 0 ||
	    write(ready, "", 1) != 1)
		_exit(1);
	client = accept(fd, NULL, NULL);
	dprintf(client, "rt-control %d pid=%d\n", RUNTIME_CONTROL_VERSION, getpid());
	for (;;)
		pause();
}

static bool try_in(const char *dir, struct err *why)
{
	autofree char *path = xasprintf("%s/control", dir);
	autoptr(runtime_control) c = NULL;
	int ready[2];
	pid_t pid;
	char byte;
	bool ok;

	if (pipe(ready) < 0)
		return err_errno(why, errno, "pipe"), false;
	pid = fork();
	if (pid == 0)
		serve(path, ready[1]);
	close(ready[1]);
	ok = pid > 0 && read(ready[0], &byte, 1) == 1;
	close(ready[0]);
	if (!ok)
		err_set(why, EIO, "no process of our own listens");
	ok = ok && runtime_control_open(pid, path, &c, why) == 0;
	if (pid > 0) {
		kill(pid, SIGKILL); /* our own child, not yet reaped: the number is still its own */
		waitpid(pid, NULL, 0);
	}
	unlink(path);
	return ok;
}

/* A folder of our own where one can be made; NULL: nowhere, and why. */
static char *make_folder(struct err *why)
{
	static const char *const parents[] = {"/tmp", "/run", "/dev/shm"};

	for (size_t i = 0; i < sizeof parents / sizeof *parents; i++) {
		autofree char *dir = xasprintf("%s/brunt-doctor-XXXXXX", parents[i]);

		if (mkdtemp(dir))
			return xstrdup(dir);
		err_errno(why, errno, "make a folder in %s", parents[i]);
	}
	return NULL;
}

int runtime_doctor(struct broker *broker, struct capability_list *ret, struct err *e)
{
	struct err why = {0};
	autofree char *dir = make_folder(&why);
	bool ok = dir && try_in(dir, &why);

	if (dir)
		rmdir(dir);
	capability_add(ret, "RuntimeChaos", "control socket of a target", true, ok,
		       ok ? "a process of our own was found and answered" : why.text,
		       "run as root on Linux 5.6 or later (openat2)");
	return 0;
}
