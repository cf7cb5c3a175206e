/*
 * Both bounds are about the union of all faults' targets: two faults on one target each reach two,
 * and each selector's share counts whoever of its matches holds a fault, by this selector or not.
 */
#include "blast.h"

#include "target/target_set.h"

#include <errno.h>
#include <inttypes.h>

static int check_count(const struct blast_radius *b, size_t n, struct err *e)
{
	if (!b->max_targets || n <= (size_t)b->max_targets)
		return 0;
	err_set(e, EPERM, "%zu targets, blastRadius.maxTargets allows %" PRId64, n, b->max_targets);
	err_hint(e, "choose fewer targets (mode, value) or raise the bound");
	return -EPERM;
}

/* Of those that the part's selector matches; its own targets count although they may have changed
 * meanwhile. */
static int check_share(const struct blast_radius *b, const struct blast_part *part,
		       const struct target_list *listed, const struct target_list *held,
		       struct err *e)
{
	const struct fault_common *common = part->spec->params;
	const struct selector *s = &common->selection.selector;
	autotargetset own = {0};
	size_t matched = 0, n = 0;

	target_set_add_list(&own, part->targets);
	for (size_t i = 0; i < listed->n; i++)
		matched += selector_matches(s, listed->items[i]);
	for (size_t i = 0; i < held->n; i++)
		n += target_set_has(&own, held->items[i]) || selector_matches(s, held->items[i]);
	if (!matched || n * 100 <= (size_t)b->max_percent * matched)
		return 0;
	err_set(e, EPERM, "%zu of %zu matching targets are %zu %%, blastRadius.maxPercent allows "
		"%" PRId64, n, matched, n * 100 / matched, b->max_percent);
	err_hint(e, "choose fewer targets (mode, value) or raise the bound");
	err_wrap(e, "fault %s", part->spec->name);
	return -EPERM;
}

int blast_check(const struct experiment *x, const struct target_list *listed,
		const struct blast_part *parts, size_t n, struct err *e)
{
	const struct blast_radius *b = &x->blast_radius;
	autotargetset known = {0};
	autotargets held = {0};
	int r = 0;

	if (!b->max_targets && !b->max_percent)
		return 0;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < parts[i].targets->n; k++)
			if (target_set_add(&known, parts[i].targets->items[k]))
				target_list_add(&held, parts[i].targets->items[k]);
	for (size_t i = 0; r == 0 && b->max_percent && i < n; i++)
		r = check_share(b, &parts[i], listed, &held, e);
	return r < 0 ? r : check_count(b, held.n, e);
}
