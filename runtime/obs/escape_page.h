/* escape_page - what the two pages of the escape report share; private to obs/ */
#pragma once

#include "../mem/escape.h"

enum verdict { CANDIDATE, UNKNOWN, ESCAPES, VERDICTS };
enum verdict verdict_of(const struct heap_site *s);
