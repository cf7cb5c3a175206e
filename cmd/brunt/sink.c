/*
 * A terminal that was halted by Ctrl-S, a pager on its first page, a stalled pipe: a write to them
 * waits, and what waits here renews leases, reverts faults and answers Ctrl-C. Non-blocking
 * descriptors are no way out, since O_NONBLOCK belongs to the open file and would stay on with the
 * shell; a pipe in between would lose its contents with this process. So a thread does the waiting.
 *
 * It blocks every signal: they belong to the loop, and with SIGTTOU blocked a background run may
 * write to its terminal.
 */
#include "sink.h"

#include "../../lib/base/clock.h"
#include "../../lib/base/mem.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

enum {
	BEHIND_BYTES = 64 << 10,
	PIECE_BYTES = 16 << 10, /* progress is seen after each */
	STALL_MS = 5000,
	INTERRUPTED_MS = 300,
	POLL_MS = 10,
};

struct sink {
	int fd;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t wake;
	char *data;
	size_t len, room;
	size_t writing; /* taken out, not written yet */
	uint64_t written;
	int error; /* of the first failed write; what comes after it is dropped */
	bool started;
};

static struct sink sinks[2] = {
	{.fd = STDOUT_FILENO, .mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER},
	{.fd = STDERR_FILENO, .mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER},
};
static FILE *streams[2];
static bool one_place; /* both lead there: one queue keeps their order */

static struct sink *sink_of(const FILE *f)
{
	return f == stderr && !one_place ? &sinks[1] : &sinks[0];
}

/* A piece of the queue; it is never empty. */
static char *take_piece(struct sink *s, size_t *ret_len)
{
	char *piece;

	pthread_mutex_lock(&s->mutex);
	while (!s->len)
		pthread_cond_wait(&s->wake, &s->mutex);
	*ret_len = s->writing = MIN_OF(s->len, (size_t)PIECE_BYTES);
	piece = xcalloc(1, s->writing);
	memcpy(piece, s->data, s->writing);
	s->len -= s->writing;
	memmove(s->data, s->data + s->writing, s->len);
	pthread_mutex_unlock(&s->mutex);
	return piece;
}

static void note_written(struct sink *s, size_t n, int error)
{
	pthread_mutex_lock(&s->mutex);
	s->written += n;
	s->writing -= n;
	if (error) {
		s->error = s->error ? s->error : error;
		s->writing = s->len = 0;
	}
	pthread_mutex_unlock(&s->mutex);
}

static void *writer(void *data)
{
	struct sink *s = data;
	size_t len;

	for (;;) {
		autofree char *piece = take_piece(s, &len);

		for (size_t at = 0; at < len;) {
			ssize_t n = write(s->fd, piece + at, len - at);

			/* Somebody else made the open file non-blocking. */
			if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
				poll(&(struct pollfd){.fd = s->fd, .events = POLLOUT}, 1, -1);
				continue;
			}
			note_written(s, n < 0 ? 0 : (size_t)n, n < 0 ? errno : 0);
			if (n < 0)
				break;
			at += (size_t)n;
		}
	}
	return NULL;
}

static void start(struct sink *s)
{
	sigset_t all, old;
	pthread_t thread;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&thread, NULL, writer, s) == 0) {
		pthread_detach(thread);
		s->started = true;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!s->started)
		s->error = EAGAIN;
}

static ssize_t enqueue(void *cookie, const char *data, size_t len)
{
	struct sink *s = cookie;

	pthread_mutex_lock(&s->mutex);
	if (!s->started && !s->error)
		start(s);
	if (!s->error) {
		if (s->room < s->len + len) {
			s->room = 2 * (s->len + len);
			s->data = xrealloc(s->data, s->room);
		}
		memcpy(s->data + s->len, data, len);
		s->len += len;
		pthread_cond_signal(&s->wake);
	}
	pthread_mutex_unlock(&s->mutex);
	return (ssize_t)len; /* what became of it is told by sink_close */
}

void sink_open(void)
{
	const cookie_io_functions_t functions = {.write = enqueue};
	struct stat out, err;

	fflush(stdout);
	one_place = fstat(STDOUT_FILENO, &out) == 0 && fstat(STDERR_FILENO, &err) == 0 &&
		    out.st_dev == err.st_dev && out.st_ino == err.st_ino;
	streams[0] = fopencookie(&sinks[0], "w", functions);
	streams[1] = fopencookie(one_place ? &sinks[0] : &sinks[1], "w", functions);
	if (!streams[0] || !streams[1])
		abort();
	setvbuf(streams[0], NULL, _IOLBF, BUFSIZ);
	setvbuf(streams[1], NULL, _IOLBF, BUFSIZ);
	stdout = streams[0];
	stderr = streams[1];
}

static size_t waiting(struct sink *s, uint64_t *ret_written)
{
	size_t n;

	pthread_mutex_lock(&s->mutex);
	n = s->error ? 0 : s->len + s->writing;
	if (ret_written)
		*ret_written = s->written;
	pthread_mutex_unlock(&s->mutex);
	return n;
}

bool sink_is_behind(FILE *f)
{
	return streams[0] && waiting(sink_of(f), NULL) > BEHIND_BYTES;
}

/* One that came while nobody waited here was for the run, and has been answered. */
static bool interrupted(int timeout_ms)
{
	const struct timespec t = {.tv_nsec = timeout_ms * NSEC_PER_MSEC};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	return sigtimedwait(&set, NULL, &t) > 0;
}

/* 0 when all is written; else how much is not. One who did not read once is not waited for again. */
static size_t wait_until_written(struct sink *s)
{
	static int stall_ms = STALL_MS;
	int64_t since_ns = clock_now_ns();
	uint64_t before = 0, now;
	size_t left;

	while ((left = waiting(s, &now)) > 0) {
		if (now != before)
			since_ns = clock_now_ns();
		before = now;
		if (clock_now_ns() - since_ns > stall_ms * NSEC_PER_MSEC) {
			stall_ms = INTERRUPTED_MS;
			return left;
		}
		if (interrupted(POLL_MS))
			stall_ms = INTERRUPTED_MS;
	}
	return 0;
}

int sink_drain(FILE *f, struct err *e)
{
	struct sink *s = sink_of(f);
	const char *name = f == stdout ? "standard output" : "standard error";
	size_t lost;

	if (!streams[0])
		return 0;
	fflush(f);
	while (interrupted(0))
		;
	lost = wait_until_written(s);
	if (lost)
		return err_set(e, ETIMEDOUT, "%s: nobody reads it; its last %zu bytes are lost", name,
			       lost);
	return s->error ? err_errno(e, s->error, "write to %s", name) : 0;
}
