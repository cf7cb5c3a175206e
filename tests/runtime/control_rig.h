/*
 * A service with a control socket, and a client of it: a thread that the runtime did not make, beside the
 * runtime on other threads.
 */
#pragma once

#include "rt.h"
#include "rt_control.h"

#include "tap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { PROCS = 3 };

static char dir[64], path[80];
static _Atomic int serving, leave, ticks;
static int64_t probe_ns = 2 * RT_MSEC;
static pthread_t service;

/* The service --------------------------------------------------------------------------------------- */

static void tick(void *arg)
{
	for (;;) {
		atomic_fetch_add(&ticks, 1);
		rt_sleep(RT_MSEC);
	}
}

static void *serve(void *arg)
{
	int r = rt_control_serve(&(struct rt_control_options){.path = path, .probe_ns = probe_ns});

	atomic_store(&serving, r < 0 ? r : 1);
	rt_go(tick, NULL);
	while (r == 0 && !atomic_load(&leave))
		rt_sleep(RT_MSEC);
	rt_control_stop();
	return NULL;
}

static void *run(void *arg)
{
	rt_run(&(struct rt_options){.procs = PROCS}, serve, NULL, NULL);
	return NULL;
}

/* 1, or what rt_control_serve returned. */
static int start(void)
{
	atomic_store(&serving, 0);
	atomic_store(&leave, 0);
	pthread_create(&service, NULL, run, NULL);
	while (!atomic_load(&serving))
		usleep(1000);
	return atomic_load(&serving);
}

static void stop(void)
{
	atomic_store(&leave, 1);
	pthread_join(service, NULL);
}

/* The client ---------------------------------------------------------------------------------------- */

static int dial(void)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(to.sun_path, path);
	if (connect(fd, (void *)&to, sizeof to) == 0)
		return fd;
	close(fd);
	return -1;
}

/* One line without its end; "" when the other side has closed. */
static const char *line(int fd)
{
	static char buf[5000];
	size_t n = 0;

	while (n < sizeof buf - 1 && read(fd, buf + n, 1) == 1 && buf[n] != '\n')
		n++;
	buf[n] = '\0';
	return buf;
}

static const char *ask(int fd, const char *command)
{
	dprintf(fd, "%s\n", command);
	return line(fd);
}

static inline bool says(int fd, const char *command, const char *begin)
{
	const char *answer = ask(fd, command);

	if (!strncmp(answer, begin, strlen(begin)))
		return true;
	printf("# %s: \"%s\"\n", command, answer);
	return false;
}

static int greeted(void)
{
	int fd = dial();

	line(fd);
	return fd;
}

static bool status_has(int fd, const char *word)
{
	return strstr(ask(fd, "status"), word);
}

/* Until the status says so, at most half a minute: less than the leases that are not to run out. */
static inline bool comes_to(int fd, const char *word)
{
	for (int64_t end = rt_now() + 30 * RT_SEC; rt_now() < end; usleep(1000))
		if (status_has(fd, word))
			return true;
	printf("# in vain for %s: %s\n", word, ask(fd, "status"));
	return false;
}

/* A number of the status. */
static inline long long status_of(int fd, const char *key)
{
	const char *at = strstr(ask(fd, "status"), key);

	return at ? atoll(at + strlen(key)) : -2;
}

static inline bool grows_to(int fd, const char *key, long long n)
{
	for (int64_t end = rt_now() + 30 * RT_SEC; rt_now() < end; usleep(1000))
		if (status_of(fd, key) >= n)
			return true;
	printf("# in vain for %s%lld: %s\n", key, n, ask(fd, "status"));
	return false;
}

/* The socket's folder and, in both tests, the first service. False: there is no folder. */
static bool rig_begin(void)
{
	strcpy(dir, "/tmp/bt-control-XXXXXX");
	if (!mkdtemp(dir))
		return false;
	chmod(dir, 0711);
	snprintf(path, sizeof path, "%s/socket", dir);
	start();
	return true;
}

static int rig_end(void)
{
	unlink(path);
	rmdir(dir);
	return tap_done();
}
