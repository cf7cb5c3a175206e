/*
 * The store's content is computed: a chunk is a stream of pseudo-random words that begins with its
 * room and sequence number, so that any reader can check what it got and nothing needs a disk.
 */
#include "roles.h"

#include <stdio.h>

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

struct blob *store_make_chunk(const char *room, int64_t seq, size_t len)
{
	struct blob *b = blob_new(len);
	uint64_t seed = seq, word;

	for (const char *p = room; *p; p++)
		seed = mix(seed ^ (unsigned char)*p);
	for (size_t at = 0; at < len; at += sizeof word) {
		word = seed += mix(at);
		memcpy(b->data + at, &word, len - at < sizeof word ? len - at : sizeof word);
		RT_POLL();
	}
	snprintf(b->data, len, "%s/%lld", room, (long long)seq);
	return b;
}

void store_room(const struct http_request *req, struct http_answer *a)
{
	char room[ROOM_NAME_MAX];

	if (room_name(req, a, room))
		http_text(a, 200, "application/json", "{\"room\":\"%s\",\"open\":true}\n", room);
}

void store_chunk(const struct http_request *req, struct http_answer *a)
{
	char room[ROOM_NAME_MAX], seq[24];
	struct blob *b;

	if (!room_name(req, a, room))
		return;
	if (!http_query(req, "seq", seq, sizeof seq)) {
		http_text(a, 400, NULL, "seq is missing\n");
		return;
	}
	b = store_make_chunk(room, strtoll(seq, NULL, 10), config.segment_bytes);
	blob_answer(a, b);
}
