#include "place.h"

#include <errno.h>
#include <systemd/sd-event.h>

struct place {
	struct sd_event *loop;
	struct target_source *source;
	const char *name; /* of the source */
	struct source_config config;
	struct target_list targets;
	struct vantage vantage;
	sd_event_source *defer;
	void (*ready)(void *data, int r, const struct err *e);
	void (*later)(void *data, const struct err *e);
	void (*closed)(void *data);
	void *data, *closed_data;
};

static int open_source(struct place *p, struct err *e)
{
	int r = target_source_open(p->name, &p->config, &p->source, e);

	return r < 0 ? r : target_source_vantage(p->source, &p->vantage, e);
}

static int on_open(sd_event_source *s, void *data)
{
	struct place *p = data;
	struct err e = {0};
	int r;

	p->defer = sd_event_source_unref(p->defer);
	r = open_source(p, &e);
	p->ready(p->data, r, &e);
	return 0;
}

/* In the loop's next round, so that an answer never comes before the question has returned. */
static int later_on(struct place *p, sd_event_handler_t fn, struct err *e)
{
	int r = sd_event_add_defer(p->loop, &p->defer, fn, p);

	return r < 0 ? err_errno(e, -r, "target source") : 0;
}

int place_open(const struct experiment *x, const struct place_options *o, struct sd_event *loop,
	       void (*ready)(void *data, int r, const struct err *e),
	       void (*later)(void *data, const struct err *e), void *data, struct place **ret,
	       struct err *e)
{
	autoptr(place) p = xcalloc(1, sizeof *p);
	int r;

	p->loop = sd_event_ref(loop);
	p->ready = ready;
	p->later = later;
	p->data = data;
	p->config.allow_host_network = o->allow_host_network;
	p->vantage.netns_fd = -1;
	p->name = o->source ? o->source : x->source ? x->source : "netns";
	r = later_on(p, on_open, e);
	if (r < 0)
		return r;
	*ret = take(p);
	return 0;
}

int place_list(struct place *p, struct err *e)
{
	struct target_list now = {0};
	int r = target_source_list(p->source, &now, e);

	if (r < 0) {
		target_list_done(&now);
		return r;
	}
	target_list_done(&p->targets);
	p->targets = now;
	return 0;
}

const struct target_list *place_targets(const struct place *p)
{
	return &p->targets;
}

const struct vantage *place_vantage(const struct place *p)
{
	return &p->vantage;
}

const char *place_source(const struct place *p)
{
	return p->name;
}

static int on_closed(sd_event_source *s, void *data)
{
	struct place *p = data;

	p->defer = sd_event_source_unref(p->defer);
	p->closed(p->closed_data);
	return 0;
}

void place_close(struct place *p, void (*closed)(void *data), void *data)
{
	p->closed = closed;
	p->closed_data = data;
	p->defer = sd_event_source_unref(p->defer);
	if (later_on(p, on_closed, NULL) < 0)
		closed(data);
}

void place_free(struct place *p)
{
	if (!p)
		return;
	sd_event_source_unref(p->defer);
	target_list_done(&p->targets);
	kvs_done(&p->vantage.hosts);
	if (p->source)
		target_source_close(p->source);
	sd_event_unref(p->loop);
	free(p);
}
