/*
 * A bind mount needs a file to lie on, and a minimal Debian has no /etc/hosts. To create one would
 * change the machine; instead an overlay shows /etc with an empty one more. What is written into
 * that /etc stays in the namespace.
 */
#include "hosts.h"

#include "../base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* There on every machine; the overlay keeps what was mounted here when it is unmounted again. */
#define SCRATCH "/proc"

static int hosts_add_file(void)
{
	autofd int fd = -1;
	int r = 0;

	if (mount("tmpfs", SCRATCH, "tmpfs", 0, "mode=755,size=1M") < 0)
		return -errno;
	if (mkdir(SCRATCH "/upper", 0755) < 0 || mkdir(SCRATCH "/work", 0755) < 0)
		r = -errno;
	fd = r < 0 ? -1 : open(SCRATCH "/upper/hosts", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	if (r == 0 && (fd < 0 || mount("overlay", "/etc", "overlay", 0,
				       "lowerdir=/etc,upperdir=" SCRATCH "/upper,workdir=" SCRATCH
				       "/work") < 0))
		r = -errno;
	umount2(SCRATCH, MNT_DETACH);
	return r;
}

int hosts_bind(const char *file)
{
	int r;

	if (mount(file, "/etc/hosts", NULL, MS_BIND, NULL) == 0)
		return 0;
	if (errno != ENOENT || access(file, F_OK) < 0)
		return -errno;
	r = hosts_add_file();
	if (r < 0)
		return r;
	return mount(file, "/etc/hosts", NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}
