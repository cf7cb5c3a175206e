#include "lost.h"

#include "lock.h"

#include <dirent.h>

static bool journal_knows(struct journal *j, const char *run_id)
{
	struct run_row row = {0};
	bool known = j && journal_run(j, run_id, &row, NULL) == 0 && streq(row.id, run_id);

	run_row_done(&row);
	return known;
}

static void read_names(const char *path, struct strlist *ret)
{
	json_auto_t *about = json_load_file(path, JSON_DISABLE_EOF_CHECK, NULL);
	const json_t *name;
	size_t i;

	json_array_foreach(json_object_get(about, "names"), i, name)
		if (json_is_string(name))
			strlist_add(ret, json_string_value(name));
}

/* The guard is the first that a run starts after its row is in the journal; without one the file
 * was given up before. A file that cannot be read might be anything. */
static bool may_have_changed_something(const struct lock_holder *h)
{
	return h->guard > 0 || h->owner <= 0;
}

void lost_runs(const char *state_dir, struct journal *j, struct lost_run **ret, size_t *ret_n)
{
	autofree char *folder = xasprintf("%s/locks", state_dir);
	DIR *d = opendir(folder);
	struct dirent *de;

	*ret = NULL;
	*ret_n = 0;
	while (d && (de = readdir(d))) {
		autofree char *path = xasprintf("%s/%s", folder, de->d_name);
		struct lock_holder h = {0};

		if (de->d_name[0] == '.' || streq(de->d_name, "names") || journal_knows(j, de->d_name))
			continue;
		if (lock_holder_read(state_dir, de->d_name, &h, NULL) == 0 &&
		    may_have_changed_something(&h)) {
			struct lost_run *run = array_push(*ret, *ret_n);

			run->run_id = xstrdup(h.run_id);
			run->experiment = xstrdup(h.experiment);
			run->live = h.live;
			read_names(path, &run->names);
		}
		lock_holder_done(&h);
	}
	if (d)
		closedir(d);
}

void lost_runs_free(struct lost_run *runs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(runs[i].run_id);
		free(runs[i].experiment);
		strlist_done(&runs[i].names);
	}
	free(runs);
}
