/*
 * private_dir - a folder whose content only this user (or root) can have written
 *
 * What lies in a state directory is believed: undo records say what `recover` writes, lock files
 * whom `stop` signals. So the folder belongs to the effective user, nobody else may write to it,
 * and nobody else can put another in its place: every folder on the way belongs to root or to the
 * user and is writable by others only if it is sticky, as /tmp is. A link on the way is followed
 * when root or the user made it (/var/run), and what it leads to is held to the same.
 *
 * Errors: -EPERM names the folder at fault, and what to do is the hint; -ENOENT: it is not there
 */
#pragma once

#include "err.h"

int private_dir_check(const char *path, struct err *e);
/* Makes what is missing on the way, the last with mode 0700, then checks. */
int private_dir_make(const char *path, struct err *e);

/* A file in such a folder, which may have come there before the folder became private: a plain
 * file of the user's, with one name, that nobody else may write. -ENOENT: it is not there. */
int private_file_check(const char *path, struct err *e);
