/*
 * The kinds that there are, and the way from files to a set of experiments. Everything is read and
 * looked at before anything is refused: a user sees all errors of all files at once.
 */
#include "experiment_schema.h"

#include "base/suggest.h"

#include <dirent.h>
#include <errno.h>
#include <strings.h>
#include <sys/stat.h>

static const char API_VERSION[] = "brunt.dev/v1alpha1";

/* Kinds ------------------------------------------------------------------------------------ */

/* Chaos Mesh's kinds at August 2026; one with a driver of its own is found before this list. */
static const char *const chaos_mesh_kinds[] = {
	"AWSChaos", "AzureChaos", "BlockChaos", "DNSChaos", "GCPChaos", "HTTPChaos", "IOChaos",
	"JVMChaos", "KernelChaos", "NetworkChaos", "PhysicalMachine", "PhysicalMachineChaos",
	"PodChaos", "PodHttpChaos", "PodIOChaos", "PodNetworkChaos", "RemoteCluster", "Schedule",
	"StatusCheck", "StressChaos", "TimeChaos", "Workflow", "WorkflowNode",
};

static const char *const lab_kinds[] = {"Deployment", "Pod"};

static bool is_one_of(const char *s, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (streq(names[i], s))
			return true;
	return false;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char *const *experiment_kinds(void)
{
	static const char **kinds;
	size_t n;
	const struct fault_driver *const *drivers = fault_drivers(&n);

	if (kinds)
		return kinds;
	kinds = xcalloc(n + 2, sizeof *kinds);
	for (size_t i = 0; i < n; i++)
		kinds[i] = drivers[i]->kind;
	kinds[n] = "Experiment";
	qsort(kinds, n + 1, sizeof *kinds, by_text);
	return kinds;
}

const struct schema *experiment_schema(const char *kind)
{
	const struct fault_driver *d = fault_driver_by_kind(kind);

	if (streq(kind, "Experiment"))
		return &experiment_spec_schema;
	return d ? d->schema : NULL;
}

const char *experiment_api_version(const char *kind)
{
	const struct fault_driver *d = fault_driver_by_kind(kind);

	return d ? d->api_version : API_VERSION;
}

/* As it is spelt, whatever capitals kind has; NULL when it is none of them. */
static const char *spelling(const char *kind, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(names[i], kind) == 0)
			return names[i];
	return NULL;
}

char *experiment_unsupported_kind(const char *kind)
{
	const char *right = spelling(kind, chaos_mesh_kinds, ARRAY_SIZE(chaos_mesh_kinds));

	if (!right || fault_driver_by_kind(right))
		return NULL;
	return xasprintf("%s is not supported yet", right);
}

/* Every kind that somebody may mean: brunt's, Chaos Mesh's and a lab's. The caller frees the array. */
static const char **all_kinds(size_t *ret_n)
{
	const char *const *own = experiment_kinds();
	const char **all = NULL;
	size_t n = 0;

	for (size_t i = 0; own[i]; i++)
		*array_push(all, n) = own[i];
	for (size_t i = 0; i < ARRAY_SIZE(chaos_mesh_kinds); i++)
		*array_push(all, n) = chaos_mesh_kinds[i];
	for (size_t i = 0; i < ARRAY_SIZE(lab_kinds); i++)
		*array_push(all, n) = lab_kinds[i];
	*ret_n = n;
	return all;
}

int experiment_unknown_kind(const char *kind, const struct yaml_node *doc, struct field_ctx *ctx)
{
	size_t n;
	autofree const char **all = all_kinds(&n);
	const char *right = spelling(kind, all, n), *nearest = suggest_nearest(kind, all, n);
	autofree char *unsupported = experiment_unsupported_kind(kind);

	if (right && !streq(right, kind))
		return field_error(ctx, doc, "kind", "\"%s\" is not a kind: it is spelt %s%s%s%s", kind,
				   right, unsupported ? " (" : "", unsupported ? unsupported : "",
				   unsupported ? ")" : "");
	if (unsupported)
		return field_error(ctx, doc, "kind", "%s", unsupported);
	if (is_one_of(kind, lab_kinds, ARRAY_SIZE(lab_kinds)))
		return field_error(ctx, doc, "kind",
				   "%s is a lab's manifest: start it with `brunt lab up`, or name "
				   "its file under spec.lab.manifests of an Experiment", kind);
	if (nearest)
		return field_error(ctx, doc, "kind", "\"%s\" is not a kind (did you mean \"%s\"?)",
				   kind, nearest);
	return field_error(ctx, doc, "kind",
			   "\"%.200s\" is not a kind that brunt knows (brunt explain lists them)",
			   kind);
}

int experiment_check_paused(const struct experiment *x, struct err *e)
{
	static const char key[] = "experiment.chaos-mesh.org/pause";
	const char *value = kvs_get(&x->annotations, key);

	if (!value || !streq(value, "true"))
		return 0;
	err_set(e, ECANCELED, "%s %s is paused by its annotation %s", x->kind, x->name, key);
	return err_hint(e, "remove the annotation to run it");
}

/* Sets --------------------------------------------------------------------------------------- */

static bool same_namespace(const struct experiment *a, const struct experiment *b)
{
	return streq(a->ns ? a->ns : "default", b->ns ? b->ns : "default");
}

static const struct experiment *find(const struct experiment_set *set, const struct experiment *x)
{
	for (size_t i = 0; x->name && i < set->n; i++)
		if (streq(set->items[i]->name, x->name) && streq(set->items[i]->kind, x->kind) &&
		    same_namespace(set->items[i], x))
			return set->items[i];
	return NULL;
}

static void add_document(struct experiment_set *set, const struct yaml *y,
			 const struct yaml_node *doc, struct diags *d)
{
	struct experiment *x = experiment_bind(y, doc, d);
	const struct experiment *first = find(set, x);

	if (first)
		diags_add(d, y->file, doc->line, doc->column, "metadata.name",
			  "\"%s\" is the name of another %s (in %s)", x->name, x->kind, first->file);
	*array_push(set->items, set->n) = x;
}

static void add_file(struct experiment_set *set, struct yaml *y, struct diags *d)
{
	*array_push(set->files, set->n_files) = y;
	if (y->n_docs == 0)
		diags_add(d, y->file, 0, 0, NULL, "holds no document");
	for (size_t i = 0; i < y->n_docs; i++)
		add_document(set, y, y->docs[i], d);
}

static void load_file(struct experiment_set *set, const char *path, struct diags *d)
{
	struct yaml *y;

	yaml_load_file(path, d, &y);
	if (y)
		add_file(set, y, d);
}

static int is_manifest(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return entry->d_name[0] != '.' && dot && (streq(dot, ".yaml") || streq(dot, ".yml"));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void load_folder(struct experiment_set *set, const char *path, struct diags *d)
{
	struct dirent **entries;
	int n = scandir(path, &entries, is_manifest, by_name);

	if (n < 0) {
		diags_add(d, path, 0, 0, NULL, "cannot be read: %s", strerror(errno));
		return;
	}
	if (n == 0)
		diags_add(d, path, 0, 0, NULL, "holds no *.yaml or *.yml file");
	for (int i = 0; i < n; i++) {
		autofree char *file = xasprintf("%s/%s", path, entries[i]->d_name);

		load_file(set, file, d);
		free(entries[i]);
	}
	free(entries);
}

static int finish(struct experiment_set *set, struct diags *d, struct experiment_set **ret)
{
	if (d->n == 0) {
		*ret = set;
		return 0;
	}
	experiment_set_free(set);
	diags_sort(d);
	*ret = NULL;
	return -EINVAL;
}

int experiment_load(const char *const *paths, size_t n, struct diags *d,
		    struct experiment_set **ret)
{
	struct experiment_set *set = xcalloc(1, sizeof *set);
	struct stat st;

	for (size_t i = 0; i < n; i++) {
		if (!streq(paths[i], "-") && stat(paths[i], &st) == 0 && S_ISDIR(st.st_mode))
			load_folder(set, paths[i], d);
		else
			load_file(set, paths[i], d);
	}
	return finish(set, d, ret);
}

int experiment_load_text(const char *file, const char *text, size_t len, struct diags *d,
			 struct experiment_set **ret)
{
	struct experiment_set *set = xcalloc(1, sizeof *set);
	struct yaml *y;

	yaml_load_text(file, text, len, d, &y);
	if (y)
		add_file(set, y, d);
	return finish(set, d, ret);
}

static bool is_object_of(const struct experiment *x, const char *file)
{
	return x->is_object && streq(x->file, file) && experiment_check_paused(x, NULL) == 0;
}

static bool has_fault(const struct experiment *x, const char *name)
{
	for (size_t i = 0; i < x->n_faults; i++)
		if (streq(x->faults[i].name, name))
			return true;
	return false;
}

/* Objects of two kinds or namespaces may have one name; in a run each fault has its own. */
static void take_faults(struct experiment *x, struct experiment *from)
{
	for (size_t i = 0; i < from->n_faults; i++) {
		struct fault_spec *f = &from->faults[i];

		for (size_t n = 2; has_fault(x, f->name); n++) {
			free(f->name);
			f->name = xasprintf("%s-%zu", from->name, n);
		}
		*array_push(x->faults, x->n_faults) = *f;
		x->fault_ns = MAX_OF(x->fault_ns, f->duration_ns);
	}
	from->n_faults = 0;
}

/* All objects of the file of items[first] go into it; those that are left out are freed. */
static void join_file(struct experiment_set *set, size_t first, void (*fn)(void *data, const char *text),
		      void *data)
{
	struct experiment *x = set->items[first];
	size_t kept = first + 1, joined = 1;
	autofree char *text = NULL;
	char *name;

	for (size_t i = first + 1; i < set->n; i++) {
		struct experiment *other = set->items[i];
		bool same = is_object_of(other, x->file);

		if (same)
			take_faults(x, other);
		joined += same;
		if (same)
			experiment_free(other);
		else
			set->items[kept++] = other;
	}
	set->n = kept;
	if (joined == 1)
		return;
	name = xasprintf("%s-and-%zu-more", x->name, joined - 1);
	free(x->name);
	x->name = name;
	text = xasprintf("%s: its %zu chaos objects run together, as in a cluster, as %s", x->file, joined,
			 name);
	fn(data, text);
}

void experiment_set_join(struct experiment_set *set, void (*fn)(void *data, const char *text), void *data)
{
	for (size_t i = 0; i < set->n; i++)
		if (is_object_of(set->items[i], set->items[i]->file))
			join_file(set, i, fn, data);
}

void experiment_set_free(struct experiment_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; i < set->n; i++)
		experiment_free(set->items[i]);
	for (size_t i = 0; i < set->n_files; i++)
		yaml_release(set->files[i]);
	free(set->items);
	free(set->files);
	free(set);
}
