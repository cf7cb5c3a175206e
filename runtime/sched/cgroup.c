#include "cgroup.h"

#include <string.h>

FILE *cgroup_open(const char *controller, const char *name)
{
	char line[4096], path[4600];
	FILE *list = fopen("/proc/self/cgroup", "re");
	FILE *f = NULL;

	while (list && !f && fgets(line, sizeof line, list)) {
		char *names = strchr(line, ':'), *dir = names ? strchr(++names, ':') : NULL;

		if (!dir)
			continue;
		*dir++ = '\0';
		dir[strcspn(dir, "\n")] = '\0';
		if (*names ? !strstr(names, controller) : !!strchr(name, '_'))
			continue;
		/* In a container the mount shows its own cgroup as the root. */
		for (int rooted = 0; rooted < 2 && !f; rooted++) {
			snprintf(path, sizeof path, "/sys/fs/cgroup%s%s%s/%s", *names ? "/" : "",
				 *names ? controller : "", rooted ? "" : dir, name);
			f = fopen(path, "re");
		}
	}
	if (list)
		fclose(list);
	return f;
}
