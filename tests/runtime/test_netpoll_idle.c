/* What the netpoller gives goes on while another P has nothing to do, whoever does not leave his. */
#include "../../runtime/net/poll.h"

#include "expect.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

enum { WAITERS = 8, ROUNDS = 30, QUICK_ROUNDS = 20 };

/* One event readies all of them: they come in one batch, to one P. */
struct crowd {
	int fd[2];
	bool hogged; /* the first of them stays until the others have run */
	_Atomic int waiting, ran, ran_beside;
};

static void stay_until(_Atomic int *counter, int wanted)
{
	int64_t until = rt_now() + 60 * RT_SEC;

	rt_preempt_off();
	while (atomic_load(counter) < wanted && rt_now() < until)
		;
	rt_preempt_on();
}

static void *wait_in_crowd(void *arg)
{
	struct crowd *c = arg;

	atomic_fetch_add(&c->waiting, 1);
	EXPECT_EQ(rt_wait_fd(c->fd[0], false, RT_FOREVER), 0);
	if (atomic_fetch_add(&c->ran, 1) == 0 && c->hogged) {
		stay_until(&c->ran, WAITERS);
		atomic_store(&c->ran_beside, atomic_load(&c->ran));
	}
	return NULL;
}

/* Of no coroutine: when all of them wait (or are about to) and every P is idle. */
static void *write_to_crowd(void *arg)
{
	struct crowd *c = arg;

	while (atomic_load(&c->waiting) < WAITERS)
		usleep(100);
	usleep(c->hogged ? 2000 : 100);
	EXPECT_EQ(write(c->fd[1], "x", 1), 1);
	return NULL;
}

static void open_pair(int fd[2])
{
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	EXPECT_EQ(rt_fd_open(fd[0]), 0);
}

static void close_pair(int fd[2])
{
	rt_close_fd(fd[0]);
	rt_close_fd(fd[1]);
}

static int run_crowd(bool hogged)
{
	struct crowd c = {.hogged = hogged};
	struct rt_co *co[WAITERS];
	pthread_t writer;

	open_pair(c.fd);
	for (int i = 0; i < WAITERS; i++)
		co[i] = rt_spawn(wait_in_crowd, &c, NULL);
	EXPECT_EQ(pthread_create(&writer, NULL, write_to_crowd, &c), 0);
	for (int i = 0; i < WAITERS; i++)
		rt_join(co[i], NULL);
	pthread_join(writer, NULL);
	close_pair(c.fd);
	return atomic_load(&c.ran_beside);
}

/* Turns that were short so far start no thread; the one that is not must not hold up the others. */
static void who_came_with_one_that_stays_runs_beside_it(void)
{
	int ran = WAITERS;

	for (int i = 0; i < ROUNDS && ran == WAITERS; i++) {
		for (int k = 0; k < QUICK_ROUNDS; k++)
			run_crowd(false);
		ran = run_crowd(true);
	}
	EXPECT_EQ(ran, WAITERS);
}

static _Atomic int first_stays, second_ran;

static void *stay(void *arg)
{
	EXPECT_EQ(rt_wait_fd(*(int *)arg, false, RT_FOREVER), 0);
	atomic_store(&first_stays, 1);
	stay_until(&second_ran, 1);
	EXPECT_EQ(atomic_load(&second_ran), 1);
	return NULL;
}

static void *run_second(void *arg)
{
	EXPECT_EQ(rt_wait_fd(*(int *)arg, false, RT_FOREVER), 0);
	atomic_store(&second_ran, 1);
	return NULL;
}

static void *write_in_turn(void *arg)
{
	int (*fd)[2] = arg;

	usleep(2000);
	EXPECT_EQ(write(fd[0][1], "x", 1), 1);
	while (!atomic_load(&first_stays))
		usleep(100);
	EXPECT_EQ(write(fd[1][1], "x", 1), 1);
	return NULL;
}

/* The thread that waited in the netpoller runs what came there: another one has to wait in it. */
static void data_that_come_while_one_stays_are_read_beside_it(void)
{
	int fd[2][2];
	struct rt_co *first, *second;
	pthread_t writer;

	open_pair(fd[0]);
	open_pair(fd[1]);
	first = rt_spawn(stay, &fd[0][0], NULL);
	second = rt_spawn(run_second, &fd[1][0], NULL);
	EXPECT_EQ(pthread_create(&writer, NULL, write_in_turn, fd), 0);
	rt_join(first, NULL);
	rt_join(second, NULL);
	pthread_join(writer, NULL);
	close_pair(fd[0]);
	close_pair(fd[1]);
}

static void *wait_readable(void *arg)
{
	EXPECT_EQ(rt_wait_fd(*(int *)arg, false, rt_now() + 60 * RT_SEC), 0);
	return NULL;
}

/* One that wakes another is not lost on who had tried before it and waits after it. */
static void an_event_between_an_attempt_and_its_wait_is_seen(void)
{
	struct rt_co *other;
	struct desc *d;
	uint32_t seen;
	int fd[2];

	open_pair(fd);
	EXPECT_EQ(desc_enter(fd[0], &d), 0);
	other = rt_spawn(wait_readable, &fd[0], NULL);
	rt_sleep(20 * RT_MSEC);
	seen = desc_events(d, POLL_READ);
	EXPECT_EQ(write(fd[1], "x", 1), 1);
	rt_join(other, NULL);
	EXPECT_EQ(desc_wait(d, POLL_READ, seen, rt_now() + RT_SEC), 0);
	EXPECT_EQ(desc_wait(d, POLL_READ, desc_events(d, POLL_READ), rt_now() + 20 * RT_MSEC), -ETIMEDOUT);
	desc_leave(d);
	close_pair(fd);
}

static const struct situation situations[] = {
	SITUATION(who_came_with_one_that_stays_runs_beside_it),
	SITUATION(data_that_come_while_one_stays_are_read_beside_it),
	SITUATION(an_event_between_an_attempt_and_its_wait_is_seen),
};

static void *all(void *only)
{
	run_situations(situations, ARRAY_SIZE(situations), only);
	return NULL;
}

int main(int argc, char **argv)
{
	struct rt_options o = {.procs = 2};

	EXPECT_EQ(rt_run(&o, all, argc > 1 ? argv[1] : NULL, NULL), 0);
	return tap_done();
}
