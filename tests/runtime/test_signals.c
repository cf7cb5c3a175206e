/* Signals and forks that come where the runtime does not expect them; each in a process of its own. */
#include "rt.h"

#include "../../runtime/sched/sched.h"
#include "expect.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define LONG (100 * RT_MSEC) /* beyond every slice */

enum { PATIENCE_S = 30, STOPS = 50 };

static void nothing(void *arg)
{
}

/* What became of a process with a runtime in that mode: its failures as exit code. */
static int run_in(enum rt_preempt_mode mode, unsigned procs, void *(*fn)(void *arg))
{
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		struct rt_options o = {.procs = procs, .preempt = mode};

		alarm(PATIENCE_S);
		rt_run(&o, fn, NULL, NULL);
		fflush(stdout);
		_exit(atomic_load(&expect_failures));
	}
	waitpid(pid, &status, 0);
	return status;
}

static _Atomic int in_place, over;

static void stop_until_over(void)
{
	while (!atomic_load(&in_place))
		rt_yield();
	while (!atomic_load(&over)) {
		rt_stop_world("test", nothing, NULL);
		rt_sleep(RT_MSEC);
	}
}

/* The polling page ------------------------------------------------------------------------------ */

static void *poll_for_long(void *arg)
{
	int64_t until = rt_now() + LONG;

	atomic_store(&in_place, 1);
	while (rt_now() < until)
		RT_POLL();
	return NULL;
}

static void *poll_on_system_stack(void *arg)
{
	rt_on_system_stack(poll_for_long, NULL);
	atomic_store(&over, 1);
	return NULL;
}

static void *stop_a_poller_on_the_system_stack(void *arg)
{
	struct rt_co *co = rt_spawn(poll_on_system_stack, NULL, NULL);

	stop_until_over();
	rt_join(co, NULL);
	return NULL;
}

static void a_closed_page_does_not_trap_who_may_not_stand_still(void)
{
	EXPECT_EQ(run_in(RT_PREEMPT_PAGE, 2, stop_a_poller_on_the_system_stack), 0);
}

/* A SIGSEGV that is no fault -------------------------------------------------------------------- */

static _Atomic int received;

static void on_segv(int sig)
{
	atomic_fetch_add(&received, 1);
}

/* And the page still works afterwards. */
static void *be_sent_a_segv(void *arg)
{
	struct rt_co *co;

	kill(getpid(), SIGSEGV);
	rt_sleep(10 * RT_MSEC);
	co = rt_spawn(poll_for_long, NULL, NULL);
	while (!atomic_load(&in_place))
		rt_yield();
	for (int i = 0; i < STOPS; i++)
		rt_stop_world("test", nothing, NULL);
	rt_join(co, NULL);
	return NULL;
}

static void a_sent_sigsegv_ends_the_process(void)
{
	int status = run_in(RT_PREEMPT_ALL, 2, be_sent_a_segv);

	EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void *be_sent_one_that_has_a_handler(void *arg)
{
	be_sent_a_segv(NULL);
	EXPECT_EQ(atomic_load(&received), 1);
	return NULL;
}

static void a_sent_sigsegv_goes_to_the_handler_of_before(void)
{
	signal(SIGSEGV, on_segv);
	EXPECT_EQ(run_in(RT_PREEMPT_PAGE, 2, be_sent_one_that_has_a_handler), 0);
	signal(SIGSEGV, SIG_DFL);
}

static void an_ignored_sigsegv_is_ignored(void)
{
	signal(SIGSEGV, SIG_IGN);
	EXPECT_EQ(run_in(RT_PREEMPT_PAGE, 2, be_sent_a_segv), 0);
	signal(SIGSEGV, SIG_DFL);
}

/* Fork ------------------------------------------------------------------------------------------ */

static _Atomic int others_turns;

static void *take_turns(void *arg)
{
	while (!atomic_load(&over)) {
		atomic_fetch_add(&others_turns, 1);
		rt_yield();
	}
	return NULL;
}

static void spin_without_poll(int64_t ns)
{
	int64_t until = rt_now() + ns;

	while (rt_now() < until)
		;
}

/* The child inherits a request to leave. */
static void *fork_when_asked_to_leave(void *arg)
{
	struct rt_co *co = rt_spawn(take_turns, NULL, NULL);
	int status = -1;
	pid_t pid;

	rt_yield();
	spin_without_poll(LONG);
	pid = fork();
	if (pid == 0) {
		int turns = atomic_load(&others_turns);

		alarm(PATIENCE_S);
		poll_for_long(NULL);
		rt_preempt_off();
		rt_preempt_on();
		_exit((atomic_load(&others_turns) != turns) | (rt_self() != NULL) << 1 |
		      (rt_attach() != -ESRCH) << 2);
	}
	waitpid(pid, &status, 0);
	EXPECT_EQ(status, 0);
	atomic_store(&over, 1);
	rt_join(co, NULL);
	return NULL;
}

static void no_other_coroutine_runs_in_the_child_of_a_fork(void)
{
	static const enum rt_preempt_mode modes[] = {RT_PREEMPT_ALL, RT_PREEMPT_COOPERATIVE,
						     RT_PREEMPT_PAGE, RT_PREEMPT_SIGNAL};

	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
		EXPECT_EQ(run_in(modes[i], 1, fork_when_asked_to_leave), 0);
}

static void *fork_while_the_world_stops(void *arg)
{
	atomic_store(&in_place, 1);
	for (int i = 0; i < STOPS; i++) {
		int status = -1;
		pid_t pid = fork();

		if (pid == 0) {
			alarm(PATIENCE_S);
			for (int k = 0; k < 1000; k++)
				RT_POLL();
			_exit(0);
		}
		waitpid(pid, &status, 0);
		EXPECT_EQ(status, 0);
	}
	atomic_store(&over, 1);
	return NULL;
}

static void *stop_who_forks(void *arg)
{
	struct rt_co *co = rt_spawn(fork_while_the_world_stops, NULL, NULL);

	stop_until_over();
	rt_join(co, NULL);
	return NULL;
}

static void a_child_forked_while_the_world_stops_does_not_wait_for_it(void)
{
	EXPECT_EQ(run_in(RT_PREEMPT_ALL, 2, stop_who_forks), 0);
	EXPECT_EQ(run_in(RT_PREEMPT_PAGE, 2, stop_who_forks), 0);
}

/* Handlers of the program's own ------------------------------------------------------------------ */

static _Atomic int moved, astray;

static void spin_in_handler(int sig)
{
	pid_t thread = gettid();

	atomic_store(&in_place, 1);
	spin_without_poll(LONG);
	if (gettid() != thread)
		atomic_fetch_add(&moved, 1);
}

static void *raise_one(void *arg)
{
	raise(SIGUSR2);
	atomic_store(&over, 1);
	return NULL;
}

static void look_at_held(struct rt_co *co, void *arg)
{
	struct m *m = atomic_load(&co->m);
	ucontext_t *u = m && m->cur == co ? atomic_load(&m->held_context) : NULL;

	if (u && !stack_holds(co, (uintptr_t)u->uc_mcontext.gregs[REG_RSP]))
		atomic_fetch_add(&astray, 1);
}

static void look_at_all_held(void *arg)
{
	stack_each(look_at_held, NULL);
}

static void *stop_a_handler(void *arg)
{
	struct sigaction sa = {.sa_handler = spin_in_handler, .sa_flags = SA_ONSTACK};
	struct rt_co *co, *other;

	sigaction(SIGUSR2, &sa, NULL);
	co = rt_spawn(raise_one, NULL, NULL);
	other = rt_spawn(take_turns, NULL, NULL);
	while (!atomic_load(&in_place))
		rt_yield();
	while (!atomic_load(&over)) {
		rt_stop_world("test", look_at_all_held, NULL);
		rt_sleep(RT_MSEC);
	}
	rt_join(co, NULL);
	rt_join(other, NULL);
	EXPECT_EQ(atomic_load(&moved), 0);
	EXPECT_EQ(atomic_load(&astray), 0);
	return NULL;
}

static void a_handler_on_the_signal_stack_is_neither_held_nor_left(void)
{
	EXPECT_EQ(run_in(RT_PREEMPT_ALL, 2, stop_a_handler), 0);
	EXPECT_EQ(run_in(RT_PREEMPT_SIGNAL, 2, stop_a_handler), 0);
}

int main(int argc, char **argv)
{
	static const struct situation list[] = {
		SITUATION(a_closed_page_does_not_trap_who_may_not_stand_still),
		SITUATION(a_sent_sigsegv_ends_the_process),
		SITUATION(a_sent_sigsegv_goes_to_the_handler_of_before),
		SITUATION(an_ignored_sigsegv_is_ignored),
		SITUATION(no_other_coroutine_runs_in_the_child_of_a_fork),
		SITUATION(a_child_forked_while_the_world_stops_does_not_wait_for_it),
		SITUATION(a_handler_on_the_signal_stack_is_neither_held_nor_left),
	};

	run_situations(list, sizeof list / sizeof *list, argc > 1 ? argv[1] : NULL);
	return tap_done();
}
