#include "place.h"

#include "lab/lab.h"

#include <errno.h>
#include <systemd/sd-event.h>

struct place {
	struct sd_event *loop;
	struct target_source *source;
	const char *name; /* of the source */
	struct source_config config;
	struct target_list targets;
	struct vantage vantage;
	struct lab *lab; /* brought up for this run; NULL: none */
	char *lab_dir;   /* of a running lab */
	bool opened;     /* ready was called with 0 */
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

/* Ready or not, once; from then on every trouble of the lab is news for later. */
static void on_lab(void *data, struct lab *lab, int r, const struct err *e)
{
	struct place *p = data;
	struct err why = {0};

	if (r == -EINPROGRESS)
		return;
	if (p->opened) {
		if (r < 0)
			p->later(p->data, e);
		return;
	}
	if (r < 0) {
		p->ready(p->data, r, e);
		return;
	}
	p->config.lab_dir = lab_dir(lab);
	r = open_source(p, &why);
	p->opened = r == 0;
	p->ready(p->data, r, &why);
}

static int start_lab(struct place *p, const struct experiment *x, const struct place_options *o,
		     struct err *e)
{
	const struct lab_options lo = {
		.state_dir = o->state_dir,
		.manifests = (const char *const *)x->lab_manifests.items,
		.n_manifests = x->lab_manifests.n,
		.listener = o->listener,
	};
	int r = lab_start(&lo, p->loop, on_lab, p, &p->lab, e);

	return r < 0 ? err_wrap(e, "lab") : 0;
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
	p->name = o->source    ? o->source
		  : x->source  ? x->source
		  : x->has_lab || o->lab ? "lab"
					 : "netns";
	if (o->lab)
		p->config.lab_dir = p->lab_dir = lab_dir_of(o->state_dir, o->lab);
	if (x->has_lab && !o->lab)
		r = start_lab(p, x, o, e);
	else
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

static void on_lab_stopped(void *data, struct lab *lab)
{
	struct place *p = data;

	p->closed(p->closed_data);
}

/* Nobody uses a run's own lab any more: its pods need no grace. */
void place_close(struct place *p, void (*closed)(void *data), void *data)
{
	p->closed = closed;
	p->closed_data = data;
	p->defer = sd_event_source_unref(p->defer);
	if (p->lab)
		lab_stop(p->lab, true, on_lab_stopped, p);
	else if (later_on(p, on_closed, NULL) < 0)
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
	lab_free(p->lab);
	free(p->lab_dir);
	sd_event_unref(p->loop);
	free(p);
}
