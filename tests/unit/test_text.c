#include "base/text.h"
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *in, const char *out)
{
	char buf[128];

	strcpy(buf, in);
	text_make_printable(buf, false);
	assert_string_equal(buf, out);
}

static void test_text_stays(void **state)
{
	expect("", "");
	expect("plain", "plain");
	expect("\xc3\xa9 \xe2\x96\x81 \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x96\x81 \xf0\x9f\x98\x80");
}

static void test_escapes_and_control_characters_go(void **state)
{
	expect("\033]0;x\007", "?]0;x?");
	expect("a\x7f\r", "a??");
	expect("\xc2\x9b" "31m", "??31m"); /* CSI as one character */
}

static void test_bytes_that_are_no_utf8_go(void **state)
{
	expect("\xff", "?");
	expect("a\xc3", "a?");
	expect("\xe2\x96", "??");
	expect("\xc0\x80", "??");         /* longer than need be */
	expect("\xed\xa0\x80", "???");    /* a surrogate */
	expect("\xf5\x80\x80\x80", "????");
}

static void test_an_error_is_text(void **state)
{
	struct err e = {0};
	char longer[ERR_TEXT_MAX + 10] = "";

	err_set(&e, 1, "%s", "a\xff\033[2J");
	assert_string_equal(e.text, "a??[2J");
	memset(longer, 'x', ERR_TEXT_MAX - 2);
	strcat(longer, "\xc3\xa9"); /* cut off within a character */
	err_set(&e, 1, "%s", longer);
	assert_int_equal(e.text[ERR_TEXT_MAX - 2], '?');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_stays),
		cmocka_unit_test(test_escapes_and_control_characters_go),
		cmocka_unit_test(test_bytes_that_are_no_utf8_go),
		cmocka_unit_test(test_an_error_is_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
