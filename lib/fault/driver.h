/*
 * driver - what a kind of fault must know to do, and to undo
 *
 * A fault is one file in this folder and one row in drivers.def; parsing, validation, explain,
 * templates, man page and coverage table read the row's schema.
 *
 * Life of a fault, called by the engine on the loop's thread in this order:
 *
 *   plan      which kernel operations, on which targets; preflight refusals. No side effect.
 *   snapshot  canonical text of everything the fault may touch on one target, before
 *   prepare   captures prior state into undo records. No side effect on targets. The engine
 *             commits the records to the journal before it goes on.
 *   inject    makes it so, and reads it back from the kernel. On failure the engine reverts.
 *   check     is what was set still so? Before each tick, and before the end
 *   tick      every evaluation period: steps, re-resolved peers, counters, effect measurement
 *   retarget  targets went, or peers changed
 *   off       the panic switch: the fault has no effect from here on (one map write)
 *   vet       the records, when they are made and again before they are believed
 *   revert    from undo records alone, idempotent, right also after half an inject; runs in the
 *             owner, in the guard and in `recover`
 *   snapshot  again; must equal the first
 *   report    what was asked for, what was measured, counters
 *   release   memory and file descriptors
 *
 * Anything a driver holds in memory must not be needed by revert.
 */
#pragma once

#include "../base/event.h"
#include "../base/field.h"
#include "../target/selector.h"
#include "../target/target.h"
#include "capability.h"
#include "effect.h"

#include <jansson.h>

struct broker;
struct sd_event;

/* First member of every driver's parameter struct. */
struct fault_common {
	struct selection selection;
	int64_t duration_ns; /* 0: not given */
	bool duration_given;
	char *remote_cluster; /* Chaos Mesh's: a run refuses it */
	struct tolerance tolerance; /* of what is measured; its default is the kind's */
};

/* Rows of what is common to all kinds; the first in every driver's field table. */
#define FAULT_COMMON_FIELDS                                                                        \
	SELECTION_FIELDS(offsetof(struct fault_common, selection)),                                         \
	{                                                                                          \
		.name = "containerNames", .type = FIELD_STRINGS,                                   \
		.offset = offsetof(struct fault_common, selection.container_names),                \
		.doc = "Only these containers of each target; all of them when left out.",         \
	},                                                                                         \
	{                                                                                          \
		.name = "duration", .type = FIELD_DURATION,                                        \
		.offset = offsetof(struct fault_common, duration_ns), .example = "30s",            \
		.present_offset = offsetof(struct fault_common, duration_given),                   \
		.doc = "How long the fault lasts. Left out: to the end of the fault window, "      \
		       "which is 30s for a manifest without a timeline.",                          \
	},                                                                                         \
	{                                                                                          \
		.name = "tolerance", .type = FIELD_CUSTOM, .parse = tolerance_parse,               \
		.offset = offsetof(struct fault_common, tolerance), .example = TOLERANCE_EXAMPLE,  \
		.doc = TOLERANCE_DOC,                                                              \
	},                                                                                         \
	{                                                                                          \
		.name = "remoteCluster", .type = FIELD_STRING,                                     \
		.offset = offsetof(struct fault_common, remote_cluster),                           \
		.doc = "Another cluster, for Chaos Mesh. brunt works on one cluster or machine "   \
		       "at a time: a run refuses it.",                                             \
	},                                                                                         \
	{                                                                                          \
		.name = "scheduler", .type = FIELD_REFUSED,                                        \
		.doc = "was removed in Chaos Mesh 2.0: delete it and start the run from crontab "  \
		       "or a systemd timer (Chaos Mesh itself wants a document of kind Schedule)", \
	}

/* What the engine lends; outlives every fault of the run. */
struct fault_env {
	const char *run_id;
	uint64_t seed;
	struct broker *broker;
	struct sd_event *loop; /* NULL in plan-only use and in tests */
	const struct listener *listener;
	const char *net_backend; /* "auto", "netem", "engine" */
	int64_t lease_ns;        /* kernel lease, default 2 s */
	int64_t hard_end_ns;     /* CLOCK_MONOTONIC; the lease never reaches past it */
	bool allow_host_network;
	/* Told of each process that a driver starts; it ends itself with the owner, or is ended then.
	 * NULL: nobody to tell. The pidfd stays the driver's. */
	void (*started)(void *data, int pidfd);
	void *data;
	const struct vantage *vantage; /* NULL: brunt's own namespace */
};

/* One record of what must be undone on one target. data is the driver's own JSON object, as text:
 * there is one for each of maybe thousands of targets, all through the run. */
struct undo {
	int64_t id;        /* journal's; 0 before it is committed */
	char *fault;       /* fault_spec.name */
	char *target;      /* namespace/name */
	const struct fault_driver *driver;
	char *data;        /* owned */
	char *before;      /* snapshot before the fault, for the residue check; owned */
	struct netns_id netns_id; /* zero: no network namespace involved */
	int netns_fd;      /* borrowed: a live handle if the reverting process has one, else -1 */
	/* Set by the journal when it reads a record: */
	char *run_id;
	int64_t added_ns;  /* CLOCK_REALTIME; 0: by an older brunt, which did not say */
	bool earlier_boot; /* the machine has been rebooted since */
};

struct undo_list {
	struct undo *items;
	size_t n;
};
void undo_done(struct undo *u);
void undo_list_done(struct undo_list *l);
void undo_set_json(struct undo *u, json_t *data); /* takes data */
/* data as an object that the caller drops; NULL when it is damaged. */
json_t *undo_json(const struct undo *u);
/* 0 when revert may act on the record; else -EPERM, with the reason. */
int undo_vet(const struct undo *u, struct err *e);

enum undo_outcome {
	UNDO_REVERTED, /* as it was before */
	UNDO_GONE,     /* the target no longer exists: counts as recovered */
	UNDO_FOREIGN,  /* somebody else changed it meanwhile: left alone and reported */
	UNDO_FAILED,
};

struct undo_result {
	enum undo_outcome outcome;
	char text[256];
};

/* Within the time that the guard gives the owner to revert. */
#define SLOW_REVERT_NS (4 * NSEC_PER_SEC)

struct fault {
	const struct fault_driver *driver;
	const void *params; /* of the spec; borrowed */
	const char *name;
	int64_t duration_ns;
	unsigned order; /* its place among the run's faults of this kind that overlap it in time */
	const struct fault_env *env;
	struct target_list targets; /* chosen */
	struct target_list peers;   /* chosen by `target:`, empty if none */
	struct undo_list undo;      /* filled by prepare */
	void *state;                /* the driver's own, made by plan or prepare */
	const char *backend;        /* filled by plan: what carries it, for the report */
};

struct fault_driver {
	const char *kind;  /* "NetworkChaos" */
	const char *field; /* "networkChaos": its key in an Experiment's faults[] */
	const char *advice; /* what to look at when the fault is not felt; NULL: the traffic's way */
	const char *api_version;
	const struct schema *schema;
	/* `target:` selection inside params, NULL when the kind has none */
	const struct selection *(*peer_selection)(const void *params);
	/* Why two faults of this kind with these params cannot hold one target at one time; NULL when
	 * they can. Without the function any two can. */
	const char *(*conflict)(const void *a, const void *b);
	/* What becomes of a target that two planned faults of this kind hold at one time; a is the
	 * one of the lower order. For the plan; may be NULL. */
	void (*together)(const struct fault *a, const struct fault *b, struct str *ret);
	/* Those that overlap on a target are passed in an order: how many it can have, 0: any number;
	 * and whether a fault with these params takes one. NULL: each does. */
	unsigned max_orders;
	bool (*takes_order)(const void *params);
	bool one_shot; /* done at once, nothing to revert: pod-kill */
	/* revert asks processes that may not answer: it comes after that of the kinds which need the
	 * kernel alone, so that a stopped service does not keep another fault on. All records are then
	 * asked side by side, and the whole ends within SLOW_REVERT_NS. */
	bool slow;
	/* ops gets one line per kernel operation ("eth0 in live/room-0: add qdisc clsact"). */
	int (*plan)(struct fault *f, struct strlist *ops, struct err *e);
	/* Network-namespace or cgroup state of one target, sorted, without counters and timers. */
	int (*snapshot)(struct fault *f, const struct target *t, struct str *ret, struct err *e);
	int (*prepare)(struct fault *f, struct err *e);
	int (*inject)(struct fault *f, struct err *e);
	int (*tick)(struct fault *f, struct err *e);
	/* What of all that the fault set on one of its targets is not as it was set: a line for each
	 * thing, that says what it is now; nothing when all is whole. Before each tick and once more
	 * before the end. NULL: nothing lasts (a killed process). */
	int (*check)(struct fault *f, const struct target *t, struct str *ret, struct err *e);
	/* now is what is left of f->targets; f->peers is already the new list. A target that comes
	 * while the fault runs gets a fault of its own, journaled like the first. */
	int (*retarget)(struct fault *f, const struct target_list *now, struct err *e);
	void (*off)(struct fault *f);
	/* Whether a record names only what this kind could have changed. Records lie in a file; what
	 * `recover` does as root must not be anybody's wish. Obligatory: without it the kind's records
	 * are neither written nor reverted. What is not there (any more) is no reason to refuse. */
	int (*vet)(const struct undo *undo, struct err *e);
	/* All of one driver's records of a run at once, so that it can work in groups and in
	 * parallel; results is an array of n. Negative only if nothing could be tried at all. */
	int (*revert)(const struct undo *undo, size_t n, struct broker *broker,
		      struct undo_result *results, struct err *e);
	/* The state of the target named by a record now, in snapshot's form. -ENOENT: gone. */
	int (*resnapshot)(const struct undo *undo, struct broker *broker, struct str *ret,
			  struct err *e);
	/* Of a one_shot kind: whether what it began has come to its end, so that nothing is left to
	 * wait for. NULL: only its time ends it. */
	bool (*is_over)(const struct fault *f);
	/* NULL: what inject read back is all the proof there is (a killed process). */
	int (*effect)(struct fault *f, struct effect *ret, struct err *e);
	/* For `status`: what is left of the kernel lease of a record, 0 when it has run out or
	 * nothing of the fault is there. -ENOENT: the target is gone. NULL: this kind has none. */
	int (*lease_left)(const struct undo *undo, struct broker *broker, int64_t *ret_ns,
			  struct err *e);
	/* For `stop`: what the record's fault does to its target ends now, by a store or two, whoever
	 * of its processes goes on. NULL: this kind has no such switch. */
	int (*close_gates)(const struct undo *undo, struct broker *broker, struct err *e);
	/* What of it the run's seed does not replay ("netem's draws, before Linux 6.7"); NULL: all of
	 * it is replayed. Without the function it is, for a kind that draws nothing. */
	const char *(*unseeded)(const struct fault *f);
	/* Counters and driver-specific facts for the record; *ret is a new object. */
	int (*report)(struct fault *f, json_t **ret, struct err *e);
	void (*release)(struct fault *f);
	/* Tries everything this kind can do in a scratch namespace or cgroup of its own; may be
	 * NULL. A thing that is missing is a row of ret, not an error. */
	int (*doctor)(struct broker *broker, struct capability_list *ret, struct err *e);
};

const struct fault_driver *fault_driver_by_kind(const char *kind);
const struct fault_driver *fault_driver_by_field(const char *field);
/* All rows; *ret_n of them. */
const struct fault_driver *const *fault_drivers(size_t *ret_n);

/* A driver beside the table's that fault_driver_by_kind and _by_field find, for tests. */
extern const struct fault_driver *fault_driver_for_tests;
