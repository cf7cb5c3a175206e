/* The client of a control socket: what it makes of answers, and of who gives them. */
#include "fault/runtime_control.h"

#include "fault/runtime_undo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "kernel/pidfd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static void test_status_is_read_and_new_words_are_skipped(void **state)
{
	struct runtime_status s;
	struct runtime_action a;

	assert_int_equal(runtime_status_parse("procs=3 live=2 parked=1 gc=off coroutines=9 probes=812 "
					      "actions=park-p:r/a:1998:7,stall-safepoint:r/b:0:29911",
					      &s, NULL), 0);
	assert_true(s.procs == 3 && s.live == 2 && s.parked == 1 && s.probes == 812);
	assert_true(s.coroutines == 9 && s.cycles == -1 && s.allocated == -1 && s.percent == 0);
	assert_true(runtime_status_find(&s, "r/b", &a));
	assert_string_equal(a.name, "stall-safepoint");
	assert_true(a.lease_ms == 0 && a.worst_us == 29911);
	assert_true(runtime_status_find(&s, "r/a", &a));
	assert_false(runtime_status_find(&s, "r/", &a)); /* a tag is a whole one */
	assert_int_equal(runtime_status_parse("procs=1 live=1 parked=0 coroutines=7 cycles=12 percent=-1 "
					      "allocated=9000000000 probes=0 actions=-", &s, NULL), 0);
	assert_true(s.coroutines == 7 && s.cycles == 12 && s.allocated == 9000000000 && s.percent == -1);
	assert_true(s.slow_calls == -1 && s.slow_us == -1);
	assert_false(runtime_status_find(&s, "-", &a));
	assert_int_equal(runtime_status_parse("procs=1 live=1 parked=0 slow_calls=4 slow_us=80123 probes=0 "
					      "actions=-", &s, NULL), 0);
	assert_true(s.slow_calls == 4 && s.slow_us == 80123);
}

static void test_what_is_no_status_is_an_error(void **state)
{
	static const char *const texts[] = {"", "procs=1", "procs=1 live=1 parked=0 probes=3",
					    "live=1 procs=1 parked=0 probes=1 actions=-", "220 smtp"};
	struct runtime_status s;
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		e = (struct err){0};
		assert_int_equal(runtime_status_parse(texts[i], &s, &e), -EPROTO);
		assert_non_null(strstr(e.text, "is no status of a control socket"));
	}
}

static void test_broken_actions_end_the_list(void **state)
{
	static const char *const lists[] = {"park-p", "park-p:t", "park-p:t:x:1", ":t:1:1", ",", ""};
	struct runtime_action a;

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		const char *at = lists[i];

		assert_false(runtime_action_next(&at, &a));
	}
}

static char dir[40], path[64];
static pid_t server;

/* A process that answers each connection with text, in pieces, and stays. */
static void serve(const char *text)
{
	int ready[2];
	char byte;

	strcpy(dir, "/tmp/bt-rtc-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/control", dir);
	assert_int_equal(pipe(ready), 0);
	server = fork();
	if (server == 0) {
		struct sockaddr_un at = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_STREAM, 0), client;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		strcpy(at.sun_path, path);
		if (bind(fd, (void *)&at, sizeof at) < 0 || listen(fd, 1) < 0 || write(ready[1], "", 1) != 1)
			_exit(1);
		client = accept(fd, NULL, NULL);
		for (const char *p = text; *p; p++, usleep(1000))
			if (write(client, p, 1) != 1)
				break;
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
}

static int end(void **state)
{
	if (server > 0) {
		kill(server, SIGKILL);
		waitpid(server, NULL, 0);
		server = 0;
	}
	unlink(path);
	rmdir(dir);
	return 0;
}

static void test_lines_come_in_pieces(void **state)
{
	autoptr(runtime_control) c = NULL;
	char answer[RUNTIME_LINE_MAX];

	serve("rt-control 1 pid=7\nok id=4\nerror no such command\n");
	assert_int_equal(runtime_control_open(server, path, &c, NULL), 0);
	assert_int_equal(runtime_control_peer(c), server);
	assert_int_equal(runtime_control_ask(c, "a", answer, NULL), 0);
	assert_string_equal(answer, "id=4");
	assert_int_equal(runtime_control_ask(c, "b", answer, NULL), -EREMOTEIO);
}

static void test_a_refusal_is_handed_on(void **state)
{
	autoptr(runtime_control) c = NULL;
	struct err e = {0};

	serve("error refused: uid 0 is nobody\n");
	assert_int_equal(runtime_control_open(server, path, &c, &e), -EACCES);
	assert_non_null(strstr(e.text, "refused: uid 0 is nobody"));
}

static void test_a_line_without_end_is_a_closed_connection(void **state)
{
	autofree char *text = xasprintf("rt-control 1 pid=7\n%*s", RUNTIME_LINE_MAX + 10, "x");
	autoptr(runtime_control) c = NULL;
	char answer[RUNTIME_LINE_MAX];
	int r;

	serve(text);
	assert_int_equal(runtime_control_open(server, path, &c, NULL), 0);
	while ((r = runtime_control_next(c, answer)) == 0)
		usleep(1000);
	assert_int_equal(r, -EPIPE);
}

/* A process that is neither the one that answers nor one above it. */
static void test_a_stranger_is_not_believed(void **state)
{
	pid_t other = fork();
	autoptr(runtime_control) c = NULL;
	struct err e = {0};

	if (other == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	serve("rt-control 1 pid=7\n");
	assert_int_equal(runtime_control_open(other, path, &c, &e), -EPERM);
	assert_non_null(strstr(e.text, "answers there, which is not of the target"));
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
}

/* Connected to, and never answered: as a service is that was stopped. */
static void test_silent_services_cost_together_what_one_costs(void **state)
{
	enum { N = 12 };
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct undo_result results[N];
	struct undo undo[N];
	unsigned long long born = 0;
	int64_t start, took_ns;

	strcpy(dir, "/tmp/bt-rtc-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/control", dir);
	strcpy(at.sun_path, path);
	assert_int_equal(bind(fd, (void *)&at, sizeof at), 0);
	assert_int_equal(listen(fd, SOMAXCONN), 0);
	assert_int_equal(pidfd_start_time(getpid(), &born), 0);
	for (int i = 0; i < N; i++) {
		undo[i] = (struct undo){.fault = (char *)"f", .target = (char *)"t"};
		undo_set_json(&undo[i], json_pack("{s:i, s:I, s:s, s:s}", "pid", getpid(), "start",
						  (json_int_t)born, "control", path, "tag", "r/a"));
	}
	start = clock_now_ns();
	assert_int_equal(runtime_revert(undo, N, NULL, results, NULL), 0);
	took_ns = clock_now_ns() - start;
	for (int i = 0; i < N; i++) {
		assert_int_equal(results[i].outcome, UNDO_FAILED);
		assert_non_null(strstr(results[i].text, "no answer within"));
		free(undo[i].data);
	}
	/* One after the other, they would take N times as long. */
	assert_in_range(took_ns, 1, N / 2 * SLOW_REVERT_NS);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status_is_read_and_new_words_are_skipped),
		cmocka_unit_test(test_what_is_no_status_is_an_error),
		cmocka_unit_test(test_broken_actions_end_the_list),
		cmocka_unit_test_teardown(test_lines_come_in_pieces, end),
		cmocka_unit_test_teardown(test_a_refusal_is_handed_on, end),
		cmocka_unit_test_teardown(test_a_line_without_end_is_a_closed_connection, end),
		cmocka_unit_test_teardown(test_a_stranger_is_not_believed, end),
		cmocka_unit_test_teardown(test_silent_services_cost_together_what_one_costs, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
