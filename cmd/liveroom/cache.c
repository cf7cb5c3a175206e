#include "cache.h"

#include "metrics.h"

enum { SLOTS = 4096 }; /* hash chains */

struct entry {
	struct cache_key key;
	struct blob *const blob;
	struct entry *const newer, *const older; /* by last use */
	struct entry *const chain;
};
RT_TYPE(entry_type, struct entry, blob, newer, older, chain);

static struct rt_mutex lock;
static struct entry *slots[SLOTS];
static struct entry *newest, *oldest;
static int64_t bytes, limit_bytes;

static struct entry **slot_of(struct cache_key key)
{
	uint64_t h = ((uint64_t)key.room << 32 ^ (uint64_t)key.seq) * 0x9e3779b97f4a7c15ULL;

	return &slots[h >> 52];
}

/* *ret_before (may be NULL): the one before it in its chain, NULL: it is the first. */
static struct entry *find(struct cache_key key, struct entry **ret_before)
{
	struct entry *before = NULL, *e = *slot_of(key);

	while (e && (e->key.room != key.room || e->key.seq != key.seq)) {
		before = e;
		e = e->chain;
		RT_POLL();
	}
	if (ret_before)
		*ret_before = before;
	return e;
}

static void unlink_use(struct entry *e)
{
	if (e->newer)
		RT_SET(e->newer->older, e->older);
	else
		newest = e->older;
	if (e->older)
		RT_SET(e->older->newer, e->newer);
	else
		oldest = e->newer;
}

static void link_newest(struct entry *e)
{
	RT_SET(e->newer, NULL);
	RT_SET(e->older, newest);
	if (newest)
		RT_SET(newest->newer, e);
	else
		oldest = e;
	newest = e;
}

static void drop_oldest(void)
{
	struct entry *e = oldest, *before;

	find(e->key, &before);
	if (before)
		RT_SET(before->chain, e->chain);
	else
		*slot_of(e->key) = e->chain;
	unlink_use(e);
	bytes -= e->blob->len;
	/* A word left over on some stack may keep this entry: not all that were dropped after it, too. */
	RT_SET(e->newer, NULL);
	RT_SET(e->older, NULL);
	RT_SET(e->chain, NULL);
	RT_SET(e->blob, NULL);
	metric_add(METRIC_live_cache_evictions, 1);
}

static void shrink_to(int64_t bound)
{
	while (oldest && bytes > bound) {
		drop_oldest();
		RT_POLL();
	}
	metric_set(METRIC_live_cache_bytes, bytes);
}

struct blob *cache_get(struct cache_key key)
{
	struct blob *b = NULL;
	struct entry *e;

	rt_lock(&lock);
	e = find(key, NULL);
	if (e) {
		unlink_use(e);
		link_newest(e);
		b = e->blob;
	}
	rt_unlock(&lock);
	return b;
}

bool cache_has(struct cache_key key)
{
	bool has;

	rt_lock(&lock);
	has = find(key, NULL);
	rt_unlock(&lock);
	return has;
}

void cache_put(struct cache_key key, struct blob *b)
{
	struct entry *e;

	rt_lock(&lock);
	if (!find(key, NULL) && (int64_t)b->len <= limit_bytes) {
		shrink_to(limit_bytes - b->len);
		e = rt_new(&entry_type);
		e->key = key;
		RT_SET(e->blob, b);
		RT_SET(e->chain, *slot_of(key));
		*slot_of(key) = e;
		link_newest(e);
		bytes += b->len;
		metric_set(METRIC_live_cache_bytes, bytes);
	}
	rt_unlock(&lock);
}

void cache_set_limit(int64_t limit)
{
	rt_lock(&lock);
	limit_bytes = limit < 0 ? 0 : limit;
	shrink_to(limit_bytes);
	metric_set(METRIC_live_cache_limit_bytes, limit_bytes);
	rt_unlock(&lock);
}

int64_t cache_bytes(void)
{
	return metric_get(METRIC_live_cache_bytes);
}
