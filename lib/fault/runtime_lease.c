#include "runtime_lease.h"

#include "../base/mem.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

enum { LEASE_PARTS = 4 };

struct runtime_lease {
	pthread_t thread;
	int wake;
	int pause_ms;
	size_t n;
	int fds[];
};

static void *renew(void *arg)
{
	const struct runtime_lease *l = arg;
	struct pollfd p = {.fd = l->wake, .events = POLLIN};

	while (poll(&p, 1, l->pause_ms) == 0)
		for (size_t i = 0; i < l->n; i++)
			send(l->fds[i], "renew\n", 6, MSG_NOSIGNAL | MSG_DONTWAIT);
	return NULL;
}

int runtime_lease_start(const int *fds, size_t n, int64_t lease_ns, struct runtime_lease **ret,
			struct err *e)
{
	struct runtime_lease *l = xcalloc(1, sizeof *l + n * sizeof *fds);
	sigset_t all, old;
	int r;

	memcpy(l->fds, fds, n * sizeof *fds);
	l->n = n;
	l->pause_ms = MAX_OF((int)(lease_ns / NSEC_PER_MSEC / LEASE_PARTS), 1);
	l->wake = eventfd(0, EFD_CLOEXEC);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = l->wake < 0 ? errno : pthread_create(&l->thread, NULL, renew, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0) {
		*ret = l;
		return 0;
	}
	if (l->wake >= 0)
		close(l->wake);
	free(l);
	return err_errno(e, r, "start the thread that renews the lease");
}

void runtime_lease_stop(struct runtime_lease *l)
{
	if (!l)
		return;
	(void)!write(l->wake, &(uint64_t){1}, sizeof(uint64_t));
	pthread_join(l->thread, NULL);
	close(l->wake);
	free(l);
}
