/*
 * lab - what the two files of the verb have in common
 */
#pragma once

#include "../verb.h"

#include "../../../lib/lab/lab.h"

#define LAB_DEFAULT_NAME "default"

extern const struct verb verb_lab_logs, verb_lab_exec, verb_lab_forward;
