/*
 * JUnit has no schema of its own that everybody keeps; what is written here is what GitLab, Jenkins
 * and GitHub's reporters read alike: testsuites, testsuite with counts, testcase with time, and
 * failure, error or skipped with a message.
 */
#include "report.h"

#include "base/mem.h"
#include "base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <string.h>

enum outcome { OUTCOME_PASSED, OUTCOME_FAILURE, OUTCOME_ERROR, OUTCOME_SKIPPED };

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* XML text and attribute values; what XML 1.0 cannot hold becomes a question mark. */
static void add_escaped(struct str *b, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '<':
			str_add(b, "&lt;");
			break;
		case '>':
			str_add(b, "&gt;");
			break;
		case '&':
			str_add(b, "&amp;");
			break;
		case '"':
			str_add(b, "&quot;");
			break;
		case '\n':
			str_add(b, "&#10;");
			break;
		default:
			str_addn(b, (unsigned char)*s < 0x20 && *s != '\t' ? "?" : s, 1);
		}
	}
}

bool report_expects_breach(const json_t *slo)
{
	return json_is_true(json_object_get(slo, "breach_expected"));
}

static bool was_breached(const json_t *slo)
{
	const json_t *o;
	size_t i;

	json_array_foreach(json_object_get(slo, "objectives"), i, o)
		if (streq(text_of(o, "window"), "fault") && streq(text_of(o, "state"), "breached"))
			return true;
	return false;
}

bool report_recovery(const json_t *slo, struct report_recovery *ret)
{
	const json_t *within = json_object_get(slo, "recovers_within_ms");
	const json_t *after = json_object_get(slo, "recovered_after_ms");
	bool missed = json_is_true(json_object_get(slo, "recovery_breached"));
	double after_ms = json_number_value(after);
	char t[UNITS_TEXT_MAX];

	if (!json_is_number(within) && after_ms <= 0 &&
	    !(json_is_number(after) && was_breached(slo)))
		return false;
	*ret = (struct report_recovery){.objective = "time to recover", .state = "measured"};
	if (json_is_number(within)) {
		snprintf(ret->objective, sizeof ret->objective, "recovers within %s",
			 units_duration((int64_t)(json_number_value(within) * 1e6), t));
		ret->state = missed ? "breached" : json_is_number(after) ? "held" : "inconclusive";
	}
	if (after_ms > 0)
		snprintf(ret->text, sizeof ret->text, "held again after %s",
			 units_duration((int64_t)(after_ms * 1e6), t));
	else
		strcpy(ret->text, json_is_number(after) ? "held at once"
				  : missed		? "not within the recovery window"
							: "nothing was measured");
	return true;
}

struct suite {
	struct str cases;
	size_t n, count[4]; /* by outcome */
	const char *experiment;
};

static void add_case(struct suite *s, const char *name, enum outcome outcome, const char *message)
{
	static const char *const tags[] = {
		[OUTCOME_FAILURE] = "failure", [OUTCOME_ERROR] = "error", [OUTCOME_SKIPPED] = "skipped"};

	s->n++;
	s->count[outcome]++;
	str_add(&s->cases, "    <testcase classname=\"");
	add_escaped(&s->cases, s->experiment);
	str_add(&s->cases, "\" name=\"");
	add_escaped(&s->cases, name);
	if (outcome == OUTCOME_PASSED) {
		str_add(&s->cases, "\"/>\n");
		return;
	}
	str_addf(&s->cases, "\">\n      <%s message=\"", tags[outcome]);
	add_escaped(&s->cases, message);
	str_add(&s->cases, "\"/>\n    </testcase>\n");
}

static void add_recovery(struct suite *s, const json_t *slo)
{
	autofree char *name = NULL;
	struct report_recovery rec;

	if (!report_recovery(slo, &rec) || streq(rec.state, "measured"))
		return;
	name = xasprintf("%s: %s", text_of(slo, "name"), rec.objective);
	add_case(s, name, streq(rec.state, "held") ? OUTCOME_PASSED : OUTCOME_FAILURE, rec.text);
}

static void add_objectives(struct suite *s, const json_t *record)
{
	const json_t *slo, *o;
	size_t i, k;

	json_array_foreach(json_object_get(record, "slos"), i, slo) {
		json_array_foreach(json_object_get(slo, "objectives"), k, o) {
			bool unwanted = !report_expects_breach(slo);
			const char *state = text_of(unwanted ? o : slo, "state"), *why = text_of(o, "why");
			autofree char *name = xasprintf("%s: %s%s in %s", text_of(slo, "name"),
							unwanted ? "" : "breach of ",
							text_of(o, "objective"), text_of(o, "window"));

			/* An objective that could not be told is no pass: a gate must not open. */
			add_case(s, name, streq(state, "held") ? OUTCOME_PASSED : OUTCOME_FAILURE,
				 *why ? why : text_of(o, "text"));
		}
		add_recovery(s, slo);
	}
}

static void add_faults(struct suite *s, const json_t *record)
{
	const json_t *f;
	size_t i;

	json_array_foreach(json_object_get(record, "faults"), i, f) {
		autofree char *name = xasprintf("%s: %s is felt", text_of(f, "name"),
						text_of(f, "requested"));
		autofree char *message = xasprintf("effect %s %s", text_of(f, "effect"),
						   text_of(f, "measured"));

		add_case(s, name, streq(text_of(f, "effect"), "measured") ? OUTCOME_PASSED
									  : OUTCOME_FAILURE,
			 message);
	}
}

static void add_restoration(struct suite *s, const json_t *record)
{
	const json_t *row;
	size_t i;
	autostr left = {0};

	json_array_foreach(json_object_get(record, "residue"), i, row)
		if (!json_is_true(json_object_get(row, "clean")))
			str_addf(&left, "%s of %s: %s; ", text_of(row, "fault"),
				 text_of(row, "target"), text_of(row, "text"));
	add_case(s, "everything was put back", left.len ? OUTCOME_ERROR : OUTCOME_PASSED,
		 left.s ? left.s : "");
}

/* The verdict is a case of its own: an aborted run may have no objective that failed. */
static void add_verdict(struct suite *s, const json_t *record)
{
	const char *verdict = text_of(record, "verdict");
	enum outcome outcome = streq(verdict, "passed")   ? OUTCOME_PASSED
			       : streq(verdict, "failed") ? OUTCOME_FAILURE
							  : OUTCOME_ERROR;

	add_case(s, "verdict", outcome, text_of(record, "sentence"));
}

static void add_suite(struct str *out, const json_t *record)
{
	struct suite s = {.experiment = text_of(record, "experiment")};

	add_faults(&s, record);
	add_objectives(&s, record);
	add_restoration(&s, record);
	add_verdict(&s, record);
	str_add(out, "  <testsuite name=\"");
	add_escaped(out, s.experiment);
	str_addf(out, "\" tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" skipped=\"%zu\" timestamp=\"", s.n,
		 s.count[OUTCOME_FAILURE], s.count[OUTCOME_ERROR], s.count[OUTCOME_SKIPPED]);
	add_escaped(out, text_of(record, "started"));
	str_add(out, "\">\n    <properties>\n      <property name=\"run\" value=\"");
	add_escaped(out, text_of(record, "run"));
	str_add(out, "\"/>\n    </properties>\n");
	str_add(out, s.cases.s ? s.cases.s : "");
	str_add(out, "  </testsuite>\n");
	str_done(&s.cases);
}

char *report_junit(const json_t *const *records, size_t n)
{
	struct str out = {0};

	str_add(&out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"brunt\">\n");
	for (size_t i = 0; i < n; i++)
		add_suite(&out, records[i]);
	str_add(&out, "</testsuites>\n");
	return str_take(&out);
}

enum { READER_WAIT_MS = 5000 };

static int write_all(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN && poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1,
						     READER_WAIT_MS) > 0)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return fsync(fd) < 0 && errno != EINVAL && errno != EROFS ? -errno : 0;
}

int report_check(const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/');
	autofree char *folder = slash ? xstrndup(path, (size_t)(slash - path) + 1) : xstrdup(".");
	struct stat st;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return err_errno(e, EISDIR, "write report %s", path);
	if (access(folder, W_OK) < 0) {
		err_errno(e, errno, "write report %s", path);
		return err_hint(e, "make the folder %s first, or write elsewhere", folder);
	}
	return 0;
}

/* A device or a pipe is written to as it is: a file renamed over it would replace it for everybody.
 * A pipe that nobody reads is not waited for: the faults are gone, and so is their reader. */
static int write_special(const char *path, const char *text, struct err *e)
{
	autofd int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int r = fd < 0 ? -errno : write_all(fd, text);

	return r < 0 ? err_errno(e, -r, "write report %s", path) : 0;
}

int report_write(const char *path, const char *text, struct err *e)
{
	autofree char *tmp = xasprintf("%s.%d.tmp", path, (int)getpid());
	autofd int fd = -1;
	struct stat st;
	int r;

	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return write_special(path, text, e);
	/* In a folder that others may write to, somebody may have put a link there. */
	unlink(tmp);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_errno(e, errno, "write report %s", path);
	r = write_all(fd, text);
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r == 0)
		return 0;
	unlink(tmp);
	return err_errno(e, -r, "write report %s", path);
}
