#include "journal.h"

#include "base/mem.h"

char *journal_default_dir(void)
{
	const char *dir;

	dir = getenv("BRUNT_STATE_DIR");
	if (dir && *dir)
		return xstrdup(dir);
	dir = getenv("STATE_DIRECTORY"); /* systemd's StateDirectory=; the first of a list */
	if (dir && *dir)
		return xstrndup(dir, strcspn(dir, ":"));
	dir = getenv("XDG_STATE_HOME");
	if (dir && *dir == '/')
		return xasprintf("%s/brunt", dir);
	dir = getenv("HOME");
	if (geteuid() != 0 && dir && *dir == '/')
		return xasprintf("%s/.local/state/brunt", dir);
	return xstrdup("/var/lib/brunt");
}
