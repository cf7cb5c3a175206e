/* page - what a request below /debug/ becomes; private to obs/ */
#pragma once

#include "out.h"

#include <stdbool.h>

enum { LEAKS_SHOWN = 10000 };

struct page {
	int debug;
	bool detail;
	bool collect; /* first */
	long seconds;
	const char *type;
	struct out out;
};

/* Makes a page's text. Returns 0 or a negative errno. */
int page_sched(struct page *p); /* sched_page.c */
int page_escape(struct page *p); /* escape_page.c */
int page_escape_heat(struct page *p); /* escape_heat.c */
int page_heap(struct page *p);  /* heap_page.c */
