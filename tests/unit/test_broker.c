#include "base/mem.h"
#include "kernel/broker.h"
#include "kernel/netns.h"
#include "kernel/netlink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct broker *broker;

static int setup(void **state)
{
	struct err e = {0};

	(void)state;
	return broker_start(&broker, &e);
}

static int teardown(void **state)
{
	(void)state;
	broker_stop(broker);
	return 0;
}

static int scratch_or_skip(void)
{
	struct err e = {0};
	int fd = broker_scratch(broker, &e);

	if (fd == -EPERM)
		skip();
	assert_true(fd >= 0);
	return fd;
}

static int count_links(const struct nlmsghdr *h, void *data)
{
	assert_int_equal(h->nlmsg_type, RTM_NEWLINK);
	++*(int *)data;
	return 0;
}

static struct nl_msg *dump_links(void)
{
	const struct ifinfomsg ifi = {0};

	return netlink_request(RTM_GETLINK, NLM_F_DUMP, &ifi, sizeof ifi);
}

static void test_scratch_namespace_holds_only_lo(void **state)
{
	autofd int fd = scratch_or_skip();
	autoptr(netlink) nl = NULL;
	struct err e = {0};
	int n = 0;

	(void)state;
	assert_int_equal(netlink_open(broker, fd, NETLINK_ROUTE, &nl, &e), 0);
	assert_int_equal(netlink_ask(nl, dump_links(), "list links", count_links, &n, &e), 0);
	assert_int_equal(n, 1);
}

static void test_identity_tells_namespaces_apart(void **state)
{
	autofd int a = scratch_or_skip(), b = scratch_or_skip();
	struct netns_id id_a, id_b;

	(void)state;
	assert_int_equal(netns_identity(a, &id_a, NULL), 0);
	assert_int_equal(netns_identity(b, &id_b, NULL), 0);
	assert_false(netns_same(id_a, id_b));
	assert_false(netns_is_host(id_a));
}

static void test_own_namespace_is_host_and_is_found(void **state)
{
	autofd int own = netns_open_pid(getpid(), NULL), found = -1;
	struct netns_id id;

	(void)state;
	assert_int_equal(netns_identity(own, &id, NULL), 0);
	assert_true(netns_is_host(id));
	found = netns_find(id, NULL);
	assert_true(found >= 0);
	id.ino = 1;
	assert_int_equal(netns_find(id, NULL), -ENOENT);
}

static void test_cookie_tells_a_namespace_from_one_with_its_number(void **state)
{
	autofd int a = scratch_or_skip(), b = scratch_or_skip();
	struct netns_id id_a, again, id_b;

	(void)state;
	assert_int_equal(netns_identity(a, &id_a, NULL), 0);
	again = id_a;
	assert_int_equal(netns_identity(b, &id_b, NULL), 0);
	assert_int_equal(broker_netns_cookie(broker, a, &id_a, NULL), 0);
	assert_int_equal(broker_netns_cookie(broker, b, &id_b, NULL), 0);
	if (!id_a.cookie)
		skip(); /* Linux before 5.14 */
	assert_true(netns_same(id_a, again)); /* not known is no difference */
	assert_int_equal(broker_netns_cookie(broker, a, &again, NULL), 0);
	assert_int_equal(id_a.cookie, again.cookie);
	id_b.ino = id_a.ino;
	assert_false(netns_same(id_a, id_b));
}

static void test_open_reads_the_namespaces_own_proc_net(void **state)
{
	autofd int ns = scratch_or_skip(), fd = -1;
	struct err e = {0};
	char text[4096] = "";

	(void)state;
	fd = broker_open(broker, ns, "/proc/self/net/dev", O_RDONLY, &e);
	assert_true(fd >= 0);
	assert_true(read(fd, text, sizeof text - 1) > 0);
	assert_non_null(strstr(text, "lo:"));
	assert_null(strstr(text, "eth0"));
}

static void test_failure_names_call_and_namespace(void **state)
{
	struct err e = {0};

	(void)state;
	assert_int_equal(broker_open(broker, -1, "/nonexistent/x", O_RDONLY, &e), -ENOENT);
	assert_string_equal(e.text, "open /nonexistent/x in brunt's own network namespace: "
				    "No such file or directory");
}

static struct nl_msg *new_link(const char *kind, const char *name)
{
	const struct ifinfomsg ifi = {0};
	struct nl_msg *msg = netlink_request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifi, sizeof ifi);
	struct nlattr *info;

	nla_put_string(msg, IFLA_IFNAME, name);
	info = nla_nest_start(msg, IFLA_LINKINFO);
	nla_put_string(msg, IFLA_INFO_KIND, kind);
	nla_nest_end(msg, info);
	return msg;
}

static void test_batch_goes_on_after_failure_and_reports_the_first(void **state)
{
	autofd int ns = scratch_or_skip();
	autoptr(netlink) nl = NULL;
	autobatch b = {0};
	struct err e = {0};
	int n = 0;

	(void)state;
	assert_int_equal(netlink_open(broker, ns, NETLINK_ROUTE, &nl, &e), 0);
	netlink_batch_add(&b, new_link("veth", "a"), 0, "add a");
	netlink_batch_add(&b, new_link("veth", "a"), EEXIST, "add a again");
	netlink_batch_add(&b, new_link("nosuchkind", "b"), 0, "add b");
	netlink_batch_add(&b, new_link("veth", "c"), 0, "add c");
	assert_int_equal(netlink_batch_run(nl, &b, &e), -EOPNOTSUPP);
	assert_non_null(strstr(e.text, "add b: "));
	assert_int_equal(b.items[1].error, EEXIST);
	assert_int_equal(netlink_ask(nl, dump_links(), "list links", count_links, &n, &e), 0);
	assert_int_equal(n, 5);
}

/* The process behind a broker handle, where it is the only child. */
static pid_t only_child(void)
{
	autofree char *path = xasprintf("/proc/self/task/%d/children", getpid());
	FILE *f = fopen(path, "re");
	int pid = 0, another;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d %d", &pid, &another), 1);
	fclose(f);
	return pid;
}

static void check_answers(struct broker *b)
{
	struct err e = {0};
	autofd int fd = broker_open(b, -1, "/proc/self/stat", O_RDONLY, &e);

	assert_string_equal(e.text, "");
	assert_true(fd >= 0);
}

/* The handle of setup() goes first, so that what is asked has one process only. */
static void check_is_replaced_after(int sig)
{
	pid_t first, second;

	broker_stop(take(broker));
	assert_int_equal(broker_start(&broker, NULL), 0);
	check_answers(broker);
	first = only_child();
	assert_int_equal(kill(first, sig), 0);
	check_answers(broker);
	second = only_child();
	assert_int_not_equal(first, second);
	assert_int_equal(kill(first, 0), -1);
}

static void test_broker_that_died_is_replaced(void **state)
{
	(void)state;
	check_is_replaced_after(SIGKILL);
}

static void test_broker_that_is_stopped_is_killed_and_replaced(void **state)
{
	(void)state;
	check_is_replaced_after(SIGSTOP);
}

/* Blocks in open() until somebody writes to the FIFO, which takes longer than a stopped one is given. */
static void test_broker_that_is_slow_is_waited_for(void **state)
{
	char dir[] = "/tmp/brunt-test-broker-XXXXXX";
	autofree char *fifo = NULL;
	autofd int fd = -1;
	struct err e = {0};
	pid_t first, writer;

	(void)state;
	assert_non_null(mkdtemp(dir));
	fifo = xasprintf("%s/fifo", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	broker_stop(take(broker));
	assert_int_equal(broker_start(&broker, NULL), 0);
	first = only_child();
	writer = fork();
	if (writer == 0) {
		sleep(4);
		_exit(open(fifo, O_WRONLY | O_CLOEXEC) < 0);
	}
	fd = broker_open(broker, -1, fifo, O_RDONLY, &e);
	waitpid(writer, NULL, 0);
	unlink(fifo);
	rmdir(dir);
	assert_string_equal(e.text, "");
	assert_true(fd >= 0);
	assert_int_equal(only_child(), first);
}

static void test_spare_broker_answers_when_the_first_is_gone(void **state)
{
	pid_t first;

	(void)state;
	broker_stop(take(broker));
	assert_int_equal(broker_start(&broker, NULL), 0);
	first = only_child();
	assert_int_equal(broker_keep_spare(broker, NULL), 0);
	assert_int_equal(kill(first, SIGKILL), 0);
	check_answers(broker);
	/* Nobody was started for it: of the two, the spare is left. */
	assert_int_not_equal(only_child(), first);
}

static void test_stopped_broker_does_not_hold_up_the_end(void **state)
{
	pid_t pid;

	(void)state;
	broker_stop(take(broker));
	assert_int_equal(broker_start(&broker, NULL), 0);
	pid = only_child();
	assert_int_equal(kill(pid, SIGSTOP), 0);
	broker_stop(take(broker));
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(broker_start(&broker, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scratch_namespace_holds_only_lo),
		cmocka_unit_test(test_identity_tells_namespaces_apart),
		cmocka_unit_test(test_cookie_tells_a_namespace_from_one_with_its_number),
		cmocka_unit_test(test_own_namespace_is_host_and_is_found),
		cmocka_unit_test(test_open_reads_the_namespaces_own_proc_net),
		cmocka_unit_test(test_failure_names_call_and_namespace),
		cmocka_unit_test(test_batch_goes_on_after_failure_and_reports_the_first),
		cmocka_unit_test(test_broker_that_died_is_replaced),
		cmocka_unit_test(test_broker_that_is_stopped_is_killed_and_replaced),
		cmocka_unit_test(test_broker_that_is_slow_is_waited_for),
		cmocka_unit_test(test_spare_broker_answers_when_the_first_is_gone),
		cmocka_unit_test(test_stopped_broker_does_not_hold_up_the_end),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
