#include "runs.h"

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
