/*
 * A pod finds the others by name as it would in a cluster: a pod's name is its address, a
 * Deployment's name stands for all its pods, in place of the Service that a cluster would have.
 * glibc answers with every line that carries the name.
 */
#include "manifest.h"

static void add_address(struct kvs *m, const char *name, const struct lab_pod *p)
{
	const char *before = kvs_get(m, name);
	autofree char *all = before ? xasprintf("%s,%s,%s", before, p->address4, p->address6) :
				      xasprintf("%s,%s", p->address4, p->address6);

	kvs_set(m, name, all);
}

static bool name_is_foreign(const struct lab_pod *p, const char *ns)
{
	return ns && !streq(p->ns, ns);
}

void lab_spec_hosts(const struct lab_spec *s, const char *ns, struct kvs *ret)
{
	for (size_t i = 0; i < s->n_pods; i++) {
		const struct lab_pod *p = &s->pods[i];
		const char *const names[] = {p->name, p->deployment};

		for (size_t k = 0; k < ARRAY_SIZE(names) && names[k]; k++) {
			autofree char *full = xasprintf("%s.%s", names[k], p->ns);

			if (!name_is_foreign(p, ns))
				add_address(ret, names[k], p);
			add_address(ret, full, p);
		}
	}
}

static void add_line(struct str *ret, const char *address, const struct lab_pod *p, const char *ns)
{
	str_add(ret, address);
	if (!name_is_foreign(p, ns))
		str_addf(ret, "\t%s%s%s", p->name, p->deployment ? " " : "",
			 p->deployment ? p->deployment : "");
	str_addf(ret, "\t%s.%s", p->name, p->ns);
	if (p->deployment)
		str_addf(ret, " %s.%s", p->deployment, p->ns);
	str_add(ret, "\n");
}

void lab_spec_hosts_file(const struct lab_spec *s, const char *ns, struct str *ret)
{
	str_add(ret, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
	for (size_t i = 0; i < s->n_pods; i++) {
		add_line(ret, s->pods[i].address4, &s->pods[i], ns);
		add_line(ret, s->pods[i].address6, &s->pods[i], ns);
	}
}
