#include "http_server.h"
#include "slo_fixture.h"

#include <errno.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "kernel/broker.h"
#include "kernel/netns.h"
#include "slo/state.h"

/* A server on the loopback device of a network namespace of its own: nobody else can reach it. */
struct elsewhere {
	struct broker *broker;
	int netns_fd;
	struct http_server server;
};

static int set_up(void **state)
{
	static struct elsewhere place;
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	struct err e = {0};
	int fd;

	place = (struct elsewhere){.netns_fd = -1};
	if (broker_start(&place.broker, &e) < 0)
		fail_msg("%s", e.text);
	place.netns_fd = broker_scratch(place.broker, &e);
	*state = &place;
	if (place.netns_fd == -EPERM)
		return 0;
	fd = broker_socket(place.broker, place.netns_fd, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0,
			   &e);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &lo), 0);
	http_server_start_on(&place.server, fd);
	return 0;
}

static int tear_down(void **state)
{
	struct elsewhere *place = *state;

	if (place->netns_fd >= 0) {
		http_server_stop(&place->server);
		close(place->netns_fd);
	}
	broker_stop(place->broker);
	return 0;
}

static struct elsewhere *place_or_skip(void **state)
{
	struct elsewhere *place = *state;

	if (place->netns_fd < 0)
		skip();
	return place;
}

static const struct stats *fault_stats(const struct slo_fixture *f)
{
	return &f->slo->windows[WINDOW_FAULT].stats;
}

static void test_probes_leave_from_the_vantage_namespace(void **state)
{
	static const char *const yaml[] = {
		"name: a\nindicator: {http: {url: 'http://gateway:%d/ok', rate: 100/s}}\n"
		"objectives: [success >= 99%%]\n",
		"name: a\nindicator: {tcp: {address: 'gateway:%d', rate: 100/s}}\n"
		"objectives: [success >= 99%%]\n",
	};
	struct elsewhere *place = place_or_skip(state);

	for (size_t i = 0; i < 2 * ARRAY_SIZE(yaml); i++) {
		struct slo_fixture f = {0};
		bool inside = i < ARRAY_SIZE(yaml);

		slo_fixture_bind(&f, yaml[i % ARRAY_SIZE(yaml)], place->server.port, 0);
		f.env.broker = place->broker;
		f.vantage.netns_fd = inside ? place->netns_fd : -1;
		kvs_set(&f.vantage.hosts, "gateway", "127.0.0.5");
		slo_fixture_start(&f);
		slo_fixture_run(&f, 10);
		slo_fixture_end(&f);
		assert_int_equal(inside ? fault_stats(&f)->failed : fault_stats(&f)->ok, 0);
		slo_fixture_done(&f);
	}
}

static void test_metrics_are_scraped_inside_the_targets_namespace(void **state)
{
	struct elsewhere *place = place_or_skip(state);
	struct slo_fixture f = {0};
	struct target *t = target_new("default", "room-0");

	slo_fixture_bind(&f,
			 "name: a\nindicator: {metrics: {port: %d, interval: 50ms, value: bytes}}\n"
			 "objectives: [value <= 5]\n",
			 place->server.port, 0);
	f.env.broker = place->broker;
	target_set_phase(t, "Running");
	strlist_add(&t->addresses, "127.0.0.6");
	t->netns_fd = dup(place->netns_fd);
	target_list_add(&f.targets, t);
	http_server_page(&place->server, "bytes 3\n");
	slo_fixture_start(&f);
	slo_fixture_run(&f, 3);
	slo_fixture_end(&f);
	assert_int_equal(f.result.state, SLO_HELD);
	assert_true(atomic_load(&place->server.by_last_byte[6]) >= 3);
	slo_fixture_done(&f);
	target_unref(t);
}

static void test_a_target_that_has_gone_is_left_out(void **state)
{
	struct elsewhere *place = place_or_skip(state);
	struct slo_fixture f = {0};
	struct target *t = target_new("default", "room-0");

	slo_fixture_bind(&f,
			 "name: a\nindicator: {metrics: {port: %d, interval: 50ms, value: bytes}}\n"
			 "objectives: [value <= 5]\n",
			 place->server.port, 0);
	f.env.broker = place->broker;
	target_set_phase(t, "Running");
	strlist_add(&t->addresses, "127.0.0.6");
	t->netns_fd = dup(place->netns_fd);
	target_list_add(&f.targets, t);
	http_server_page(&place->server, "bytes 3\n");
	slo_fixture_start(&f);
	slo_fixture_run(&f, 3);
	target_gone(t);
	slo_fixture_run(&f, 8);
	slo_fixture_end(&f);
	assert_true(fault_stats(&f)->failed >= 1);
	slo_fixture_done(&f);
	target_unref(t);
}

#define test(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		test(test_probes_leave_from_the_vantage_namespace),
		test(test_metrics_are_scraped_inside_the_targets_namespace),
		test(test_a_target_that_has_gone_is_left_out),
	};

	/* The broker is this program again. */
	if (argc > 1 && streq(argv[1], BROKER_ROLE))
		return broker_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
