/*
 * protocol - the lines on a control socket
 *
 *     server: rt-control 1 pid=4711
 *     client: stall-safepoint tag=RUN/stall lease_ms=2000 stall_us=30000 interval_us=500000
 *     server: ok id=1
 *     client: renew
 *     server: ok 1
 *     client: status
 *     server: ok procs=2 live=2 parked=0 coroutines=9 probes=812 actions=stall-safepoint:RUN/stall:1998:29911
 *     client: end tag=RUN/stall
 *     server: ok 1
 *
 * One command a line of at most CONTROL_LINE_MAX bytes, each answered by one line: "ok ..." or
 * "error REASON". Words are key=value; units stand in the keys. Fields may come: a client skips those
 * that it does not know. A change that an old client would misunderstand raises the version.
 *
 *     ACTION tag=T lease_ms=N [for_ms=N] [parameters of the action]   ok id=N
 *     renew            every action of this connection, by its own lease_ms      ok COUNT
 *     end tag=T        of any connection; asynchronous: status lists it until it is over   ok COUNT
 *     status           actions: NAME:TAG:LEASE LEFT IN MS:WORST TTSP IN US, with commas between
 *     help             the actions with their parameters
 *
 * An action ends when its lease or for_ms has passed, its connection closes, or somebody says end.
 */
#pragma once

enum {
	CONTROL_VERSION = 1,
	CONTROL_LINE_MAX = 512,
	CONTROL_ANSWER_MAX = 4096,
	CONTROL_TAG_MAX = 128,
	CONTROL_LEASE_MAX_MS = 60000,
};
