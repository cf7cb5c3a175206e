#include "talk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

/* The folder's descriptor stands in for its path. */
static int address_of(const char *dir, int *ret_dir_fd, struct sockaddr_un *ret, struct err *e)
{
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(e, errno, "%s", dir);
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/control", fd);
	*ret_dir_fd = fd;
	return 0;
}

int talk_listen(const char *dir, struct err *e)
{
	autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), dir_fd = -1;
	struct sockaddr_un address;
	int r = address_of(dir, &dir_fd, &address, e);

	if (r < 0)
		return r;
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 64) < 0)
		return err_errno(e, errno, "listen on %s/control", dir);
	return take_fd(fd);
}

int talk_connect(const char *dir, struct err *e)
{
	autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), dir_fd = -1;
	struct sockaddr_un address;
	int r = address_of(dir, &dir_fd, &address, e);

	if (r < 0)
		return r;
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
		return err_errno(e, errno, "connect with %s/control", dir);
	return take_fd(fd);
}

static void keep_fds(struct talk_buffer *b, struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fds[TALK_FDS_MAX];

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		for (size_t i = 0; i < n; i++) {
			if (b->n_fds < TALK_FDS_MAX)
				b->fds[b->n_fds++] = fds[i];
			else
				close(fds[i]);
		}
	}
}

int talk_read(int fd, struct talk_buffer *b, int flags)
{
	char data[65536], control[CMSG_SPACE(TALK_FDS_MAX * sizeof(int))];
	struct iovec part = {.iov_base = data, .iov_len = sizeof data};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
			   .msg_controllen = sizeof control};
	ssize_t n;

	do
		n = recvmsg(fd, &m, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : errno == ECONNRESET ? -EPIPE : -errno;
	if (n == 0)
		return -EPIPE;
	keep_fds(b, &m);
	str_addn(&b->bytes, data, n);
	return b->bytes.len > TALK_LINE_MAX ? -EMSGSIZE : 1;
}

int talk_line(struct talk_buffer *b, json_t **ret)
{
	char *end = b->bytes.len ? memchr(b->bytes.s, '\n', b->bytes.len) : NULL;
	size_t len;

	if (!end)
		return 0;
	len = end - b->bytes.s;
	*ret = json_loadb(b->bytes.s, len, 0, NULL);
	b->bytes.len -= len + 1;
	memmove(b->bytes.s, end + 1, b->bytes.len + 1);
	return *ret ? 1 : -EPROTO;
}

int talk_take_fd(struct talk_buffer *b)
{
	int fd;

	if (!b->n_fds)
		return -1;
	fd = b->fds[0];
	memmove(b->fds, b->fds + 1, --b->n_fds * sizeof *b->fds);
	return fd;
}

void talk_buffer_done(struct talk_buffer *b)
{
	for (size_t i = 0; i < b->n_fds; i++)
		close(b->fds[i]);
	str_done(&b->bytes);
	b->n_fds = 0;
}

int talk_send(int fd, const char *data, size_t len, const int *fds, size_t n_fds, int flags)
{
	char control[CMSG_SPACE(TALK_FDS_MAX * sizeof(int))] = {0};
	struct iovec part = {.iov_base = (char *)data, .iov_len = len};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
	struct cmsghdr *c;
	ssize_t n;

	if (n_fds > TALK_FDS_MAX)
		return -E2BIG;
	if (n_fds) {
		m.msg_control = control;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	do
		n = sendmsg(fd, &m, flags | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}
