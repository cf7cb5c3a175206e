#include "../obs.h"

_Alignas(CACHE_LINE) _Atomic uint32_t obs_on;
_Alignas(CACHE_LINE) _Atomic int64_t obs_coarse_ns;

void obs_set(enum obs_bit bit, bool on)
{
	if (on)
		atomic_fetch_or(&obs_on, bit);
	else
		atomic_fetch_and(&obs_on, ~(uint32_t)bit);
}
