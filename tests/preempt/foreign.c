#include "foreign.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>


uint64_t foreign_errno_sum(int value, uint64_t turns)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < turns; i++)
		sum = sum * 31 + (uint64_t)value;
	return sum;
}

uint64_t foreign_errno(int value, uint64_t turns)
{
	uint64_t sum = 0;
	volatile int *here; /* as in a long function of libc: one address, read anew each time */

	errno = value;
	here = &errno;
	for (uint64_t i = 0; i < turns; i++)
		sum = sum * 31 + (uint64_t)*here;
	return sum;
}

size_t foreign_copy_bytes = (size_t)1 << 30;

void foreign_getppid(void)
{
	syscall(SYS_getppid);
}

static struct {
	char *from, *to;
} copy;

static char *huge(void)
{
	char *p = mmap(NULL, foreign_copy_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	madvise(p, foreign_copy_bytes, MADV_HUGEPAGE);
	for (size_t i = 0; i < foreign_copy_bytes; i += 4096)
		p[i] = 1;
	return p;
}

bool foreign_copy_begin(void)
{
	copy.from = huge();
	copy.to = huge();
	return copy.from && copy.to;
}

void foreign_copy(void)
{
	memcpy(copy.to, copy.from, foreign_copy_bytes);
}

void foreign_copy_end(void)
{
	munmap(copy.from, foreign_copy_bytes);
	munmap(copy.to, foreign_copy_bytes);
}

static struct {
	int fd[2];
	pthread_t writer;
	_Atomic int end;
} blocking;

static void *write_now_and_then(void *arg)
{
	struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

	while (!atomic_load(&blocking.end)) {
		nanosleep(&pause, NULL);
		if (write(blocking.fd[1], "x", 1) < 0)
			break;
	}
	return NULL;
}

bool foreign_blocking_begin(void)
{
	sigset_t all, old;
	int r;

	atomic_store(&blocking.end, 0);
	if (pipe(blocking.fd) < 0)
		return false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&blocking.writer, NULL, write_now_and_then, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r == 0;
}

void foreign_blocking_read(void)
{
	char c;

	while (read(blocking.fd[0], &c, 1) < 0 && errno == EINTR)
		;
}

void foreign_blocking_end(void)
{
	atomic_store(&blocking.end, 1);
	pthread_join(blocking.writer, NULL);
	close(blocking.fd[0]);
	close(blocking.fd[1]);
}
