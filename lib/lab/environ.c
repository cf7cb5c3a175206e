/* Source: Kubernetes' third_party/forked/golang/expansion: syntax and treatment of unknown names. */
#include "environ.h"

#include <limits.h>

static char *expand(const char *s, const struct kvs *env)
{
	struct str b = {0};

	while (*s) {
		const char *dollar = strchrnul(s, '$'), *close;

		str_addn(&b, s, dollar - s);
		s = dollar;
		if (!*s)
			break;
		close = s[1] == '(' ? strchr(s, ')') : NULL;
		if (s[1] == '$') {
			str_addn(&b, "$", 1);
			s += 2;
		} else if (close) {
			autofree char *name = xstrndup(s + 2, close - s - 2);
			const char *value = kvs_get(env, name);

			if (value)
				str_add(&b, value);
			else
				str_addn(&b, s, close + 1 - s);
			s = close + 1;
		} else {
			str_addn(&b, s++, 1);
		}
	}
	return str_take(&b);
}

void lab_environ(const struct lab_pod *p, const struct lab_container *c, const char *path,
		 const char *beside, struct kvs *ret)
{
	autofree char *full_path = xasprintf("%s:%s", path, beside);
	const char *home = getenv("HOME");

	kvs_set(ret, "PATH", full_path);
	kvs_set(ret, "HOME", home ? home : "/");
	kvs_set(ret, "HOSTNAME", p->name);
	kvs_set(ret, "POD_NAMESPACE", p->ns);
	kvs_set(ret, "POD_IP", p->address4);
	for (size_t i = 0; i < c->n_env; i++) {
		autofree char *value = expand(c->env[i].value ? c->env[i].value : "", ret);

		kvs_set(ret, c->env[i].name, value);
	}
}

void lab_arguments(const struct lab_container *c, const struct kvs *env, struct strlist *ret)
{
	const struct strlist *const lists[] = {&c->command, &c->args};

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		for (size_t k = 0; k < lists[i]->n; k++) {
			autofree char *arg = expand(lists[i]->items[k], env);

			strlist_add(ret, arg);
		}
}

void lab_environ_list(const struct kvs *env, struct strlist *ret)
{
	for (size_t i = 0; i < env->n; i++) {
		autofree char *line = xasprintf("%s=%s", env->items[i].key, env->items[i].value);

		strlist_add(ret, line);
	}
}

char *lab_program_folder(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	char *slash;

	if (n <= 0)
		return xstrdup("/usr/bin");
	path[n] = '\0';
	slash = strrchr(path, '/');
	return xstrndup(path, slash ? MAX_OF(slash - path, 1) : 0);
}
