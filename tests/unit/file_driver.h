/*
 * file_driver - a fault without a kernel, for tests of the stages
 *
 * A target is a file in a folder; the fault writes "broken" into it and the revert writes back what
 * was there. Switches make it misbehave in every way that the stages must stand.
 */
#pragma once

#include <errno.h>
#include <stdio.h>

#include "fault/driver.h"

static char file_dir[64]; /* where targets' files lie */
static struct {
	bool fail_inject;     /* after having changed the first target */
	bool fail_revert;
	bool keep_residue;    /* revert claims success and leaves a line */
	bool foreign;         /* revert finds somebody else's value */
	bool check;           /* look whether it is still broken */
	const char *conflict;
	const char *unseeded;
	enum effect_state effect;
	unsigned n_ticks, n_offs, n_reverts, n_retargets;
} file_driver_knobs;

static char *file_of(const char *target)
{
	return xasprintf("%s/%s", file_dir, strchr(target, '/') + 1);
}

static char *file_read(const char *target)
{
	autofree char *path = file_of(target);
	FILE *f = fopen(path, "r");
	char buf[256] = "";

	if (!f)
		return NULL;
	buf[fread(buf, 1, sizeof buf - 1, f)] = '\0';
	fclose(f);
	return xstrdup(buf);
}

static void file_write(const char *target, const char *text)
{
	autofree char *path = file_of(target);
	FILE *f = fopen(path, "w");

	fputs(text, f);
	fclose(f);
}

static int file_plan(struct fault *f, struct strlist *ops, struct err *e)
{
	f->backend = "file";
	for (size_t i = 0; i < f->targets.n; i++) {
		autofree char *op = xasprintf("%s: write \"broken\"", f->targets.items[i]->name);

		strlist_add(ops, op);
	}
	return 0;
}

static int file_snapshot(struct fault *f, const struct target *t, struct str *ret, struct err *e)
{
	autofree char *id = target_id(t);
	autofree char *text = file_read(id);

	if (!text)
		return err_set(e, ENOENT, "%s is gone", id);
	str_add(ret, text);
	return 0;
}

static int file_prepare(struct fault *f, struct err *e)
{
	for (size_t i = 0; i < f->targets.n; i++) {
		struct undo *u = array_push(f->undo.items, f->undo.n);

		u->fault = xstrdup(f->name);
		u->target = target_id(f->targets.items[i]);
		u->driver = f->driver;
		u->netns_fd = -1;
		autofree char *was = file_read(u->target);
		undo_set_json(u, json_pack("{s:s}", "was", was));
	}
	return 0;
}

static int file_inject(struct fault *f, struct err *e)
{
	for (size_t i = 0; i < f->targets.n; i++) {
		autofree char *id = target_id(f->targets.items[i]);

		file_write(id, "broken\n");
		if (file_driver_knobs.fail_inject)
			return err_set(e, EIO, "%s: would not break", id);
	}
	return 0;
}

static int file_tick(struct fault *f, struct err *e)
{
	file_driver_knobs.n_ticks++;
	return 0;
}

static int file_check(struct fault *f, const struct target *t, struct str *ret, struct err *e)
{
	autofree char *id = target_id(t);
	autofree char *now = file_read(id);

	if (file_driver_knobs.check && now && !streq(now, "broken\n"))
		str_addf(ret, "the file says \"%.*s\"\n", (int)strcspn(now, "\n"), now);
	return 0;
}

static int file_retarget(struct fault *f, const struct target_list *now, struct err *e)
{
	file_driver_knobs.n_retargets++;
	return 0;
}

static void file_off(struct fault *f)
{
	file_driver_knobs.n_offs++;
}

static int file_vet(const struct undo *undo, struct err *e)
{
	json_auto_t *data = undo_json(undo);

	return json_object_get(data, "was") ? 0 : err_set(e, EINVAL, "it says nothing of before");
}

static int file_revert(const struct undo *undo, size_t n, struct broker *broker,
		       struct undo_result *results, struct err *e)
{
	file_driver_knobs.n_reverts++;
	for (size_t i = 0; i < n; i++) {
		json_auto_t *data = undo_json(&undo[i]);
		const char *was = json_string_value(json_object_get(data, "was"));
		autofree char *now = file_read(undo[i].target);

		if (!now) {
			results[i].outcome = UNDO_GONE;
		} else if (file_driver_knobs.fail_revert) {
			results[i].outcome = UNDO_FAILED;
			snprintf(results[i].text, sizeof results[i].text, "the disk is stuck");
		} else if (file_driver_knobs.foreign) {
			results[i].outcome = UNDO_FOREIGN;
			file_write(undo[i].target, "theirs\n");
		} else {
			autofree char *text = xasprintf("%s%s", was, file_driver_knobs.keep_residue ?
							"left over\n" : "");
			file_write(undo[i].target, text);
		}
	}
	return 0;
}

static int file_resnapshot(const struct undo *undo, struct broker *broker, struct str *ret,
			   struct err *e)
{
	autofree char *text = file_read(undo->target);

	if (!text)
		return err_set(e, ENOENT, "%s is gone", undo->target);
	str_add(ret, text);
	return 0;
}

static int file_effect(struct fault *f, struct effect *ret, struct err *e)
{
	ret->state = file_driver_knobs.effect;
	snprintf(ret->requested, sizeof ret->requested, "broken");
	snprintf(ret->measured, sizeof ret->measured, "it is broken");
	return 0;
}

static const char *file_conflict(const void *a, const void *b)
{
	return file_driver_knobs.conflict;
}

static const struct field file_fields[] = {
	{.name = "mode", .type = FIELD_STRING, .offset = offsetof(struct fault_common, selection)},
};

static const struct schema file_schema = {
	.name = "FileChaos",
	.size = sizeof(struct fault_common),
	.fields = file_fields,
};

static const char *file_unseeded(const struct fault *f)
{
	return file_driver_knobs.unseeded;
}

static const struct fault_driver file_driver = {
	.kind = "FileChaos",
	.field = "fileChaos",
	.schema = &file_schema,
	.conflict = file_conflict,
	.unseeded = file_unseeded,
	.plan = file_plan,
	.snapshot = file_snapshot,
	.prepare = file_prepare,
	.inject = file_inject,
	.tick = file_tick,
	.check = file_check,
	.retarget = file_retarget,
	.off = file_off,
	.vet = file_vet,
	.revert = file_revert,
	.resnapshot = file_resnapshot,
	.effect = file_effect,
};

static void file_driver_setup(void)
{
	memset(&file_driver_knobs, 0, sizeof file_driver_knobs);
	file_driver_knobs.effect = EFFECT_MEASURED;
	fault_driver_for_tests = &file_driver;
	snprintf(file_dir, sizeof file_dir, "/tmp/bt-core-XXXXXX");
	if (!mkdtemp(file_dir))
		abort();
}

static int file_driver_teardown(void)
{
	autofree char *cmd = xasprintf("rm -rf %s", file_dir);

	return system(cmd);
}

static struct target *file_target(const char *name, const char *text)
{
	struct target *t = target_new("default", name);
	autofree char *id = target_id(t);

	target_set_phase(t, "Running");
	file_write(id, text);
	return t;
}
