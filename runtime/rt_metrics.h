/*
 * rt_metrics - what the runtime says about itself, as families of OpenMetrics text
 *
 * Names after Go's (go_goroutines -> rt_coroutines). Threads: any
 */
#pragma once

#include <stdio.h>

/* Writes whole families, without the closing "# EOF". */
void rt_metrics_write(FILE *f);
