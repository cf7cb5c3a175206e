/* poison - writes over what no coroutine may need any more */
#pragma once

/* Of rt_stop_world(): below each saved stack pointer. What lies above is read. */
void poison_dead_stacks(void *arg);
