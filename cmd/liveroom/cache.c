#include "cache.h"

#include "metrics.h"

enum { SLOTS = 4096 }; /* hash chains */

struct entry {
	struct cache_key key;
	struct blob *blob;
	struct entry *newer, *older; /* by last use */
	struct entry *chain;
};

static struct rt_mutex lock;
static struct entry *slots[SLOTS];
static struct entry *newest, *oldest;
static int64_t bytes, limit_bytes;

static struct entry **find(struct cache_key key)
{
	uint64_t h = ((uint64_t)key.room << 32 ^ (uint64_t)key.seq) * 0x9e3779b97f4a7c15ULL;
	struct entry **at = &slots[h >> 52];

	while (*at && ((*at)->key.room != key.room || (*at)->key.seq != key.seq))
		at = &(*at)->chain;
	return at;
}

static void unlink_use(struct entry *e)
{
	*(e->newer ? &e->newer->older : &newest) = e->older;
	*(e->older ? &e->older->newer : &oldest) = e->newer;
}

static void link_newest(struct entry *e)
{
	e->newer = NULL;
	e->older = newest;
	*(newest ? &newest->newer : &oldest) = e;
	newest = e;
}

static void drop_oldest(void)
{
	struct entry *e = oldest, **at = find(e->key);

	*at = e->chain;
	unlink_use(e);
	bytes -= e->blob->len;
	blob_unref(e->blob);
	free(e);
	metric_add(METRIC_live_cache_evictions, 1);
}

static void shrink_to(int64_t bound)
{
	while (oldest && bytes > bound)
		drop_oldest();
	metric_set(METRIC_live_cache_bytes, bytes);
}

struct blob *cache_get(struct cache_key key)
{
	struct blob *b = NULL;
	struct entry *e;

	rt_lock(&lock);
	e = *find(key);
	if (e) {
		unlink_use(e);
		link_newest(e);
		b = blob_ref(e->blob);
	}
	rt_unlock(&lock);
	return b;
}

bool cache_has(struct cache_key key)
{
	bool has;

	rt_lock(&lock);
	has = *find(key);
	rt_unlock(&lock);
	return has;
}

void cache_put(struct cache_key key, struct blob *b)
{
	struct entry *e, **at;

	rt_lock(&lock);
	if (!*find(key) && (int64_t)b->len <= limit_bytes) {
		shrink_to(limit_bytes - b->len);
		at = find(key);
		e = calloc(1, sizeof *e);
		if (!e)
			abort();
		*e = (struct entry){.key = key, .blob = blob_ref(b), .chain = *at};
		*at = e;
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
