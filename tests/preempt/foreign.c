/* Foreign code, as libc is to the runtime: it uses errno, and is never left in the middle. */
#include "foreign.h"

#include <errno.h>
#include <unistd.h>

uint64_t foreign_errno(int value, uint64_t turns)
{
	uint64_t sum = 0;

	errno = value;
	for (uint64_t i = 0; i < turns; i++)
		sum = sum * 31 + (uint64_t)errno;
	return sum;
}
