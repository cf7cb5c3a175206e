/*
 * NetworkChaos: what it says about itself, and the driver's row. Read on in the order of a fault's
 * life: net_plan.c, net_prepare.c, net_inject.c, net_watch.c, net_effect.c,
 * net_figures.c, net_undo.c.
 */
#include "../base/units.h"
#include "net.h"

#include <stdio.h>

int net_delay_table(const struct net_params *p, struct delay_table *ret, struct err *e)
{
	const struct net_delay *d = &p->delay;

	ret->n = 0;
	if (d->percentiles.n)
		return delay_table_from_quantiles(d->percentiles.items, d->percentiles.n, ret, e);
	if (d->histogram_from)
		return delay_table_from_file(d->histogram_from, d->histogram_unit_ns, ret, e);
	return 0;
}

static void add_part(char *buf, size_t len, const char *name, const char *value)
{
	size_t n = strlen(buf);

	snprintf(buf + n, len - n, "%s%s%s%s", n ? ", " : "", name, *value ? " " : "", value);
}

static void describe_delay(const struct net_delay *d, char *buf, size_t len)
{
	char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX], text[64];

	if (d->percentiles.n) {
		const struct delay_quantile *last = &d->percentiles.items[d->percentiles.n - 1];

		snprintf(text, sizeof text, "by %zu percentiles (p%g %s)", d->percentiles.n,
			 last->q_ppm / 1e4, units_duration(last->delay_ns, a));
	} else if (d->histogram_from) {
		snprintf(text, sizeof text, "as in %.50s", d->histogram_from);
	} else if (d->jitter_ns) {
		snprintf(text, sizeof text, "%s +- %s", units_duration(d->latency_ns, a),
			 units_duration(d->jitter_ns, b));
	} else {
		snprintf(text, sizeof text, "%s", units_duration(d->latency_ns, a));
	}
	add_part(buf, len, "delay", text);
}

void net_describe(const struct net_params *p, char *buf, size_t len)
{
	char text[UNITS_TEXT_MAX];

	*buf = '\0';
	if (p->action == NET_PARTITION)
		add_part(buf, len, "partition", "");
	if (net_wants(p, NET_LOSS, p->loss.given))
		add_part(buf, len, "loss", units_percent(p->loss.ppm, text));
	if (net_wants(p, NET_DELAY, p->delay.given))
		describe_delay(&p->delay, buf, len);
	if (net_wants(p, NET_DUPLICATE, p->duplicate.given))
		add_part(buf, len, "duplicate", units_percent(p->duplicate.ppm, text));
	if (net_wants(p, NET_CORRUPT, p->corrupt.given))
		add_part(buf, len, "corrupt", units_percent(p->corrupt.ppm, text));
	if (net_wants(p, NET_RATE, p->rate.given))
		add_part(buf, len, "rate", units_rate(p->rate.rate_Bps, text));
	if (p->action == NET_BANDWIDTH)
		add_part(buf, len, "bandwidth", units_rate(p->bandwidth.rate_Bps, text));
}

static const struct selection *peer_selection(const void *params)
{
	const struct net_params *p = params;

	return p->target_given ? &p->target : NULL;
}

static void add_stage(struct str *ret, bool has, const char *what, const struct fault *f)
{
	if (has)
		str_addf(ret, "%s the %s of %s", ret->len ? ", then" : "a packet that matches both meets",
			 what, f->name);
}

/* Any two can: their gates form a chain (gate.bpf.c). */
static void together(const struct fault *a, const struct fault *b, struct str *ret)
{
	const struct net_params *x = a->params, *y = b->params;

	if (!(net_egress(x) && net_egress(y)) && !(net_ingress(x) && net_ingress(y))) {
		str_addf(ret, "one is for packets sent, the other for packets received");
		return;
	}
	add_stage(ret, net_drops(x), "loss", a);
	add_stage(ret, net_drops(y), "loss", b);
	add_stage(ret, net_delays(x) || net_limits(x), "delay device", a);
	add_stage(ret, net_delays(y) || net_limits(y), "delay device", b);
}

static bool netem_draws(const struct net_params *p)
{
	return net_delays(p) && (p->delay.jitter_ns || !p->delay.latency_given || p->duplicate.ppm ||
				 p->corrupt.ppm || p->delay.reorder.given);
}

static const char *unseeded(const struct fault *f)
{
	const struct net_params *p = net_params_of(f);
	const struct net_state *st = net_state_of(f);

	if (st && !st->seeded && netem_draws(p))
		return "netem's draws have no seed before Linux 6.7";
	if (st && st->names)
		return "the names in externalTargets are looked up anew";
	return NULL;
}

/* What only drops decides before any packet is on its way through the delay devices. */
static bool net_takes_order(const void *params)
{
	return net_delays(params) || net_limits(params);
}

const struct fault_driver net_chaos = {
	.kind = "NetworkChaos",
	.field = "networkChaos",
	.api_version = "chaos-mesh.org/v1alpha1",
	.schema = &net_schema,
	.peer_selection = peer_selection,
	.together = together,
	.plan = net_plan,
	.snapshot = net_snapshot,
	.prepare = net_prepare,
	.inject = net_inject,
	.tick = net_tick,
	.check = net_check,
	.max_orders = GATE_ORDERS,
	.takes_order = net_takes_order,
	.retarget = net_retarget,
	.off = net_off,
	.vet = net_vet,
	.revert = net_revert,
	.resnapshot = net_resnapshot,
	.effect = net_effect,
	.unseeded = unseeded,
	.report = net_report,
	.release = net_release,
	.lease_left = net_lease_left,
	.close_gates = net_close_gates,
	.doctor = net_doctor,
};
