#include "target/target.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct target *with_handle(const char *name)
{
	struct target *t = target_new("default", name);

	t->netns_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	target_set_phase(t, "Running");
	return t;
}

static int is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void test_target_list_holds_references(void **state)
{
	struct target *t = with_handle("a");
	struct target_list l = {0}, copy = {0};
	int fd = t->netns_fd;

	target_list_add(&l, t);
	target_unref(t);
	target_list_copy(&copy, &l);
	target_list_done(&l);
	assert_int_equal(copy.n, 1);
	assert_true(is_open(fd));
	target_list_done(&copy);
	assert_false(is_open(fd));
}

static void test_target_list_replace_tells_holders_that_a_target_is_gone(void **state)
{
	autoptr(target) a = with_handle("a");
	autoptr(target) b = with_handle("b");
	autotargets known = {0}, now = {0};
	int fd = a->netns_fd;

	target_list_add(&known, a);
	target_list_add(&known, b);
	target_list_add(&now, b);
	target_list_replace(&known, &now);
	assert_string_equal(a->phase, "");
	assert_int_equal(a->netns_fd, -1);
	assert_false(is_open(fd));
	assert_string_equal(b->phase, "Running");
	assert_int_equal(known.n, 1);
	assert_ptr_equal(target_list_find(&known, "default", "b"), b);
	assert_null(target_list_find(&known, "other", "b"));
}

static void test_target_gone_closes_containers(void **state)
{
	autoptr(target) t = target_new("live", "room-0");
	struct container *c = target_add_container(t, "room");
	autofree char *id = target_id(t);

	assert_string_equal(id, "live/room-0");
	c->pid = 12;
	c->pidfd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	c->ready_ns = 5;
	target_gone(t);
	assert_int_equal(c->pid, 0);
	assert_int_equal(c->pidfd, -1);
	assert_int_equal(c->ready_ns, 0);
}

static void test_source_open_unknown_names_itself(void **state)
{
	struct target_source *s = NULL;
	struct err e = {0};

	assert_int_equal(target_source_open("moon", &(struct source_config){0}, &s, &e), -EINVAL);
	assert_string_equal(e.text, "unknown target source \"moon\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_target_list_holds_references),
		cmocka_unit_test(test_target_list_replace_tells_holders_that_a_target_is_gone),
		cmocka_unit_test(test_target_gone_closes_containers),
		cmocka_unit_test(test_source_open_unknown_names_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
