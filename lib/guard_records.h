/*
 * guard_records - undo records on their way to the guard, in a file in memory
 *
 * The guard reverts from its own copy: a journal that is damaged, locked or gone loses nothing while
 * it lives. An id is the journal's.
 *
 * Owns:    a list owns its records; descriptors are the caller's
 */
#pragma once

#include "fault/driver.h"

/* A descriptor of a new file with the records, or a negative errno. */
int guard_records_pack(const struct undo_list *l, struct err *e);
/* Adds what the file holds; -EBADMSG: it is not such a file. */
int guard_records_unpack(int fd, struct undo_list *l);

/* The same for the ids of records that were undone; they leave the list. */
int guard_records_pack_ids(const int64_t *ids, size_t n, struct err *e);
int guard_records_drop(int fd, struct undo_list *l);
