/*
 * The control block is one page of a BPF_F_MMAPABLE array, mapped here: the renewing thread's
 * whole work is a clock read and a store, so it cannot be held up by a full disk, a slow netlink
 * call or the event loop. When the process dies the stores stop and the lease runs out in the
 * kernel, with nobody's help.
 *
 * The clock comes from a BPF test run: in a time namespace CLOCK_MONOTONIC as this process reads
 * it is days away from the one the gate compares with.
 */
#include "gate.h"

#include "../base/clock.h"
#include "../base/mem.h"
#include "../kernel/bpf.h"
#include "gate.skel.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { N_DIRECTIONS = 2, LEASE_PARTS = 4, LEASE_STACK_BYTES = 64 << 10 };

/* A lease that ran out for less is told by the packets that it let through. */
static const int64_t lapsed_ns = NSEC_PER_SEC;
static const int64_t default_end_ns = 86400 * NSEC_PER_SEC;

struct gate {
	struct gate_bpf *skel;
	struct gate_control *control;   /* mapped */
	struct gate_counters *counters; /* mapped */
	size_t n_slots;
	struct gate_program programs[GATE_PROGRAMS][N_DIRECTIONS];
	int64_t clock_shift_ns;
	struct gate_control configured; /* as it was loaded */
	struct peers peers;
	uint32_t next_set; /* number of the next port set */

	/* The renewing thread; stop is guarded by lock. */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool running, stop;
	int64_t lease_ns;
};

/* The gate reads these words without a lock while they are written; each is written whole. */
static void store(__u64 *word, uint64_t value)
{
	atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_release);
}

void gate_loss_chances(uint32_t loss_ppm, uint32_t correlation_ppm, uint64_t *ret_plain,
		       uint64_t *ret_after_loss, uint64_t *ret_after_pass)
{
	double p = loss_ppm / 1e6, rho = correlation_ppm / 1e6;

	*ret_plain = loss_ppm >= 1000000 ? GATE_ALWAYS : (uint64_t)(p * 0x1p32);
	*ret_after_loss = *ret_after_pass = 0;
	if (!correlation_ppm || !loss_ppm || loss_ppm >= 1000000)
		return;
	*ret_after_loss = (uint64_t)((p + rho * (1 - p)) * 0x1p32);
	*ret_after_pass = (uint64_t)(p * (1 - rho) * 0x1p32);
}

static void *map_array(struct bpf_map *map, size_t len, int prot)
{
	void *p = mmap(NULL, len, prot, MAP_SHARED, bpf_map__fd(map), 0);

	return p == MAP_FAILED ? NULL : p;
}

static int map_memory(struct gate *g, struct err *e)
{
	g->control = map_array(g->skel->maps.gate_control, sizeof *g->control,
			       PROT_READ | PROT_WRITE);
	g->counters = map_array(g->skel->maps.gate_counters, g->n_slots * sizeof *g->counters,
				PROT_READ | PROT_WRITE);
	if (!g->control || !g->counters)
		return err_errno(e, errno, "map the gate's memory");
	return 0;
}

static int read_clock(struct gate *g, struct err *e)
{
	char packet[64] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet, .data_size_in = sizeof packet,
		    .repeat = 1);
	int64_t before = clock_now_ns(), after;
	int r = bpf_prog_test_run_opts(bpf_program__fd(g->skel->progs.gate_clock), &run);

	if (r < 0)
		return err_errno(e, -r, "read the gate's clock");
	after = clock_now_ns();
	g->clock_shift_ns = (int64_t)g->control->now_ns - (before + after) / 2;
	/* Without a time namespace the clocks are one; what is left is the test run's duration. */
	if (g->clock_shift_ns > before - after && g->clock_shift_ns < after - before)
		g->clock_shift_ns = 0;
	return 0;
}

static int describe_programs(struct gate *g, struct err *e)
{
	struct bpf_program *const progs[GATE_PROGRAMS][N_DIRECTIONS] = {
		[GATE_DROP] = {g->skel->progs.gate_drop_out, g->skel->progs.gate_drop_in},
		[GATE_DELAY] = {g->skel->progs.gate_delay_out, g->skel->progs.gate_delay_in},
		[GATE_CLEAR] = {g->skel->progs.gate_clear, g->skel->progs.gate_clear},
	};

	for (int stage = 0; stage < GATE_PROGRAMS; stage++)
		for (int in = 0; in < N_DIRECTIONS; in++) {
			struct gate_program *p = &g->programs[stage][in];

			p->fd = bpf_program__fd(progs[stage][in]);
			p->name = bpf_program__name(progs[stage][in]);
			if (bpf_program_info(p->fd, &p->id, p->tag, e) < 0)
				return -e->code;
		}
	return 0;
}

static void configure(struct gate *g, const struct gate_config *c)
{
	int64_t end = c->hard_end_ns ? c->hard_end_ns : clock_now_ns() + default_end_ns;
	uint64_t plain, after_loss, after_pass;

	gate_loss_chances(c->loss_ppm, c->correlation_ppm, &plain, &after_loss, &after_pass);
	g->control->seed = c->seed;
	g->control->stream = c->stream;
	g->control->loss = plain;
	g->control->loss_after_loss = after_loss;
	g->control->loss_after_pass = after_pass;
	g->control->protocols = c->protocols;
	g->control->peers_only = c->peers_only;
	g->control->order = c->order;
	store(&g->control->hard_end_ns, (uint64_t)(end + g->clock_shift_ns));
	g->configured = *g->control;
}

static int load_programs(struct gate *g, struct err *e)
{
	int r;

	bpf_quiet();
	g->skel = gate_bpf__open();
	if (!g->skel)
		return err_errno(e, errno, "open the gate's BPF programs");
	bpf_map__set_max_entries(g->skel->maps.gate_counters, (uint32_t)g->n_slots);
	r = gate_bpf__load(g->skel);
	if (r == 0)
		return 0;
	err_errno(e, -r, "load the gate's BPF programs");
	if (r == -EPERM)
		return err_hint(e, "run as root, or with CAP_BPF and CAP_NET_ADMIN");
	return bpf_last_warning()[0] ? err_hint(e, "%s", bpf_last_warning()) : -e->code;
}

int gate_load(const struct gate_config *config, struct gate **ret, struct err *e)
{
	autoptr(gate) g = xcalloc(1, sizeof *g);
	struct err own = {0};
	pthread_condattr_t attr;

	e = e ? e : &own;
	g->n_slots = config->n_slots ? config->n_slots : 1;
	g->next_set = 1;
	pthread_mutex_init(&g->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&g->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (load_programs(g, e) < 0 || map_memory(g, e) < 0 || read_clock(g, e) < 0 ||
	    describe_programs(g, e) < 0)
		return -e->code;
	configure(g, config);
	*ret = take(g);
	return 0;
}

static void renew(struct gate *g)
{
	store(&g->control->lease_ns,
	      (uint64_t)(clock_now_ns() + g->clock_shift_ns + g->lease_ns));
}

static void *renewing_thread(void *data)
{
	struct gate *g = data;

	pthread_mutex_lock(&g->lock);
	while (!g->stop) {
		int64_t next = clock_now_ns() + g->lease_ns / LEASE_PARTS;
		const struct timespec at = {.tv_sec = next / NSEC_PER_SEC,
					    .tv_nsec = next % NSEC_PER_SEC};

		renew(g);
		pthread_cond_timedwait(&g->wake, &g->lock, &at);
	}
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

int gate_arm(struct gate *g, int64_t lease_ns, struct err *e)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	g->lease_ns = MIN_OF(lease_ns, (int64_t)GATE_LEASE_MAX_NS);
	renew(g);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, LEASE_STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&g->thread, &attr, renewing_thread, g);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (r)
		return err_errno(e, r, "start the thread that renews the lease");
	g->running = true;
	return 0;
}

/* The passed end tells a delay engine, which reads that word, to deliver what it holds. */
static void close_control(struct gate_control *c)
{
	store(&c->closed, 1);
	store(&c->hard_end_ns, 1);
}

void gate_close(struct gate *g)
{
	close_control(g->control);
}

void gate_close_slot(struct gate *g, size_t slot)
{
	store(&g->counters[slot].closed, 1);
}

void gate_exempt(struct gate *g, size_t slot, uint64_t flow)
{
	store(&g->counters[slot].exempt, flow);
}

static void stop_thread(struct gate *g)
{
	if (!g->running)
		return;
	pthread_mutex_lock(&g->lock);
	g->stop = true;
	pthread_cond_signal(&g->wake);
	pthread_mutex_unlock(&g->lock);
	pthread_join(g->thread, NULL);
	g->running = false;
}

void gate_free(struct gate *g)
{
	if (!g)
		return;
	stop_thread(g);
	if (g->control) {
		gate_close(g);
		munmap(g->control, sizeof *g->control);
	}
	if (g->counters)
		munmap(g->counters, g->n_slots * sizeof *g->counters);
	gate_bpf__destroy(g->skel);
	pthread_cond_destroy(&g->wake);
	pthread_mutex_destroy(&g->lock);
	peers_done(&g->peers);
	free(g);
}

const struct gate_program *gate_program(const struct gate *g, int stage, bool ingress)
{
	return &g->programs[stage][ingress];
}

static struct gate_peer trie_key(const struct peer *p)
{
	struct gate_peer key = {.prefix = p->prefix};

	memcpy(key.addr, p->addr, sizeof key.addr);
	return key;
}

static bool has_peer(const struct gate *g, const struct peer *p)
{
	struct gate_peer key = trie_key(p);
	uint32_t set;

	return bpf_map__lookup_elem(g->skel->maps.gate_peers, &key, sizeof key, &set, sizeof set,
				    0) == 0;
}

static bool lacks_peer(const struct gate *g, char *ret, size_t size)
{
	char text[PEER_TEXT_MAX];

	for (size_t i = 0; i < g->peers.n; i++) {
		if (has_peer(g, &g->peers.items[i]))
			continue;
		snprintf(ret, size, "somebody took the peer %s out of the gate's map",
			 peer_text(&g->peers.items[i], text));
		return true;
	}
	return false;
}

bool gate_is_changed(const struct gate *g, char *ret, size_t size)
{
	const struct gate_control *c = g->control, *was = &g->configured;
	int64_t lease = (int64_t)c->lease_ns - g->clock_shift_ns;

	if (c->closed)
		snprintf(ret, size, "somebody closed the gate");
	else if (c->hard_end_ns != was->hard_end_ns || c->loss != was->loss ||
		 c->loss_after_loss != was->loss_after_loss ||
		 c->loss_after_pass != was->loss_after_pass || c->protocols != was->protocols ||
		 c->peers_only != was->peers_only || c->order != was->order ||
		 c->seed != was->seed || c->stream != was->stream)
		snprintf(ret, size, "somebody changed the gate's map");
	else if (c->lease_ns > GATE_LEASE_MAX_NS && clock_now_ns() - lease > lapsed_ns)
		snprintf(ret, size, "nobody renews the gate's lease");
	else
		return lacks_peer(g, ret, size);
	return true;
}

bool gate_slot_is_closed(const struct gate *g, size_t slot)
{
	return g->counters[slot].closed;
}

void gate_counters(const struct gate *g, size_t slot, struct gate_counters *ret)
{
	*ret = g->counters[slot];
}

int64_t gate_clock_shift(const struct gate *g)
{
	return g->clock_shift_ns;
}

int gate_control_fd(const struct gate *g)
{
	return bpf_map__fd(g->skel->maps.gate_control);
}

/*
 * Peers: the trie answers the longest prefix only, so each entry carries the ports of every prefix
 * that covers it. New entries are written over old ones before stale ones go.
 */
static int put(struct bpf_map *map, const void *key, size_t len, const void *value, size_t vlen,
	       struct err *e)
{
	int r = bpf_map__update_elem(map, key, len, value, vlen, BPF_ANY);

	if (r < 0)
		return err_errno(e, -r, "fill BPF map %s", bpf_map__name(map));
	return 0;
}

/* The port set for p: 0 when p, or a prefix that covers it, is open to every port. */
static int put_ports(struct gate *g, const struct peers *peers, const struct peer *p,
		     uint32_t *ret_set, struct err *e)
{
	static const uint8_t yes = 1;
	struct gate_port key = {.set = g->next_set};

	*ret_set = 0;
	for (size_t i = 0; i < peers->n; i++)
		if (!peers->items[i].port && peer_covers(&peers->items[i], p))
			return 0;
	*ret_set = g->next_set++;
	for (size_t i = 0; i < peers->n; i++) {
		if (!peer_covers(&peers->items[i], p))
			continue;
		key.port = peers->items[i].port;
		if (put(g->skel->maps.gate_ports, &key, sizeof key, &yes, sizeof yes, e) < 0)
			return -e->code;
	}
	return 0;
}

static bool same_prefix(const struct peer *a, const struct peer *b)
{
	return a->prefix == b->prefix && memcmp(a->addr, b->addr, sizeof a->addr) == 0;
}

static void drop_stale_peers(struct gate *g, const struct peers *now)
{
	for (size_t i = 0; i < g->peers.n; i++) {
		struct gate_peer key = trie_key(&g->peers.items[i]);
		bool kept = false;

		for (size_t k = 0; k < now->n; k++)
			kept = kept || same_prefix(&g->peers.items[i], &now->items[k]);
		if (!kept)
			bpf_map__delete_elem(g->skel->maps.gate_peers, &key, sizeof key, 0);
	}
}

static void drop_stale_ports(struct gate *g, uint32_t first_new_set)
{
	int fd = bpf_map__fd(g->skel->maps.gate_ports);
	struct gate_port key, next;
	bool more = bpf_map_get_next_key(fd, NULL, &next) == 0;

	while (more) {
		key = next;
		more = bpf_map_get_next_key(fd, &key, &next) == 0;
		if (key.set < first_new_set)
			bpf_map_delete_elem(fd, &key);
	}
}

int gate_set_peers(struct gate *g, const struct peers *peers, struct err *e)
{
	uint32_t first_set = g->next_set, set;
	struct err own = {0};

	e = e ? e : &own;
	for (size_t i = 0; i < peers->n; i++) {
		struct gate_peer key = trie_key(&peers->items[i]);

		/* Sorted: the ports of one prefix follow each other and share its entry. */
		if (i && same_prefix(&peers->items[i - 1], &peers->items[i]))
			continue;
		if (put_ports(g, peers, &peers->items[i], &set, e) < 0 ||
		    put(g->skel->maps.gate_peers, &key, sizeof key, &set, sizeof set, e) < 0)
			return -e->code;
	}
	drop_stale_peers(g, peers);
	drop_stale_ports(g, first_set);
	peers_done(&g->peers);
	for (size_t i = 0; i < peers->n; i++)
		*array_push(g->peers.items, g->peers.n) = peers->items[i];
	return 0;
}

/* From another process. */
static int open_control(uint32_t prog_id, struct gate_control *ret, struct err *e)
{
	const uint32_t zero = 0;
	autofd int fd = bpf_map_of(prog_id, "gate_control", e);

	if (fd < 0)
		return fd;
	if (bpf_map_lookup_elem(fd, &zero, ret) < 0)
		return err_errno(e, errno, "read the gate of BPF program %u", prog_id);
	return take_fd(fd);
}

int gate_close_by_id(uint32_t prog_id, struct err *e)
{
	struct gate_control *c;
	autofd int fd = bpf_map_of(prog_id, "gate_control", e);

	if (fd < 0)
		return fd;
	/* A store into the page, as the owner does: an update of the whole element would write back
	 * an old lease. */
	c = mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (c == MAP_FAILED)
		return err_errno(e, errno, "map the gate of BPF program %u", prog_id);
	close_control(c);
	munmap(c, sizeof *c);
	return 0;
}

int gate_lease_left_by_id(uint32_t prog_id, int64_t *ret_ns, struct err *e)
{
	struct gate_control c;
	autofd int fd = open_control(prog_id, &c, e);
	int64_t now = clock_now_ns() + bpf_clock_shift();

	if (fd < 0)
		return fd;
	*ret_ns = (int64_t)MIN_OF(c.lease_ns, c.hard_end_ns) - now;
	if (c.closed || *ret_ns < 0 || *ret_ns > (int64_t)GATE_LEASE_MAX_NS)
		*ret_ns = 0;
	return 0;
}
