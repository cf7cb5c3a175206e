/*
 * Names: getaddrinfo reads files, waits for servers and takes 12 KB of stack, so it runs on a
 * thread where it may do all that.
 */
#include "../sched/sched.h"

#include <netdb.h>

struct question {
	const char *host, *port;
	const struct addrinfo *hints;
	struct addrinfo **ret;
	int answer;
};

static void *ask(void *arg)
{
	struct question *q = arg;

	q->answer = getaddrinfo(q->host, q->port, q->hints, q->ret);
	return NULL;
}

int rt_lookup(const char *host, const char *port, const struct addrinfo *hints,
	      struct addrinfo **ret)
{
	struct question q = {host, port, hints, ret, 0};

	*ret = NULL;
	rt_blocking(ask, &q);
	return q.answer;
}
