/*
 * fixture_driver - a kind of fault with one field of each sort, for tests of the manifest's stage
 */
#pragma once

#include "fault/driver.h"

struct fixture_params {
	struct fault_common common;
	int action;
	int64_t wait_ns;
	struct selection target;
};

static const char *const fixture_actions[] = {"wait", "fail", NULL};

static int fixture_check(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct fixture_params *p = obj;

	if (p->action == 0 && p->wait_ns == 0)
		return field_error(ctx, node, "wait", "is required with action wait");
	return 0;
}

static const struct field fixture_fields[] = {
	FAULT_COMMON_FIELDS,
	{.name = "action", .type = FIELD_ENUM, .offset = offsetof(struct fixture_params, action),
	 .names = fixture_actions, .required = true, .example = "wait", .doc = "What is done."},
	{.name = "wait", .type = FIELD_DURATION, .offset = offsetof(struct fixture_params, wait_ns),
	 .example = "100ms", .in_template = true, .doc = "How long to wait."},
	{.name = "target", .type = FIELD_OBJECT, .sub = &selection_schema,
	 .offset = offsetof(struct fixture_params, target), .doc = "The other side."},
};

static const struct schema fixture_schema = {
	.name = "FixtureChaos",
	.doc = "Does nothing, on purpose.",
	.size = sizeof(struct fixture_params),
	.fields = fixture_fields,
	.n_fields = ARRAY_SIZE(fixture_fields),
	.check = fixture_check,
};

static const struct selection *fixture_peer(const void *params)
{
	const struct fixture_params *p = params;

	return p->target.given ? &p->target : NULL;
}

static const struct fault_driver fixture_driver = {
	.kind = "FixtureChaos",
	.field = "fixtureChaos",
	.api_version = "chaos-mesh.org/v1alpha1",
	.schema = &fixture_schema,
	.peer_selection = fixture_peer,
};
