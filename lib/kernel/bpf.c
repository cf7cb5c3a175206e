#include "bpf.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>

static _Thread_local char last_warning[256];

/* The last line that is not empty: libbpf repeats the verifier's whole log. */
static int remember(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char text[512];
	size_t n;

	if (level != LIBBPF_WARN || last_warning[0])
		return 0;
	vsnprintf(text, sizeof text, fmt, ap);
	n = strlen(text);
	while (n && (text[n - 1] == '\n' || text[n - 1] == ' '))
		text[--n] = '\0';
	snprintf(last_warning, sizeof last_warning, "%s", text);
	return 0;
}

void bpf_quiet(void)
{
	last_warning[0] = '\0';
	libbpf_set_print(remember);
}

const char *bpf_last_warning(void)
{
	return last_warning;
}

void bpf_program_name(uint32_t prog_id, char ret[16])
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof info;
	autofd int fd = bpf_prog_get_fd_by_id(prog_id);

	ret[0] = '\0';
	if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &len) == 0)
		snprintf(ret, 16, "%s", info.name);
}

int bpf_program_info(int prog_fd, uint32_t *ret_id, uint8_t ret_tag[8], struct err *e)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof info;

	if (bpf_obj_get_info_by_fd(prog_fd, &info, &len) < 0)
		return err_errno(e, errno, "read BPF program");
	*ret_id = info.id;
	memcpy(ret_tag, info.tag, 8);
	return 0;
}

/* fd of map id if it has that name. */
static int open_named(uint32_t id, const char *name)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof info;
	autofd int fd = bpf_map_get_fd_by_id(id);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) < 0 || !streq(info.name, name))
		return -ENOENT;
	return take_fd(fd);
}

int bpf_map_of(uint32_t prog_id, const char *map_name, struct err *e)
{
	uint32_t ids[16] = {0};
	struct bpf_prog_info info = {.nr_map_ids = ARRAY_SIZE(ids), .map_ids = (uintptr_t)ids};
	uint32_t len = sizeof info;
	autofd int prog = bpf_prog_get_fd_by_id(prog_id);

	if (prog < 0 || bpf_obj_get_info_by_fd(prog, &info, &len) < 0)
		return err_errno(e, errno, "open BPF program %u", prog_id);
	for (uint32_t i = 0; i < info.nr_map_ids && i < ARRAY_SIZE(ids); i++) {
		int fd = open_named(ids[i], map_name);

		if (fd >= 0)
			return fd;
	}
	return err_set(e, ENOENT, "BPF program %u has no map %s", prog_id, map_name);
}

int64_t bpf_clock_shift(void)
{
	FILE *f = fopen("/proc/self/timens_offsets", "re");
	long long sec, nsec, shift = 0;
	char clock[32];

	while (f && fscanf(f, "%31s %lld %lld", clock, &sec, &nsec) == 3)
		if (streq(clock, "monotonic") || streq(clock, "1"))
			shift = -(sec * NSEC_PER_SEC + nsec);
	if (f)
		fclose(f);
	return shift;
}
