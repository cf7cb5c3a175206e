/* cgroup - files of the control group that this process is in; private to runtime/ */
#pragma once

#include <stdio.h>

/* The file NAME, in the controller's hierarchy (v1) or the unified one (v2). NULL: there is none. */
FILE *cgroup_open(const char *controller, const char *name);
