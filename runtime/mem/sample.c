/*
 * Sites and records are in memory that is reserved at the first sample and touched as it fills: sampling
 * allocates nothing and takes one short lock. Records of a block are a list, so that its sweep finds them.
 */
#include "escape.h"

#include "../obs/debug.h"
#include "../obs/walk.h"

#include <string.h>
#include <sys/mman.h>

enum {
	SITES_BYTES = 64 << 20,
	SITES_TABLE = 1 << 16,
	RECORDS_AT_ONCE = 4096, /* that a reader looks at without letting others in */
};

struct record {
	uintptr_t obj; /* 0: empty */
	uint32_t site; /* offset / 8 */
	uint32_t seen; /* the sweep_gen whose collection kept it; the one before it was made, at first */
	uint32_t next; /* of its block, or empty; number + 1 */
};

static struct {
	struct lock lock; /* guards everything, but readers follow sites below used without it */
	char *sites;
	size_t used;
	uint32_t n_sites;
	uint32_t table[SITES_TABLE]; /* offset / 8 + 1 */
	struct record *records;
	uint32_t n_records; /* ever used */
	uint32_t empty;
	uint32_t *of_block; /* the first record of each block, number + 1 */
	_Atomic uint64_t lost;
} samples;

_Atomic int64_t heap_sample_rate = SAMPLE_RATE;

/* Where the points lie ------------------------------------------------------------------------------ */

/* -ln(x), x in (0, 1], by hand: libm would be foreign code, in which a thread may be stopped. The series
 * of artanh for the mantissa between 1/sqrt 2 and sqrt 2 is exact to 3e-8. */
static double minus_ln(double x)
{
	uint64_t bits;
	int exponent;
	double m, t, t2;

	__builtin_memcpy(&bits, &x, sizeof bits);
	exponent = (int)(bits >> 52) - 1022;
	bits = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1022) << 52;
	__builtin_memcpy(&m, &bits, sizeof m);
	if (m < 0.70710678118654752) {
		m *= 2;
		exponent--;
	}
	t = (m - 1) / (m + 1);
	t2 = t * t;
	return -(2 * t * (1 + t2 * (1.0 / 3 + t2 * (1.0 / 5 + t2 / 7))) + exponent * 0.69314718055994531);
}

int64_t sample_draw(int64_t rate)
{
	struct m *m = this_m();

	if (rate <= 0)
		return INT64_MAX;
	m->random ^= m->random << 13;
	m->random ^= m->random >> 17;
	m->random ^= m->random << 5;
	return (int64_t)(minus_ln(m->random * 0x1p-32) * (double)rate);
}

void sample_restart(struct cache *c)
{
	c->sample_rate = sample_rate();
	c->sample_in = sample_draw(c->sample_rate);
}

long rt_set_heap_profile_rate(long bytes)
{
	if (bytes < 0)
		return sample_rate();
	return atomic_exchange(&heap_sample_rate, bytes);
}

/* Sites ---------------------------------------------------------------------------------------------- */

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static bool prepare(void)
{
	if (!samples.sites)
		samples.sites = map(SITES_BYTES);
	if (!samples.records)
		samples.records = map(SAMPLES_MAX * sizeof(struct record));
	if (!samples.of_block)
		samples.of_block = map((heap.reserved >> BLOCK_SHIFT) * sizeof(uint32_t));
	return samples.sites && samples.records && samples.of_block;
}

static struct heap_site *site_at(size_t offset)
{
	return (struct heap_site *)(samples.sites + offset);
}

static size_t bytes_of(uint32_t n)
{
	return sizeof(struct heap_site) + n * sizeof(uintptr_t);
}

static bool is_site(const struct heap_site *s, const struct heap_site *like, const uintptr_t *pcs)
{
	if (s->bytes != like->bytes || s->rate != like->rate || s->n != like->n)
		return false;
	for (uint32_t i = 0; i < s->n; i++)
		if (s->pcs[i] != pcs[i])
			return false;
	return true;
}

/* NULL: there is no room. */
static struct heap_site *make_site(const struct heap_site *like, const uintptr_t *pcs)
{
	struct heap_site *s = site_at(samples.used);

	if (samples.used + bytes_of(like->n) > SITES_BYTES)
		return NULL;
	s->bytes = like->bytes;
	s->rate = like->rate;
	s->n = like->n;
	s->number = samples.n_sites++;
	for (uint32_t i = 0; i < like->n; i++)
		s->pcs[i] = pcs[i];
	/* release: pairs with the acquire in heap_site_next() */
	__atomic_store_n(&samples.used, samples.used + bytes_of(like->n), __ATOMIC_RELEASE);
	return s;
}

static struct heap_site *site_of(const struct heap_site *like, const uintptr_t *pcs)
{
	uint64_t h = like->bytes ^ (uint64_t)like->rate << 32;
	struct heap_site *s;

	for (uint32_t i = 0; i < like->n; i++)
		h = (h ^ pcs[i]) * UINT64_C(0x9e3779b97f4a7c15), h ^= h >> 29;
	for (uint32_t tries = 0; tries < SITES_TABLE; tries++, h++) {
		uint32_t *slot = &samples.table[h % SITES_TABLE];

		if (!*slot) {
			s = make_site(like, pcs);
			if (s)
				*slot = (uint32_t)((size_t)((char *)s - samples.sites) / 8 + 1);
			return s;
		}
		s = site_at((size_t)(*slot - 1) * 8);
		if (is_site(s, like, pcs))
			return s;
	}
	return NULL;
}

struct heap_site *heap_site_next(struct heap_site *after)
{
	size_t next = after ? (size_t)((char *)after - samples.sites) + bytes_of(after->n) : 0;

	return next < __atomic_load_n(&samples.used, __ATOMIC_ACQUIRE) ? site_at(next) : NULL;
}

uint64_t heap_samples_lost(void)
{
	return count_read(&samples.lost);
}

size_t sample_own_bytes(void)
{
	size_t bytes;

	lock_get(&samples.lock);
	bytes = samples.used + samples.n_records * sizeof(struct record);
	lock_put(&samples.lock);
	return bytes;
}

/* Objects --------------------------------------------------------------------------------------------- */

/* Number + 1; 0: there is no room. */
static uint32_t new_record(void)
{
	uint32_t r = samples.empty;

	if (!r)
		return samples.n_records < SAMPLES_MAX ? ++samples.n_records : 0;
	samples.empty = samples.records[r - 1].next;
	return r;
}

static void drop_record(uint32_t r)
{
	samples.records[r - 1].obj = 0;
	samples.records[r - 1].next = samples.empty;
	samples.empty = r;
}

static bool is_marked(const struct block *b, uintptr_t obj)
{
	bool large = atomic_load_explicit(&b->kind, memory_order_relaxed) == BLOCK_LARGE;

	return map_has(b->mark, large ? 0 : block_cell(b, obj));
}

/* frame: of the function that made it. */
static bool add_record(struct block *b, uintptr_t addr, const struct heap_site *s, uintptr_t frame)
{
	uint32_t r = new_record(), *first = &samples.of_block[b - heap.blocks];

	if (!r)
		return false;
	samples.records[r - 1] = (struct record){
		.obj = addr,
		.site = (uint32_t)((size_t)((const char *)s - samples.sites) / 8),
		.seen = heap.sweep_gen - 2,
		.next = *first,
	};
	*first = r;
	if (escape_is_on())
		escape_made(r - 1, frame);
	atomic_store_explicit(&b->sampled, true, memory_order_relaxed);
	return true;
}

static void note(struct block *b, uintptr_t addr, const struct heap_site *like, const uintptr_t *pcs,
		 uintptr_t frame)
{
	struct heap_site *s = prepare() ? site_of(like, pcs) : NULL;

	if (!s || !add_record(b, addr, s, frame)) {
		count_up(&samples.lost);
		return;
	}
	count_up(&s->allocs);
}

extern const char __start_rt_text[] __attribute__((weak, visibility("hidden")));
extern const char __stop_rt_text[] __attribute__((weak, visibility("hidden")));

/* How many of the runtime's own functions are on top: they say nothing. */
static int count_inner(const uintptr_t *pcs, int n)
{
	int inner = 0;

	while (inner < n && pcs[inner] >= (uintptr_t)__start_rt_text &&
	       pcs[inner] < (uintptr_t)__stop_rt_text)
		inner++;
	return inner < n ? inner : 0;
}

void sample_note(const struct cache *c, struct block *b, uintptr_t addr, size_t bytes)
{
	struct heap_site like = {.bytes = bytes, .rate = c->sample_rate};
	uintptr_t frame = (uintptr_t)__builtin_frame_address(0), pcs[WALK_MAX];
	int n, inner;

	if (c->sample_rate <= 0)
		return;
	n = walk_here(pcs, WALK_MAX);
	inner = count_inner(pcs, n);
	for (int i = 0; i <= inner && i < n; i++)
		frame = *(const uintptr_t *)frame;
	like.n = (uint32_t)(n - inner);
	lock_get(&samples.lock);
	note(b, addr, &like, pcs + inner, frame);
	lock_put(&samples.lock);
}

void sample_sweep(struct block *b)
{
	uint32_t *at, r;

	lock_get(&samples.lock);
	at = &samples.of_block[b - heap.blocks];
	while ((r = *at)) {
		struct record *record = &samples.records[r - 1];

		bool kept = is_marked(b, record->obj);

		if (escape_is_on())
			escape_swept(r - 1, site_at((size_t)record->site * 8), kept);
		if (kept) {
			record->seen = heap.sweep_gen;
			at = &record->next;
			continue;
		}
		*at = record->next;
		drop_record(r);
	}
	if (!samples.of_block[b - heap.blocks])
		atomic_store_explicit(&b->sampled, false, memory_order_relaxed);
	lock_put(&samples.lock);
}

/* The last collection has kept it. Until its block is swept, the marks tell; all are before the next one. */
static bool is_alive(const struct record *r)
{
	if (!r->obj || r->seen == heap.sweep_gen)
		return r->obj;
	return !gc_is_marking() && is_marked(block_of(r->obj), r->obj);
}

static void count_alive(const struct record *r, uint64_t *alive, size_t n_sites)
{
	const struct heap_site *s = site_at((size_t)r->site * 8);

	if (s->number < n_sites && is_alive(r))
		alive[s->number]++;
}

void heap_sites_alive(uint64_t *alive, size_t n_sites)
{
	uint32_t i = 0, end;
	bool more = true;

	while (more) {
		lock_get(&samples.lock);
		end = i + RECORDS_AT_ONCE;
		more = end < samples.n_records;
		for (; i < end && i < samples.n_records; i++)
			count_alive(&samples.records[i], alive, n_sites);
		lock_put(&samples.lock);
	}
}

/* For the escape report ---------------------------------------------------------------------------- */

static void stored(const struct object *o)
{
	lock_get(&samples.lock);
	for (uint32_t r = samples.of_block[o->block - heap.blocks]; r; r = samples.records[r - 1].next)
		if (samples.records[r - 1].obj == o->addr)
			escape_stored(r - 1, site_at((size_t)samples.records[r - 1].site * 8));
	lock_put(&samples.lock);
}

void sample_stored(const void *value)
{
	struct object o;

	if (value && object_find((uintptr_t)value, &o) &&
	    atomic_load_explicit(&o.block->sampled, memory_order_relaxed))
		stored(&o);
}

void sample_stored_words(const void *words, size_t bytes)
{
	void *const *w = words;

	if ((uintptr_t)words % sizeof *w)
		return; /* pointers are aligned */
	for (size_t i = 0; i < bytes / sizeof *w; i++)
		sample_stored(w[i]);
}

void sample_look(void)
{
	for (uint32_t i = 0; i < samples.n_records; i++)
		if (samples.records[i].obj)
			escape_look(i);
}

void sample_reset(void)
{
	lock_get(&samples.lock);
	for (uint32_t i = 0; i < samples.n_records; i++)
		if (samples.records[i].obj)
			samples.of_block[block_of(samples.records[i].obj) - heap.blocks] = 0;
	samples.n_records = 0;
	samples.empty = 0;
	lock_put(&samples.lock);
}
