/*
 * state - what a supervisor says of its pods, as one line of JSON and back
 */
#pragma once

#include "lab.h"

#include <jansson.h>

json_t *lab_state_encode(const struct lab_state *s);
int lab_state_decode(const json_t *j, struct lab_state *ret, struct err *e);
