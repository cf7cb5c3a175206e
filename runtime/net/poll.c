/*
 * The netpoller: epoll, edge-triggered, both directions registered once for the life of a
 * descriptor, so that a wait costs no system call.
 *
 * A record is found by the descriptor's number and is never freed, so that an event can be taken
 * to it whatever happened meanwhile; each registration has a generation of its own, which its
 * events carry, and an event of an older one is dropped. Go keeps a reader and a writer slot as
 * lock-free words (runtime/netpoll.go) and serialises operations with a second lock. Here the
 * record has one lock, held for tens of instructions, and a list of waiters for each direction: a
 * listener can be accepted on by several coroutines, and a wait that its deadline has ended takes
 * its entry out of the list before the stack it stands on is used for anything else.
 *
 * An event wakes all waiters of its direction: edge-triggered, it may stand for more than one of
 * them, and who finds nothing waits again. Who has tried and does not wait yet is none of them: it says
 * how many events it had seen before its attempt.
 */
#include "poll.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	CHUNK = 512,   /* records made at one time */
	CHUNKS = 8192, /* 4 million descriptors; the kernel's default bound is 1 million */
	EVENTS = 128,  /* taken in one call */
};

#define DESC_OPEN 0x80000000U
#define DESC_CLOSING 0x40000000U
#define DESC_USERS 0x3fffffffU
#define BREAK_DATA UINT64_MAX

static const uint32_t read_events = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR;
static const uint32_t write_events = EPOLLOUT | EPOLLHUP | EPOLLERR;
static const uint32_t end_events = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

static int epoll_fd = -1, break_fd = -1;
static _Atomic bool no_pwait2; /* this kernel has none; whoever finds out tells the others */
static _Atomic uint32_t break_asked;
static _Atomic int64_t n_waiters;
static struct desc *_Atomic chunks[CHUNKS];

/* Records ------------------------------------------------------------------------------------- */

static struct desc *desc_find(int fd)
{
	struct desc *c;

	if (fd < 0 || fd >= CHUNK * CHUNKS)
		return NULL;
	/* acquire: pairs with the exchange in desc_make() */
	c = atomic_load_explicit(&chunks[fd / CHUNK], memory_order_acquire);
	return c ? &c[fd % CHUNK] : NULL;
}

static struct desc *desc_make(int fd)
{
	struct desc *c = NULL, *made;

	if (fd < 0 || fd >= CHUNK * CHUNKS)
		return NULL;
	if (!desc_find(fd)) {
		made = calloc(CHUNK, sizeof *made);
		if (!made)
			rt_fatal("out of memory for the records of descriptors");
		/* release: pairs with the acquire in desc_find() */
		if (!atomic_compare_exchange_strong_explicit(&chunks[fd / CHUNK], &c, made,
							     memory_order_acq_rel,
							     memory_order_acquire))
			free(made);
	}
	return desc_find(fd);
}

static bool desc_is_open(const struct desc *d)
{
	return atomic_load_explicit(&d->state, memory_order_relaxed) & DESC_OPEN;
}

static __attribute__((noinline)) int control(int op, int fd, uint32_t generation)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				 .data.u64 = (uint64_t)generation << 32 | (uint32_t)fd};

	return epoll_ctl(epoll_fd, op, fd, &ev) < 0 ? -errno : 0;
}

static uint32_t begin_generation(struct desc *d)
{
	uint32_t g;

	lock_get(&d->lock);
	g = ++d->generation;
	d->ready[POLL_READ] = d->ready[POLL_WRITE] = d->hung_up = false;
	lock_put(&d->lock);
	return g;
}

int desc_open(int fd, uint32_t flags)
{
	struct desc *d = desc_make(fd);
	int r;

	if (!d)
		return fd < 0 ? -EBADF : -EMFILE;
	/* Open already, unless somebody closed it with close(2): then epoll has forgotten it. */
	if (desc_is_open(d) && control(EPOLL_CTL_MOD, fd, d->generation) == 0)
		return 0;
	r = control(EPOLL_CTL_ADD, fd, begin_generation(d));
	if (r < 0)
		return r;
	d->flags = flags;
	atomic_store_explicit(&d->reads, 1, memory_order_relaxed);
	atomic_store_explicit(&d->drained_at, 0, memory_order_relaxed);
	/* release: pairs with the acquire in desc_enter(), which reads the flags */
	atomic_fetch_or_explicit(&d->state, DESC_OPEN, memory_order_release);
	return 0;
}

int desc_enter(int fd, struct desc **ret)
{
	struct desc *d = desc_find(fd);
	uint32_t s = d ? atomic_load_explicit(&d->state, memory_order_relaxed) : 0;

	*ret = NULL;
	while (s & DESC_OPEN)
		/* acquire: pairs with the release in desc_open() */
		if (atomic_compare_exchange_weak_explicit(&d->state, &s, s + 1,
							  memory_order_acquire,
							  memory_order_relaxed)) {
			*ret = d;
			return 0;
		}
	return s & DESC_CLOSING ? -ECANCELED : 0;
}

void desc_leave(struct desc *d)
{
	struct rt_co *closer;

	/* release: pairs with the acquire in desc_close(), which goes on to close the number */
	if (atomic_fetch_sub_explicit(&d->state, 1, memory_order_release) != (DESC_CLOSING | 1))
		return;
	lock_get(&d->lock);
	closer = d->closer;
	d->closer = NULL;
	lock_put(&d->lock);
	if (closer)
		co_ready(closer);
}

/* Waits ----------------------------------------------------------------------------------------- */

struct ready_list {
	struct rt_co *first, *last;
	int64_t n;
};

static void ready_append(struct ready_list *l, struct rt_co *co)
{
	co->next = NULL;
	*(l->first ? &l->last->next : &l->first) = co;
	l->last = co;
	l->n++;
}

/* Under the lock. Takes the waiters whose wait nobody else has ended. */
static void take_waiters(struct desc *d, enum poll_dir dir, int code, struct ready_list *l)
{
	struct poll_waiter *w = d->waiters[dir], *next;

	d->waiters[dir] = NULL;
	for (; w; w = next) {
		next = w->next;
		if (wait_claim(w->co, w->ticket)) {
			w->co->woken_with = code;
			ready_append(l, w->co);
		}
	}
}

static void post_event(struct desc *d, enum poll_dir dir, struct ready_list *l)
{
	int64_t before = l->n;

	/* release: pairs with the acquire in desc_events() */
	atomic_fetch_add_explicit(&d->events[dir], 1, memory_order_release);
	take_waiters(d, dir, 0, l);
	if (l->n == before)
		d->ready[dir] = true;
}

static void unlink_waiter(struct desc *d, enum poll_dir dir, struct poll_waiter *w)
{
	struct poll_waiter **at;

	lock_get(&d->lock);
	for (at = &d->waiters[dir]; *at; at = &(*at)->next)
		if (*at == w) {
			*at = w->next;
			break;
		}
	lock_put(&d->lock);
}

uint32_t desc_events(struct desc *d, enum poll_dir dir)
{
	/* acquire: pairs with the release in post_event(); the attempt comes after it */
	return atomic_load_explicit(&d->events[dir], memory_order_acquire);
}

/* Under the lock: an event that this one has not seen. */
static bool came(struct desc *d, enum poll_dir dir, uint32_t seen)
{
	bool ready = d->ready[dir];

	d->ready[dir] = false;
	return ready || atomic_load_explicit(&d->events[dir], memory_order_relaxed) != seen;
}

int desc_wait(struct desc *d, enum poll_dir dir, uint32_t seen, int64_t deadline)
{
	bool late = deadline != RT_FOREVER && deadline <= rt_now();
	struct rt_co *self = this_co();
	struct poll_waiter w = {.co = self};
	int r = 0;

	lock_get(&d->lock);
	if (!desc_is_open(d))
		r = -ECANCELED;
	else if (came(d, dir, seen))
		r = 1;
	else if (late)
		r = -ETIMEDOUT;
	if (r) {
		lock_put(&d->lock);
		return r > 0 ? 0 : r;
	}
	w.ticket = wait_ticket(self);
	w.next = d->waiters[dir];
	d->waiters[dir] = &w;
	atomic_fetch_add_explicit(&n_waiters, 1, memory_order_relaxed);
	wait_arm(self, w.ticket, deadline);
	r = co_park_unlock(WAIT_IO, &d->lock);
	wait_disarm(self, deadline);
	if (r < 0) {
		atomic_fetch_sub_explicit(&n_waiters, 1, memory_order_relaxed);
		unlink_waiter(d, dir, &w);
	}
	return r;
}

static void cancel_waits(struct desc *d)
{
	struct ready_list cancelled = {0};

	lock_get(&d->lock);
	d->generation++;
	take_waiters(d, POLL_READ, -ECANCELED, &cancelled);
	take_waiters(d, POLL_WRITE, -ECANCELED, &cancelled);
	lock_put(&d->lock);
	co_ready_list(cancelled.first);
}

static void wait_for_users(struct desc *d)
{
	lock_get(&d->lock);
	/* acquire: pairs with the release in desc_leave(). A loop: an operation that ended long ago
	 * may come to its wake-up only now, and wake whom it finds. */
	while (atomic_load_explicit(&d->state, memory_order_acquire) & DESC_USERS) {
		d->closer = this_co();
		co_park_unlock(WAIT_IO, &d->lock);
		lock_get(&d->lock);
	}
	d->closer = NULL;
	lock_put(&d->lock);
}

int desc_close(int fd)
{
	struct desc *d = desc_find(fd);
	uint32_t s = d ? atomic_load_explicit(&d->state, memory_order_relaxed) : 0;

	do {
		if (!(s & DESC_OPEN))
			return s & DESC_CLOSING ? -ECANCELED : 0;
	} while (!atomic_compare_exchange_weak_explicit(&d->state, &s,
							(s & DESC_USERS) | DESC_CLOSING,
							memory_order_relaxed,
							memory_order_relaxed));
	cancel_waits(d);
	wait_for_users(d);
	/* A duplicate of it would keep the registration alive. */
	control(EPOLL_CTL_DEL, fd, 0);
	/* Before close(2): after it the number may be another file's. */
	atomic_store_explicit(&d->state, 0, memory_order_relaxed);
	return 1;
}

/*
 * Edge-triggered, a TCP socket that gave less than it was asked for has nothing left, and whatever
 * comes later brings an event (epoll(7), question 9), unless the end had come with the data: then
 * the event that told of both was the last. The number of the attempt tells whether another one
 * began meanwhile, which may have taken that later event and left bytes behind.
 */
uint32_t desc_reading(struct desc *d)
{
	return atomic_fetch_add_explicit(&d->reads, 1, memory_order_relaxed) + 1;
}

void desc_drained(struct desc *d, uint32_t reading)
{
	if (d->flags & DESC_STREAM)
		atomic_store_explicit(&d->drained_at, reading, memory_order_relaxed);
}

bool desc_is_drained(struct desc *d)
{
	bool drained = atomic_load_explicit(&d->drained_at, memory_order_relaxed) ==
		       atomic_load_explicit(&d->reads, memory_order_relaxed);

	if (!drained)
		return false;
	lock_get(&d->lock);
	drained = !d->hung_up;
	lock_put(&d->lock);
	return drained;
}

/* The scheduler's side ---------------------------------------------------------------------------- */

void netpoll_init(void)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = BREAK_DATA};

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	break_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (epoll_fd < 0 || break_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, break_fd, &ev) < 0)
		rt_fatal("netpoller: epoll and eventfd: %s (is the limit of open files too low?)",
			 strerror(errno));
	atomic_store(&break_asked, 0);
	atomic_store(&n_waiters, 0);
}

/* The coroutines are gone where they stood: so are their waits and operations. */
void netpoll_done(void)
{
	close(epoll_fd);
	close(break_fd);
	epoll_fd = break_fd = -1;
	for (size_t i = 0; i < CHUNKS; i++) {
		struct desc *c = atomic_load(&chunks[i]);

		for (size_t j = 0; c && j < CHUNK; j++) {
			atomic_store(&c[j].state, 0);
			c[j].waiters[POLL_READ] = c[j].waiters[POLL_WRITE] = NULL;
			c[j].closer = NULL;
		}
	}
}

static int wait_events(struct epoll_event *evs, int64_t delay_ns)
{
	struct timespec ts = {.tv_sec = delay_ns / RT_SEC, .tv_nsec = delay_ns % RT_SEC};
	int64_t ms = delay_ns / RT_MSEC + (delay_ns % RT_MSEC > 0);
	int n;

	if (delay_ns > 0 && !atomic_load_explicit(&no_pwait2, memory_order_relaxed)) {
		n = epoll_pwait2(epoll_fd, evs, EVENTS, &ts, NULL);
		if (n >= 0 || errno != ENOSYS)
			return n;
		atomic_store_explicit(&no_pwait2, true, memory_order_relaxed);
	}
	return epoll_wait(epoll_fd, evs, EVENTS, delay_ns < 0 ? -1 : ms > INT32_MAX ? INT32_MAX : (int)ms);
}

/* Who only looks leaves the break for the one that sleeps. */
static void take_break(int64_t delay_ns)
{
	uint64_t count;

	if (delay_ns == 0)
		return;
	if (read(break_fd, &count, sizeof count) > 0)
		/* pairs with the exchange in netpoll_break() */
		atomic_store_explicit(&break_asked, 0, memory_order_release);
}

struct rt_co *netpoll(int64_t delay_ns)
{
	struct epoll_event evs[EVENTS];
	struct ready_list l = {0};
	int n;

	if (epoll_fd < 0)
		return NULL;
	n = wait_events(evs, delay_ns);
	for (int i = 0; i < n; i++) {
		uint64_t data = evs[i].data.u64;
		struct desc *d = data == BREAK_DATA ? NULL : desc_find((int)(uint32_t)data);

		if (!d) {
			take_break(delay_ns);
			continue;
		}
		lock_get(&d->lock);
		if (d->generation == data >> 32) {
			d->hung_up |= (evs[i].events & end_events) != 0;
			if (evs[i].events & read_events)
				post_event(d, POLL_READ, &l);
			if (evs[i].events & write_events)
				post_event(d, POLL_WRITE, &l);
		}
		lock_put(&d->lock);
	}
	if (l.n)
		atomic_fetch_sub_explicit(&n_waiters, l.n, memory_order_relaxed);
	return l.first;
}

void netpoll_break(void)
{
	uint64_t one = 1;
	uint32_t zero = 0;

	/* Pairs with the store in take_break(): one write until it has been read. */
	if (atomic_compare_exchange_strong(&break_asked, &zero, 1) &&
	    write(break_fd, &one, sizeof one) < 0)
		atomic_store(&break_asked, 0);
}

bool netpoll_has_waiters(void)
{
	return atomic_load_explicit(&n_waiters, memory_order_relaxed) > 0;
}
