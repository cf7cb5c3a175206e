/*
 * bpf - objects of programs that are attached somewhere, reached by id
 */
#pragma once

#include "../base/err.h"

#include <stdint.h>

/* Keeps libbpf from printing; its last warning is kept for bpf_last_warning. */
void bpf_quiet(void);
const char *bpf_last_warning(void); /* "" when there was none since bpf_quiet */

/* Of a program by id; "" when it cannot be read. */
void bpf_program_name(uint32_t prog_id, char ret[16]);
int bpf_program_info(int prog_fd, uint32_t *ret_id, uint8_t ret_tag[8], struct err *e);

/* The map of that name used by the program with this id: an fd. -ENOENT: program or map gone. */
int bpf_map_of(uint32_t prog_id, const char *map_name, struct err *e);

/* bpf_ktime_get_ns minus this process's CLOCK_MONOTONIC: not 0 in a time namespace. */
int64_t bpf_clock_shift(void);
