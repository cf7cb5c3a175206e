#pragma once

#include <stdint.h>

/* Sets errno and reads it again and again. */
uint64_t foreign_errno(int value, uint64_t turns);
