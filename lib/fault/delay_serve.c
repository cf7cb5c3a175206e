/*
 * The engine process: one thread, one epoll set.
 *
 * A round takes requests, empties the TAPs that have frames, delivers what is due and renews the
 * lease when a third of it has passed. Renewing last says that the TAPs were served: an engine that
 * is stuck, starved or dead lets the lease run out, and the gate opens.
 *
 * The sleep ends by epoll_pwait2's timeout with the thread's timer slack at its least. No spinning
 * and no real-time class: neither made packets more punctual, and the second starved the machine.
 *
 * When the owner dies the kernel closes the control socket. The gate must be inert before the
 * TAPs disappear, or packets would be redirected to nothing until the lease had run out: so the
 * lease ends first, what is held is delivered, and the process lingers for packets that were
 * already past the gate before it exits.
 */
#include "delay_path.h"
#include "delay_proto.h"

#include "../base/clock.h"
#include "../base/mem.h"
#include "../kernel/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

static const int64_t DEFAULT_LEASE_NS = 300 * NSEC_PER_MSEC;
static const int64_t LINGER_NS = 20 * NSEC_PER_MSEC;
static const size_t POOL_LIMIT_BYTES = 512 << 20;
enum { EVENTS = 64 };

struct server {
	int epoll_fd, signal_fd;
	bool ending;
	struct delay_lease lease;
	struct delay_lease_words *words; /* NULL before START */
	int64_t next_renewal_ns;
	struct delay_shared *shared;
	struct delay_store store;
	struct delay_path_state *paths[DELAY_PATHS_MAX];
	uint32_t n_paths; /* ids below this one may be in use */
	struct delay_request request;
};

/* ---- lease ---- */

static bool is_over(const struct server *sv, int64_t now_ns)
{
	uint64_t end = __atomic_load_n(&sv->words->hard_end_ns, __ATOMIC_RELAXED);

	return __atomic_load_n(&sv->words->closed, __ATOMIC_RELAXED) ||
	       (uint64_t)(now_ns + sv->lease.clock_shift_ns) >= end;
}

static void write_lease(struct server *sv, uint64_t until_ns)
{
	__atomic_store_n(&sv->words->until_ns, until_ns, __ATOMIC_RELAXED);
}

static void renew(struct server *sv)
{
	int64_t now_ns = clock_now_ns();

	if (!sv->words || now_ns < sv->next_renewal_ns)
		return;
	sv->next_renewal_ns = now_ns + sv->lease.lease_ns / 3;
	if (is_over(sv, now_ns)) {
		delay_store_flush(&sv->store, NULL);
		return;
	}
	write_lease(sv, now_ns + sv->lease.clock_shift_ns + sv->lease.lease_ns);
	__atomic_store_n(&sv->shared->renewals, sv->shared->renewals + 1, __ATOMIC_RELAXED);
}

static int map_lease(struct server *sv, int fd, struct err *e)
{
	size_t page = sysconf(_SC_PAGESIZE), len = sv->lease.offset + sizeof *sv->words;
	uint8_t *p;

	len = (len + page - 1) & ~(page - 1);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return err_errno(e, errno, "map the gate's lease");
	sv->words = (void *)(p + sv->lease.offset);
	if (sv->lease.lease_ns <= 0)
		sv->lease.lease_ns = DEFAULT_LEASE_NS;
	sv->next_renewal_ns = 0;
	renew(sv);
	return 0;
}

/* ---- requests ---- */

static void set_params(struct server *sv, const struct delay_request *rq)
{
	uint64_t seed = rq->op == DELAY_OP_START ? rq->params.seed : sv->store.params.seed;

	sv->store.params = rq->params;
	sv->store.params.seed = seed;
	if (rq->params.table) {
		sv->store.table = rq->table;
		sv->store.params.table = &sv->store.table;
	}
	sv->store.limit_packets = rq->params.limit_packets ? rq->params.limit_packets
							   : delay_limit_packets(&sv->store.params, 0);
}

static void drop_path(struct server *sv, uint32_t id)
{
	struct delay_path_state *p = sv->paths[id];

	delay_store_flush(&sv->store, p);
	epoll_ctl(sv->epoll_fd, EPOLL_CTL_DEL, p->tap_fd, NULL);
	close(p->tap_fd);
	free(p);
	sv->paths[id] = NULL;
}

static int add_path(struct server *sv, const struct delay_request *rq, int *tap_fd, struct err *e)
{
	autofree struct delay_path_state *p = xcalloc(1, sizeof *p);
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = rq->id};

	if (rq->id >= DELAY_PATHS_MAX || sv->paths[rq->id])
		return err_set(e, EINVAL, "path %u is taken or out of range", rq->id);
	if (fcntl(*tap_fd, F_SETFL, O_NONBLOCK) < 0 ||
	    epoll_ctl(sv->epoll_fd, EPOLL_CTL_ADD, *tap_fd, &ev) < 0)
		return err_errno(e, errno, "watch the TAP");
	p->id = rq->id;
	p->tap_fd = take_fd(*tap_fd);
	p->counters = &sv->shared->paths[rq->id];
	delay_dice_init(&p->dice, sv->store.params.seed, rq->stream);
	sv->paths[rq->id] = take(p);
	sv->n_paths = MAX_OF(sv->n_paths, rq->id + 1);
	return 0;
}

static void flush_all(struct server *sv)
{
	for (uint32_t id = 0; id < sv->n_paths; id++)
		if (sv->paths[id])
			delay_path_read(&sv->store, sv->paths[id]);
	delay_store_flush(&sv->store, NULL);
}

static int handle(struct server *sv, const struct delay_request *rq, int *fd, struct err *e)
{
	switch (rq->op) {
	case DELAY_OP_START:
		set_params(sv, rq);
		sv->lease = rq->lease;
		return map_lease(sv, *fd, e);
	case DELAY_OP_ADD:
		return add_path(sv, rq, fd, e);
	case DELAY_OP_REMOVE:
		if (rq->id < DELAY_PATHS_MAX && sv->paths[rq->id]) {
			delay_path_read(&sv->store, sv->paths[rq->id]);
			drop_path(sv, rq->id);
		}
		return 0;
	case DELAY_OP_SET:
		set_params(sv, rq);
		return 0;
	case DELAY_OP_FLUSH:
		flush_all(sv);
		return 0;
	default:
		return err_set(e, EPROTO, "unknown request %u", rq->op);
	}
}

static ssize_t receive(struct delay_request *rq, int *ret_fd)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {rq, sizeof *rq};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof control,
	};
	ssize_t n = recvmsg(DELAY_CONTROL_FD, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(c), sizeof *ret_fd);
	return n;
}

static void control(struct server *sv)
{
	struct delay_answer answer = {0};
	autofd int fd = -1;
	ssize_t n = receive(&sv->request, &fd);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < (ssize_t)offsetof(struct delay_request, table)) {
		sv->ending = true;
		return;
	}
	handle(sv, &sv->request, &fd, &answer.err);
	if (send(DELAY_CONTROL_FD, &answer, sizeof answer, MSG_NOSIGNAL) < 0)
		sv->ending = true;
}

/* ---- the loop ---- */

enum { EVENT_CONTROL = DELAY_PATHS_MAX, EVENT_SIGNAL };

static void wait_events(struct server *sv, struct epoll_event *ev, int *ret_n)
{
	const struct delay_item *first = delay_heap_first(&sv->store.heap);
	int64_t until_ns = sv->words ? sv->next_renewal_ns : INT64_MAX, left_ns;
	struct timespec ts;

	if (first && first->at_ns < until_ns)
		until_ns = first->at_ns;
	left_ns = until_ns - clock_now_ns();
	left_ns = MIN_OF(MAX_OF(left_ns, 0), NSEC_PER_SEC);
	ts = (struct timespec){left_ns / NSEC_PER_SEC, left_ns % NSEC_PER_SEC};
	*ret_n = epoll_pwait2(sv->epoll_fd, ev, EVENTS, &ts, NULL);
}

static void round_trip(struct server *sv)
{
	struct epoll_event ev[EVENTS];
	int n;

	wait_events(sv, ev, &n);
	delay_store_deliver(&sv->store, clock_now_ns());
	for (int i = 0; i < n; i++) {
		uint64_t what = ev[i].data.u64;

		if (what == EVENT_CONTROL)
			control(sv);
		else if (what == EVENT_SIGNAL)
			sv->ending = true;
		else if (sv->paths[what])
			delay_path_read(&sv->store, sv->paths[what]);
		if (what < DELAY_PATHS_MAX && sv->paths[what] && sv->paths[what]->gone)
			drop_path(sv, what);
	}
	delay_store_deliver(&sv->store, clock_now_ns());
	renew(sv);
}

static void finish(struct server *sv)
{
	int64_t until_ns = clock_now_ns() + LINGER_NS;
	struct epoll_event ev[EVENTS];

	if (sv->words)
		write_lease(sv, 0);
	epoll_ctl(sv->epoll_fd, EPOLL_CTL_DEL, DELAY_CONTROL_FD, NULL);
	epoll_ctl(sv->epoll_fd, EPOLL_CTL_DEL, sv->signal_fd, NULL);
	do {
		flush_all(sv);
		epoll_wait(sv->epoll_fd, ev, EVENTS, 1);
	} while (clock_now_ns() < until_ns);
	flush_all(sv);
}

static void watch(struct server *sv, int fd, uint64_t what)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = what};

	epoll_ctl(sv->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

/* The terminal's signals are the owner's business; SIGTERM is the service manager's way. */
static void prepare_signals(struct server *sv)
{
	sigset_t term;

	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	sv->signal_fd = signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void prepare_process(void)
{
	struct rlimit files;
	autofd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	prctl(PR_SET_NAME, "brunt-delay");
	prctl(PR_SET_TIMERSLACK, 1);
}

int delay_main(int argc, char **argv)
{
	autofree struct server *sv = xcalloc(1, sizeof *sv);

	prepare_process();
	sv->shared = mmap(NULL, sizeof *sv->shared, PROT_READ | PROT_WRITE, MAP_SHARED,
			  DELAY_SHARED_FD, 0);
	sv->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	sv->store.pool.limit_bytes = POOL_LIMIT_BYTES;
	sv->store.scratch = delay_pool_get(&sv->store.pool, DELAY_FRAME_MAX);
	if (sv->shared == MAP_FAILED || sv->epoll_fd < 0 || !sv->store.scratch)
		return EXIT_FAILURE;
	prepare_signals(sv);
	watch(sv, DELAY_CONTROL_FD, EVENT_CONTROL);
	watch(sv, sv->signal_fd, EVENT_SIGNAL);
	if (sandbox_enter(SANDBOX_DELAY, NULL) < 0)
		return EXIT_FAILURE;
	while (!sv->ending)
		round_trip(sv);
	finish(sv);
	delay_heap_done(&sv->store.heap);
	delay_pool_done(&sv->store.pool);
	return EXIT_SUCCESS;
}
