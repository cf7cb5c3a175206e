/*
 * The listener only notes and, where there is no terminal, prints; drawing happens on a timer from
 * engine_now(), so that a burst of events costs nothing. The block is redrawn in place with cursor
 * movement, never with a cleared screen: what scrolled by before stays readable.
 */
#include "view.h"

#include "sink.h"
#include "verb.h"

#include "../../lib/base/clock.h"
#include "../../lib/base/text.h"
#include "../../lib/base/units.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <systemd/sd-event.h>

enum { REDRAW_MSEC = 250, SPARK_CELLS = 20, NAME_MAX_CELLS = 18 };

struct view {
	bool live, quiet, verbose, color;
	int64_t start_ns;
	const struct engine *en; /* borrowed */
	sd_event_source *timer;
	unsigned lines; /* of the block that stands on the terminal */
	char last[160]; /* the newest event, under the block */
	size_t left_out; /* events, while nobody read */
};

/* ---- colours ------------------------------------------------------------------------------- */

static const char *paint(const struct view *v, const char *code)
{
	return v->color ? code : "";
}

#define BOLD "\033[1m"
#define DIM "\033[2m"
#define RED "\033[31m"
#define GREEN "\033[32m"
#define PLAIN "\033[0m"
/* A line that is longer than a narrow terminal is cut: wrapped, it would be two to go back over. */
#define WRAP_OFF "\033[?7l"
#define WRAP_ON "\033[?7h"

/* ---- events -------------------------------------------------------------------------------- */

/* What a person wants to read of an event; false for those only tests and the record need. */
static bool describe(const struct view *v, const struct event *ev, char *buf, size_t size)
{
	const char *name = ev->name ? ev->name : "", *text = ev->text ? ev->text : "";
	char t[UNITS_TEXT_MAX];

	switch (ev->type) {
	case EVENT_PHASE:
		snprintf(buf, size, "%s%s%s", name, *text ? ": " : "", text);
		return true;
	case EVENT_LAB:
		snprintf(buf, size, "pod %s: %s", name, text);
		return true;
	case EVENT_PLANNED:
		snprintf(buf, size, "%s: %" PRId64 " target%s %s", name, ev->value,
			 ev->value == 1 ? "" : "s", text);
		return true;
	case EVENT_INJECTED:
		snprintf(buf, size, "%s: injected and read back in %s", name,
			 units_duration(ev->value, t));
		return true;
	case EVENT_RECOVERED:
		snprintf(buf, size, "%s: taken back in %s", name, units_duration(ev->value, t));
		return true;
	case EVENT_JOURNALED:
	case EVENT_SAMPLE:
		snprintf(buf, size, "%s: %s", name, *text ? text : event_type_name(ev->type));
		return v->verbose;
	case EVENT_VERDICT:
		return false; /* the table says it */
	default:
		snprintf(buf, size, "%s%s%s%s%s", event_type_name(ev->type), *name ? ": " : "", name,
			 *text ? ": " : "", text);
		return true;
	}
}

/* What must not scroll away unread. */
static bool is_grave(const struct event *ev)
{
	return ev->type == EVENT_WARNING || ev->type == EVENT_RESIDUE;
}

static void clear_block(struct view *v)
{
	if (v->lines)
		printf("\033[%uA\033[J", v->lines);
	v->lines = 0;
}

/* The block is drawn again below it. */
static void print_above(struct view *v, const char *line)
{
	clear_block(v);
	printf("%s\n", line);
	fflush(stdout);
}

/* Grave ones are kept for whoever comes to read. */
static void print_event(struct view *v, const struct event *ev, const char *line)
{
	if (sink_is_behind(stderr) && !is_grave(ev)) {
		v->left_out++;
		return;
	}
	if (v->left_out)
		fprintf(stderr, "           (%zu lines left out: nobody read them)\n", v->left_out);
	v->left_out = 0;
	fprintf(stderr, "%7.1f s  %s\n", (double)(ev->at_ns - v->start_ns) / NSEC_PER_SEC, line);
}

static void on_event(void *data, const struct event *ev)
{
	struct view *v = data;
	char line[512];

	if (!describe(v, ev, line, sizeof line))
		return;
	text_make_printable(line, false);
	if (v->live && is_grave(ev))
		print_above(v, line);
	else if (v->live)
		snprintf(v->last, sizeof v->last, "%s", line);
	else if (!v->quiet || is_grave(ev))
		print_event(v, ev, line);
}

/* ---- the live block ------------------------------------------------------------------------ */

static void sparkline(const struct slo_now *now, struct str *out)
{
	static const char *const bars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	size_t n = ARRAY_SIZE(now->history);
	double top = 0;

	for (size_t i = n - SPARK_CELLS; i < n; i++)
		if (!isnan(now->history[i]))
			top = fmax(top, now->history[i]);
	for (size_t i = n - SPARK_CELLS; i < n; i++) {
		double h = now->history[i];

		if (isnan(h))
			str_add(out, " ");
		else
			str_add(out, bars[top > 0 ? (size_t)fmin(7, fmax(0, h) / top * 7.999) : 0]);
	}
}

static void draw_slo(const struct view *v, const struct engine_now *now, size_t i, struct str *out)
{
	const struct slo_now *s = &now->slos[i].now;
	char value[48];

	str_addf(out, "  %-*.*s ", NAME_MAX_CELLS, NAME_MAX_CELLS, now->slos[i].name);
	sparkline(s, out);
	if (isnan(s->value)) {
		str_addf(out, "  %swaiting for samples%s", paint(v, DIM), paint(v, PLAIN));
		return;
	}
	objective_format(now->slos[i].objective, s->value, value);
	str_addf(out, "  %s%-10s%s want %s", paint(v, s->holds ? GREEN : RED), value,
		 paint(v, PLAIN), now->slos[i].objective->text);
}

static void draw_fault(const struct view *v, const struct engine_now *now, size_t i,
		       struct str *out)
{
	str_addf(out, "  %-*.*s %s%s%s on %zu target%s", NAME_MAX_CELLS, NAME_MAX_CELLS,
		 now->faults[i].name, paint(v, BOLD), now->faults[i].state, paint(v, PLAIN),
		 now->faults[i].n_targets, now->faults[i].n_targets == 1 ? "" : "s");
}

static void end_line(struct str *out, unsigned *lines)
{
	str_add(out, "\033[K\n");
	(*lines)++;
}

/* Lines that the block may have: what scrolls out of the screen cannot be drawn over. */
static unsigned most_lines(void)
{
	struct winsize w;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > 3 ? w.ws_row - 1u : 23;
}

/* Faults and SLOs, as many as there is room for above the last line. */
static void draw_rows(const struct view *v, const struct engine_now *now, struct str *out,
		      unsigned *lines)
{
	size_t n = now->n_faults + now->n_slos, room = most_lines() - 2;
	size_t shown = n > room ? room - 1 : n;

	for (size_t i = 0; i < shown; i++) {
		if (i < now->n_faults)
			draw_fault(v, now, i, out);
		else
			draw_slo(v, now, i - now->n_faults, out);
		end_line(out, lines);
	}
	if (shown < n) {
		str_addf(out, "  and %zu more", n - shown);
		end_line(out, lines);
	}
}

static void draw(struct view *v)
{
	struct engine_now now = {0};
	char left[UNITS_TEXT_MAX];
	autostr out = {0};
	unsigned lines = 0;

	engine_now(v->en, &now);
	str_add(&out, WRAP_OFF);
	if (v->lines)
		str_addf(&out, "\033[%uA", v->lines);
	str_addf(&out, "%s%s%s", paint(v, BOLD), now.phase ? now.phase : "", paint(v, PLAIN));
	if (now.phase_left_ns > 0)
		str_addf(&out, "  %s left",
			 units_duration((now.phase_left_ns + NSEC_PER_SEC - 1) / NSEC_PER_SEC *
						NSEC_PER_SEC,
					left));
	str_addf(&out, "  %sCtrl-C puts everything back%s", paint(v, DIM), paint(v, PLAIN));
	end_line(&out, &lines);
	draw_rows(v, &now, &out, &lines);
	str_addf(&out, "  %s%.70s%s", paint(v, DIM), v->last, paint(v, PLAIN));
	end_line(&out, &lines);
	str_add(&out, "\033[J" WRAP_ON);
	v->lines = lines;
	fputs(out.s, stdout);
	fflush(stdout);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *data)
{
	if (!sink_is_behind(stdout))
		draw(data);
	sd_event_source_set_time_relative(s, REDRAW_MSEC * 1000);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* ---- life ---------------------------------------------------------------------------------- */

struct view *view_new(const struct globals *g, bool plain)
{
	struct view *v = xcalloc(1, sizeof *v);
	const char *term = getenv("TERM");

	v->quiet = g->quiet;
	v->verbose = g->verbose;
	v->color = g->color;
	v->live = !plain && isatty(STDOUT_FILENO) && !g->quiet && !streq(term, "dumb");
	v->start_ns = clock_now_ns();
	return v;
}

struct listener view_listener(struct view *v)
{
	return (struct listener){.fn = on_event, .data = v};
}

int view_attach(struct view *v, const struct engine *en, struct sd_event *loop, struct err *e)
{
	int r;

	v->en = en;
	if (!v->live)
		return 0;
	r = sd_event_add_time_relative(loop, &v->timer, CLOCK_MONOTONIC, 0, 0, on_timer, v);
	if (r < 0)
		return err_errno(e, -r, "add the live view's timer");
	return 0;
}

void view_finish(struct view *v)
{
	v->timer = sd_event_source_disable_unref(v->timer);
	clear_block(v);
	v->en = NULL;
	fflush(stdout);
}

void view_free(struct view *v)
{
	if (!v)
		return;
	view_finish(v);
	free(v);
}
