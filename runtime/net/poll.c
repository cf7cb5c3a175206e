/* A netpoller without descriptors: timers only. */
#include "../sched/sched.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int wake_fd = -1;

void netpoll_init(void)
{
	wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

void netpoll_done(void)
{
	close(wake_fd);
}

struct rt_co *netpoll(int64_t delay_ns)
{
	struct pollfd p = {.fd = wake_fd, .events = POLLIN};
	struct timespec t = {.tv_sec = delay_ns / RT_SEC, .tv_nsec = delay_ns % RT_SEC};
	uint64_t n;

	if (ppoll(&p, 1, delay_ns < 0 ? NULL : &t, NULL) > 0 && delay_ns != 0 &&
	    read(wake_fd, &n, sizeof n) < 0)
		return NULL;
	return NULL;
}

void netpoll_break(void)
{
	uint64_t one = 1;

	if (write(wake_fd, &one, sizeof one) < 0)
		return;
}

bool netpoll_has_waiters(void)
{
	return false;
}
