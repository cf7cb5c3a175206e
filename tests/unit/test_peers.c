#include "fault/peers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdio.h>

#include <cmocka.h>

/* The canonical text of a target, its name, or "error". */
static const char *canonical(const char *text)
{
	static char buf[PEER_TEXT_MAX + 300];
	autofree char *name = NULL;
	struct peer p;

	if (peer_parse(text, &p, &name, NULL) < 0)
		return "error";
	if (!name)
		return peer_text(&p, buf);
	snprintf(buf, sizeof buf, "name %s port %u", name, p.port);
	return buf;
}

static void test_parse_every_form(void **state)
{
	static const struct { const char *text, *want; } table[] = {
		{"10.1.2.3", "10.1.2.3"},
		{"10.1.2.3/8", "10.0.0.0/8"},
		{"10.1.2.3:80", "10.1.2.3:80"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"::/0", "::/0"},
		{"2001:db8::1", "2001:db8::1"},
		{"2001:db8::1/32", "2001:db8::/32"},
		{"[2001:db8::1]", "2001:db8::1"},
		{"[2001:db8::1]:443", "[2001:db8::1]:443"},
		{"shop.example", "name shop.example port 0"},
		{"shop.example:8080", "name shop.example port 8080"},
		{"10.0.0.0/8:53", "10.0.0.0/8:53"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		assert_string_equal(canonical(table[i].text), table[i].want);
}

static void test_parse_refuses(void **state)
{
	static const char *const bad[] = {"", "10.0.0", "10.0.0.256", "10.0.0.1/33", "10.0.0.1:0",
					  "10.0.0.1:65536", "10.0.0.1:http", "[::1]:x", "[::1]80",
					  "::1/129", "10.0.0.1/-1", "shop example", "http://a.b/"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_string_equal(canonical(bad[i]), "error");
}

static struct peer parsed(const char *text)
{
	autofree char *name = NULL;
	struct peer p = {0};

	assert_int_equal(peer_parse(text, &p, &name, NULL), 0);
	return p;
}

static bool covers(const char *wide, const char *narrow)
{
	struct peer w = parsed(wide), n = parsed(narrow);

	return peer_covers(&w, &n);
}

static void test_covers_by_prefix_and_family(void **state)
{
	(void)state;
	assert_true(covers("10.0.0.0/8", "10.1.2.3"));
	assert_true(covers("10.0.0.0/9", "10.127.0.1"));
	assert_false(covers("10.0.0.0/9", "10.128.0.1"));
	assert_false(covers("10.1.2.3", "10.0.0.0/8"));
	assert_false(covers("0.0.0.0/0", "2001:db8::1"));
	assert_true(covers("::/0", "10.1.2.3"));
}

static void test_add_drops_doubles_and_equal_compares(void **state)
{
	autopeers a = {0}, b = {0};
	struct peer x = parsed("10.0.0.1"), y = parsed("10.0.0.1:80");

	(void)state;
	peers_add(&a, &y);
	peers_add(&a, &x);
	peers_add(&a, &x);
	peers_add(&b, &x);
	assert_int_equal(a.n, 2);
	assert_false(peers_equal(&a, &b));
	peers_add(&b, &y);
	peers_sort(&a);
	assert_true(peers_equal(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_every_form),
		cmocka_unit_test(test_parse_refuses),
		cmocka_unit_test(test_covers_by_prefix_and_family),
		cmocka_unit_test(test_add_drops_doubles_and_equal_compares),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
