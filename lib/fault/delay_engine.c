/*
 * The owner's side: one seqpacket socket for requests, shared memory for counters.
 *
 * The lease is the engine's to renew, not the owner's: it says that redirected packets are being
 * read. An owner that renewed it would keep the gate open towards a dead TAP.
 */
#include "delay_engine.h"

#include "../base/mem.h"
#include "../kernel/pidfd.h"
#include "../kernel/role.h"
#include "delay_proto.h"
#include "delay_tap.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

static const uint64_t ASSUMED_BPS = 1250000000; /* 10 Gbit/s */
static const uint64_t MTU_BYTES = 1500;
enum { ANSWER_TIMEOUT_S = 2, SLOW_ANSWER_S = 30, EXIT_TIMEOUT_MS = 1000, LIMIT_LEAST = 1000 };

struct delay_engine {
	int sock, pidfd;
	pid_t pid;
	bool offloads;
	struct return_path *back;
	struct delay_shared *shared;
	bool used[DELAY_PATHS_MAX];
	uint32_t n_paths; /* ids below this one may be in use */
};

uint64_t delay_limit_packets(const struct delay_params *p, uint64_t rate_Bps)
{
	int64_t longest_ns = p->delay_ns + p->jitter_ns;
	unsigned __int128 bytes;

	if (p->table && p->table->n > 0)
		longest_ns = delay_table_at(p->table, p->table->n - 1);
	bytes = (unsigned __int128)(rate_Bps ? rate_Bps : ASSUMED_BPS) * (uint64_t)longest_ns;
	return LIMIT_LEAST + (uint64_t)(bytes / NSEC_PER_SEC / MTU_BYTES * 5 / 4);
}

static int send_request(struct delay_engine *en, const struct delay_request *rq, int fd)
{
	bool table = (rq->op == DELAY_OP_START || rq->op == DELAY_OP_SET) && rq->params.table;
	struct iovec iov = {(void *)rq, table ? sizeof *rq : offsetof(struct delay_request, table)};
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof control;
		control.h = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof fd),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
		};
		memcpy(CMSG_DATA(&control.h), &fd, sizeof fd);
	}
	return sendmsg(en->sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int lost(struct delay_engine *en, int code, struct err *e)
{
	/* A late answer must not be taken for that of the next request. */
	shutdown(en->sock, SHUT_RDWR);
	/* Its lease has run out long ago; nothing it still does is wanted. */
	syscall(SYS_pidfd_send_signal, en->pidfd, SIGKILL, NULL, 0);
	if (code == EAGAIN || code == ETIMEDOUT)
		return err_set(e, ETIMEDOUT, "the delay engine (pid %d) does not answer", en->pid);
	return err_set(e, EOWNERDEAD, "the delay engine (pid %d) has died", en->pid);
}

/* One that is not stopped is slow, as all else may be on a busy machine. */
static ssize_t receive(const struct delay_engine *en, struct delay_answer *ret)
{
	int s = 0;
	ssize_t n;

	do {
		n = recv(en->sock, ret, sizeof *ret, 0);
		if (n < 0 && errno == EAGAIN)
			s += ANSWER_TIMEOUT_S;
	} while (n < 0 && (errno == EINTR || (errno == EAGAIN && s < SLOW_ANSWER_S &&
					      !pidfd_stands_still(en->pid))));
	return n;
}

static int ask(struct delay_engine *en, const struct delay_request *rq, int fd, struct err *e)
{
	struct delay_answer answer;
	ssize_t n = send_request(en, rq, fd);

	if (n == 0)
		n = receive(en, &answer);
	if (n != sizeof answer)
		return lost(en, n < 0 ? errno : EPIPE, e);
	if (answer.err.code && e)
		*e = answer.err;
	return -answer.err.code;
}

static void fill_params(struct delay_request *rq, const struct delay_params *p)
{
	rq->params = *p;
	if (p->table && p->table->n > 0)
		rq->table = *p->table;
	else
		rq->params.table = NULL;
}

static int share_memory(struct delay_engine *en, int *ret_fd, struct err *e)
{
	autofd int fd = memfd_create("brunt-delay", MFD_CLOEXEC);
	void *p;

	if (fd < 0 || ftruncate(fd, sizeof *en->shared) < 0)
		return err_errno(e, errno, "delay engine: make shared memory");
	p = mmap(NULL, sizeof *en->shared, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return err_errno(e, errno, "delay engine: map shared memory");
	en->shared = p;
	*ret_fd = take_fd(fd);
	return 0;
}

static int spawn(struct delay_engine *en, struct err *e)
{
	const struct timeval limit = {.tv_sec = ANSWER_TIMEOUT_S};
	autofd int memory = -1;
	int pair[2];

	if (share_memory(en, &memory, e) < 0)
		return -e->code;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, errno, "delay engine: socketpair");
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	en->sock = pair[0];
	en->pidfd = role_spawn(DELAY_ROLE, delay_main, (int[]){pair[1], memory}, 2, &en->pid, e);
	close(pair[1]);
	return en->pidfd < 0 ? en->pidfd : 0;
}

int delay_engine_start(const struct delay_params *p, const struct delay_lease *lease,
		       uint16_t token, struct delay_engine **ret, struct err *e)
{
	autoptr(delay_engine) en = xcalloc(1, sizeof *en);
	autofree struct delay_request *rq = xcalloc(1, sizeof *rq);
	struct err mine = {0};

	*en = (struct delay_engine){.sock = -1, .pidfd = -1, .offloads = p->corrupt_ppm == 0};
	rq->op = DELAY_OP_START;
	rq->lease = *lease;
	fill_params(rq, p);
	if (return_path_load(token, &en->back, &mine) == 0 && spawn(en, &mine) == 0)
		ask(en, rq, lease->map_fd, &mine);
	if (mine.code) {
		if (e)
			*e = mine;
		return -mine.code;
	}
	*ret = take(en);
	return 0;
}

static int find_free(const struct delay_engine *en, uint32_t *ret_id, struct err *e)
{
	for (uint32_t id = 0; id < DELAY_PATHS_MAX; id++)
		if (!en->used[id]) {
			*ret_id = id;
			return 0;
		}
	return err_set(e, ENOSPC, "a delay engine serves at most %d devices", DELAY_PATHS_MAX);
}

int delay_engine_add(struct delay_engine *en, struct broker *broker, const struct delay_path *path,
		     uint32_t *ret_id, int *ret_ifindex, struct err *e)
{
	autofree struct delay_request *rq = xcalloc(1, sizeof *rq);
	autofd int tap = -1;
	uint32_t id = 0;
	int ifindex, r;

	if (find_free(en, &id, e) < 0)
		return -ENOSPC;
	r = delay_tap_make(broker, path, en->back, en->offloads, &tap, &ifindex, e);
	if (r < 0)
		return r;
	rq->op = DELAY_OP_ADD;
	rq->id = id;
	rq->stream = path->stream;
	r = ask(en, rq, tap, e);
	if (r < 0)
		return r;
	en->used[id] = true;
	en->n_paths = MAX_OF(en->n_paths, id + 1);
	*ret_id = id;
	*ret_ifindex = ifindex;
	return 0;
}

int delay_engine_remove(struct delay_engine *en, uint32_t id, struct err *e)
{
	autofree struct delay_request *rq = xcalloc(1, sizeof *rq);

	rq->op = DELAY_OP_REMOVE;
	rq->id = id;
	if (id < DELAY_PATHS_MAX)
		en->used[id] = false;
	return ask(en, rq, -1, e);
}

int delay_engine_set(struct delay_engine *en, const struct delay_params *p, struct err *e)
{
	autofree struct delay_request *rq = xcalloc(1, sizeof *rq);

	if (p->corrupt_ppm > 0 && en->offloads)
		return err_set(e, EINVAL, "corruption cannot be added to a running delay engine");
	rq->op = DELAY_OP_SET;
	fill_params(rq, p);
	return ask(en, rq, -1, e);
}

int delay_engine_flush(struct delay_engine *en, struct err *e)
{
	autofree struct delay_request *rq = xcalloc(1, sizeof *rq);

	rq->op = DELAY_OP_FLUSH;
	return ask(en, rq, -1, e);
}

static void add_counters(struct delay_counters *sum, const struct delay_counters *c)
{
	const uint64_t *from = (const uint64_t *)c;
	uint64_t queued_max = sum->queued_max, late_max_ns = sum->late_max_ns;
	uint64_t *to = (uint64_t *)sum;

	for (size_t i = 0; i < sizeof *c / sizeof *from; i++)
		to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	sum->queued_max = MAX_OF(queued_max, c->queued_max);
	sum->late_max_ns = MAX_OF(late_max_ns, c->late_max_ns);
}

void delay_engine_counters(const struct delay_engine *en, uint32_t id, struct delay_counters *ret)
{
	*ret = (struct delay_counters){0};
	for (uint32_t i = 0; i < en->n_paths; i++)
		if (id == DELAY_ALL || id == i)
			add_counters(ret, &en->shared->paths[i]);
}

int delay_engine_pidfd(const struct delay_engine *en)
{
	return en->pidfd;
}

pid_t delay_engine_pid(const struct delay_engine *en)
{
	return en->pid;
}

/* It exits by itself when its control socket closes; one that does not is stuck. */
static void end_process(struct delay_engine *en)
{
	struct pollfd exited = {.fd = en->pidfd, .events = POLLIN};
	siginfo_t info;

	if (en->sock >= 0)
		close(en->sock);
	if (en->pidfd < 0)
		return;
	if (poll(&exited, 1, EXIT_TIMEOUT_MS) == 0)
		syscall(SYS_pidfd_send_signal, en->pidfd, SIGKILL, NULL, 0);
	waitid(P_PIDFD, en->pidfd, &info, WEXITED);
	close(en->pidfd);
}

void delay_engine_stop(struct delay_engine *en)
{
	if (!en)
		return;
	end_process(en);
	if (en->shared)
		munmap(en->shared, sizeof *en->shared);
	return_path_free(en->back);
	free(en);
}
