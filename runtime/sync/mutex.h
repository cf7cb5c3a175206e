/*
 * mutex - the inside of rt_mutex, for conditions and rt_once
 */
#pragma once

#include "waiters.h"

/* Without the poll of the public calls. Errors: -ETIMEDOUT */
int mutex_lock(struct rt_mutex *m, int64_t deadline);
void mutex_unlock(struct rt_mutex *m);
bool mutex_is_locked(const struct rt_mutex *m); /* by anybody; a moment's truth */
bool mutex_is_awaited(const struct rt_mutex *m); /* the same */
