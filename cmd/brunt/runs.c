#include "runs.h"

#include <stdio.h>

int runs_named(struct journal *j, const struct strlist *args, struct strlist *ret, struct err *e)
{
	for (size_t i = 0; i < args->n; i++) {
		struct run_row row = {0};
		int r = journal_run(j, args->items[i], &row, e);

		if (r < 0)
			return err_hint(e, "brunt report lists the runs");
		strlist_add(ret, row.id);
		run_row_done(&row);
	}
	return 0;
}

int runs_unfinished(struct journal *j, struct strlist *ret, struct err *e)
{
	struct run_row *rows = NULL;
	size_t n = 0;
	int r = journal_runs(j, &rows, &n, e);

	for (size_t i = n; i-- > 0;) {
		if (streq(rows[i].state, "running") || streq(rows[i].state, "not-restored"))
			strlist_add(ret, rows[i].id);
		run_row_done(&rows[i]);
	}
	free(rows);
	return r;
}

bool runs_has_ended(struct journal *j, const char *id)
{
	struct run_row row = {0};
	bool ended = journal_run(j, id, &row, NULL) == 0 && !streq(row.state, "running") &&
		     !streq(row.state, "not-restored");

	if (ended)
		printf("run %s has ended already (%s), nothing is left of it\n", id,
		       row.verdict ? row.verdict : row.state);
	run_row_done(&row);
	return ended;
}

void runs_note_failure(struct err *e, const struct err *failure)
{
	if (e->code)
		fprintf(stderr, "brunt: %s\n", e->text);
	*e = *failure;
}
