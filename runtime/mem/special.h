/*
 * special - what is attached to single objects: weak references and finalisers; private to runtime/
 */
#pragma once

#include "mark.h"

/* Beside the program: what finalised objects name, references, and finalisers that are due. */
void special_search(struct marker *k);
void special_wake(void); /* blocks were swept: finalisers may be due. a coroutine */
size_t special_own_bytes(void);
void special_reset(void); /* a runtime has ended: finalisers that were not due never run */
