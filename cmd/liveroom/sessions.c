/*
 * A room's sessions are in hash chains by name and in a list by when they were heard of last, so that the
 * idle ones are at its end. A name is 64 random bits: nobody ends another's session by counting.
 */
#include "sessions.h"

#include "metrics.h"

#include <stdio.h>
#include <sys/random.h>

enum { SLOTS = 1024 };

struct audience;

struct session {
	uint64_t name;
	struct audience *const audience; /* NULL: it has ended */
	struct session *const newer, *const older; /* by when it was heard of */
	struct session *const chain;
	int64_t heard_ns, chat_read, stalls;
};
RT_TYPE(session_type, struct session, audience, newer, older, chain);

/* Of a room; made at its first join, never given up. */
struct audience {
	struct session **const slots; /* SLOTS chains */
	struct session *const newest, *const oldest;
	struct rt_mutex lock; /* guards the rest, and what is in the sessions */
	uint32_t n;
};
RT_TYPE(audience_type, struct audience, slots, newest, oldest);

static struct audience *_Atomic audiences[ROOMS_MAX];

static struct audience *audience_of(int64_t room)
{
	/* acquire: pairs with the exchange below */
	struct audience *at = atomic_load_explicit(&audiences[room], memory_order_acquire), *made;

	if (at)
		return at;
	made = rt_new(&audience_type);
	RT_SET(made->slots, rt_new_ptrs(SLOTS));
	return atomic_compare_exchange_strong(&audiences[room], &at, made) ? made : at;
}

/* Under the audience's lock ----------------------------------------------------------------------- */

static struct session **slot_of(struct audience *at, uint64_t name)
{
	return &at->slots[name % SLOTS];
}

/* *ret_before (may be NULL): the one before it in its chain, NULL: it is the first. */
static struct session *find(struct audience *at, uint64_t name, struct session **ret_before)
{
	struct session *before = NULL, *s = *slot_of(at, name);

	while (s && s->name != name) {
		before = s;
		s = s->chain;
		RT_POLL();
	}
	if (ret_before)
		*ret_before = before;
	return s;
}

static void unlink_heard(struct audience *at, struct session *s)
{
	if (s->newer)
		RT_SET(s->newer->older, s->older);
	else
		RT_SET(at->newest, s->older);
	if (s->older)
		RT_SET(s->older->newer, s->newer);
	else
		RT_SET(at->oldest, s->newer);
}

static void link_heard(struct audience *at, struct session *s)
{
	RT_SET(s->newer, NULL);
	RT_SET(s->older, at->newest);
	if (at->newest)
		RT_SET(at->newest->newer, s);
	else
		RT_SET(at->oldest, s);
	RT_SET(at->newest, s);
	s->heard_ns = rt_now();
}

static void add(struct audience *at, struct session *s)
{
	struct session **slot = slot_of(at, s->name);

	RT_SET(s->audience, at);
	RT_SET(s->chain, *slot);
	RT_SET(*slot, s);
	link_heard(at, s);
	at->n++;
	metric_add(METRIC_live_sessions, 1);
}

/* A request may still have it: what it named goes, so that it keeps no other. */
static void drop(struct audience *at, struct session *s)
{
	struct session *before;

	find(at, s->name, &before);
	if (before)
		RT_SET(before->chain, s->chain);
	else
		RT_SET(*slot_of(at, s->name), s->chain);
	unlink_heard(at, s);
	RT_SET(s->newer, NULL);
	RT_SET(s->older, NULL);
	RT_SET(s->chain, NULL);
	RT_SET(s->audience, NULL);
	at->n--;
	metric_add(METRIC_live_sessions, -1);
	metric_add(METRIC_live_sessions_finished, 1);
	metric_add(METRIC_live_sessions_stalled, s->stalls > 0);
}

/* ------------------------------------------------------------------------------------------------- */

bool session_begin(int64_t room, char ret[SESSION_NAME_MAX])
{
	struct audience *at = audience_of(room);
	struct session *s = rt_new(&session_type);
	bool full;

	if (getrandom(&s->name, sizeof s->name, 0) != sizeof s->name)
		abort();
	snprintf(ret, SESSION_NAME_MAX, "%016llx", (unsigned long long)s->name);
	rt_lock(&at->lock);
	full = at->n >= config.sessions;
	if (!full)
		add(at, s);
	rt_unlock(&at->lock);
	if (full)
		metric_add(METRIC_live_session_refusals, 1);
	return !full;
}

static struct session *hear_of(struct audience *at, uint64_t name)
{
	struct session *s;

	rt_lock(&at->lock);
	s = find(at, name, NULL);
	if (s) {
		unlink_heard(at, s);
		link_heard(at, s);
	}
	rt_unlock(&at->lock);
	return s;
}

bool session_is_named(const struct http_request *req)
{
	return strstr(req->query, "session=");
}

static bool read_name(const struct http_request *req, uint64_t *ret)
{
	char text[SESSION_NAME_MAX];
	size_t n = SESSION_NAME_MAX - 1;

	if (!http_query(req, "session", text, sizeof text) || strspn(text, "0123456789abcdef") != n)
		return false;
	*ret = strtoull(text, NULL, 16);
	return true;
}

bool session_named(const struct http_request *req, struct http_answer *a, int64_t room,
		   struct session **ret)
{
	uint64_t name;

	*ret = NULL;
	if (!session_is_named(req))
		return true;
	if (room >= 0 && read_name(req, &name))
		*ret = hear_of(audience_of(room), name);
	if (!*ret)
		http_text(a, 410, NULL, "the session has ended, join again\n");
	return *ret;
}

/* Its audience, locked; NULL: it has ended, or there is none. A session has one audience and then none, so
 * what was read before the lock says which lock it is. */
static struct audience *lock_of(struct session *s)
{
	struct audience *at = s ? s->audience : NULL;

	if (!at)
		return NULL;
	rt_lock(&at->lock);
	if (s->audience)
		return at;
	rt_unlock(&at->lock);
	return NULL;
}

void session_stalled(struct session *s, int64_t n)
{
	struct audience *at = n ? lock_of(s) : NULL;

	if (!at)
		return;
	s->stalls += n;
	rt_unlock(&at->lock);
}

int64_t session_chat(struct session *s)
{
	struct audience *at = lock_of(s);
	int64_t n = at ? s->chat_read : 0;

	if (at)
		rt_unlock(&at->lock);
	return n;
}

void session_chat_read(struct session *s, int64_t number)
{
	struct audience *at = lock_of(s);

	if (!at)
		return;
	if (number > s->chat_read)
		s->chat_read = number;
	rt_unlock(&at->lock);
}

void session_end(struct session *s)
{
	struct audience *at = lock_of(s);

	if (!at)
		return;
	drop(at, s);
	rt_unlock(&at->lock);
}

/* A few at a time: a join waits for the lock. */
static bool expire_some(struct audience *at, int64_t before_ns)
{
	enum { SOME = 64 };
	int done = 0;

	rt_lock(&at->lock);
	for (; done < SOME && at->oldest && at->oldest->heard_ns < before_ns; done++) {
		drop(at, at->oldest);
		RT_POLL();
	}
	rt_unlock(&at->lock);
	metric_add(METRIC_live_sessions_expired, done);
	return done == SOME;
}

void sessions_expire(int64_t now)
{
	for (size_t i = 0; i < ROOMS_MAX; i++) {
		/* acquire: pairs with the exchange in audience_of() */
		struct audience *at = atomic_load_explicit(&audiences[i], memory_order_acquire);

		while (at && expire_some(at, now - config.session_idle_ns))
			rt_yield();
		RT_POLL();
	}
}
