/*
 * brunt - the command line
 *
 * Finds the verb, parses its options from its table, runs it, prints its error. Processes that
 * brunt re-executes itself as (argv[1] begins with "__") are rows of roles.def and branch off
 * first.
 */
#include "verbs.h"

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

int main(int argc, char **argv)
{
	struct globals g = {.state_dir = "/var/lib/brunt"};
	struct strlist args = {0};
	const struct verb *v;
	struct err e = {0};

	for (size_t i = 0; argc > 1 && roles[i].name; i++)
		if (streq(argv[1], roles[i].name))
			return roles[i].main(argc, argv);
	v = argc > 1 ? verb_find(argv[1]) : NULL;
	if (!v)
		return EXIT_USAGE;
	return v->run(&g, NULL, &args, &e);
}
