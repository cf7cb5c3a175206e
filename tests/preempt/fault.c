#include "fault.h"

#include "rt.h"
#include "waits.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MEMORY_BYTES "50331648"
#define FILL_BYTES ((size_t)128 << 20)
#define BLOCK_BYTES ((size_t)1 << 20)

enum { RING = 1024, FILL_LOOKS = 1500 };

const char *const fault_names[FAULTS] = {"none", "quota", "memory", "sigstop"};

/* Of the child that stops its parent: when it was stopped, the newest at n - 1. */
struct stops {
	_Atomic uint64_t n;
	struct {
		int64_t begin;
		_Atomic int64_t end; /* 0: not over */
	} ring[RING];
	_Atomic int finish;
};

static struct {
	enum fault fault;
	char home[512], own[600]; /* cgroups: where this process was, and its own */
	bool v2;
	int stat;      /* the file that counts */
	int64_t marked;
	uint64_t hits_before;
	pid_t child;
	struct stops *stops;
} f = {.stat = -1};

/* Control groups ------------------------------------------------------------------------------ */

static int write_file(const char *dir, const char *name, const char *text)
{
	char path[700];
	int fd, r = 0;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		r = -errno;
	close(fd);
	return r;
}

/* Where this process is in the controller's hierarchy, or in the unified one. */
static bool find_home(const char *controller)
{
	FILE *list = fopen("/proc/self/cgroup", "re");
	char line[512];
	bool found = false;

	while (list && !found && fgets(line, sizeof line, list)) {
		char *names = strchr(line, ':'), *dir = names ? strchr(names + 1, ':') : NULL;

		if (!dir)
			continue;
		*dir++ = '\0';
		dir[strcspn(dir, "\n")] = '\0';
		f.v2 = names[1] == '\0';
		if (!f.v2 && strcmp(names + 1, controller))
			continue;
		snprintf(f.home, sizeof f.home, "/sys/fs/cgroup%s%s%s", f.v2 ? "" : "/",
			 f.v2 ? "" : controller, dir);
		found = access(f.home, W_OK) == 0 &&
			(!f.v2 || access("/sys/fs/cgroup/cgroup.controllers", R_OK) == 0);
		/* In a container the mount may show its own cgroup as the root. */
		if (!found && !f.v2) {
			snprintf(f.home, sizeof f.home, "/sys/fs/cgroup/%s", controller);
			found = access(f.home, W_OK) == 0;
		}
	}
	if (list)
		fclose(list);
	return found;
}

static bool move_to(const char *group)
{
	return write_file(group, "cgroup.procs", "0") == 0;
}

static const char *begin_group(const char *controller, const char *count_file)
{
	char path[700], enable[32];

	if (!find_home(controller))
		return "no cgroup of this controller that this process may write";
	snprintf(f.own, sizeof f.own, "%s/rt-preempt-%d", f.home, (int)getpid());
	snprintf(enable, sizeof enable, "+%s", controller);
	if (f.v2)
		write_file(f.home, "cgroup.subtree_control", enable);
	if (mkdir(f.own, 0755) < 0) {
		f.own[0] = '\0';
		return "cannot make a cgroup";
	}
	snprintf(path, sizeof path, "%s/%s", f.own, count_file);
	f.stat = open(path, O_RDONLY | O_CLOEXEC);
	return f.stat < 0 ? "the cgroup has no counters" : NULL;
}

/* The number behind key; key "": the whole file. */
static uint64_t read_count(const char *key)
{
	char text[1024];
	ssize_t n = f.stat < 0 ? -1 : pread(f.stat, text, sizeof text - 1, 0);
	char *at;

	if (n < 0)
		return 0;
	text[n] = '\0';
	at = strstr(text, key);
	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static int64_t throttled_ns(void)
{
	return f.v2 ? (int64_t)read_count("throttled_usec ") * 1000 : (int64_t)read_count("throttled_time ");
}

static const char *begin_quota(void)
{
	const char *why = begin_group("cpu", "cpu.stat");

	if (why)
		return why;
	if (f.v2 ? write_file(f.own, "cpu.max", "12000 20000") :
		   write_file(f.own, "cpu.cfs_period_us", "20000") |
			   write_file(f.own, "cpu.cfs_quota_us", "12000"))
		return "cannot set a quota";
	return move_to(f.own) ? NULL : "cannot move into the cgroup";
}

/* Children ------------------------------------------------------------------------------------ */

static void pause_ns(long ns)
{
	struct timespec t = {.tv_nsec = ns};

	nanosleep(&t, NULL);
}

/* The kernel may take back what was given up, and does it no sooner than at the limit: no file system
 * and no swap is needed, and nobody is killed. */
static void fill_memory(void)
{
	char *p = mmap(NULL, FILL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return;
	madvise(p, FILL_BYTES, MADV_NOHUGEPAGE);
	for (size_t at = 0; !atomic_load(&f.stops->finish); at = (at + BLOCK_BYTES) % FILL_BYTES) {
		memset(p + at, 1, BLOCK_BYTES);
		madvise(p + at, BLOCK_BYTES, MADV_FREE);
	}
}

static void stop_parent(void)
{
	struct stops *s = f.stops;
	pid_t parent = getppid();

	for (uint64_t i = 0; !atomic_load(&s->finish) && getppid() == parent; i++) {
		pause_ns((long)(8 + i * 7 % 13) * 1000 * 1000);
		s->ring[i % RING].begin = rt_now();
		atomic_store(&s->ring[i % RING].end, 0);
		atomic_store(&s->n, i + 1);
		kill(parent, SIGSTOP);
		pause_ns(3 * 1000 * 1000);
		kill(parent, SIGCONT);
		atomic_store(&s->ring[i % RING].end, rt_now());
	}
}

static const char *begin_child(void (*fn)(void))
{
	f.stops = mmap(NULL, sizeof *f.stops, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (f.stops == MAP_FAILED)
		return "no memory";
	f.child = fork();
	if (f.child < 0)
		return "cannot fork";
	if (f.child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fn();
		_exit(0);
	}
	return NULL;
}

static const char *begin_memory(void)
{
	const char *why = begin_group("memory", "memory.failcnt");

	if (why && f.v2) {
		char path[700];

		snprintf(path, sizeof path, "%s/memory.events", f.own);
		f.stat = open(path, O_RDONLY | O_CLOEXEC);
		why = f.stat < 0 ? why : NULL;
	}
	if (why)
		return why;
	if (write_file(f.own, f.v2 ? "memory.max" : "memory.limit_in_bytes", MEMORY_BYTES))
		return "cannot set a memory limit";
	if (!move_to(f.own))
		return "cannot move into the cgroup";
	why = begin_child(fill_memory);
	/* Filling takes seconds on a slow machine. */
	for (int i = 0; !why && !read_count(f.v2 ? "max " : "") && i < FILL_LOOKS; i++)
		pause_ns(20 * 1000 * 1000);
	return why;
}

/* The sum of the stopped times within begin..end; waits for the end of one that is not over. */
static int64_t stopped_ns(int64_t begin, int64_t end)
{
	struct stops *s = f.stops;
	uint64_t n = atomic_load(&s->n);
	int64_t sum = 0;

	for (uint64_t i = n; i-- > (n > RING ? n - RING : 0);) {
		int64_t from = s->ring[i % RING].begin, to;

		while (!(to = atomic_load(&s->ring[i % RING].end)))
			pause_ns(50 * 1000);
		if (to <= begin)
			break;
		from = from > begin ? from : begin;
		to = to < end ? to : end;
		sum += to > from ? to - from : 0;
	}
	return sum;
}

/* ---------------------------------------------------------------------------------------------- */

const char *fault_begin(enum fault fault)
{
	const char *why = NULL;

	f.fault = fault;
	if (fault == FAULT_QUOTA)
		why = begin_quota();
	if (fault == FAULT_MEMORY)
		why = begin_memory();
	if (fault == FAULT_SIGSTOP)
		why = begin_child(stop_parent);
	f.hits_before = 0;
	f.hits_before = fault_hits();
	if (why)
		fault_end();
	return why;
}

void fault_mark(void)
{
	if (f.fault == FAULT_QUOTA)
		f.marked = throttled_ns();
}

int64_t fault_lost(int64_t begin, int64_t end)
{
	int64_t lost = 0;

	if (f.fault == FAULT_QUOTA && !waits_are_ticks())
		lost = throttled_ns() - f.marked;
	if (f.fault == FAULT_SIGSTOP)
		lost = stopped_ns(begin, end);
	return lost < end - begin ? lost : end - begin;
}

uint64_t fault_hits(void)
{
	uint64_t now = 0;

	if (f.fault == FAULT_QUOTA)
		now = read_count("nr_throttled ");
	if (f.fault == FAULT_MEMORY)
		now = read_count(f.v2 ? "max " : "");
	if (f.fault == FAULT_SIGSTOP)
		now = atomic_load(&f.stops->n);
	return now - f.hits_before;
}

void fault_end(void)
{
	if (f.child > 0) {
		atomic_store(&f.stops->finish, 1);
		waitpid(f.child, NULL, 0);
		f.child = 0;
	}
	if (f.stat >= 0)
		close(f.stat);
	f.stat = -1;
	if (f.own[0]) {
		move_to(f.home);
		for (int i = 0; i < 100 && rmdir(f.own) < 0 && errno == EBUSY; i++)
			pause_ns(20 * 1000 * 1000);
	}
	f.own[0] = '\0';
	f.fault = FAULT_NONE;
}
