/*
 * The scripts are printed from the verbs' tables, so that a new verb or option completes without
 * anybody thinking of it. File names are left to the shell.
 */
#include "../options.h"
#include "../verbs.h"

#include <errno.h>
#include <stdio.h>

/*
 * What a verb's arguments are: a command that prints them, which each shell writes in its own way.
 * A verb that is not here takes files.
 */
static const struct {
	const char *verb, *command;
} arguments[] = {
	{"completion", "echo bash fish zsh"},
	{"explain", "brunt explain | cut -d' ' -f1"},
	{"help", "brunt completion words"},
	{"new", "brunt explain | cut -d' ' -f1"},
	{"recover", "brunt status -o name"},
	{"report", "brunt report -o name; echo latest prune"},
	{"status", "brunt status -o name"},
	{"stop", "brunt status -o name"},
	{"lab", "brunt lab ps -o name | cut -d/ -f2"},
};

/* The words that an option's value may be, for those that have few. */
static const struct {
	const char *option, *words;
} values[] = {
	{"--output", "table wide json yaml name junit"},
	{"--net-backend", "auto netem engine"},
	{"--source", "lab netns"},
};

static const char *arguments_of(const char *verb)
{
	for (size_t i = 0; i < ARRAY_SIZE(arguments); i++)
		if (streq(arguments[i].verb, verb))
			return arguments[i].command;
	return NULL;
}

static void option_words(const struct option_row *rows, size_t n, struct str *out)
{
	for (size_t i = 0; i < n; i++)
		str_addf(out, "%s%s", out->len ? " " : "", rows[i].name);
}

/* Several verbs below one have options in common. */
static void add_new_words(const struct option_row *rows, size_t n, struct str *out)
{
	for (size_t i = 0; i < n; i++)
		if (!out->s || !strstr(out->s, rows[i].name))
			option_words(&rows[i], 1, out);
}

static char *verb_words(const struct verb *v)
{
	const struct option_row *rows;
	struct str out = {0};
	size_t n;

	for (const struct verb *const *sub = v->subs; sub && *sub; sub++)
		add_new_words((*sub)->options, (*sub)->n_options, &out);
	option_words(v->options, v->n_options, &out);
	rows = options_global(&n);
	option_words(rows, n, &out);
	return str_take(&out);
}

static char *sub_names(const struct verb *v)
{
	struct str out = {0};

	for (const struct verb *const *sub = v->subs; sub && *sub; sub++)
		str_addf(&out, "%s%s", out.len ? " " : "", strrchr((*sub)->name, ' ') + 1);
	return str_take(&out);
}

static char *verb_names(void)
{
	const struct verb *const *verbs;
	struct str out = {0};
	size_t n;

	verbs = verbs_all(&n);
	for (size_t i = 0; i < n; i++)
		if (!verbs[i]->hidden)
			str_addf(&out, "%s%s", out.len ? " " : "", verbs[i]->name);
	return str_take(&out);
}

static void print_bash(const struct verb *const *verbs, size_t n)
{
	autofree char *names = verb_names();

	printf("# bash completion for brunt: brunt completion bash > "
	       "/etc/bash_completion.d/brunt\n"
	       "_brunt() {\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} words subs args\n"
	       "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W '%s' -- \"$cur\")); return\n\tfi\n"
	       "\tcase ${COMP_WORDS[1]} in\n",
	       names);
	for (size_t i = 0; i < n; i++) {
		autofree char *words = verb_words(verbs[i]), *subs = sub_names(verbs[i]);

		const char *args = arguments_of(verbs[i]->name);

		printf("\t%s) words='%s' subs='%s' args=\"%s\" ;;\n", verbs[i]->name, words, subs,
		       args ? args : "");
	}
	printf("\tesac\n"
	       "\tif [ \"$COMP_CWORD\" -eq 2 ] && [ -n \"$subs\" ]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W \"$subs\" -- \"$cur\")); return\n\tfi\n"
	       "\tcase ${COMP_WORDS[COMP_CWORD-1]} in\n");
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		printf("\t%s%s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n",
		       values[i].option, i == 0 ? "|-o" : "", values[i].words);
	printf("\t-f|--file|--filename|--report|--state-dir) compopt -o filenames 2>/dev/null\n"
	       "\t\tCOMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
	       "\tesac\n"
	       "\tcase $cur in\n"
	       "\t-*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
	       "\t*) if [ -n \"$args\" ]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W \"$(eval \"$args\" 2>/dev/null)\" -- \"$cur\"))\n"
	       "\t   else\n"
	       "\t\tcompopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$cur\"))\n"
	       "\t   fi ;;\n"
	       "\tesac\n}\ncomplete -F _brunt brunt\n");
}

static void print_zsh(const struct verb *const *verbs, size_t n)
{
	printf("#compdef brunt\n# zsh completion for brunt: brunt completion zsh > "
	       "\"${fpath[1]}/_brunt\"\n"
	       "_brunt() {\n\tlocal -a verbs opts subs\n\tlocal args\n\tverbs=(\n");
	for (size_t i = 0; i < n; i++)
		if (!verbs[i]->hidden)
			printf("\t\t\"%s:%s\"\n", verbs[i]->name, verbs[i]->summary);
	printf("\t)\n\tif (( CURRENT == 2 )); then _describe verb verbs; return; fi\n"
	       "\tcase $words[2] in\n");
	for (size_t i = 0; i < n; i++) {
		autofree char *words = verb_words(verbs[i]), *subs = sub_names(verbs[i]);

		const char *args = arguments_of(verbs[i]->name);

		printf("\t%s) opts=(%s); subs=(%s); args=\"%s\" ;;\n", verbs[i]->name, words, subs,
		       args ? args : "");
	}
	printf("\tesac\n\tif (( CURRENT == 3 && $#subs )); then compadd -- $subs; return; fi\n"
	       "\tcase $words[CURRENT-1] in\n");
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		printf("\t%s%s) compadd -- %s; return ;;\n", values[i].option, i == 0 ? "|-o" : "",
		       values[i].words);
	printf("\t-f|--file|--filename|--report|--state-dir) _files; return ;;\n"
	       "\tesac\n"
	       "\tif [[ $PREFIX == -* ]]; then compadd -- $opts\n"
	       "\telif [[ -n $args ]]; then compadd -- ${=$(eval $args 2>/dev/null)}\n"
	       "\telse _files; fi\n}\n"
	       "if [ \"$funcstack[1]\" = _brunt ]; then _brunt \"$@\"; else compdef _brunt brunt; fi\n");
}

static const char *values_of(const char *option)
{
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		if (streq(values[i].option, option))
			return values[i].words;
	return NULL;
}

static void fish_options(const struct verb *v, const char *word)
{
	for (size_t i = 0; i < v->n_options; i++) {
		const struct option_row *o = &v->options[i];
		const char *words = o->arg ? values_of(o->name) : NULL;
		const char letter[] = {' ', '-', 's', ' ', o->letter, '\0'};

		printf("complete -c brunt -n \"__fish_seen_subcommand_from %s\" -l %s%s -d \"%s\"%s",
		       word, o->name + 2, o->letter ? letter : "", o->doc, o->arg ? " -r" : "");
		if (words)
			printf(" -f -a \"%s\"", words);
		putchar('\n');
	}
}

static void fish_arguments(const char *verb)
{
	const char *args = arguments_of(verb);

	if (args)
		printf("complete -c brunt -n \"__fish_seen_subcommand_from %s\" -f -a \"(%s 2>/dev/null "
		       "| string split ' ')\"\n", verb, args);
}

static void print_fish(const struct verb *const *verbs, size_t n)
{
	printf("# fish completion for brunt: brunt completion fish > "
	       "~/.config/fish/completions/brunt.fish\n");
	for (size_t i = 0; i < n; i++) {
		const struct verb *v = verbs[i];

		if (v->hidden)
			continue;
		printf("complete -c brunt -n __fish_use_subcommand -f -a %s -d \"%s\"\n", v->name,
		       v->summary);
		fish_options(v, v->name);
		fish_arguments(v->name);
		for (const struct verb *const *sub = v->subs; sub && *sub; sub++) {
			const char *word = strrchr((*sub)->name, ' ') + 1;

			printf("complete -c brunt -n \"__fish_seen_subcommand_from %s\" -f -a %s -d "
			       "\"%s\"\n", v->name, word, (*sub)->summary);
			fish_options(*sub, word);
		}
	}
}

static int run_completion(const struct globals *g, const void *opts, const struct strlist *args,
			  struct err *e)
{
	static const struct {
		const char *name;
		void (*print)(const struct verb *const *verbs, size_t n);
	} shells[] = {{"bash", print_bash}, {"fish", print_fish}, {"zsh", print_zsh}};
	const struct verb *const *verbs;
	size_t n;

	(void)g, (void)opts;
	verbs = verbs_all(&n);
	if (args->n == 1 && streq(args->items[0], "words")) { /* the verbs, for these scripts */
		autofree char *names = verb_names();

		puts(names);
		return EXIT_PASSED;
	}
	for (size_t i = 0; args->n == 1 && i < ARRAY_SIZE(shells); i++)
		if (streq(args->items[0], shells[i].name)) {
			shells[i].print(verbs, n);
			return EXIT_PASSED;
		}
	err_set(e, EINVAL, "completion: name one shell: bash, fish or zsh");
	return EXIT_USAGE;
}

const struct verb verb_completion = {
	.name = "completion",
	.summary = "print the completion script of a shell",
	.usage = "bash|fish|zsh",
	.doc = "Prints a completion script. Each begins with the command that installs it.",
	.sandbox = SANDBOX_PARSER,
	.run = run_completion,
};
