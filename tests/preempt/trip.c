#include "trip.h"

#include "../../runtime/sched/sched.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

enum { APART_TRIES = 20 };

static struct {
	_Atomic uint32_t want; /* futex: the partner spins while it is 1; 2: it ends */
	_Atomic int ready, seen, cpu; /* cpu: the partner's */
	pthread_t partner;
	struct sigaction before;
	cpu_set_t cpus; /* that this process may use */
} trip;

static void acknowledge(int sig)
{
	atomic_store(&trip.seen, 1);
}

static void *partner(void *arg)
{
	uint32_t want;

	while ((want = atomic_load(&trip.want)) != 2) {
		if (want == 0) {
			futex_wait(&trip.want, 0, -1);
			continue;
		}
		atomic_store(&trip.ready, 1);
		while (atomic_load(&trip.want) == 1)
			atomic_store(&trip.cpu, sched_getcpu());
		atomic_store(&trip.ready, 0);
	}
	return NULL;
}

bool trip_begin(void)
{
	struct sigaction sa = {.sa_handler = acknowledge};

	atomic_store(&trip.want, 0);
	atomic_store(&trip.ready, 0);
	sched_getaffinity(0, sizeof trip.cpus, &trip.cpus);
	sigaction(SIGUSR2, &sa, &trip.before);
	return pthread_create(&trip.partner, NULL, partner, NULL) == 0;
}

static void send_partner_away(void)
{
	cpu_set_t cpus = trip.cpus;

	CPU_CLR((size_t)sched_getcpu(), &cpus);
	if (CPU_COUNT(&cpus) > 0)
		pthread_setaffinity_np(trip.partner, sizeof cpus, &cpus);
}

int64_t trip_once(void)
{
	struct timespec pause = {.tv_nsec = 200 * 1000};
	int64_t begin, ns;

	atomic_store(&trip.want, 1);
	futex_wake(&trip.want, 1);
	while (!atomic_load(&trip.ready))
		__builtin_ia32_pause();
	/* As a stop begins: the sender has just been woken, and its partner runs elsewhere. */
	for (int i = 0; i < APART_TRIES; i++) {
		nanosleep(&pause, NULL);
		if (atomic_load(&trip.cpu) != sched_getcpu())
			break;
		send_partner_away();
	}
	atomic_store(&trip.seen, 0);
	begin = rt_now();
	pthread_kill(trip.partner, SIGUSR2);
	while (!atomic_load(&trip.seen))
		;
	ns = rt_now() - begin;
	atomic_store(&trip.want, 0);
	while (atomic_load(&trip.ready))
		__builtin_ia32_pause();
	return ns;
}

void trip_end(void)
{
	atomic_store(&trip.want, 2);
	futex_wake(&trip.want, 1);
	pthread_join(trip.partner, NULL);
	sigaction(SIGUSR2, &trip.before, NULL);
}
