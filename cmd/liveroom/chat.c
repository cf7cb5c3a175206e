/*
 * A room's chat is a ring of its last messages, numbered from 1. A reader names the last one that
 * it has seen and may wait for the next: the wait parks the request's coroutine, so thousands can.
 * Who sends faster than a person types is told to wait (429), by address, so that one client cannot
 * push everybody else's messages out of the ring.
 */
#include "metrics.h"
#include "roles.h"
#include "sessions.h"

#include <stdio.h>

enum { RING = 32, TEXT_MAX = 200, SENDERS = 1024, BURST = 5, WAIT_MAX_S = 20 };

struct room_chat {
	struct rt_mutex lock; /* guards the rest */
	struct rt_cond news;
	int64_t last; /* number of the newest message, 0: none yet */
	char text[RING][TEXT_MAX + 1];
};
RT_TYPE_FREE(chat_type, struct room_chat);

/* Made at the first message or reader of a room, never freed. */
static struct room_chat *_Atomic chats[ROOMS_MAX];
static _Atomic bool stopping; /* nobody waits any more */

/* A sender may have BURST messages at once and one more a second. Addresses share slots by their
 * hash: a collision makes a stranger wait, and costs no memory. */
static struct rt_mutex senders_lock;
static int64_t senders[SENDERS]; /* when the slot will be as good as new */

static bool may_send(const uint8_t client[16])
{
	int64_t now = rt_now(), free_at;
	uint64_t h = 0xcbf29ce484222325ULL;
	bool may;

	for (size_t i = 0; i < 16; i++)
		h = (h ^ client[i]) * 0x100000001b3ULL;
	rt_lock(&senders_lock);
	free_at = senders[h % SENDERS];
	free_at = free_at > now ? free_at : now;
	may = free_at - now <= (BURST - 1) * RT_SEC;
	if (may)
		senders[h % SENDERS] = free_at + RT_SEC;
	rt_unlock(&senders_lock);
	return may;
}

static struct room_chat *chat_of(const char *room)
{
	int64_t n = room_number(room);
	struct room_chat *c, *made;

	if (n < 0)
		return NULL;
	c = atomic_load_explicit(&chats[n], memory_order_acquire);
	if (c)
		return c;
	made = rt_new(&chat_type);
	return atomic_compare_exchange_strong(&chats[n], &c, made) ? made : c;
}

static bool text_is_fine(const struct http_request *req)
{
	if (!req->body_len || req->body_len > TEXT_MAX)
		return false;
	for (size_t i = 0; i < req->body_len; i++)
		if ((unsigned char)req->body[i] < ' ' || req->body[i] == 0x7f)
			return false;
	return true;
}

static int64_t add_message(struct room_chat *c, const char *text, size_t len)
{
	char *slot;
	int64_t number;

	rt_lock(&c->lock);
	number = ++c->last;
	slot = c->text[number % RING];
	memcpy(slot, text, len);
	slot[len] = '\0';
	rt_cond_broadcast(&c->news);
	rt_unlock(&c->lock);
	return number;
}

void chat_post(const struct http_request *req, struct http_answer *a)
{
	char room[ROOM_NAME_MAX];
	struct room_chat *c;
	struct session *s;

	if (!room_name(req, a, room) || !session_named(req, a, room_number(room), &s))
		return;
	if (!text_is_fine(req)) {
		http_text(a, 400, NULL, "a message is 1 to %d bytes of text on one line\n", TEXT_MAX);
		return;
	}
	if (!may_send(req->client)) {
		http_text(a, 429, NULL, "more than a message a second\n");
		a->retry_after_s = 1;
		metric_add(METRIC_live_chat_refusals, 1);
		return;
	}
	c = chat_of(room);
	if (!c) {
		http_text(a, 503, NULL, "the room cannot be opened\n");
		return;
	}
	metric_add(METRIC_live_chat_messages, 1);
	http_text(a, 200, "application/json", "{\"id\":%lld}\n",
		  (long long)add_message(c, req->body, req->body_len));
}

static int64_t number_in(const struct http_request *req, const char *name, int64_t max)
{
	char text[20];
	int64_t n = http_query(req, name, text, sizeof text) ? strtoll(text, NULL, 10) : 0;

	return n < 0 ? 0 : n > max ? max : n;
}

/* Under the lock: "NUMBER TEXT" lines after a number, oldest first. */
static char *lines_after(const struct room_chat *c, int64_t after, size_t *ret_len)
{
	int64_t first = after + 1 > c->last - RING + 1 ? after + 1 : c->last - RING + 1;
	char *text = NULL;
	FILE *f = open_memstream(&text, ret_len);

	if (!f)
		abort();
	for (int64_t n = first < 1 ? 1 : first; n <= c->last; n++)
		fprintf(f, "%lld %s\n", (long long)n, c->text[n % RING]);
	fclose(f);
	return text;
}

/* Who names a session and no number goes on where it was. */
void chat_read(const struct http_request *req, struct http_answer *a)
{
	int64_t after = number_in(req, "after", INT64_MAX - 1), last;
	int64_t end = rt_now() + number_in(req, "wait", WAIT_MAX_S) * RT_SEC;
	char room[ROOM_NAME_MAX], *text;
	struct room_chat *c;
	struct session *s;
	size_t len;

	if (!room_name(req, a, room) || !session_named(req, a, room_number(room), &s))
		return;
	if (!strstr(req->query, "after="))
		after = session_chat(s);
	c = chat_of(room);
	if (!c) {
		http_text(a, 503, NULL, "the room cannot be opened\n");
		return;
	}
	rt_lock(&c->lock);
	while (c->last <= after && !atomic_load(&stopping) &&
	       rt_cond_wait_dl(&c->news, &c->lock, end) == 0)
		;
	text = lines_after(c, after, &len);
	last = c->last;
	rt_unlock(&c->lock);
	session_chat_read(s, last);
	http_give(a, "text/plain; charset=utf-8", text, len);
}

void chat_stop(void)
{
	atomic_store(&stopping, true);
	for (size_t i = 0; i < ROOMS_MAX; i++) {
		struct room_chat *c = atomic_load_explicit(&chats[i], memory_order_acquire);

		if (!c)
			continue;
		rt_lock(&c->lock); /* nobody is between the look at stopping and the wait */
		rt_cond_broadcast(&c->news);
		rt_unlock(&c->lock);
	}
}
