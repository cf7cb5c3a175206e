/* The engine's inside with a socket pair in place of a TAP, and a clock that tests can wait for. */
#include "fault/delay_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

enum { HEADER = 10 };

struct bench {
	struct delay_store store;
	struct delay_path_state path;
	struct delay_counters counters;
	int far_fd;
};

static void bench_open(struct bench *b, const struct delay_params *p)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	*b = (struct bench){.far_fd = pair[1]};
	b->store.params = *p;
	b->store.limit_packets = p->limit_packets ? p->limit_packets : 1000;
	b->store.pool.limit_bytes = 64 << 20;
	b->store.scratch = delay_pool_get(&b->store.pool, DELAY_FRAME_MAX);
	b->path.tap_fd = pair[0];
	b->path.counters = &b->counters;
	delay_dice_init(&b->path.dice, p->seed, 1);
}

static void bench_close(struct bench *b)
{
	close(b->path.tap_fd);
	close(b->far_fd);
	delay_heap_done(&b->store.heap);
	delay_pool_done(&b->store.pool);
}

/* A frame of len bytes whose first payload byte is mark. */
static void put(struct bench *b, uint8_t mark, size_t len)
{
	autofree uint8_t *frame = xcalloc(1, HEADER + len);

	memset(frame + HEADER, mark, len);
	assert_int_equal(write(b->far_fd, frame, HEADER + len), HEADER + len);
	delay_path_read(&b->store, &b->path);
}

/* The mark of the next frame that came out, -1 when there is none. */
static int get(struct bench *b, size_t *ret_len)
{
	autofree uint8_t *frame = xmalloc(DELAY_FRAME_MAX);
	ssize_t n = read(b->far_fd, frame, DELAY_FRAME_MAX);

	if (n < 0)
		return -1;
	if (ret_len)
		*ret_len = n - HEADER;
	return frame[HEADER];
}

static void test_heap_gives_out_by_moment_then_sequence(void **state)
{
	struct delay_heap h = {0};
	struct delay_item last = {0};

	(void)state;
	for (uint64_t i = 0; i < 10000; i++)
		delay_heap_push(&h, (struct delay_item){rng_below(1, 1, i, 500), i, NULL});
	for (int i = 0; i < 10000; i++) {
		struct delay_item item = delay_heap_pop(&h);

		assert_true(i == 0 || item.at_ns > last.at_ns ||
			    (item.at_ns == last.at_ns && item.seq > last.seq));
		last = item;
		if (i == 5000)
			delay_heap_push(&h, (struct delay_item){INT64_MAX, 0, NULL});
	}
	assert_int_equal(delay_heap_first(&h)->at_ns, INT64_MAX);
	delay_heap_done(&h);
}

static void test_path_holds_until_the_moment(void **state)
{
	const struct delay_params p = {.delay_ns = 3600 * NSEC_PER_SEC};
	struct bench b;

	(void)state;
	bench_open(&b, &p);
	put(&b, 1, 60);
	delay_store_deliver(&b.store, clock_now_ns());
	assert_int_equal(get(&b, NULL), -1);
	assert_int_equal(b.counters.queued, 1);
	delay_store_deliver(&b.store, clock_now_ns() + 3600 * NSEC_PER_SEC);
	assert_int_equal(get(&b, NULL), 1);
	assert_int_equal(b.counters.queued, 0);
	assert_int_equal(b.counters.delivered, 1);
	bench_close(&b);
}

static void test_path_frames_of_every_size_come_out_whole(void **state)
{
	static const size_t sizes[] = {14, 60, 400, 1514, 9014, 30000, 65549};
	const struct delay_params p = {0};
	size_t len;
	struct bench b;

	(void)state;
	bench_open(&b, &p);
	for (int pass = 0; pass < 50; pass++)
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			put(&b, (uint8_t)(i + 1), sizes[i]);
			delay_store_deliver(&b.store, clock_now_ns());
			assert_int_equal(get(&b, &len), i + 1);
			assert_int_equal(len, sizes[i]);
		}
	/* Buffers are reused: one chunk for each of the four sizes. */
	assert_int_equal(b.store.pool.n_chunks, DELAY_POOL_CLASSES);
	bench_close(&b);
}

static void test_path_drops_beyond_its_limit_and_says_so(void **state)
{
	const struct delay_params p = {.delay_ns = NSEC_PER_SEC, .limit_packets = 3};
	struct bench b;

	(void)state;
	bench_open(&b, &p);
	for (uint8_t i = 1; i <= 5; i++)
		put(&b, i, 60);
	assert_int_equal(b.counters.packets, 5);
	assert_int_equal(b.counters.queued, 3);
	assert_int_equal(b.counters.queued_max, 3);
	assert_int_equal(b.counters.dropped_limit, 2);
	bench_close(&b);
}

static void test_path_out_of_memory_drops_and_goes_on(void **state)
{
	const struct delay_params p = {.delay_ns = NSEC_PER_SEC};
	struct bench b;

	(void)state;
	bench_open(&b, &p);
	b.store.pool.limit_bytes = 2 << 20;
	for (int i = 0; i < 100; i++)
		put(&b, 1, 65000);
	assert_true(b.counters.dropped_limit > 50);
	delay_store_flush(&b.store, NULL);
	assert_int_equal(get(&b, NULL), 1);
	put(&b, 2, 65000);
	assert_int_equal(b.counters.queued, 1);
	bench_close(&b);
}

static void test_path_reorders_with_jitter_and_counts_it(void **state)
{
	struct delay_params p = {.delay_ns = NSEC_PER_SEC, .jitter_ns = NSEC_PER_SEC};
	int out[100], overtaken = 0;
	struct bench b;

	(void)state;
	bench_open(&b, &p);
	for (uint8_t i = 0; i < 100; i++)
		put(&b, i, 60);
	delay_store_flush(&b.store, NULL);
	for (int i = 0, newest = 0; i < 100; i++) {
		out[i] = get(&b, NULL);
		overtaken += out[i] < newest;
		newest = MAX_OF(newest, out[i]);
	}
	assert_true(overtaken > 20);
	assert_int_equal(b.counters.reordered, overtaken);
	bench_close(&b);
}

static void test_path_order_keep_is_first_in_first_out(void **state)
{
	const struct delay_params p = {
		.delay_ns = NSEC_PER_SEC, .jitter_ns = NSEC_PER_SEC, .order_keep = true};
	struct bench b;

	(void)state;
	bench_open(&b, &p);
	for (uint8_t i = 0; i < 100; i++)
		put(&b, i, 60);
	delay_store_flush(&b.store, NULL);
	for (int i = 0; i < 100; i++)
		assert_int_equal(get(&b, NULL), i);
	assert_int_equal(b.counters.reordered, 0);
	bench_close(&b);
}

static void test_path_duplicates(void **state)
{
	const struct delay_params p = {.duplicate_ppm = 1000000};
	struct bench b;

	(void)state;
	bench_open(&b, &p);
	put(&b, 7, 60);
	delay_store_flush(&b.store, NULL);
	assert_int_equal(get(&b, NULL), 7);
	assert_int_equal(get(&b, NULL), 7);
	assert_int_equal(get(&b, NULL), -1);
	assert_int_equal(b.counters.duplicated, 1);
	assert_int_equal(b.counters.delivered, 2);
	bench_close(&b);
}

static void test_path_corrupts_one_bit_behind_the_header(void **state)
{
	const struct delay_params p = {.corrupt_ppm = 1000000, .seed = 11};
	uint8_t frame[HEADER + 60];
	struct bench b;

	(void)state;
	bench_open(&b, &p);
	for (int n = 0; n < 200; n++) {
		int bits = 0;

		put(&b, 0, 60);
		delay_store_flush(&b.store, NULL);
		assert_int_equal(read(b.far_fd, frame, sizeof frame), sizeof frame);
		for (size_t i = 0; i < sizeof frame; i++) {
			assert_true(i >= HEADER || frame[i] == 0);
			bits += __builtin_popcount(frame[i]);
		}
		assert_int_equal(bits, 1);
	}
	bench_close(&b);
}

static void test_flush_of_one_path_leaves_the_others(void **state)
{
	const struct delay_params p = {.delay_ns = NSEC_PER_SEC};
	struct delay_counters other_counters = {0};
	struct delay_path_state other;
	struct bench b;

	(void)state;
	bench_open(&b, &p);
	other = b.path;
	other.counters = &other_counters;
	put(&b, 1, 60);
	assert_int_equal(write(b.far_fd, (uint8_t[64]){0}, 64), 64);
	delay_path_read(&b.store, &other);
	put(&b, 2, 60);
	delay_store_flush(&b.store, &other);
	assert_int_equal(get(&b, NULL), 0);
	assert_int_equal(get(&b, NULL), -1);
	assert_int_equal(b.counters.queued, 2);
	delay_store_flush(&b.store, NULL);
	assert_int_equal(get(&b, NULL), 1);
	assert_int_equal(get(&b, NULL), 2);
	bench_close(&b);
}

static void test_read_notices_a_tap_that_is_gone(void **state)
{
	const struct delay_params p = {0};
	struct bench b;

	(void)state;
	bench_open(&b, &p);
	delay_path_read(&b.store, &b.path);
	assert_false(b.path.gone);
	close(b.path.tap_fd);
	delay_path_read(&b.store, &b.path);
	assert_true(b.path.gone);
	b.path.tap_fd = -1;
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heap_gives_out_by_moment_then_sequence),
		cmocka_unit_test(test_path_holds_until_the_moment),
		cmocka_unit_test(test_path_frames_of_every_size_come_out_whole),
		cmocka_unit_test(test_path_drops_beyond_its_limit_and_says_so),
		cmocka_unit_test(test_path_out_of_memory_drops_and_goes_on),
		cmocka_unit_test(test_path_reorders_with_jitter_and_counts_it),
		cmocka_unit_test(test_path_order_keep_is_first_in_first_out),
		cmocka_unit_test(test_path_duplicates),
		cmocka_unit_test(test_path_corrupts_one_bit_behind_the_header),
		cmocka_unit_test(test_flush_of_one_path_leaves_the_others),
		cmocka_unit_test(test_read_notices_a_tap_that_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
