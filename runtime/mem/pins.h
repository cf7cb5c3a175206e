/* pins - objects and ranges that the program names as roots; private to runtime/ */
#pragma once

#include "mark.h"

void pins_search(struct marker *k);        /* the pinned objects; beside the program */
void pins_search_ranges(struct marker *k); /* of rt_root_add; in a pause */
void pins_reset(void);                     /* a runtime has ended */
