/*
 * child - what a process says on stderr, and how it ends, when a coroutine in it misuses the runtime
 */
#pragma once

#include "rt.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* The creation site that a message has to show lies in here. */
static __attribute__((noinline)) void create_culprit(void (*fn)(void *arg))
{
	rt_go_attr(fn, NULL, &(struct rt_attr){.name = "culprit"});
}

static void *child_main(void *arg)
{
	create_culprit(*(void (**)(void *))arg);
	rt_recv(rt_chan_new(0, 0), NULL);
	return NULL;
}

/* Runs fn as the coroutine "culprit" of a process; *ret_status as of waitpid. */
static inline void run_child(void (*fn)(void *arg), char *text, size_t size, int *ret_status)
{
	size_t n = 0;
	ssize_t r;
	int fds[2];
	pid_t pid;

	*text = 0;
	if (pipe(fds) < 0 || (fflush(stdout), pid = fork()) < 0)
		return;
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		rt_run(NULL, child_main, &fn, NULL);
		_exit(0);
	}
	close(fds[1]);
	while ((r = read(fds[0], text + n, size - 1 - n)) > 0)
		n += (size_t)r;
	text[n] = 0;
	close(fds[0]);
	waitpid(pid, ret_status, 0);
}

/* "created by FUNCTION in coroutine N at FILE:LINE", of the culprit's paragraph. */
static inline bool names_creation_site(const char *text)
{
	const char *at = strstr(text, "\"culprit\"");

	at = at ? strstr(at, "created by create_culprit in coroutine 1 at ") : NULL;
	return at && strstr(at, __FILE_NAME__ ":");
}
