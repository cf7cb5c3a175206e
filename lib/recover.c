/*
 * Reverting needs nothing but undo records: the owner reverts the ones in its memory, the guard
 * and `recover` the ones in the journal, through the same functions.
 *
 * A target is compared with its snapshot after the revert. Somebody else's change is no residue:
 * the driver says UNDO_FOREIGN where it found a value that brunt had not written, leaves it, and
 * the difference is reported without a reproach.
 */
#include "recover.h"

#include <errno.h>
#include <stdio.h>

static const char *const outcome_names[] = {
	[UNDO_REVERTED] = "reverted",
	[UNDO_GONE] = "gone",
	[UNDO_FOREIGN] = "changed by somebody else",
	[UNDO_FAILED] = "failed",
};

void restoration_done(struct restoration *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free(r->items[i].fault);
		free(r->items[i].target);
		free(r->items[i].text);
		free(r->items[i].before);
		free(r->items[i].after);
	}
	free(r->items);
	*r = (struct restoration){0};
}

bool restored_is_left(const struct restored *row)
{
	return row->outcome == UNDO_FAILED || row->residue;
}

size_t restoration_left(const struct restoration *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += restored_is_left(&r->items[i]);
	return n;
}

const char *restoration_summary(const struct restoration *r, char *buf, size_t size)
{
	size_t left = restoration_left(r);

	buf[0] = '\0';
	for (size_t i = 0; i < r->n; i++) {
		const struct restored *row = &r->items[i];

		if (!restored_is_left(row))
			continue;
		snprintf(buf, size, "%s: %s", row->target, row->text ? row->text : "differs");
		if (left > 1) {
			size_t len = strlen(buf);

			snprintf(buf + len, size - len, ", and %zu more", left - 1);
		}
		break;
	}
	return buf;
}

static json_t *text_json(const char *text)
{
	return text ? json_string(text) : json_null();
}

json_t *restoration_json(const struct restoration *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->n; i++) {
		const struct restored *row = &r->items[i];
		json_t *before = text_json(row->before);
		json_t *after = row->same ? json_incref(before) : text_json(row->after);

		json_array_append_new(list, json_pack(
			"{s:s, s:s, s:s, s:s, s:s?, s:b, s:o, s:o}", "fault", row->fault,
			"target", row->target, "kind", row->kind, "outcome",
			outcome_names[row->outcome], "text", row->text, "residue", row->residue,
			"before", before, "after", after));
	}
	return list;
}

static void set_text(struct restored *row, const char *text)
{
	free(row->text);
	row->text = text && *text ? xstrdup(text) : NULL;
}

/* The records of one driver, gathered, tried together and their results dealt out. */
static void revert_group(const struct undo *undo, struct restored *rows, const size_t *which,
			 size_t n, struct broker *broker)
{
	autofree struct undo_result *results = xcalloc(n, sizeof *results);
	autofree struct undo *group = xcalloc(n, sizeof *group);
	struct err e = {0};
	int r;

	for (size_t i = 0; i < n; i++)
		group[i] = undo[which[i]];
	r = group[0].driver->revert(group, n, broker, results, &e);
	for (size_t i = 0; i < n; i++) {
		rows[which[i]].outcome = r < 0 ? UNDO_FAILED : results[i].outcome;
		set_text(&rows[which[i]], r < 0 ? e.text : results[i].text);
	}
}

/* A forged record is left, and its row says so: it may not even be looked at on the target. */
static bool refused(const struct undo *u, struct restored *row)
{
	struct err why = {0};

	if (undo_vet(u, &why) == 0)
		return false;
	row->outcome = UNDO_FAILED;
	set_text(row, why.text);
	return true;
}

/* True when the record needs no driver: the reboot undid it, or no driver is known for it. */
static bool settled_without_driver(const struct undo *u, struct restored *row)
{
	if (u->earlier_boot) {
		row->outcome = UNDO_GONE;
		set_text(row, "undone by a reboot");
	} else if (!u->driver) {
		row->outcome = UNDO_FAILED;
		set_text(row, "this brunt does not know the kind of fault");
	}
	return u->earlier_boot || !u->driver || refused(u, row);
}

/* Those of one speed, each driver's together. */
static void revert_pass(const struct undo *undo, struct restored *rows, size_t n, bool slow,
			struct broker *broker)
{
	autofree size_t *which = xcalloc(n, sizeof *which);
	autofree bool *done = xcalloc(n, sizeof *done);

	for (size_t i = 0; i < n; i++) {
		const struct fault_driver *driver = undo[i].driver;
		size_t members = 0;

		if (done[i] || (driver && driver->slow != slow) || (!driver && slow) ||
		    settled_without_driver(&undo[i], &rows[i]))
			continue;
		for (size_t k = i; k < n; k++)
			if (undo[k].driver == driver && !undo[k].earlier_boot &&
			    (k == i || !refused(&undo[k], &rows[k]))) {
				which[members++] = k;
				done[k] = true;
			}
		revert_group(undo, rows, which, members, broker);
	}
}

void recover_revert(const struct undo *undo, size_t n, struct broker *broker,
		    struct restoration *ret)
{
	struct restored *rows;
	size_t first = ret->n;

	for (size_t i = 0; i < n; i++) {
		struct restored *row = array_push(ret->items, ret->n);

		row->fault = xstrdup(undo[i].fault);
		row->target = xstrdup(undo[i].target);
		row->kind = undo[i].driver ? undo[i].driver->kind : "unknown";
	}
	rows = ret->items + first;
	revert_pass(undo, rows, n, false, broker);
	revert_pass(undo, rows, n, true, broker);
}

static void report_difference(struct restored *row)
{
	autofree char *diff = recover_diff(row->before, row->after);
	autofree char *text = NULL;

	row->residue = row->outcome != UNDO_FOREIGN;
	if (row->outcome == UNDO_FAILED)
		return;
	text = xasprintf("%s%sdiffers from before the run: %s", row->text ? row->text : "",
			 row->text ? "; " : "", diff);
	for (char *p = text; *p; p++)
		if (*p == '\n')
			*p = ' ';
	set_text(row, text);
}

void recover_check(const struct undo *u, struct broker *broker, struct restored *row)
{
	struct err e = {0};
	autostr now = {0};
	int r;

	if (!u->before || !u->driver || !u->driver->resnapshot || row->outcome == UNDO_GONE ||
	    undo_vet(u, NULL) < 0)
		return;
	/* Who gave no answer to the revert would only be waited for again. */
	if (u->driver->slow && row->outcome == UNDO_FAILED)
		return;
	r = u->driver->resnapshot(u, broker, &now, &e);
	if (r == -ENOENT) {
		row->outcome = UNDO_GONE; /* also when it went in the middle of the revert */
		set_text(row, e.text);
		return;
	}
	free(row->before);
	free(row->after);
	row->before = xstrdup(u->before);
	row->after = NULL;
	row->same = r == 0 && streq(row->before, now.s ? now.s : "");
	if (r < 0) {
		row->outcome = UNDO_FAILED;
		set_text(row, e.text);
	} else if (!row->same) {
		row->after = str_take(&now);
		report_difference(row);
	}
}

static bool has_line(const char *text, const char *line, size_t len)
{
	for (const char *p = text; *p;) {
		size_t n = strcspn(p, "\n");

		if (n == len && memcmp(p, line, n) == 0)
			return true;
		p += n + (p[n] == '\n');
	}
	return false;
}

static void add_missing(struct str *b, const char *from, const char *in, char sign)
{
	for (const char *p = from; *p;) {
		size_t n = strcspn(p, "\n");

		if (n && !has_line(in, p, n)) {
			str_addf(b, "%s%c", b->len ? "\n" : "", sign);
			str_addn(b, p, n);
		}
		p += n + (p[n] == '\n');
	}
}

char *recover_diff(const char *before, const char *after)
{
	struct str b = {0};

	add_missing(&b, before, after, '-');
	add_missing(&b, after, before, '+');
	return str_take(&b);
}

static int find_on_machine(void *data, struct netns_id id, bool *ret_owned)
{
	int fd = netns_find(id, NULL);

	*ret_owned = true;
	return fd == -ENOENT ? netns_find_held(id) : fd;
}

/* Fills in handles; those in owned are to be closed. */
static void find_handles(struct undo_list *l, const struct recover_handles *h, bool *owned)
{
	static const struct recover_handles machine = {.find_netns = find_on_machine};

	h = h ? h : &machine;
	for (size_t i = 0; i < l->n; i++) {
		struct undo *u = &l->items[i];

		if (!u->netns_id.ino || u->earlier_boot)
			continue;
		/* Records of one target follow each other: one look-up serves them all. */
		if (i > 0 && netns_same(l->items[i - 1].netns_id, u->netns_id)) {
			u->netns_fd = l->items[i - 1].netns_fd;
			continue;
		}
		u->netns_fd = h->find_netns(h->data, u->netns_id, &owned[i]);
	}
}

static int mark_undone(struct journal *j, const struct undo_list *l, const struct restored *rows,
		       struct err *e)
{
	autofree int64_t *ids = xcalloc(l->n, sizeof *ids);
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		if (!restored_is_left(&rows[i]))
			ids[n++] = l->items[i].id;
	return n ? journal_mark_undone(j, ids, n, e) : 0;
}

/* Reverts and compares what the list holds; its rows are added to ret. */
static void put_back(struct undo_list *l, const struct recover_handles *handles,
		     struct broker *broker, struct restoration *ret)
{
	autofree bool *owned = xcalloc(l->n, sizeof *owned);
	size_t first = ret->n;

	find_handles(l, handles, owned);
	recover_revert(l->items, l->n, broker, ret);
	for (size_t i = 0; i < l->n; i++)
		recover_check(&l->items[i], broker, &ret->items[first + i]);
	for (size_t i = 0; i < l->n; i++)
		if (owned[i] && l->items[i].netns_fd >= 0)
			close(l->items[i].netns_fd);
}

static bool has_id(const struct undo_list *l, int64_t id)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->items[i].id == id)
			return true;
	return false;
}

/* Takes out of l what is in known. */
static void leave_out(struct undo_list *l, const struct undo_list *known)
{
	size_t kept = 0;

	for (size_t i = 0; known->n && i < l->n; i++) {
		struct undo *u = &l->items[i];

		if (!has_id(known, u->id)) {
			l->items[kept++] = *u;
			continue;
		}
		undo_done(u);
	}
	if (known->n)
		l->n = kept;
}

static void newest_first(struct undo_list *l)
{
	for (size_t i = 0; i < l->n / 2; i++) {
		struct undo u = l->items[i];

		l->items[i] = l->items[l->n - 1 - i];
		l->items[l->n - 1 - i] = u;
	}
}

int recover_run(struct journal *j, struct broker *broker, const char *run_id,
		const struct recover_handles *handles, struct restoration *ret, struct err *e)
{
	struct undo_list none = {0}, l = {0};
	struct undo_list *known = handles && handles->known ? handles->known : &none;
	size_t first = ret->n, second;
	int r;

	newest_first(known);
	put_back(known, handles, broker, ret);
	second = ret->n;
	r = journal_pending(j, run_id, &l, e);
	leave_out(&l, known);
	put_back(&l, handles, broker, ret);
	if (r == 0)
		r = mark_undone(j, known, ret->items + first, e);
	if (r == 0)
		r = mark_undone(j, &l, ret->items + second, e);
	undo_list_done(&l);
	return r;
}

static json_t *dead_run_record(const char *run_id, const char *experiment, const char *who,
			     const struct restoration *rest, bool left)
{
	char summary[300];
	autofree char *sentence = left
		? xasprintf("NOT restored by %s after the run's process died (%s); clear it, then: "
			    "brunt recover %s", who,
			    restoration_summary(rest, summary, sizeof summary), run_id)
		: xasprintf("the run's process died; %s put everything back", who);

	return json_pack("{s:s, s:s, s:s, s:s, s:o}", "run", run_id, "experiment", experiment,
			      "verdict", left ? "not-restored" : "error", "sentence", sentence,
			      "restoration", restoration_json(rest));
}

int recover_dead_run(struct journal *j, struct broker *broker, const char *run_id,
		     const struct recover_handles *handles, const char *who,
		     struct restoration *ret, struct err *e)
{
	json_auto_t *record = NULL;
	struct run_row row = {0};
	bool left;
	int r;

	r = recover_run(j, broker, run_id, handles, ret, e);
	if (r < 0)
		return r;
	left = restoration_left(ret) > 0;
	r = journal_run(j, run_id, &row, e);
	if (r < 0)
		return r;
	record = row.record ? NULL : dead_run_record(run_id, row.experiment, who, ret, left);
	r = journal_run_end(j, run_id, left ? "not-restored" : "recovered",
			    row.record && !left ? row.verdict : left ? "not-restored" : "error",
			    record, e);
	run_row_done(&row);
	return r;
}
