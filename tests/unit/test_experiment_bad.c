/*
 * Every case of data/bad_manifests.txt is a test: a manifest and exactly what is said of it.
 *
 *     === name of the case
 *     the manifest
 *     >>>
 *     the lines that are said, without the file's name
 *
 * $EXPERIMENT, $FIXTURE, ... stand for the head of a document of that kind, $FAULTS and $SOURCES
 * for the names that the tables hold. A case with nothing after ">>>" must be accepted.
 * With BAD_MANIFESTS_PRINT set the program prints what it would say.
 */
#include "experiment.h"
#include "fixture_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

struct bad_case {
	char *name, *manifest, *want;
};

static const struct {
	const char *word, *text;
} heads[] = {
	{"$EXPERIMENT\n",
	 "{apiVersion: brunt.dev/v1alpha1, kind: Experiment, metadata: {name: x}, spec:\n"},
	{"$FIXTURE\n",
	 "{apiVersion: chaos-mesh.org/v1alpha1, kind: FixtureChaos, metadata: {name: y}, spec:\n"},
	{"$NETWORK\n",
	 "{apiVersion: chaos-mesh.org/v1alpha1, kind: NetworkChaos, metadata: {name: n}, spec:\n"},
	{"$POD\n",
	 "{apiVersion: chaos-mesh.org/v1alpha1, kind: PodChaos, metadata: {name: p}, spec:\n"},
	{"$MEMORY\n",
	 "{apiVersion: brunt.dev/v1alpha1, kind: MemoryChaos, metadata: {name: m}, spec:\n"},
	{"$RUNTIME\n",
	 "{apiVersion: brunt.dev/v1alpha1, kind: RuntimeChaos, metadata: {name: r}, spec:\n"},
	{"$CPU\n",
	 "{apiVersion: brunt.dev/v1alpha1, kind: CPUChaos, metadata: {name: c}, spec:\n"},
};

static char *read_file(const char *path)
{
	autostr text = {0};
	char buf[4096];
	FILE *f = fopen(path, "r");
	size_t n;

	if (!f)
		abort();
	while ((n = fread(buf, 1, sizeof buf, f)) > 0)
		str_addn(&text, buf, n);
	fclose(f);
	return str_take(&text);
}

/* The flow map that a head opens is closed at the end of the manifest: line numbers stay. */
static char *expand(const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
		if (strncmp(text, heads[i].word, strlen(heads[i].word)) == 0)
			return xasprintf("%s%s}\n", heads[i].text, text + strlen(heads[i].word));
	return xstrdup(text);
}

static void add_name(struct str *b, const char *name)
{
	str_addf(b, "%s%s", b->len ? ", " : "", name);
}

static char *fault_fields(void)
{
	struct str b = {0};
	size_t n;
	const struct fault_driver *const *drivers = fault_drivers(&n);

	for (size_t i = 0; i < n; i++)
		add_name(&b, drivers[i]->field);
	add_name(&b, fixture_driver.field);
	return str_take(&b);
}

static char *sources(void)
{
	const char *const *names = target_source_names();
	struct str b = {0};

	for (size_t i = 0; names[i]; i++)
		add_name(&b, names[i]);
	return str_take(&b);
}

/* Replaces the first occurrence of word; frees both others. */
static char *replace(char *text, const char *word, char *by)
{
	char *at = strstr(text, word), *ret = text;

	if (at) {
		ret = xasprintf("%.*s%s%s", (int)(at - text), text, by, at + strlen(word));
		free(text);
	}
	free(by);
	return ret;
}

static struct bad_case *parse_cases(char *text, size_t *ret_n)
{
	struct bad_case *cases = NULL;
	size_t n = 0;

	for (char *p = strstr(text, "=== "); p;) {
		char *body = strchr(p, '\n') + 1, *says = strstr(body, ">>>\n");
		char *next = strstr(says, "\n=== ");
		autofree char *manifest = xstrndup(body, says - body);

		*array_push(cases, n) = (struct bad_case){
			.name = xstrndup(p + 4, body - p - 5),
			.manifest = expand(manifest),
			.want = next ? xstrndup(says + 4, next + 1 - says - 4) : xstrdup(says + 4),
		};
		p = next ? next + 1 : NULL;
	}
	*ret_n = n;
	return cases;
}

static char *say(const char *manifest)
{
	autoptr(experiment_set) set = NULL;
	autodiags d = {0};
	autostr all = {0};

	experiment_load_text("f", manifest, strlen(manifest), &d, &set);
	for (size_t i = 0; i < d.n; i++)
		str_addf(&all, "%d:%d: %s%s%s\n", d.items[i].line, d.items[i].column, d.items[i].path,
			 d.items[i].path[0] ? ": " : "", d.items[i].text);
	for (size_t i = 0; i < d.n_warnings; i++) /* hardly any of these gives a duration */
		if (!strstr(d.warnings[i].text, "is left out: the fault lasts"))
			str_addf(&all, "%d:%d: %s: warning: %s\n", d.warnings[i].line,
				 d.warnings[i].column, d.warnings[i].path, d.warnings[i].text);
	return str_take(&all);
}

static void test_case(void **state)
{
	const struct bad_case *c = *state;
	autofree char *got = say(c->manifest);

	assert_string_equal(got, c->want);
}

static void print_case(const struct bad_case *c)
{
	autofree char *got = say(c->manifest);

	printf("=== %s\n%s>>>\n%s", c->name, c->manifest, got);
}

int main(void)
{
	autofree char *text = read_file(TESTS_DIR "/unit/data/bad_manifests.txt");
	size_t n;
	struct bad_case *cases = parse_cases(text, &n);
	struct CMUnitTest *tests = xcalloc(n, sizeof *tests);
	int failed = 0;

	fault_driver_for_tests = &fixture_driver;
	for (size_t i = 0; i < n; i++) {
		cases[i].want = replace(cases[i].want, "$FAULTS", fault_fields());
		cases[i].want = replace(cases[i].want, "$SOURCES", sources());
		tests[i] = (struct CMUnitTest){cases[i].name, test_case, NULL, NULL, &cases[i]};
	}
	if (getenv("BAD_MANIFESTS_PRINT"))
		for (size_t i = 0; i < n; i++)
			print_case(&cases[i]);
	else
		failed = _cmocka_run_group_tests("bad_manifests", tests, n, NULL, NULL);
	for (size_t i = 0; i < n; i++) {
		free(cases[i].name);
		free(cases[i].manifest);
		free(cases[i].want);
	}
	free(cases);
	free(tests);
	return failed;
}
