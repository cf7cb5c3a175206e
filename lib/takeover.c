/*
 * The order is that of the harm done: an owner that answers knows best (its record has the
 * verdict); the guard has what it needs to revert and to say so; killing both and reverting from
 * the journal is what is left. A kill is harmless to what is restored, since reverting works after
 * half a revert, and costs the run its verdict.
 *
 * An owner answers by a mark in its lock file (lock_note_ending): that it lives is no sign, since
 * one that is stopped, swapped out or stuck in a write lives too. One that has answered is given
 * the time that services and a lab need to go.
 */
#include "takeover.h"

#include "base/clock.h"
#include "kernel/broker.h"
#include "kernel/pidfd.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
	POLL_MS = 10,
	CLOSE_AFTER_MS = 150,     /* without an answer: the gates are closed from here */
	CLOSE_BUDGET_MS = 600,
	ANSWER_MS = 1000,         /* the owner's time to answer */
	REVERT_MS = 6000,         /* for one that has answered: until nothing of the fault is left */
	END_MS = 60000,           /* and until its lab is down and its record written */
	GUARD_MS = 700,           /* the guard's time to revert, over the head of such an owner */
	GUARD_ALONE_MS = 15000,   /* and after its owner's death, for `recover` */
	OTHERS_MS = 10000,        /* for processes that only die */
};

struct process {
	pid_t pid;
	unsigned long long start;
	int fd; /* pidfd; -1: not held yet */
	bool asked, killed;
};

struct takeover {
	char *state_dir, *run_id, *lock_path;
	struct process owner, guard;
	bool ask, foreign, ending, gates_closed;
	int64_t began_ns, passed_over_ns; /* 0: the owner was not passed over */
	int64_t leaderless_ns;            /* since when neither owner nor guard lives */
};

/* who holds the lock ---------------------------------------------------------------------------- */

/* A descriptor of the file that carries a lock: fdinfo lists the locks of the open file. */
static bool fd_holds(pid_t pid, const char *fd, const struct stat *lock)
{
	autofree char *file = xasprintf("/proc/%d/fd/%s", pid, fd);
	autofree char *info = xasprintf("/proc/%d/fdinfo/%s", pid, fd);
	char line[256];
	bool holds = false;
	struct stat st;
	FILE *f;

	if (stat(file, &st) < 0 || st.st_ino != lock->st_ino || st.st_dev != lock->st_dev)
		return false;
	f = fopen(info, "re");
	while (f && !holds && fgets(line, sizeof line, f))
		holds = strncmp(line, "lock:", 5) == 0 && strstr(line, "WRITE");
	if (f)
		fclose(f);
	return holds;
}

static bool process_holds(pid_t pid, const struct stat *lock)
{
	autofree char *folder = xasprintf("/proc/%d/fd", pid);
	DIR *d = opendir(folder);
	bool holds = false;
	struct dirent *de;

	while (d && !holds && (de = readdir(d)))
		holds = de->d_name[0] != '.' && fd_holds(pid, de->d_name, lock);
	if (d)
		closedir(d);
	return holds;
}

/* A user's lock file names processes of that user, or it lies. */
static bool belongs_to_run(pid_t pid, const struct stat *lock)
{
	autofree char *folder = xasprintf("/proc/%d", pid);
	struct stat st;

	return stat(folder, &st) == 0 && st.st_uid == lock->st_uid && process_holds(pid, lock);
}

/* Holds the process by a pidfd, if it is what the lock file says. */
static void hold(const struct takeover *t, struct process *p)
{
	struct stat lock;

	if (p->fd >= 0 || p->pid <= 0 || stat(t->lock_path, &lock) < 0)
		return;
	p->fd = lock_holder_pidfd(p->pid, p->start, NULL);
	if (p->fd >= 0 && !belongs_to_run(p->pid, &lock)) {
		close(p->fd);
		p->fd = -1;
	}
}

static bool lives(const struct process *p)
{
	return p->fd >= 0 && pidfd_wait(p->fd, 0) != 1;
}

/* By SIGSTOP, a debugger or a frozen group it cannot answer: there is nothing to wait for. */
static bool stands_still(const struct process *p)
{
	return p->pid > 0 && pidfd_stands_still(p->pid);
}

static void set_process(struct process *p, pid_t pid, unsigned long long start)
{
	if (pid <= 0 || (pid == p->pid && start == p->start))
		return;
	if (p->fd >= 0)
		close(p->fd);
	*p = (struct process){.pid = pid, .start = start, .fd = -1};
}

/* The file is written again when a guard comes, or another in its place; half written, it says
 * nothing and what is known stays. */
static void look(struct takeover *t)
{
	struct lock_holder h = {0};

	if (lock_holder_read(t->state_dir, t->run_id, &h, NULL) == 0) {
		set_process(&t->owner, h.owner, h.owner_start);
		set_process(&t->guard, h.guard, h.guard_start);
		t->ending = t->ending || h.ending;
	}
	lock_holder_done(&h);
	hold(t, &t->owner);
	hold(t, &t->guard);
}

int takeover_new(const char *state_dir, const char *run_id, struct takeover **ret, struct err *e)
{
	autoptr(takeover) t = xcalloc(1, sizeof *t);

	t->state_dir = xstrdup(state_dir);
	t->run_id = xstrdup(run_id);
	t->lock_path = xasprintf("%s/locks/%s", state_dir, run_id);
	t->owner.fd = t->guard.fd = -1;
	t->began_ns = clock_now_ns();
	look(t);
	*ret = take(t);
	return 0;
}

void takeover_free(struct takeover *t)
{
	if (!t)
		return;
	if (t->owner.fd >= 0)
		close(t->owner.fd);
	if (t->guard.fd >= 0)
		close(t->guard.fd);
	free(t->state_dir);
	free(t->run_id);
	free(t->lock_path);
	free(t);
}

void takeover_is_foreign(struct takeover *t)
{
	t->foreign = true;
}

void takeover_ask(struct takeover *t)
{
	t->ask = true;
	if (t->owner.asked || !lives(&t->owner))
		return;
	t->owner.asked = true;
	pidfd_signal(t->owner.fd, SIGTERM, NULL);
}

/* the gates ------------------------------------------------------------------------------------- */

void takeover_close_gates(struct journal *j, const char *run_id)
{
	int64_t until_ns = clock_now_ns() + CLOSE_BUDGET_MS * NSEC_PER_MSEC;
	autoptr(broker) broker = NULL;
	struct undo_list undo = {0};

	if (journal_pending(j, run_id, &undo, NULL) == 0 && undo.n &&
	    broker_start(&broker, NULL) == 0)
		for (size_t i = 0; i < undo.n && clock_now_ns() < until_ns; i++) {
			const struct undo *u = &undo.items[i];

			if (u->driver && u->driver->close_gates && !u->earlier_boot)
				u->driver->close_gates(u, broker, NULL);
		}
	undo_list_done(&undo);
}

/* the ladder ------------------------------------------------------------------------------------ */

static int64_t ms_since(int64_t ns)
{
	return (clock_now_ns() - ns) / NSEC_PER_MSEC;
}

static size_t pending(struct journal *j, const char *run_id)
{
	struct undo_list undo = {0};
	size_t n = j && journal_pending(j, run_id, &undo, NULL) == 0 ? undo.n : 0;

	undo_list_done(&undo);
	return n;
}

static bool owner_answers(const struct takeover *t, struct journal *j)
{
	int64_t ms = ms_since(t->began_ns);

	if (stands_still(&t->owner))
		return false;
	if (!t->ending)
		return ms < ANSWER_MS;
	return ms < REVERT_MS || (ms < END_MS && pending(j, t->run_id) == 0);
}

static void kill_process(struct process *p)
{
	if (p->killed || !lives(p))
		return;
	p->killed = true;
	pidfd_signal(p->fd, SIGKILL, NULL);
}

/* Told to act, it reverts though its owner lives, and leaves. */
static void ask_guard(struct takeover *t)
{
	if (t->guard.asked || !lives(&t->guard))
		return;
	t->guard.asked = true;
	pidfd_signal(t->guard.fd, SIGTERM, NULL);
}

static void pass_over_owner(struct takeover *t)
{
	if (!t->passed_over_ns)
		t->passed_over_ns = clock_now_ns();
	ask_guard(t);
	if (lives(&t->guard) && !stands_still(&t->guard) && ms_since(t->passed_over_ns) < GUARD_MS)
		return;
	kill_process(&t->owner);
}

/* Its owner is dead, so it reverts, or should. */
static void hurry_guard(struct takeover *t)
{
	int64_t since_ns = t->passed_over_ns ? t->passed_over_ns + GUARD_MS * NSEC_PER_MSEC
					     : t->began_ns;

	if (t->foreign)
		return;
	if (stands_still(&t->guard) ||
	    ms_since(since_ns) >= (t->ask ? GUARD_MS : GUARD_ALONE_MS))
		kill_process(&t->guard);
}

/* Names of those that hold the lock and are neither owner nor guard. */
static int tell_others(const struct takeover *t, struct err *e)
{
	DIR *d = opendir("/proc");
	autostr who = {0};
	struct dirent *de;
	struct stat lock;

	if (stat(t->lock_path, &lock) < 0)
		memset(&lock, 0, sizeof lock);
	while (d && (de = readdir(d)))
		if (atoi(de->d_name) > 0 && process_holds(atoi(de->d_name), &lock))
			str_addf(&who, "%s%s", who.len ? ", " : "", de->d_name);
	if (d)
		closedir(d);
	err_set(e, EBUSY, "owner and guard are gone or killed, and its lock is still held by process %s",
		who.len ? who.s : "(not to be seen from here)");
	return err_hint(e, "try again; if it stays, end that process");
}

/* 1 when the lock is free. */
static int try_lock(struct takeover *t, int *ret_lock, struct err *e)
{
	struct lock_holder h = {0};
	int r;

	if (!t->foreign)
		return lock_take_over(t->state_dir, t->run_id, ret_lock, e);
	r = lock_holder_read(t->state_dir, t->run_id, &h, NULL);
	r = r < 0 || !h.live; /* its file goes with the run */
	lock_holder_done(&h);
	return r;
}

/* A killed one may take long to die, in a frozen group for ever. */
static bool timed_out(struct takeover *t)
{
	if ((lives(&t->owner) && !t->owner.killed) || (lives(&t->guard) && !t->guard.killed)) {
		t->leaderless_ns = 0;
		return t->foreign && ms_since(t->began_ns) > REVERT_MS;
	}
	if (!t->leaderless_ns)
		t->leaderless_ns = clock_now_ns();
	return ms_since(t->leaderless_ns) > OTHERS_MS;
}

static void press(struct takeover *t, struct journal *j)
{
	if (!lives(&t->owner)) {
		if (lives(&t->guard))
			hurry_guard(t);
		return;
	}
	if (j && !t->gates_closed && !t->ending &&
	    (ms_since(t->began_ns) >= CLOSE_AFTER_MS || stands_still(&t->owner))) {
		t->gates_closed = true;
		takeover_close_gates(j, t->run_id);
	}
	if (!owner_answers(t, j))
		pass_over_owner(t);
}

int takeover_wait(struct takeover *t, struct journal *j, int *ret_lock, struct err *e)
{
	*ret_lock = -1;
	for (;;) {
		int r = try_lock(t, ret_lock, e);

		if (r != 0)
			return r;
		look(t);
		if (!t->ask && lives(&t->owner))
			return 0;
		press(t, j);
		if (timed_out(t))
			return t->foreign ? err_set(e, EBUSY, "its guard %d still holds its lock",
						    (int)t->guard.pid)
					  : tell_others(t, e);
		poll(NULL, 0, POLL_MS);
	}
}

const char *takeover_story(const struct takeover *t)
{
	if (t->owner.killed && t->guard.killed)
		return "its owner and its guard did not answer and were killed";
	if (t->owner.killed)
		return "its owner did not answer and was killed";
	return t->guard.killed ? "its guard did not answer and was killed" : "";
}
