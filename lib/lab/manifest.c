/*
 * Documents become pods: a Deployment yields as many as it has replicas, named NAME-0, NAME-1, ...
 * so that an experiment that names one means the same one in every run. Addresses are given in the
 * order of the files, from one /16 and one /64 that every lab uses anew: labs cannot meet.
 */
#include "manifest.h"

#include "../base/suggest.h"
#include "../base/units.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static int read_all(int fd, struct str *ret)
{
	char buf[16384];
	ssize_t n;

	while ((n = read(fd, buf, sizeof buf)) > 0) {
		str_addn(ret, buf, n);
		if (ret->len > YAML_MAX_BYTES)
			return -EFBIG;
	}
	return n < 0 ? -errno : 0;
}

static int read_file(const char *path, struct lab_files *ret, struct err *e)
{
	bool is_stdin = streq(path, "-");
	autofd int fd = is_stdin ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	struct lab_file *f;
	autostr text = {0};
	int r;

	if (fd < 0)
		return err_errno(e, errno, "%s", path);
	r = read_all(fd, &text);
	if (r < 0)
		return err_errno(e, -r, "%s", path);
	f = array_push(ret->items, ret->n);
	f->name = xstrdup(is_stdin ? "<stdin>" : path);
	f->len = text.len;
	f->text = str_take(&text);
	return 0;
}

static int is_manifest(const struct dirent *d)
{
	const char *dot = strrchr(d->d_name, '.');

	return d->d_name[0] != '.' && (streq(dot, ".yaml") || streq(dot, ".yml"));
}

static int read_folder(const char *path, struct lab_files *ret, struct err *e)
{
	struct dirent **names;
	int n = scandir(path, &names, is_manifest, alphasort), r = 0;

	if (n < 0)
		return err_errno(e, errno, "%s", path);
	for (int i = 0; i < n; i++) {
		autofree char *file = xasprintf("%s/%s", path, names[i]->d_name);

		if (r == 0)
			r = read_file(file, ret, e);
		free(names[i]);
	}
	free(names);
	return r;
}

int lab_files_read(const char *const *paths, size_t n, struct lab_files *ret, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct stat st;
		bool folder = stat(paths[i], &st) == 0 && S_ISDIR(st.st_mode);

		r = folder ? read_folder(paths[i], ret, e) : read_file(paths[i], ret, e);
	}
	if (r < 0)
		lab_files_done(ret);
	return r;
}

void lab_files_done(struct lab_files *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->items[i].name);
		free(f->items[i].text);
	}
	free(f->items);
	*f = (struct lab_files){0};
}

static const struct schema *schema_of_kind(const struct yaml_node *doc, struct field_ctx *ctx)
{
	static const char *const kinds[] = {"Deployment", "Pod"};
	const struct yaml_node *kind = yaml_get(doc, "kind");
	const char *near;

	if (doc->kind != YAML_MAP || !kind || kind->kind != YAML_SCALAR) {
		field_error(ctx, kind ? kind : doc, "kind", "missing (want Deployment or Pod)");
		return NULL;
	}
	if (streq(kind->text, "Deployment"))
		return &lab_deployment_schema;
	if (streq(kind->text, "Pod"))
		return &lab_pod_schema;
	near = suggest_nearest(kind->text, kinds, ARRAY_SIZE(kinds));
	field_error(ctx, kind, "kind", "\"%s\" is not a kind that a lab runs (%s%s)", kind->text,
		    near ? "did you mean " : "want Deployment or Pod", near ? near : "");
	return NULL;
}

static struct lab_pod_spec *pod_spec_of(struct lab_spec *s, size_t i)
{
	bool deployment = s->schemas[i] == &lab_deployment_schema;

	return deployment ? &s->documents[i]->deployment.template.spec : &s->documents[i]->pod;
}

/* Where each container's command stands, for errors that are found later. */
static void note_places(struct lab_pod_spec *spec, const char *file, const struct yaml_node *doc,
			bool deployment)
{
	const struct yaml_node *at = yaml_get(doc, "spec");

	if (deployment)
		at = yaml_get(yaml_get(at, "template"), "spec");
	at = yaml_get(at, "containers");
	for (size_t i = 0; at && i < spec->n_containers && i < at->n; i++) {
		const struct yaml_node *command = yaml_get(at->items[i], "command");

		spec->containers[i].file = xstrdup(file);
		spec->containers[i].line = command ? command->line : at->items[i]->line;
		spec->containers[i].column = command ? command->column : at->items[i]->column;
	}
}

static void set_probe_port(struct lab_container *c)
{
	const char *port = c->probe.is_http ? c->probe.http.port : c->probe.tcp.port;

	if (!c->has_probe || units_parse_int(port, &c->probe.port, NULL) == 0)
		return;
	for (size_t i = 0; i < c->n_ports; i++)
		if (streq(c->ports[i].name, port))
			c->probe.port = c->ports[i].number;
}

static bool pod_exists(const struct lab_spec *s, const char *ns, const char *name)
{
	for (size_t i = 0; i < s->n_pods; i++)
		if (streq(s->pods[i].name, name) && streq(s->pods[i].ns, ns))
			return true;
	return false;
}

static void add_pod(struct lab_spec *s, const struct lab_document *d, struct lab_pod_spec *spec,
		    const struct lab_metadata *m, const char *deployment, char *name)
{
	struct lab_pod *p = array_push(s->pods, s->n_pods);
	size_t host = s->n_pods + 1; /* .1 is the switch */

	p->ns = d->metadata.namespace;
	p->name = name;
	p->deployment = deployment;
	p->labels = &m->labels;
	p->annotations = &m->annotations;
	p->containers = spec->containers;
	p->n_containers = spec->n_containers;
	p->restart_policy = spec->restart_policy;
	p->grace_ns = spec->grace_s * NSEC_PER_SEC;
	p->address4 = xasprintf("10.77.%zu.%zu", host >> 8, host & 255);
	p->address6 = xasprintf("fd00:77::%zx", host);
}

/* All pods of a document, whose name must not be taken yet. */
static int add_pods(struct lab_spec *s, size_t i, const struct yaml_node *doc, struct field_ctx *ctx)
{
	const struct lab_document *d = s->documents[i];
	const struct lab_deployment_spec *dep = &d->deployment;
	const struct yaml_node *at = yaml_get(yaml_get(doc, "metadata"), "name");
	bool deployment = s->schemas[i] == &lab_deployment_schema;
	size_t n = deployment ? dep->replicas : 1;

	if (s->n_pods + n > LAB_MAX_PODS)
		return field_error(ctx, at, "metadata.name", "a lab runs up to %d pods", LAB_MAX_PODS);
	for (size_t k = 0; k < n; k++) {
		char *name = deployment ? xasprintf("%s-%zu", d->metadata.name, k) :
					  xstrdup(d->metadata.name);

		if (pod_exists(s, d->metadata.namespace, name)) {
			field_error(ctx, at, "metadata.name", "there is a pod %s/%s already",
				    d->metadata.namespace, name);
			free(name);
			return -EEXIST;
		}
		add_pod(s, d, pod_spec_of(s, i), deployment ? &dep->template.metadata : &d->metadata,
			deployment ? d->metadata.name : NULL, name);
	}
	return 0;
}

static void add_document(struct lab_spec *s, const char *file, const struct yaml_node *doc,
			 struct diags *diags)
{
	struct field_ctx ctx = {.file = file, .diags = diags};
	const struct schema *schema = schema_of_kind(doc, &ctx);
	struct lab_document *d;
	struct lab_pod_spec *spec;
	size_t n = s->n_documents;

	if (!schema)
		return;
	d = xcalloc(1, sizeof *d);
	*array_push(s->schemas, n) = schema;
	*array_push(s->documents, s->n_documents) = d;
	if (field_bind(schema, doc, d, &ctx) < 0)
		return;
	spec = pod_spec_of(s, s->n_documents - 1);
	note_places(spec, file, doc, schema == &lab_deployment_schema);
	for (size_t i = 0; i < spec->n_containers; i++)
		set_probe_port(&spec->containers[i]);
	add_pods(s, s->n_documents - 1, doc, &ctx);
}

int lab_spec_parse(const struct lab_files *files, struct diags *d, struct lab_spec **ret)
{
	autoptr(lab_spec) s = xcalloc(1, sizeof *s);

	*ret = NULL;
	for (size_t i = 0; i < files->n; i++) {
		const struct lab_file *f = &files->items[i];
		autoptr(yaml) y = NULL;

		if (yaml_load_text(f->name, f->text, f->len, d, &y) < 0)
			continue;
		for (size_t k = 0; k < y->n_docs; k++)
			add_document(s, f->name, y->docs[k], d);
		if (!y->n_docs)
			diags_add(d, f->name, 1, 1, "", "no document (want a Deployment or a Pod)");
	}
	if (d->n)
		return -EINVAL;
	*ret = take(s);
	return 0;
}

void lab_spec_free(struct lab_spec *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_pods; i++) {
		free(s->pods[i].name);
		free(s->pods[i].address4);
		free(s->pods[i].address6);
	}
	for (size_t i = 0; i < s->n_documents; i++) {
		struct lab_pod_spec *spec = pod_spec_of(s, i);

		for (size_t k = 0; k < spec->n_containers; k++) {
			free(spec->containers[k].file);
			free(spec->containers[k].path);
		}
		field_free(s->schemas[i], s->documents[i]);
		free(s->documents[i]);
	}
	free(s->documents);
	free(s->schemas);
	free(s->pods);
	free(s);
}

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static char *program_in(const char *folder, const char *name)
{
	autofree char *path = xasprintf("%s/%s", folder, name);

	return is_program(path) ? take(path) : NULL;
}

char *lab_find_program(const char *name, const char *path, const char *beside)
{
	autofree char *copy = xstrdup(path ? path : "");
	char *rest = copy, *folder;

	if (strchr(name, '/'))
		return is_program(name) ? xstrdup(name) : NULL;
	while ((folder = strsep(&rest, ":"))) {
		char *found = *folder == '/' ? program_in(folder, name) : NULL;

		if (found)
			return found;
	}
	return program_in(beside, name);
}

/* Replicas share their containers: the first pod of a document stands for all. */
int lab_spec_resolve(struct lab_spec *s, const char *path, const char *beside, struct diags *d)
{
	for (size_t i = 0; i < s->n_documents; i++) {
		struct lab_pod_spec *spec = pod_spec_of(s, i);

		for (size_t k = 0; k < spec->n_containers; k++) {
			struct lab_container *c = &spec->containers[k];
			const char *name = c->command.items[0];
			autofree char *at = xasprintf("containers[%zu].command[0]", k);

			free(c->path);
			c->path = lab_find_program(name, path, beside);
			if (!c->path)
				diags_add(d, c->file, c->line, c->column, at,
					  strchr(name, '/') ? "%s: no such program" :
							      "%s: not found in PATH or beside brunt",
					  name);
		}
	}
	return d->n ? -ENOENT : 0;
}
