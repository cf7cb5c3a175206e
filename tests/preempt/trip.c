#include "trip.h"

#include "waits.h"

#include "../../runtime/sched/sched.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

static struct {
	_Atomic uint32_t want; /* futex: the partner spins while it is 1; 2: it ends */
	_Atomic uint32_t seen; /* futex */
	_Atomic int ready, tid; /* the partner's */
	pthread_t partner;
	struct sigaction before;
	cpu_set_t cpus; /* that this process may use */
} trip;

static void acknowledge(int sig)
{
	atomic_store(&trip.seen, 1);
	futex_wake(&trip.seen, 1);
}

static void *partner(void *arg)
{
	uint32_t want;

	atomic_store(&trip.tid, gettid());
	while ((want = atomic_load(&trip.want)) != 2) {
		if (want == 0) {
			futex_wait(&trip.want, 0, -1);
			continue;
		}
		atomic_store(&trip.ready, 1);
		while (atomic_load(&trip.want) == 1 && !atomic_load(&trip.seen))
			;
		futex_wait(&trip.want, 1, -1);
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

/* The sender stays where it is and its partner anywhere else: a kernel that may choose puts both on one CPU
 * now and then, where a signal is delivered when its sender waits, in no time. */
static void part(void)
{
	cpu_set_t here, elsewhere = trip.cpus;
	size_t cpu = (size_t)sched_getcpu();

	if (CPU_COUNT(&trip.cpus) < 2)
		return;
	CPU_ZERO(&here);
	CPU_SET(cpu, &here);
	CPU_CLR(cpu, &elsewhere);
	pthread_setaffinity_np(pthread_self(), sizeof here, &here);
	pthread_setaffinity_np(trip.partner, sizeof elsewhere, &elsewhere);
}

/* As a stop begins: the sender has just been woken, and its partner runs elsewhere, if there is
 * elsewhere. Whoever the stop holds sleeps by then. */
void trip_prepare(void)
{
	struct timespec pause = {.tv_nsec = STOP_SPIN_NS + 100 * RT_USEC};

	atomic_store(&trip.seen, 0);
	part();
	atomic_store(&trip.want, 1);
	futex_wake(&trip.want, 1);
	while (!atomic_load(&trip.ready))
		sched_yield();
	waits_add(atomic_load(&trip.tid));
	nanosleep(&pause, NULL);
}

void trip_once(void)
{
	int64_t begin = rt_now();
	unsigned n_offers = 0;

	pthread_kill(trip.partner, SIGUSR2);
	while (!atomic_load(&trip.seen))
		if (!stop_relax(rt_now() - begin, &n_offers))
			futex_wait(&trip.seen, 0, -1);
}

void trip_rest(void)
{
	atomic_store(&trip.want, 0);
	futex_wake(&trip.want, 1);
	while (atomic_load(&trip.ready))
		sched_yield();
	pthread_setaffinity_np(pthread_self(), sizeof trip.cpus, &trip.cpus);
}

void trip_end(void)
{
	atomic_store(&trip.want, 2);
	futex_wake(&trip.want, 1);
	pthread_join(trip.partner, NULL);
	sigaction(SIGUSR2, &trip.before, NULL);
}
