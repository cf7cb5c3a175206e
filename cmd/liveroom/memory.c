#include "memory.h"

#include <stdio.h>

struct group {
	char path[512]; /* "": none found */
	int version;
};

/* The own group's path in the hierarchy that has the memory controller. */
static bool own_path(char *ret, size_t size, int *ret_version)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[1024];
	bool found = false;

	while (f && fgets(line, sizeof line, f)) {
		char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
		bool v1, v2;

		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		v1 = strstr(list, "memory");
		v2 = !strncmp(line, "0:", 2) && !found;
		if (v1 || v2) {
			snprintf(ret, size, "%s", path);
			*ret_version = v1 ? 1 : 2;
			found = true;
		}
		if (v1)
			break;
	}
	if (f)
		fclose(f);
	return found;
}

/* Where a line of mountinfo shows the group, if it is a mount of the right hierarchy. */
static bool folder_in(char *line, const char *own, int version, struct group *ret)
{
	char root[256], point[256], type[32], options[256];
	char *tail = strstr(line, " - ");
	size_t n;

	if (!tail || sscanf(line, "%*s %*s %*s %255s %255s", root, point) != 2 ||
	    sscanf(tail, " - %31s %*s %255s", type, options) != 2)
		return false;
	if (strcmp(type, version == 2 ? "cgroup2" : "cgroup") ||
	    (version == 1 && !strstr(options, "memory")))
		return false;
	n = strcmp(root, "/") ? strlen(root) : 0;
	if (strncmp(own, root, n))
		return false;
	snprintf(ret->path, sizeof ret->path, "%s%s", point, strcmp(own, "/") ? own + n : "");
	ret->version = version;
	return true;
}

static struct group find_group(void)
{
	struct group g = {0};
	char own[256], line[1024];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	int version;

	if (f && own_path(own, sizeof own, &version))
		while (fgets(line, sizeof line, f))
			folder_in(line, own, version, &g);
	if (f)
		fclose(f);
	return g;
}

/* A number in a file of the folder, -1 when there is none ("max", no such file). */
static int64_t read_number(const char *folder, const char *file)
{
	char path[640], text[32] = "";
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", folder, file);
	f = fopen(path, "re");
	if (f) {
		if (!fgets(text, sizeof text, f))
			text[0] = '\0';
		fclose(f);
	}
	return text[0] >= '0' && text[0] <= '9' ? strtoll(text, NULL, 10) : -1;
}

static int64_t tightest(const struct group *g, const char *file)
{
	int64_t limit = INT64_MAX;
	char path[512];

	snprintf(path, sizeof path, "%s", g->path);
	for (;;) {
		int64_t n = read_number(path, file);
		char *slash = strrchr(path, '/');

		if (n >= 0 && n < limit)
			limit = n;
		if (!slash || slash == path)
			return limit >= INT64_MAX / 2 ? INT64_MAX : limit;
		*slash = '\0';
	}
}

struct memory memory_now(void)
{
	static struct group g = {.version = -1};
	struct memory m = {.limit_bytes = INT64_MAX};
	int64_t high;

	if (g.version < 0)
		g = find_group();
	if (!g.path[0])
		return m;
	m.used_bytes = read_number(g.path, g.version == 1 ? "memory.usage_in_bytes"
							  : "memory.current");
	if (m.used_bytes < 0)
		m.used_bytes = 0;
	m.limit_bytes = tightest(&g, g.version == 1 ? "memory.limit_in_bytes" : "memory.max");
	high = g.version == 2 ? tightest(&g, "memory.high") : INT64_MAX;
	if (high < m.limit_bytes)
		m.limit_bytes = high;
	return m;
}
