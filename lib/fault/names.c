#include "names.h"

#include "../base/clock.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>

struct name {
	char *text;
	uint16_t port;
	struct peers peers; /* guarded by names.lock; the last good answer stays */
};

/* Belongs to its thread once that has ended after names_free: a lookup may hang for long. */
struct names {
	struct kvs hosts;
	struct name *items;
	size_t n;
	int64_t interval_ns;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock; /* guards what follows and items[].peers */
	pthread_cond_t changed;
	bool stop, first_round_done;
};

struct names *names_new(const struct kvs *hosts)
{
	struct names *n = xcalloc(1, sizeof *n);
	pthread_condattr_t attr;

	if (hosts)
		kvs_copy(&n->hosts, hosts);
	pthread_mutex_init(&n->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&n->changed, &attr);
	pthread_condattr_destroy(&attr);
	return n;
}

void names_add(struct names *n, const char *name, uint16_t port)
{
	struct name *item = array_push(n->items, n->n);

	item->text = xstrdup(name);
	item->port = port;
}

static void add_address(struct peers *p, const char *text, uint16_t port)
{
	struct peer peer;

	if (peer_parse_address(text, &peer, NULL) < 0)
		return;
	peer.port = port;
	peers_add(p, &peer);
}

static void from_hosts(const char *list, uint16_t port, struct peers *ret)
{
	autofree char *copy = xstrdup(list);
	char *save = NULL;

	for (char *s = strtok_r(copy, ", ", &save); s; s = strtok_r(NULL, ", ", &save))
		add_address(ret, s, port);
}

static void from_resolver(const char *name, uint16_t port, struct peers *ret)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	char text[NI_MAXHOST];

	if (getaddrinfo(name, NULL, &hints, &list) != 0)
		return;
	for (const struct addrinfo *a = list; a; a = a->ai_next)
		if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0,
				NI_NUMERICHOST) == 0)
			add_address(ret, text, port);
	freeaddrinfo(list);
}

static void look_up(struct names *n, struct name *item)
{
	const char *known = kvs_get(&n->hosts, item->text);
	autopeers found = {0};
	struct peers old;

	if (known)
		from_hosts(known, item->port, &found);
	else
		from_resolver(item->text, item->port, &found);
	if (!found.n)
		return;
	pthread_mutex_lock(&n->lock);
	old = item->peers;
	item->peers = found;
	found = old;
	pthread_mutex_unlock(&n->lock);
}

static void destroy(struct names *n)
{
	for (size_t i = 0; i < n->n; i++) {
		free(n->items[i].text);
		peers_done(&n->items[i].peers);
	}
	free(n->items);
	kvs_done(&n->hosts);
	pthread_cond_destroy(&n->changed);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

/* Called and left with the lock held. */
static void round_of_lookups(struct names *n)
{
	for (size_t i = 0; i < n->n && !n->stop; i++) {
		pthread_mutex_unlock(&n->lock);
		look_up(n, &n->items[i]);
		pthread_mutex_lock(&n->lock);
	}
	n->first_round_done = true;
	pthread_cond_broadcast(&n->changed);
}

static void *resolving_thread(void *data)
{
	struct names *n = data;

	pthread_mutex_lock(&n->lock);
	while (!n->stop) {
		struct timespec at;
		int64_t next;

		round_of_lookups(n);
		next = clock_now_ns() + n->interval_ns;
		at = (struct timespec){next / NSEC_PER_SEC, next % NSEC_PER_SEC};
		while (!n->stop && pthread_cond_timedwait(&n->changed, &n->lock, &at) == 0)
			;
	}
	pthread_mutex_unlock(&n->lock);
	destroy(n);
	return NULL;
}

int names_start(struct names *n, int64_t interval_ns, struct err *e)
{
	sigset_t all, old;
	int r;

	n->interval_ns = interval_ns;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&n->thread, NULL, resolving_thread, n);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return err_errno(e, r, "start the thread that looks up names");
	n->running = true;
	return 0;
}

bool names_wait(struct names *n, int64_t timeout_ns)
{
	int64_t end = clock_now_ns() + timeout_ns;
	const struct timespec at = {end / NSEC_PER_SEC, end % NSEC_PER_SEC};
	bool done;

	pthread_mutex_lock(&n->lock);
	while (!n->first_round_done && pthread_cond_timedwait(&n->changed, &n->lock, &at) == 0)
		;
	done = n->first_round_done;
	pthread_mutex_unlock(&n->lock);
	return done;
}

bool names_get(struct names *n, struct peers *ret, const char **ret_unknown)
{
	bool done;

	*ret_unknown = NULL;
	pthread_mutex_lock(&n->lock);
	done = n->first_round_done;
	for (size_t i = 0; i < n->n; i++) {
		const struct name *item = &n->items[i];

		for (size_t k = 0; k < item->peers.n; k++)
			peers_add(ret, &item->peers.items[k]);
		if (!item->peers.n)
			*ret_unknown = item->text;
	}
	pthread_mutex_unlock(&n->lock);
	return done && !*ret_unknown;
}

void names_free(struct names *n)
{
	if (!n)
		return;
	if (!n->running) {
		destroy(n);
		return;
	}
	pthread_detach(n->thread);
	pthread_mutex_lock(&n->lock);
	n->stop = true;
	pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
}
