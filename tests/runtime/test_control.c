/*
 * The control socket, as a stranger to the process sees it: the client is a thread that the runtime did
 * not make, the service a runtime on other threads.
 */
#include "rt.h"
#include "rt_control.h"

#include "tap.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { PROCS = 3, EEXIST_ = 17, EADDRINUSE_ = 98 }; /* errno is not for managed text */

static char dir[64], path[80];
static _Atomic int serving, leave, ticks;
static pthread_t service;

/* The service --------------------------------------------------------------------------------------- */

static void tick(void *arg)
{
	for (;;) {
		atomic_fetch_add(&ticks, 1);
		rt_sleep(RT_MSEC);
	}
}

static void *serve(void *arg)
{
	int r = rt_control_serve(&(struct rt_control_options){.path = path, .probe_ns = 2 * RT_MSEC});

	atomic_store(&serving, r < 0 ? r : 1);
	rt_go(tick, NULL);
	while (r == 0 && !atomic_load(&leave))
		rt_sleep(RT_MSEC);
	rt_control_stop();
	return NULL;
}

static void *run(void *arg)
{
	rt_run(&(struct rt_options){.procs = PROCS}, serve, NULL, NULL);
	return NULL;
}

/* 1, or what rt_control_serve returned. */
static int start(void)
{
	atomic_store(&serving, 0);
	atomic_store(&leave, 0);
	pthread_create(&service, NULL, run, NULL);
	while (!atomic_load(&serving))
		usleep(1000);
	return atomic_load(&serving);
}

static void stop(void)
{
	atomic_store(&leave, 1);
	pthread_join(service, NULL);
}

/* The client ---------------------------------------------------------------------------------------- */

static int dial(void)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(to.sun_path, path);
	if (connect(fd, (void *)&to, sizeof to) == 0)
		return fd;
	close(fd);
	return -1;
}

/* One line without its end; "" when the other side has closed. */
static const char *line(int fd)
{
	static char buf[5000];
	size_t n = 0;

	while (n < sizeof buf - 1 && read(fd, buf + n, 1) == 1 && buf[n] != '\n')
		n++;
	buf[n] = '\0';
	return buf;
}

static const char *ask(int fd, const char *command)
{
	dprintf(fd, "%s\n", command);
	return line(fd);
}

static bool says(int fd, const char *command, const char *begin)
{
	const char *answer = ask(fd, command);

	if (!strncmp(answer, begin, strlen(begin)))
		return true;
	printf("# %s: \"%s\"\n", command, answer);
	return false;
}

static int greeted(void)
{
	int fd = dial();

	line(fd);
	return fd;
}

static bool status_has(int fd, const char *word)
{
	return strstr(ask(fd, "status"), word);
}

/* Until the status says so, at most half a minute: less than the leases that are not to run out. */
static bool comes_to(int fd, const char *word)
{
	for (int64_t end = rt_now() + 30 * RT_SEC; rt_now() < end; usleep(1000))
		if (status_has(fd, word))
			return true;
	printf("# in vain for %s: %s\n", word, ask(fd, "status"));
	return false;
}

/* The tests ------------------------------------------------------------------------------------------ */

static void lines_are_answered(void)
{
	char word[700], text[32];
	int fd = dial();
	struct stat st;

	snprintf(text, sizeof text, "rt-control 1 pid=%d", getpid());
	CHECK(!strcmp(line(fd), text), "the greeting has version and process");
	stat(path, &st);
	CHECK((st.st_mode & 07777) == 0600, "nobody but the service's user may connect");
	CHECK(says(fd, "help", "ok alloc-storm tag="), "help lists the actions");
	CHECK(says(fd, "frobnicate", "error no such command: \"frobnicate\""), "an unknown command is named");
	CHECK(says(fd, "", "error no such command"), "an empty line is no command");
	CHECK(says(fd, "park-p lease_ms=1000", "error tag is missing"), "an action has a tag");
	CHECK(says(fd, "park-p tag=a", "error lease_ms is missing"), "an action has a lease");
	CHECK(says(fd, "park-p tag=a:b lease_ms=1000", "error tag: want letters"), "a tag stays one word");
	CHECK(says(fd, "park-p tag=a lease_ms=1000 count=x", "error count: \"x\" is not a number from 1"),
	      "a number is a number");
	CHECK(says(fd, "park-p tag=a lease_ms=99999999", "error lease_ms: \"99999999\" is not a number"),
	      "a lease has a bound");
	CHECK(says(fd, "park-p tag=a lease_ms=1000 cuont=1", "error park-p has no parameter \"cuont\""),
	      "an unknown parameter is named");
	CHECK(says(fd, "stall-safepoint tag=a lease_ms=1000", "error stall_us is missing"),
	      "a parameter without a default must be given");
	CHECK(says(fd, "renew", "error no action of this connection"), "nothing to renew is an error");
	(void)!write(fd, "stat", 4);
	usleep(10000);
	(void)!write(fd, "us\nhelp\n", 8);
	CHECK(!strncmp(line(fd), "ok procs=3", 10) && !strncmp(line(fd), "ok alloc-storm", 14),
	      "lines are told by their ends, however they come");
	memset(word, 'x', sizeof word);
	(void)!write(fd, word, sizeof word);
	CHECK(!strcmp(line(fd), "error the line is too long") && !*line(fd),
	      "a line without end closes the connection");
	close(fd);
}

static void ps_are_parked(void)
{
	int fd = greeted(), other = greeted();

	CHECK(says(fd, "park-p tag=a lease_ms=60000 count=3", "error park-p: cannot park 3 of 3 Ps"),
	      "one P stays");
	CHECK(says(fd, "park-p tag=a lease_ms=60000 count=2", "ok id=") &&
	      comes_to(other, "live=1 parked=2"),
	      "two of three Ps go out of service");
	CHECK(says(other, "park-p tag=b lease_ms=60000", "error park-p: cannot park 1 of 1"),
	      "and the last one stays then too");
	CHECK(says(other, "end tag=c", "ok 0") && says(other, "end tag=a", "ok 1") &&
	      comes_to(other, "live=3 parked=0"), "another connection ends it by its tag");
	CHECK(says(fd, "park-p tag=a lease_ms=60000", "ok id=") && comes_to(other, "live=2"),
	      "it begins again");
	close(fd);
	CHECK(comes_to(other, "live=3 parked=0 ") && status_has(other, "actions=-"),
	      "closing the connection ends it");
	close(other);
}

static void leases_end(void)
{
	int fd = greeted(), other = greeted();
	bool held = true;

	ask(fd, "park-p tag=a lease_ms=300");
	CHECK(comes_to(other, "live=2") && comes_to(other, "live=3"), "a lease that is not renewed ends it");
	ask(fd, "park-p tag=a lease_ms=3000");
	comes_to(other, "live=2");
	for (int64_t end = rt_now() + 4 * RT_SEC; rt_now() < end;) {
		held = held && says(fd, "renew", "ok 1") && status_has(other, "park-p:a:");
		usleep(100000);
	}
	CHECK(held, "a renewed one lasts longer than the lease");
	CHECK(says(other, "renew", "error no action of this"), "somebody else's is not renewed");
	ask(fd, "end tag=a");
	ask(fd, "park-p tag=b lease_ms=60000 for_ms=200");
	CHECK(comes_to(other, "park-p:b:") && comes_to(other, "actions=-") &&
	      says(fd, "renew", "error no action"), "for_ms ends it whatever the lease says");
	close(fd);
	close(other);
}

/* A number of the status. */
static long long status_of(int fd, const char *key)
{
	const char *at = strstr(ask(fd, "status"), key);

	return at ? atoll(at + strlen(key)) : -2;
}

static bool grows_to(int fd, const char *key, long long n)
{
	for (int64_t end = rt_now() + 30 * RT_SEC; rt_now() < end; usleep(1000))
		if (status_of(fd, key) >= n)
			return true;
	printf("# in vain for %s%lld: %s\n", key, n, ask(fd, "status"));
	return false;
}

static void the_heap_is_disturbed(void)
{
	int fd = greeted(), other = greeted();
	long long cycles = status_of(fd, " cycles="), allocated, coroutines = status_of(fd, "coroutines=");

	ask(fd, "gc-force tag=f lease_ms=60000 interval_us=1000");
	CHECK(grows_to(other, " cycles=", cycles + 5), "collections are forced");
	CHECK(says(other, "end tag=f", "ok 1") && comes_to(other, "actions=-"), "until the action ends");
	CHECK(status_has(fd, "percent=100 ") && says(fd, "gc-pause tag=p lease_ms=60000", "ok id=") &&
	      says(fd, "gc-pause tag=q lease_ms=60000", "ok id=") && status_has(other, "percent=-1 "),
	      "collections are paused");
	cycles = status_of(fd, " cycles=");
	allocated = status_of(fd, "allocated=");
	ask(fd, "alloc-storm tag=s lease_ms=60000 bytes_per_s=200000000 count=2");
	CHECK(grows_to(other, "allocated=", allocated + (32 << 20)), "garbage is made");
	CHECK(status_of(fd, " cycles=") == cycles, "and nobody collects it meanwhile");
	ask(other, "end tag=p");
	CHECK(status_has(other, "percent=-1 "), "while one of two pauses lasts");
	ask(other, "end tag=q");
	CHECK(status_has(other, "percent=100 ") && grows_to(other, " cycles=", cycles + 1),
	      "the growth that was allowed before is back");
	ask(other, "end tag=s");
	CHECK(comes_to(other, "actions=-"), "the storm is over");
	ask(fd, "coroutine-leak tag=l lease_ms=60000 count=3000");
	CHECK(grows_to(other, "coroutines=", coroutines + 3000), "coroutines leak");
	close(fd);
	for (int i = 0; i < 30000 && status_of(other, "coroutines=") > coroutines + 10; i++)
		usleep(1000);
	CHECK(status_of(other, "coroutines=") <= coroutines + 10 && comes_to(other, "actions=-"),
	      "and end with the connection");
	ask(other, "gc-pause tag=p lease_ms=200");
	CHECK(status_has(other, "percent=-1 ") && comes_to(other, "percent=100 "),
	      "a pause of collections ends with its lease");
	close(other);
}

static bool ticker_stands_still(void)
{
	int seen = atomic_load(&ticks), still = 0;

	for (int i = 0; i < 60000 && still < 200; i++) {
		usleep(1000);
		still = atomic_load(&ticks) == seen ? still + 1 : 0;
		seen = atomic_load(&ticks);
	}
	return still == 200;
}

static int64_t worst_us(int fd)
{
	const char *at = strstr(ask(fd, "status"), "stall-safepoint:");

	for (int i = 0; at && i < 3; i++)
		at = strchr(at, ':') + 1;
	return at ? atoll(at) : -1;
}

static void safepoints_are_stalled(void)
{
	int fd = greeted(), other = greeted(), before;
	int64_t worst = 0;

	ask(fd, "stall-safepoint tag=s lease_ms=60000 stall_us=1000000 interval_us=1200000");
	for (int i = 0; i < 3000 && worst < 500000; i++, usleep(10000))
		worst = worst_us(other);
	printf("# the worst time to safepoint was %lld us\n", (long long)worst);
	/* Far more than a busy machine adds. */
	CHECK(worst >= 500000, "a stop of the world waits for a stall of a second");
	ask(other, "end tag=s");
	CHECK(comes_to(other, "actions=-"), "its coroutine leaves");
	ask(fd, "stall-safepoint tag=s lease_ms=60000 count=3 stall_us=60000000 interval_us=70000000");
	CHECK(ticker_stands_still(), "stalls on every P hold everything up");
	before = atomic_load(&ticks);
	CHECK(status_has(other, "stall-safepoint:s:") && atomic_load(&ticks) == before,
	      "the socket answers all the while");
	ask(other, "end tag=s");
	CHECK(comes_to(other, "actions=-"), "the end of an action cuts its stall short");
	close(fd);
	close(other);
}

/* What a user other than the service's gets: 0 a greeting, 1 an error, 2 no connection. */
static int as_nobody(void)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		int fd = setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0 ? dial()
												     : -1;

		_exit(fd < 0 ? 2 : strncmp(line(fd), "error refused: uid 65534", 24) ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

static void strangers_are_refused(void)
{
	if (geteuid() != 0) {
		printf("ok %d - strangers # SKIP needs root to become one; CI runs as root\n", ++tap_n);
		return;
	}
	CHECK(as_nobody() == 2, "another user cannot connect");
	chmod(path, 0666);
	CHECK(as_nobody() == 1, "and is refused by its uid where the file lets it");
	chmod(path, 0600);
}

static void connections_have_a_bound(void)
{
	int fds[9], fd;

	for (int i = 0; i < 8; i++)
		fds[i] = greeted();
	fd = dial();
	CHECK(!strcmp(line(fd), "error too many connections"), "the ninth connection is refused");
	close(fd);
	for (int i = 0; i < 8; i++)
		close(fds[i]);
}

static void the_path_is_handled_with_care(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	struct stat st;

	close(fd);
	CHECK(start() == -EEXIST_ && stat(path, &st) == 0 && S_ISREG(st.st_mode),
	      "a file that is no socket stays, and is an error");
	stop();
	unlink(path);
	strcpy(at.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	bind(fd, (void *)&at, sizeof at);
	listen(fd, 1);
	CHECK(start() == -EADDRINUSE_, "a socket where somebody answers is not taken over");
	stop();
	close(fd);
	CHECK(start() == 1, "a stale socket is");
	fd = greeted();
	CHECK(says(fd, "status", "ok procs=3"), "and answers");
	close(fd);
	stop();
	CHECK(stat(path, &st) < 0, "the socket goes with the service");
}

int main(void)
{
	strcpy(dir, "/tmp/bt-control-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	chmod(dir, 0711);
	snprintf(path, sizeof path, "%s/socket", dir);
	start();
	lines_are_answered();
	ps_are_parked();
	leases_end();
	safepoints_are_stalled();
	the_heap_is_disturbed();
	strangers_are_refused();
	connections_have_a_bound();
	stop();
	the_path_is_handled_with_care();
	unlink(path);
	rmdir(dir);
	return tap_done();
}
