/* The control socket, as a stranger to the process sees it: lines, leases, who may speak there. */
#include "control_rig.h"

#include <fcntl.h>
#include <sys/wait.h>

enum { EEXIST_ = 17, EADDRINUSE_ = 98 }; /* errno is not for managed text */

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
	if (!rig_begin())
		return 1;
	lines_are_answered();
	ps_are_parked();
	leases_end();
	strangers_are_refused();
	connections_have_a_bound();
	stop();
	the_path_is_handled_with_care();
	return rig_end();
}
