/*
 * runtime_doctor - whether control sockets of targets can be found here; private to runtime_chaos
 */
#pragma once

#include "driver.h"

int runtime_doctor(struct broker *broker, struct capability_list *ret, struct err *e);
