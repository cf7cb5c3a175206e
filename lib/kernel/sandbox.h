/*
 * sandbox - what each role of brunt gives up once it has started
 *
 * Capabilities the role has no use for are dropped from every set, and a seccomp filter lets through
 * the system calls of the role's list and no other. The delay engine becomes nobody as well. What a
 * later kind of fault needs beyond this is a role of its own, one row here.
 *
 * A refused call fails with EPERM and so becomes an error
 * message of the ordinary kind, never a silent kill.
 */
#pragma once

#include "../base/err.h"

enum sandbox_role {
	SANDBOX_NONE,
	SANDBOX_PARSER, /* validate, explain, new: reads files, prints; changes no file */
	SANDBOX_READER, /* report: reads the state database, and SQLite writes beside it */
	SANDBOX_BROKER, /* enters namespaces, makes sockets and TUN devices */
	SANDBOX_DELAY,  /* moves packets between descriptors it was handed */
	SANDBOX_GUARD,  /* reverts: netlink, cgroup files, the journal */
	SANDBOX_OWNER,  /* run, stop, recover: all but what neither it nor what it starts has use for */
};

/*
 * Cannot be undone. Without the privilege to drop anything (not root) only the filter is set.
 *
 * The owner starts SLO commands, load and labs' pods, which inherit its filter and may be whatever the
 * user runs. So it is refused little, may run programs that change the user, and keeps its
 * capabilities: a bounding set would be its children's, and without one an exec as root brings back
 * what was dropped. Not root, it is not confined: a filter would then forbid its children to be sudo.
 */
int sandbox_enter(enum sandbox_role role, struct err *e);
