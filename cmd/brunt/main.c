/*
 * brunt - the command line
 *
 * Finds the verb, parses its options from its table, runs it, prints its error. Processes that
 * brunt re-executes itself as (argv[1] begins with "__") are rows of roles.def and branch off
 * first.
 */
#include "help.h"
#include "options.h"
#include "sink.h"
#include "verbs.h"

#include "../../lib/base/suggest.h"
#include "../../lib/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#define ROLE(name, fn) int fn(int argc, char **argv);
#include "roles.def"
#undef ROLE

static const struct {
	const char *name;
	int (*main)(int argc, char **argv);
} roles[] = {
#define ROLE(name, fn) {name, fn},
#include "roles.def"
#undef ROLE
	{NULL, NULL},
};

static void print_err(const struct err *e)
{
	if (!e->code)
		return;
	fprintf(stderr, "brunt: %s\n", e->text);
	if (e->hint[0])
		fprintf(stderr, "next step: %s\n", e->hint);
}

static int no_such_verb(const char *name, struct err *e)
{
	const struct verb *const *verbs;
	const char *names[64], *near;
	size_t n;

	verbs = verbs_all(&n);
	n = MIN_OF(n, ARRAY_SIZE(names));
	for (size_t i = 0; i < n; i++)
		names[i] = verbs[i]->name;
	near = suggest_nearest(name, names, n);
	err_set(e, EINVAL, "no such verb: %s", name);
	if (near)
		err_hint(e, "did you mean brunt %s?", near);
	else
		err_hint(e, "brunt help lists the verbs");
	return EXIT_USAGE;
}

/* Output that nobody could read is a failure: a full disk must not look like success. */
static int flush_stdout(int code, struct err *e)
{
	struct err lost = {0};

	if (fflush(stdout) != 0 || ferror(stdout))
		err_errno(&lost, errno, "write to standard output");
	else if (sink_drain(stdout, &lost) == 0)
		return code;
	if (!e->code)
		*e = lost;
	return code == EXIT_PASSED ? EXIT_ERROR : code;
}

static int no_such_sub(const struct verb *v, const char *name, struct err *e)
{
	const char *names[16], *near;
	size_t n = 0;

	for (; v->subs[n] && n < ARRAY_SIZE(names); n++)
		names[n] = strrchr(v->subs[n]->name, ' ') + 1;
	near = name ? suggest_nearest(name, names, n) : NULL;
	if (name)
		err_set(e, EINVAL, "no such verb: %s %s", v->name, name);
	else
		err_set(e, EINVAL, "%s what?", v->name);
	if (near)
		err_hint(e, "did you mean brunt %s %s?", v->name, near);
	else
		err_hint(e, "brunt %s --help lists its verbs", v->name);
	return EXIT_USAGE;
}

/* Guard and lab supervisor leave this directory. */
static char *absolute(const char *path)
{
	autofree char *here = *path == '/' ? NULL : getcwd(NULL, 0);

	return here ? xasprintf("%s/%s", here, path) : xstrdup(path);
}

static int run_verb(const struct verb *v, int argc, char **argv, struct err *e)
{
	autofree void *opts = xcalloc(1, v->options_size);
	autofree char *state_dir = NULL, *default_dir = NULL;
	struct globals g = {0};
	struct strlist args = {0};
	bool help = false;
	autostr text = {0};
	int code;

	if (options_parse(v, argc, argv, &g, opts, &args, &help, e) < 0) {
		code = EXIT_USAGE;
	} else if (!help && v->subs) {
		code = no_such_sub(v, args.n ? args.items[0] : NULL, e);
	} else if (help) {
		help_verb(v, &text);
		fputs(text.s, stdout);
		code = EXIT_PASSED;
	} else {
		if (!g.state_dir)
			g.state_dir = default_dir = journal_default_dir();
		g.state_dir = state_dir = absolute(g.state_dir);
		g.color = isatty(STDOUT_FILENO) && !g.no_color && !getenv("NO_COLOR");
		code = sandbox_enter(v->sandbox, e) < 0 ? EXIT_ERROR : EXIT_PASSED;
		if (v->holds)
			sink_open(); /* its threads are in the sandbox too */
		if (code == EXIT_PASSED)
			code = v->run(&g, opts, &args, e);
	}
	options_done(v, opts, &args);
	return flush_stdout(code, e);
}

/* A descriptor that was closed by whoever started us would go to the next file opened, the journal
 * perhaps, and messages into that. Open for reading, so that output still fails. */
static void hold_standard_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", O_RDONLY);
}

static bool is_common_option(const char *arg, bool *ret_takes_value)
{
	size_t n;
	const struct option_row *rows = options_global(&n);

	for (size_t i = 0; i < n; i++) {
		const char letter[] = {'-', rows[i].letter, '\0'};
		size_t len = strlen(rows[i].name);
		bool whole = streq(arg, rows[i].name) || (rows[i].letter && streq(arg, letter));

		*ret_takes_value = whole && rows[i].arg;
		if (whole || (rows[i].arg && strncmp(arg, rows[i].name, len) == 0 && arg[len] == '='))
			return true;
	}
	return false;
}

/* "brunt -q --state-dir D lab ps" is "brunt lab ps -q --state-dir D", as with kubectl. */
static void move_verb_to_front(int argc, char **argv)
{
	const struct verb *v;
	int at = 1, n = 1;
	bool value;

	while (at < argc && is_common_option(argv[at], &value))
		at += 1 + value;
	if (at == 1 || at >= argc || !(v = verb_find(argv[at])))
		return;
	n += v->subs && at + 1 < argc && verb_find_sub(v, argv[at + 1]);
	for (int i = 0; i < n; i++) {
		char *word = argv[at + i];

		memmove(argv + 2 + i, argv + 1 + i, (size_t)(at - 1) * sizeof *argv);
		argv[1 + i] = word;
	}
}

int main(int argc, char **argv)
{
	const struct verb *v;
	struct err e = {0};
	int code;

	hold_standard_streams();
	for (size_t i = 0; argc > 1 && roles[i].name; i++)
		if (streq(argv[1], roles[i].name))
			return roles[i].main(argc, argv);
	if (argc < 2) {
		autostr text = {0};

		help_overview(&text);
		fputs(text.s, stderr);
		return EXIT_USAGE;
	}
	signal(SIGPIPE, SIG_IGN);
	move_verb_to_front(argc, argv);
	if (streq(argv[1], "--help") || streq(argv[1], "-h"))
		argv[1] = "help";
	else if (streq(argv[1], "--version") || streq(argv[1], "-V"))
		argv[1] = "version";
	v = verb_find(argv[1]);
	if (v && v->subs && argc > 2 && verb_find_sub(v, argv[2])) {
		v = verb_find_sub(v, argv[2]);
		argc--, argv++;
	}
	code = v ? run_verb(v, argc, argv, &e) : no_such_verb(argv[1], &e);
	print_err(&e);
	sink_drain(stderr, NULL);
	return code;
}
