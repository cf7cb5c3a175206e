#include "probe.h"

#include <errno.h>

enum { RATE_MAX = 20000 };

int probe_check(const struct probe_params *p, const struct yaml_node *node, struct field_ctx *ctx)
{
	if (p->rate > RATE_MAX)
		return field_error(ctx, node, "rate", "%g/s is more than %d/s, the most that one prober "
						      "keeps up with", p->rate, RATE_MAX);
	return 0;
}

bool probe_host(const char *url, char *buf, size_t size)
{
	const char *p = strstr(url, "://"), *at;
	size_t len;

	p = p ? p + 3 : url;
	at = strpbrk(p, "@/?#");
	if (at && *at == '@')
		p = at + 1;
	if (*p == '[') {
		p++;
		len = strcspn(p, "]");
		if (p[len] != ']')
			return false;
	} else {
		len = strcspn(p, ":/?#");
	}
	if (!len || len >= size || memchr(p, ' ', len))
		return false;
	memcpy(buf, p, len);
	buf[len] = '\0';
	return true;
}
