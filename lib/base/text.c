#include "text.h"

#include <stddef.h>
#include <stdint.h>

/* Length of the character at s, 0 when it is none: as RFC 3629 has it, without surrogates and
 * forms longer than need be. */
static size_t char_length(const unsigned char *s, uint32_t *ret)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 0;
	uint32_t c = n == 1 ? s[0] : n ? s[0] & (0x7fu >> n) : 0;

	if (!n || s[0] >= 0xf8)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	*ret = c;
	return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : n;
}

void text_make_printable(char *s, bool keep_lines)
{
	unsigned char *p = (unsigned char *)s;

	while (p && *p) {
		uint32_t c = 0;
		size_t n = char_length(p, &c);
		bool stays = n && (c >= 0xa0 || (c >= 0x20 && c < 0x7f) ||
				   (keep_lines && (c == '\n' || c == '\t')));

		for (size_t i = 0; i < (n ? n : 1); i++, p++)
			if (!stays)
				*p = '?';
	}
}
