/*
 * A room is live while viewers keep asking for it. Once a second its next segment is read from the
 * store into the cache, and the past window is filled in behind the live edge; a viewer's request
 * that finds nothing in the cache reads the store itself. The cache takes what the memory limit
 * leaves: it is asked for five times a second and the oldest segments go first, so a squeeze costs
 * store reads instead of the process.
 */
#include "cache.h"
#include "memory.h"
#include "metrics.h"
#include "roles.h"
#include "sessions.h"

#include <stdio.h>

enum { FILL_PER_STEP = 32, CACHE_PERCENT = 60 };

static const int64_t step_ns = 200 * RT_MSEC;
static const int64_t live_for_ns = 60 * RT_SEC;
/* Left free below the limit: stacks, buffers and what arrives between two looks. */
static const int64_t reserve_bytes = 6 << 20;
static const int64_t heap_least_bytes = 2 << 20;

struct room {
	char name[ROOM_NAME_MAX];
	int64_t asked_ns; /* of the last request */
};
RT_TYPE_FREE(room_type, struct room);

static struct rt_mutex lock;
static struct room *rooms[ROOMS_MAX]; /* made at the first request, never given up */
static uint32_t n_rooms;
static struct rt_co *producer;
static int64_t given_limit_bytes; /* RT_MEMLIMIT: the collector's alone, the cache follows the group's */
static _Atomic bool stopping;

int64_t room_number(const char *name)
{
	int64_t at = -1;

	rt_lock(&lock);
	for (uint32_t i = 0; i < n_rooms && at < 0; i++)
		if (!strcmp(rooms[i]->name, name))
			at = i;
	if (at < 0 && n_rooms < ROOMS_MAX) {
		rooms[n_rooms] = rt_new(&room_type);
		at = n_rooms++;
		snprintf(rooms[at]->name, sizeof rooms[at]->name, "%s", name);
	}
	if (at >= 0)
		rooms[at]->asked_ns = rt_now();
	rt_unlock(&lock);
	return at;
}

static struct blob *read_store(const char *room, int64_t seq)
{
	struct upstream_answer a = {0};
	struct blob *b = NULL;
	char target[96];

	if (!config.store)
		return store_make_chunk(room, seq, config.segment_bytes);
	snprintf(target, sizeof target, "/chunk?room=%s&seq=%lld", room, (long long)seq);
	if (upstream_get(config.store, target, &a) && a.status == 200)
		b = blob_new(a.len);
	if (b)
		memcpy(b->data, a.body, a.len);
	upstream_answer_done(&a);
	return b;
}

/* Every join asks the store whether the room is open. */
static bool room_is_open(const char *room)
{
	struct upstream_answer a = {0};
	char target[80];
	bool open;

	if (!config.store)
		return true;
	snprintf(target, sizeof target, "/room?room=%s", room);
	open = upstream_get(config.store, target, &a) && a.status == 200;
	upstream_answer_done(&a);
	return open;
}

void room_join(const struct http_request *req, struct http_answer *a)
{
	char room[ROOM_NAME_MAX], session[SESSION_NAME_MAX];
	int64_t n = -1;

	if (!room_name(req, a, room))
		return;
	if (room_is_open(room))
		n = room_number(room);
	if (n < 0 || !session_begin(n, session)) {
		metric_add(METRIC_live_join_failures, 1);
		http_text(a, 503, NULL, n < 0 ? "the room cannot be opened\n" : "the room is full\n");
		a->retry_after_s = 1;
		return;
	}
	metric_add(METRIC_live_joins, 1);
	http_text(a, 200, "application/json",
		  "{\"room\":\"%s\",\"seq\":%lld,\"segment_ms\":%d,\"session\":\"%s\"}", room,
		  (long long)live_seq(), SEGMENT_MS, session);
}

/* The viewer's last word. */
void room_leave(const struct http_request *req, struct http_answer *a)
{
	char room[ROOM_NAME_MAX];
	struct session *s;

	if (!room_name(req, a, room) ||
	    !session_named(req, a, session_is_named(req) ? room_number(room) : -1, &s))
		return;
	session_end(s);
	metric_add(METRIC_live_leaves, 1);
	http_text(a, 200, "application/json", "{\"room\":\"%s\"}\n", room);
}

/* A viewer tells with its next request how many segments reached it late or not at all: each was
 * due, and not all were asked for. How many. */
static int count_request(const struct http_request *req)
{
	char text[4];
	int stalled = http_query(req, "stalled", text, sizeof text) ? atoi(text) : 0;

	stalled = stalled < 0 ? 0 : stalled;
	metric_add(METRIC_live_segments, 1 + stalled);
	metric_add(METRIC_live_stalls, stalled);
	return stalled;
}

static struct blob *get_segment(const char *name, struct cache_key key)
{
	struct blob *b = cache_get(key);

	metric_add(b ? METRIC_live_cache_hits : METRIC_live_cache_misses, 1);
	if (b)
		return b;
	b = read_store(name, key.seq);
	if (b)
		cache_put(key, b);
	return b;
}

void room_segment(const struct http_request *req, struct http_answer *a)
{
	char name[ROOM_NAME_MAX], text[24];
	struct blob *b = NULL;
	struct session *s;
	int64_t room, seq, stalled;

	if (!room_name(req, a, name))
		return;
	seq = http_query(req, "seq", text, sizeof text) ? strtoll(text, NULL, 10) : live_seq();
	if (seq > live_seq() || seq <= live_seq() - 2 * config.window) {
		http_text(a, 404, NULL, "segment %lld is not live\n", (long long)seq);
		return;
	}
	room = room_number(name);
	stalled = count_request(req);
	if (!session_named(req, a, room, &s))
		return;
	session_stalled(s, stalled);
	if (room >= 0)
		b = get_segment(name, (struct cache_key){room, seq});
	if (b)
		blob_answer(a, b);
	else
		http_text(a, 503, NULL, "the segment cannot be read\n");
}

bool room_ready(void)
{
	return !config.store || upstream_reachable(config.store);
}

static void *look_at_memory(void *ret)
{
	*(struct memory *)ret = memory_now();
	return NULL;
}

/* What the collector may have of the limit; the cache a part of it, so that there is room between two
 * collections. */
static void fit_heap(const struct memory *m)
{
	int64_t cache = config.cache_bytes, others, left;
	struct rt_mem_stats s;

	if (m->limit_bytes == INT64_MAX) {
		rt_gc_set_limit(given_limit_bytes);
		cache_set_limit(cache);
		return;
	}
	rt_mem_stats(&s);
	others = m->used_bytes - (int64_t)s.heap_mapped;
	left = m->limit_bytes - (others > 0 ? others : 0) - reserve_bytes;
	left = left < heap_least_bytes ? heap_least_bytes : left;
	rt_gc_set_limit(left < given_limit_bytes ? left : given_limit_bytes);
	left = left * CACHE_PERCENT / 100;
	cache = left < cache ? left : cache;
	if (cache >= cache_bytes()) {
		cache_set_limit(cache);
		return;
	}
	cache_set_limit(cache);
	rt_gc(); /* what was dropped goes back to the kernel now, and not when the heap has grown */
}

static void fit_cache(void)
{
	struct memory m;

	rt_blocking(look_at_memory, &m);
	fit_heap(&m);
	metric_set(METRIC_live_memory_limit_bytes,
		   m.limit_bytes == INT64_MAX ? 0 : m.limit_bytes);
}

/* The newest segment first, then the past; stops when the cache would push out its own. The number
 * of segments read. */
static int fill_room(uint32_t room, const char *name)
{
	int64_t seq = live_seq();
	int done = 0;

	for (int64_t back = 0; back < config.window && done < FILL_PER_STEP; back++) {
		struct cache_key key = {room, seq - back};
		struct blob *b;
		int64_t space = metric_get(METRIC_live_cache_limit_bytes) - cache_bytes();

		if (cache_has(key))
			continue;
		if (back && space < (int64_t)config.segment_bytes)
			break;
		b = read_store(name, key.seq);
		if (!b)
			break;
		cache_put(key, b);
		done++;
	}
	return done;
}

static void fill_rooms(void)
{
	int64_t live = 0;

	for (uint32_t i = 0; i < ROOMS_MAX && !atomic_load(&stopping); i++) {
		struct room r = {0};

		rt_lock(&lock);
		if (i < n_rooms && rt_now() - rooms[i]->asked_ns < live_for_ns)
			r = *rooms[i];
		rt_unlock(&lock);
		if (!r.name[0])
			continue;
		live++;
		if (fill_room(i, r.name))
			fit_cache();
	}
	metric_set(METRIC_live_rooms, live);
}

static void *produce(void *data)
{
	while (!atomic_load(&stopping)) {
		fit_cache();
		fill_rooms();
		sessions_expire(rt_now());
		rt_sleep(step_ns);
	}
	return NULL;
}

void room_start(void)
{
	static const struct rt_attr attr = {.name = "segments"};

	given_limit_bytes = rt_gc_set_limit(-1);
	fit_cache();
	producer = rt_spawn(produce, NULL, &attr);
	if (!producer)
		abort();
}

void room_stop(void)
{
	atomic_store(&stopping, true);
	rt_join(producer, NULL);
}
