/*
 * From the undo records of a MemoryChaos back to the limits as they were: what the owner, the guard and
 * `brunt recover` do. A file that says something else than what the fault wrote is somebody else's by
 * now, and stays.
 */
#include "memory_undo.h"

#include "group_record.h"
#include "memory_group.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static bool wrote(const json_t *record, uint64_t value)
{
	const json_t *rung;
	size_t i;

	json_array_foreach(json_object_get(record, "wrote"), i, rung)
		if ((uint64_t)json_integer_value(rung) == value)
			return true;
	return false;
}

static int find_group(const json_t *record, struct memory_group *ret)
{
	struct cgroup cg;

	return group_record_find(record, &cg) < 0 ? -ENOENT : memory_group_of(&cg, ret);
}

/* What the saved files say the limit was; UINT64_MAX for none. */
static uint64_t saved_limit(const json_t *record, const struct memory_group *g, bool high)
{
	const char *file = g->cg.version == 1 ? "memory.limit_in_bytes"
			   : high             ? "memory.high"
					      : "memory.max";
	const char *text = json_string_value(json_object_get(json_object_get(record, "saved"), file));

	return text && !streq(text, "max") ? strtoull(text, NULL, 10) : UINT64_MAX;
}

/* Somebody else set the limit; memory+swap may still be ours to put back. */
static int revert_memsw(const json_t *record, const struct memory_group *g, struct err *e)
{
	uint64_t now;

	if (memory_group_memsw(g, &now) < 0 || !wrote(record, now))
		return 0;
	return memory_group_restore_memsw(g, json_object_get(record, "saved"), e);
}

static enum undo_outcome revert_group(const json_t *record, char *text, size_t size)
{
	bool high = json_is_true(json_object_get(record, "high"));
	const json_t *saved = json_object_get(record, "saved");
	enum undo_outcome outcome = UNDO_REVERTED;
	struct memory_group g;
	struct err e = {0};
	const char *other;
	uint64_t now;

	if (find_group(record, &g) < 0)
		return UNDO_GONE;
	if (memory_group_limit(&g, high, &now, &e) < 0) {
		outcome = UNDO_FAILED;
	} else if (wrote(record, now)) {
		if (memory_group_restore(&g, high, saved, &e) < 0)
			outcome = UNDO_FAILED;
	} else if (now != saved_limit(record, &g, high) &&
		   !(g.cg.version == 1 && now == UINT64_MAX)) {
		outcome = revert_memsw(record, &g, &e) < 0 ? UNDO_FAILED : UNDO_FOREIGN;
		if (outcome == UNDO_FOREIGN)
			err_set(&e, EEXIST, "%s: somebody set the limit to %" PRIu64 " bytes meanwhile; left",
				g.cg.path, now);
	}
	other = outcome == UNDO_REVERTED ? memory_group_changed(&g, high, saved) : NULL;
	if (other) {
		outcome = UNDO_FOREIGN;
		err_set(&e, EEXIST, "%s: somebody set %s meanwhile; left", g.cg.path, other);
	}
	if (e.code)
		snprintf(text, size, "%s", e.text);
	memory_group_done(&g);
	return outcome;
}

static int vet_record(const json_t *record, struct err *e)
{
	int version = (int)json_integer_value(json_object_get(record, "version"));
	const char *file;
	json_t *text;

	if (!json_is_object(json_object_get(record, "saved")) || !json_object_get(record, "wrote"))
		return err_set(e, EINVAL, "it has no limits");
	json_object_foreach((json_t *)json_object_get(record, "saved"), file, text)
		if (!memory_group_saves(version, file) || !group_is_limit(text))
			return err_set(e, EINVAL, "\"%.60s\" is no limit that it could have saved", file);
	return 0;
}

int memory_vet(const struct undo *u, struct err *e)
{
	return group_vet(u, vet_record, e);
}

int memory_revert(const struct undo *undo, size_t n, struct broker *broker,
		  struct undo_result *results, struct err *e)
{
	return group_revert(undo, n, results, revert_group);
}

static int snapshot_record(const json_t *record, struct str *ret, struct err *e)
{
	struct memory_group g;
	int r = find_group(record, &g);

	if (r < 0)
		return r;
	r = memory_group_snapshot(&g, ret, e);
	memory_group_done(&g);
	return r;
}

/* A group that went with its container differs in nothing; the target is gone when all are. */
int memory_resnapshot(const struct undo *u, struct broker *broker, struct str *ret, struct err *e)
{
	return group_resnapshot(u, ret, snapshot_record, e);
}
