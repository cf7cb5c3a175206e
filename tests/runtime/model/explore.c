/* Breadth first, so the schedule that is shown is a shortest one. Every state is kept, with where
 * it came from. */
#include "explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATES_MAX ((size_t)1 << 23)
#define NO_STATE UINT32_MAX

struct space {
	struct world *state;
	uint32_t *from;
	uint8_t *by; /* thread, and its buffer entry + 1 when a store reached memory */
	size_t n, room;
	uint32_t *table;
	size_t table_size;
};

_Static_assert(sizeof(struct world) % sizeof(uint64_t) == 0, "hashed in words");

static uint64_t hash(const struct world *w)
{
	uint64_t h = 0, word;

	for (size_t i = 0; i < sizeof(*w); i += sizeof(word)) {
		memcpy(&word, (const char *)w + i, sizeof(word));
		h = (h ^ word) * 0x9e3779b97f4a7c15;
		h ^= h >> 32;
	}
	return h;
}

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static void rehash(struct space *s)
{
	s->table_size = s->table_size ? 2 * s->table_size : 1 << 14;
	free(s->table);
	s->table = must(malloc(s->table_size * sizeof(*s->table)));
	memset(s->table, 0xff, s->table_size * sizeof(*s->table));
	for (size_t i = 0; i < s->n; i++) {
		size_t at = hash(&s->state[i]) & (s->table_size - 1);

		while (s->table[at] != NO_STATE)
			at = (at + 1) & (s->table_size - 1);
		s->table[at] = (uint32_t)i;
	}
}

static void make_room(struct space *s)
{
	if (s->n == s->room) {
		s->room = s->room ? 2 * s->room : 1 << 13;
		s->state = must(realloc(s->state, s->room * sizeof(*s->state)));
		s->from = must(realloc(s->from, s->room * sizeof(*s->from)));
		s->by = must(realloc(s->by, s->room * sizeof(*s->by)));
	}
	if (2 * s->n >= s->table_size)
		rehash(s);
}

static void visit(struct space *s, const struct world *w, size_t from, unsigned by)
{
	size_t at;

	make_room(s);
	at = hash(w) & (s->table_size - 1);
	for (; s->table[at] != NO_STATE; at = (at + 1) & (s->table_size - 1))
		if (memcmp(&s->state[s->table[at]], w, sizeof(*w)) == 0)
			return;
	s->table[at] = (uint32_t)s->n;
	s->state[s->n] = *w;
	s->from[s->n] = (uint32_t)from;
	s->by[s->n] = (uint8_t)by;
	s->n++;
}

static bool may_reach_memory(const struct thread *t, unsigned i)
{
	if (i > 0 && t->buffer[i].release)
		return false;
	for (unsigned k = 0; k < i; k++)
		if (t->buffer[k].var == t->buffer[i].var)
			return false;
	return true;
}

static void reach_memory(struct world *w, unsigned t, unsigned i)
{
	struct thread *s = &w->thread[t];

	w->var[s->buffer[i].var] = s->buffer[i].value;
	s->buffered--;
	memmove(&s->buffer[i], &s->buffer[i + 1], (s->buffered - i) * sizeof(*s->buffer));
	s->buffer[s->buffered] = (struct store){0};
}

/* All states one step after i. false: there are none. */
static bool expand(struct space *s, const struct model *m, size_t i)
{
	bool any = false;

	for (unsigned t = 0; t < m->threads; t++) {
		struct world w = s->state[i];

		for (unsigned k = 0; k < s->state[i].thread[t].buffered; k++) {
			if (!may_reach_memory(&s->state[i].thread[t], k))
				continue;
			any = true;
			w = s->state[i];
			reach_memory(&w, t, k);
			visit(s, &w, i, t | (k + 1) << 4);
		}
		w = s->state[i];
		if (!m->step(&w, t))
			continue;
		any = true;
		visit(s, &w, i, t);
	}
	return any;
}

static void show_path(const struct space *s, const struct model *m, size_t i)
{
	const struct world *w = &s->state[i];
	char line[256];
	int n = 0;

	if (s->from[i] != i)
		show_path(s, m, s->from[i]);
	for (unsigned t = 0; t < m->threads; t++)
		n += snprintf(line + n, sizeof(line) - (size_t)n, " %u", w->thread[t].pc);
	n += snprintf(line + n, sizeof(line) - (size_t)n, " |");
	for (unsigned v = 0; v < VARS_MAX; v++)
		n += snprintf(line + n, sizeof(line) - (size_t)n, " %u", w->var[v]);
	printf("# thread %u%s: pcs%s\n", s->by[i] & 15, s->by[i] >> 4 ? " (a store arrives)" : "",
	       line);
}

struct explored explore(const struct model *m, bool show)
{
	struct space s = {0};
	struct world first;
	const char *wrong = NULL;
	size_t i;

	memset(&first, 0, sizeof(first));
	m->init(&first);
	visit(&s, &first, 0, 0);
	for (i = 0; i < s.n && !wrong; i++) {
		wrong = m->wrong(&s.state[i]);
		if (!wrong && !expand(&s, m, i) && m->wrong_at_end)
			wrong = m->wrong_at_end(&s.state[i]);
		if (s.n > STATES_MAX)
			wrong = "too many states";
	}
	if (wrong && show)
		show_path(&s, m, i - 1);
	free(s.state);
	free(s.from);
	free(s.by);
	free(s.table);
	return (struct explored){i, wrong};
}
