/*
 * What goes back: a head is put together from pieces of known length. printf would take a third of
 * the time that a small answer takes altogether.
 */
#include "http_parse.h"

#include <string.h>

const char *http_reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {
		{200, "OK"},
		{400, "Bad Request"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{408, "Request Timeout"},
		{413, "Content Too Large"},
		{414, "URI Too Long"},
		{417, "Expectation Failed"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{505, "HTTP Version Not Supported"},
	};

	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Unknown";
}

static char *put(char *at, const char *text, size_t n)
{
	memcpy(at, text, n);
	return at + n;
}

#define PUT(at, literal) put(at, literal, sizeof(literal) - 1)

static char *put_text(char *at, const char *text)
{
	return put(at, text, strlen(text));
}

static char *put_number(char *at, uint64_t n)
{
	char digits[20];
	size_t i = sizeof digits;

	do
		digits[--i] = (char)('0' + n % 10);
	while (n /= 10);
	return put(at, digits + i, sizeof digits - i);
}

static char *put_allow(char *at, unsigned methods)
{
	at = PUT(at, "Allow: ");
	if (methods & HTTP_GET)
		at = PUT(at, "GET, ");
	if (methods & HTTP_HEAD)
		at = PUT(at, "HEAD, ");
	if (methods & HTTP_POST)
		at = PUT(at, "POST, ");
	return PUT(at - 2, "\r\n");
}

size_t http_format_head(char buf[HTTP_ANSWER_HEAD_MAX], const struct http_head *h)
{
	char *at = PUT(buf, "HTTP/1.1 ");

	at = put_number(at, (unsigned)h->status);
	*at++ = ' ';
	at = put_text(at, http_reason(h->status));
	at = PUT(at, "\r\nContent-Type: ");
	at = put(at, h->type, strnlen(h->type, 100));
	at = PUT(at, "\r\nDate: ");
	at = put(at, h->date, HTTP_DATE_LEN);
	at = PUT(at, "\r\nContent-Length: ");
	at = put_number(at, h->length);
	at = PUT(at, "\r\n");
	if (h->connection) {
		at = PUT(at, "Connection: ");
		at = put_text(at, h->connection);
		at = PUT(at, "\r\n");
	}
	if (h->allow)
		at = put_allow(at, h->allow);
	if (h->retry_after_s) {
		at = PUT(at, "Retry-After: ");
		at = put_number(at, h->retry_after_s);
		at = PUT(at, "\r\n");
	}
	at = PUT(at, "\r\n");
	return (size_t)(at - buf);
}

static char *put_two(char *at, int64_t n)
{
	at[0] = (char)('0' + n / 10);
	at[1] = (char)('0' + n % 10);
	return at + 2;
}

/* Days to year, month and day after Howard Hinnant, "chrono-compatible low-level date algorithms". */
void http_format_date(int64_t unix_s, char ret[HTTP_DATE_LEN + 1])
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	static const char days[] = "ThuFriSatSunMonTueWed";
	int64_t day = unix_s / 86400, s = unix_s % 86400;
	int64_t z = day + 719468, era = z / 146097, doe = z % 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
	int64_t month = mp < 10 ? mp + 2 : mp - 10; /* from 0 */
	char *at = put(ret, days + day % 7 * 3, 3);

	at = put_two(PUT(at, ", "), doy - (153 * mp + 2) / 5 + 1);
	*at++ = ' ';
	at = put(at, months + month * 3, 3);
	*at++ = ' ';
	at = put_number(at, (uint64_t)(yoe + era * 400 + (month < 2)));
	*at++ = ' ';
	at = put_two(at, s / 3600);
	*at++ = ':';
	at = put_two(at, s / 60 % 60);
	*at++ = ':';
	at = put_two(at, s % 60);
	at = PUT(at, " GMT");
	*at = '\0';
}
