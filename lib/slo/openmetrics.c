/*
 * One pass over the page, in place: names and values are ended by a NUL where they stand, escapes
 * shrink their text. Nothing is allocated but a selector's own parts.
 */
#include "openmetrics.h"

#include "../base/mem.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>

struct parser {
	char *p, *end; /* of the line */
	size_t line;
	char *family; /* of the last TYPE */
	char *type;
	struct err *e;
};

static bool is_name(char c, bool first)
{
	return isalpha((unsigned char)c) || c == '_' || c == ':' ||
	       (!first && isdigit((unsigned char)c));
}

static char *skip_name(char *p)
{
	if (!is_name(*p, true))
		return p;
	while (is_name(*p, false))
		p++;
	return p;
}

static char *skip_blank(char *p)
{
	while (*p == ' ' || *p == '\t')
		p++;
	return p;
}

static int bad_line(struct parser *ps, const char *want)
{
	return err_set(ps->e, EINVAL, "line %zu of the metrics page: %s expected", ps->line, want);
}

/* At the opening quote; ends the value in place and returns what follows it, NULL when unclosed. */
static char *read_quoted(char *p, char **ret)
{
	char quote = *p, *out = ++p;

	*ret = p;
	for (; *p && *p != quote; p++) {
		if (*p == '\\' && p[1]) {
			p++;
			*out++ = *p == 'n' ? '\n' : *p;
		} else {
			*out++ = *p;
		}
	}
	if (!*p)
		return NULL;
	*out = '\0';
	return p + 1;
}

/* At the opening brace. */
static int read_labels(struct parser *ps, struct openmetrics_sample *s)
{
	char *p = skip_blank(ps->p + 1);

	while (*p != '}') {
		struct openmetrics_label *l = &s->labels[s->n_labels];
		char *name = p, *name_end, *value;

		if (s->n_labels == OPENMETRICS_LABELS_MAX)
			return bad_line(ps, "at most 64 labels");
		name_end = skip_name(p);
		p = skip_blank(name_end);
		if (name_end == name || *p != '=')
			return bad_line(ps, "a label's name and =");
		p = skip_blank(p + 1);
		*name_end = '\0';
		if (*p != '"' || !(p = read_quoted(p, &value)))
			return bad_line(ps, "a label's value in quotes");
		*l = (struct openmetrics_label){name, value};
		s->n_labels++;
		p = skip_blank(p);
		if (*p == ',')
			p = skip_blank(p + 1);
		else if (*p != '}')
			return bad_line(ps, ", or }");
	}
	ps->p = p + 1;
	return 0;
}

static bool ends_with(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n > m && streq(s + n - m, suffix);
}

static bool is_counter(const struct parser *ps, const char *name)
{
	size_t n = ps->family ? strlen(ps->family) : 0;

	if (n && strncmp(name, ps->family, n) == 0) {
		const char *suffix = name + n;

		if (!*suffix || streq(suffix, "_total"))
			return streq(ps->type, "counter");
		if (streq(suffix, "_count") || streq(suffix, "_sum") || streq(suffix, "_bucket"))
			return streq(ps->type, "histogram") || streq(ps->type, "summary");
	}
	return ends_with(name, "_total") || ends_with(name, "_count") || ends_with(name, "_sum") ||
	       ends_with(name, "_bucket");
}

static int read_value(struct parser *ps, double *ret)
{
	char *p = skip_blank(ps->p), *after;

	if (p == ps->p)
		return bad_line(ps, "a blank");
	/* strtod would take a NUL-terminated text that begins with white space or "0x" */
	if (!*p || strncmp(p, "0x", 2) == 0)
		return bad_line(ps, "a value");
	*ret = strtod(p, &after);
	if (after == p || (*after && *after != ' ' && *after != '\t'))
		return bad_line(ps, "a value");
	ps->p = after;
	return 0;
}

/* What may follow the value: a timestamp and an exemplar. */
static int read_rest(struct parser *ps, double *ret_stamp)
{
	char *p = skip_blank(ps->p);

	*ret_stamp = *p == '#' ? 0 : strtod(p, NULL);
	p += strspn(p, "+-.0123456789eE");
	p = skip_blank(p);
	return *p && *p != '#' ? bad_line(ps, "the end of the line") : 0;
}

static int read_sample(struct parser *ps, struct openmetrics_sample *s)
{
	char *name = ps->p, *name_end = skip_name(name), brace;
	int r;

	if (name_end == name)
		return bad_line(ps, "a metric's name");
	brace = *name_end;
	ps->p = name_end;
	s->n_labels = 0;
	if (brace == '{' && (r = read_labels(ps, s)) < 0)
		return r;
	if ((r = read_value(ps, &s->value)) < 0 || (r = read_rest(ps, &s->stamp)) < 0)
		return r;
	*name_end = '\0';
	s->name = name;
	s->counter = is_counter(ps, name);
	return 0;
}

/* "# TYPE name type"; other comments are left alone. */
static void read_comment(struct parser *ps)
{
	char *p = skip_blank(ps->p + 1), *name, *name_end;

	if (strncmp(p, "TYPE ", 5) != 0)
		return;
	name = skip_blank(p + 5);
	name_end = skip_name(name);
	if (name_end == name || !*name_end)
		return;
	ps->type = skip_blank(name_end);
	ps->type[strcspn(ps->type, " \t")] = '\0';
	*name_end = '\0';
	ps->family = name;
}

static int read_line(struct parser *ps, struct openmetrics_sample *s,
		     void (*fn)(void *data, const struct openmetrics_sample *s), void *data)
{
	int r;

	if (strlen(ps->p) != (size_t)(ps->end - ps->p))
		return bad_line(ps, "text");
	ps->p = skip_blank(ps->p);
	if (!*ps->p)
		return 0;
	if (*ps->p == '#') {
		read_comment(ps);
		return 0;
	}
	if ((r = read_sample(ps, s)) == 0)
		fn(data, s);
	return r;
}

int openmetrics_parse(char *text, size_t len,
		      void (*fn)(void *data, const struct openmetrics_sample *s), void *data,
		      struct err *e)
{
	struct parser ps = {.e = e};
	struct openmetrics_sample s;
	char *end = text + len, *next;
	int r = 0;

	if (len > OPENMETRICS_BYTES_MAX)
		return err_set(e, EFBIG, "the metrics page has more than 8 MiB");
	for (char *line = text; line < end && r == 0; line = next) {
		char *eol = memchr(line, '\n', end - line);

		eol = eol ? eol : end;
		next = eol + 1;
		if (eol > line && eol[-1] == '\r')
			eol--;
		*eol = '\0';
		ps.p = line;
		ps.end = eol;
		ps.line++;
		r = read_line(&ps, &s, fn, data);
	}
	return r;
}

static int bad_selector(const char *text, const char *want, const char *label, struct err *e)
{
	return err_set(e, EINVAL, "\"%s\": want %s%s%s", text, want, label ? " after label " : "",
		       label ? label : "");
}

static int compile(struct openmetrics_matcher *m, struct err *e)
{
	autofree char *whole = xasprintf("^(%s)$", m->value);
	char why[128];
	int r = regcomp(&m->regex, whole, REG_EXTENDED | REG_NOSUB);

	if (r) {
		regerror(r, &m->regex, why, sizeof why);
		return err_set(e, EINVAL, "\"%s\" is not a regular expression: %s", m->value, why);
	}
	m->is_regex = true;
	return 0;
}

static char *read_operator(char *p, bool *ret_negated, bool *ret_regex)
{
	static const struct {
		const char *text;
		bool negated, regex;
	} operators[] = {
		{"=~", false, true},
		{"!~", true, true},
		{"!=", true, false},
		{"=", false, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(operators); i++)
		if (strncmp(p, operators[i].text, strlen(operators[i].text)) == 0) {
			*ret_negated = operators[i].negated;
			*ret_regex = operators[i].regex;
			return p + strlen(operators[i].text);
		}
	return NULL;
}

static int read_matchers(const char *text, char *p, struct openmetrics_selector *sel, struct err *e)
{
	while (*p != '}') {
		struct openmetrics_matcher *m = array_push(sel->matchers, sel->n_matchers);
		char *name_end = skip_name(p), *value;
		bool regex;

		if (name_end == p)
			return bad_selector(text, "a label or }", NULL, e);
		m->label = xstrndup(p, name_end - p);
		p = read_operator(skip_blank(name_end), &m->negated, &regex);
		if (!p)
			return bad_selector(text, "=, !=, =~ or !~", m->label, e);
		p = skip_blank(p);
		if ((*p != '"' && *p != '\'') || !(p = read_quoted(p, &value)))
			return bad_selector(text, "a value in quotes", m->label, e);
		m->value = xstrdup(value);
		if (regex && compile(m, e) < 0)
			return err_wrap(e, "\"%s\"", text);
		p = skip_blank(p);
		if (*p == ',')
			p = skip_blank(p + 1);
		else if (*p != '}')
			return bad_selector(text, ", or }", NULL, e);
	}
	return *skip_blank(p + 1) ? bad_selector(text, "nothing after }", NULL, e) : 0;
}

int openmetrics_selector_parse(const char *text, struct openmetrics_selector *ret, struct err *e)
{
	struct openmetrics_selector sel = {0};
	autofree char *copy = xstrdup(text);
	char *name = skip_blank(copy), *p = skip_name(name);
	int r = 0;

	if (p == name)
		return bad_selector(text, "a metric's name", NULL, e);
	sel.name = xstrndup(name, p - name);
	p = skip_blank(p);
	if (*p == '{')
		r = read_matchers(text, skip_blank(p + 1), &sel, e);
	else if (*p)
		r = bad_selector(text, "{label=\"value\"} or nothing after the name", NULL, e);
	if (r < 0) {
		openmetrics_selector_done(&sel);
		return r;
	}
	*ret = sel;
	return 0;
}

static bool matches(const struct openmetrics_matcher *m, const struct openmetrics_sample *s)
{
	const char *value = ""; /* an absent label is an empty one */
	bool equal;

	for (size_t i = 0; i < s->n_labels; i++)
		if (streq(s->labels[i].name, m->label))
			value = s->labels[i].value;
	equal = m->is_regex ? regexec(&m->regex, value, 0, NULL, 0) == 0 : streq(value, m->value);
	return equal != m->negated;
}

bool openmetrics_selector_matches(const struct openmetrics_selector *sel,
				  const struct openmetrics_sample *s)
{
	if (!streq(sel->name, s->name))
		return false;
	for (size_t i = 0; i < sel->n_matchers; i++)
		if (!matches(&sel->matchers[i], s))
			return false;
	return true;
}

void openmetrics_selector_done(struct openmetrics_selector *sel)
{
	for (size_t i = 0; i < sel->n_matchers; i++) {
		free(sel->matchers[i].label);
		free(sel->matchers[i].value);
		if (sel->matchers[i].is_regex)
			regfree(&sel->matchers[i].regex);
	}
	free(sel->matchers);
	free(sel->name);
	*sel = (struct openmetrics_selector){0};
}
