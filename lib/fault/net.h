/*
 * net - what the stages of a NetworkChaos share; private to net_*.c
 *
 * A fault's targets are grouped by network namespace into *sites*: pods that share a namespace are
 * one site. A site's affected devices are its *ports*; a port has up to one delay device for each
 * direction.
 *
 * Owns:    struct net_state owns everything below it and is owned by fault->state
 */
#pragma once

#include "../base/rng.h"
#include "../kernel/link.h"
#include "../kernel/tc.h"
#include "delay_engine.h"
#include "driver.h"
#include "gate.h"
#include "names.h"
#include "net_params.h"
#include "peers.h"
#include "return_path.h"

enum {
	NET_PREF_DROP = 1,
	NET_PREF_DELAY = 2, /* of order 0, and GATE_CLEAR's the next; then come those of order 1 */
	NET_HANDLE_CLSACT = 0x10000000, /* bit in a filter's handle: the run made the clsact below it */
	NET_HANDLE_NO_QUEUE = 0x20000000, /* bit too: the device's queue length was 0 before that */
	NET_HANDLE_ROOT = 0x10000,  /* 1: of the delay device's qdisc */
	NET_HANDLE_LIMIT = 0x20000, /* 2: of the token bucket below it */
	NET_NAME_MAX = 120,         /* of a filter, of a device's alias; cut off */
};

/* Filters and devices are named "brunt:RUN:FAULT"; this much of both fits. */
#define NET_NAME_PREFIX "brunt:"
#define NET_NAME_RUN NET_NAME_PREFIX "%.60s:"

enum net_backend { NET_BACKEND_NONE, NET_BACKEND_PAIR, NET_BACKEND_NETEM, NET_BACKEND_ENGINE };

/*
 * A delay device: where the packets of one direction go, and come back from. With the engine it is a
 * TAP. Else both are the ends of one veth pair: what goes into one end waits in its qdisc and
 * arrives at the other, so each end returns the other direction's packets.
 */
struct net_device {
	char name[IFNAMSIZ]; /* "": there is none */
	int ifindex;      /* chosen for a veth, given by the kernel for a TAP */
	uint32_t path_id; /* of the delay engine */
	struct net_passed {
		int64_t looked_ns; /* 0: not yet */
		uint64_t bytes;
		uint32_t refused, drops; /* by the qdisc's counters, then */
		bool waiting, full;
		unsigned runs; /* times that it was full, and what passed meanwhile */
		int64_t full_ns;
		uint64_t full_bytes, refused_sum;
	} passed; /* the token bucket; net_rate.c */
};

enum { NET_OUT, NET_IN, NET_DIRECTIONS };

struct net_port {
	int ifindex;
	char name[IFNAMSIZ];
	bool ethernet;
	uint8_t address[LINK_ADDRESS];
	unsigned mtu;
	bool clsact_there;  /* before the run */
	bool clsact_ours;   /* made by another fault of this run, still on */
	bool no_queue;      /* its queue length was 0: the first qdisc makes that 1000 */
	bool legacy_ingress; /* an `ingress` qdisc holds the gate instead */
	size_t slot;        /* of NET_OUT; NET_IN is the next */
	uint32_t handle;    /* of its filters */
	struct net_device device[NET_DIRECTIONS];
};

struct net_probe;
struct net_notices;

struct net_site {
	struct target *target; /* the first of those that share the namespace; referenced */
	char *id;              /* its id, or several joined by "+" */
	struct netns_id netns_id;
	struct netlink *nl;
	struct net_port *ports;
	size_t n_ports;
	struct net_probe *probe; /* NULL: none here */
	struct strlist left_out; /* devices that carry what another one carries too, and why */
	struct strlist as_set;   /* lines of netdump: what was set on its devices */
	struct net_notices *notices; /* of changes, since then */
	bool gone;
};

struct net_state {
	enum net_backend backend;
	bool seeded; /* netem replays by seed here */
	char backend_text[96];
	struct delay_table table;
	struct net_site *sites;
	size_t n_sites, n_slots;
	char filter_name[NET_NAME_MAX]; /* also the alias of its devices */
	uint32_t filter_handle;
	unsigned group;
	struct gate *gate;
	struct return_path *back; /* of a pair; the engine has its own */
	struct delay_engine *engine;
	struct names *names;
	struct peers peers; /* as the gate has them */
	uint64_t expired_seen;
	bool injected;
};

/* The driver's functions, in the order of a fault's life. */
int net_plan(struct fault *f, struct strlist *ops, struct err *e);
int net_snapshot(struct fault *f, const struct target *t, struct str *ret, struct err *e);
int net_prepare(struct fault *f, struct err *e);
int net_inject(struct fault *f, struct err *e);
int net_tick(struct fault *f, struct err *e);
int net_retarget(struct fault *f, const struct target_list *now, struct err *e);
void net_off(struct fault *f);
int net_vet(const struct undo *undo, struct err *e);
int net_revert(const struct undo *undo, size_t n, struct broker *broker,
	       struct undo_result *results, struct err *e);
int net_resnapshot(const struct undo *undo, struct broker *broker, struct str *ret,
		   struct err *e);
int net_lease_left(const struct undo *undo, struct broker *broker, int64_t *ret_ns,
		   struct err *e);
int net_close_gates(const struct undo *undo, struct broker *broker, struct err *e);
int net_effect(struct fault *f, struct effect *ret, struct err *e);
int net_report(struct fault *f, json_t **ret, struct err *e);
void net_release(struct fault *f);
extern const struct fault_driver net_chaos;
int net_doctor(struct broker *broker, struct capability_list *ret, struct err *e);

static inline const struct net_params *net_params_of(const struct fault *f)
{
	return f->params;
}

static inline struct net_state *net_state_of(const struct fault *f)
{
	return f->state;
}

/* stage: GATE_DROP, GATE_DELAY or GATE_CLEAR. */
static inline int net_pref(const struct fault *f, int stage)
{
	return stage == GATE_DROP ? NET_PREF_DROP
				  : NET_PREF_DELAY + 2 * (int)f->order + (stage == GATE_CLEAR);
}

static inline bool net_has_pair(const struct net_state *st)
{
	return st->backend == NET_BACKEND_PAIR || st->backend == NET_BACKEND_NETEM;
}

static inline bool net_makes_clsact(const struct net_port *port)
{
	return !port->clsact_there && !port->legacy_ingress;
}

static inline bool net_has_direction(const struct net_params *p, int direction)
{
	return direction == NET_OUT ? net_egress(p) : net_ingress(p);
}

/* Every direction that the fault has, of every port, of every site. */
#define net_foreach_site(st, site)                                                                 \
	for (struct net_site *site = (st)->sites; site < (st)->sites + (st)->n_sites; site++)
#define net_foreach_port(site, port)                                                               \
	for (struct net_port *port = (site)->ports; port < (site)->ports + (site)->n_ports; port++)
#define net_foreach_direction(p, d)                                                                \
	for (int d = NET_OUT; d < NET_DIRECTIONS; d++)                                             \
		if (net_has_direction(p, d))

/* net_backend.c: what carries the delay */
struct net_kernel {
	bool tried, pair, netem, netem_seed, tbf, gate, tun;
	char why[192]; /* the first refusal */
};
/* Tried once in a scratch namespace, then remembered. */
const struct net_kernel *net_kernel(struct broker *b);
int net_choose_backend(const struct fault *f, enum net_backend *ret, struct err *e);
/* Requests that give a delay device its qdiscs; direction seeds it. */
void net_batch_qdiscs(const struct fault *f, const struct net_port *port, int direction,
		      struct netlink_batch *b);

/* The token bucket that was asked for. */
struct tc_tbf net_limit(const struct net_params *p);

/* What the delay engine is asked for; netem's limit is sized by it too. */
void net_delay_params(const struct fault *f, struct delay_params *ret);

/* net_ports.c: which devices of a namespace the fault is put on */
int net_find_ports(const struct fault *f, struct net_site *site, const struct links *links,
		   struct err *e);
/* It would be one of them, if the fault were planned now. */
bool net_is_port(const struct fault *f, const struct links *links, const struct link *l);

/* net_check.c */
int net_check(struct fault *f, const struct target *t, struct str *ret, struct err *e);
/* Keeps what the kernel shows of a site that was just injected, to compare with. */
int net_keep_as_set(const struct fault *f, struct net_site *site, struct err *e);

/* net_notices.c: from the begin, each change that others make to what the fault stands on. One line for
 * each, and they are forgotten. */
int net_notices_begin(const struct fault *f, struct net_site *site, struct err *e);
void net_notices_read(const struct fault *f, const struct net_site *site, struct str *ret);
void net_notices_free(struct net_notices *n); /* accepts NULL */

/* net_preflight.c: what would hide the gate, or be hidden by it */
int net_preflight(const struct fault *f, struct net_site *site, struct net_port *port,
		  struct err *e);

extern const char *const net_hook_names[NET_DIRECTIONS]; /* "egress", "ingress" */
/* A filter of this run. */
bool net_is_this_runs(const struct fault *f, const struct tc_filter *filter);
const char *net_describe_filter(const struct tc_filter *f, char *buf, size_t len);

/* Once more right before the records are made. */
int net_preflight_again(const struct fault *f, struct net_site *site, struct net_port *port,
			struct err *e);

/* net_peers.c */
int net_resolve_peers(const struct fault *f, struct peers *ret, struct err *e);

/* net_watch.c */
void net_sum_counters(const struct fault *f, const struct net_site *site,
		      struct gate_counters *ret);

/* net_undo.c: one target leaves, the fault goes on at the others. */
void net_revert_open_gate(const struct undo *undo, struct broker *broker,
			  struct undo_result *result);

/* net_figures.c: net_effect; net_rate.c: its part of a token bucket */
void net_rate_tick(struct fault *f);
void net_rate_feel(const struct fault *f, struct effect *ret);

/* net_effect.c */
void net_probe_start(struct fault *f);         /* sends the baseline's probes */
void net_probe_baseline_done(struct fault *f); /* right before the fault comes into force */
void net_probe_tick(struct fault *f);
