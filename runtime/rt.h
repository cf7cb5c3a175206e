/*
 * rt - coroutines on few threads: an M:N scheduler with asynchronous preemption
 *
 * Units:   times are CLOCK_MONOTONIC nanoseconds; deadlines are absolute; sizes are bytes
 * Owns:    what a _new function returns belongs to the caller until its _free; strings are copied
 *          unless said otherwise
 * Threads: "coroutine" functions may be called by coroutines only, "any" by every thread. What is
 *          not marked is for coroutines.
 * Errors:  0 or a negative errno. Misuse (send on a closed channel, unlock of what is not locked,
 *          a deadlock) ends the process with a message that names the coroutine and where it was
 *          created. Out of memory ends it too.
 * Safepoint: every function here polls before it returns, except where "no safepoint" stands: the
 *          caller may be moved to another thread inside it. Nothing of a thread (errno, a TLS
 *          address, pthread_self) may be kept across a call.
 * Signals: SIGURG, SIGSEGV, SIGBUS and SIGQUIT are the runtime's while it runs. A handler of the
 *          program's own belongs on the signal stack that every thread has (SA_ONSTACK): there a
 *          coroutine is not preempted
 * fork:    the child is a foreign thread without a runtime: polls do nothing there
 * Source:  the G-M-P scheduler of Go (Vyukov, "Scalable Go Scheduler Design Doc", 2012) and its
 *          asynchronous preemption (Clements, proposal 24543, 2019)
 *
 * Code that runs in coroutines is *managed* when it was linked through runtime/managed: only there
 * can a coroutine be taken off its thread between any two instructions. In other code (libc) it
 * leaves its thread at calls of this header only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rt_co;   /* a coroutine */
struct rt_chan; /* a channel */
struct rt_ctx;  /* cancellation and deadline of a piece of work */
struct sockaddr;
struct addrinfo;
struct iovec;

#define RT_FOREVER INT64_MAX
#define RT_USEC INT64_C(1000)
#define RT_MSEC INT64_C(1000000)
#define RT_SEC INT64_C(1000000000)

/* A runtime ----------------------------------------------------------------------------------- */

enum rt_preempt_mode {
	RT_PREEMPT_ALL,         /* polls and signals */
	RT_PREEMPT_COOPERATIVE, /* polls and calls of this header only */
	RT_PREEMPT_PAGE,        /* cooperative; the world is stopped by the polling page */
	RT_PREEMPT_SIGNAL,      /* signals; RT_POLL finds those that came at the wrong moment */
};

struct rt_options {
	unsigned procs;      /* 0: RT_PROCS, else min(affinity, cgroup quota), followed as it changes */
	unsigned max_threads; /* 0: 10000. The process ends with a message when one more is needed */
	size_t stack_bytes;  /* 0: 64 KiB. Of coroutines that do not ask for another */
	enum rt_preempt_mode preempt; /* RT_PREEMPT=all|cooperative|page|signal wins */
};

/*
 * Runs fn(arg) as the first coroutine, on the calling thread and others, and returns when fn has
 * returned: other coroutines are gone then, where they stand. *ret_result (may be NULL) is what fn
 * returned. A process runs one runtime at a time; another may follow.
 * Errors: -EBUSY one runs already, -ENOTSUP this machine has shadow stacks on, -EINVAL options
 */
int rt_run(const struct rt_options *o, void *(*fn)(void *arg), void *arg, void **ret_result);

unsigned rt_procs(void); /* any; how many coroutines run at one time */
/* Fixes the number (1..256) until rt_set_procs(0) gives it back to affinity and quota. -EINVAL */
int rt_set_procs(unsigned n);

/* Coroutines ---------------------------------------------------------------------------------- */

struct rt_attr {
	const char *name;   /* shown in dumps; NULL: the symbol of fn. Not copied */
	size_t stack_bytes; /* 0: the runtime's; at most 8 MiB */
};

/* Starts fn(arg); nobody joins it. Errors: -ENOMEM no address space for its stack */
int rt_go(void (*fn)(void *arg), void *arg);
int rt_go_attr(void (*fn)(void *arg), void *arg, const struct rt_attr *attr);
/* Starts fn(arg); the handle ends with rt_join or rt_detach, exactly once. NULL: -ENOMEM. */
struct rt_co *rt_spawn(void *(*fn)(void *arg), void *arg, const struct rt_attr *attr);
/* Waits for the end; *ret (may be NULL) is what fn returned or rt_exit was given. */
void rt_join(struct rt_co *co, void **ret);
/* Errors: -ETIMEDOUT, and the handle is still good */
int rt_join_dl(struct rt_co *co, int64_t deadline, void **ret);
void rt_detach(struct rt_co *co);
_Noreturn void rt_exit(void *result); /* ends the calling coroutine */

struct rt_co *rt_self(void);               /* any; NULL outside coroutines. No safepoint */
uint64_t rt_id(const struct rt_co *co);    /* any; unique in the runtime. No safepoint */
void rt_set_name(const char *name);        /* of the caller; not copied. No safepoint */
void rt_yield(void);                       /* lets the others of this queue go first */
void rt_sleep(int64_t ns);
void rt_sleep_until(int64_t deadline);
int64_t rt_now(void);                      /* any. No safepoint */

/* Coroutine-local values. At most 32 keys; destructors run at the end, newest key first. */
int rt_key_new(void (*destructor)(void *value)); /* any; -ENOSPC */
void *rt_local_get(int key);                     /* no safepoint */
void rt_local_set(int key, void *value);         /* no safepoint */

/* errno that stays with the coroutine; the calls of this header return their errors instead. */
int *rt_errno_location(void);
#define rt_errno (*rt_errno_location())

/* Preemption ---------------------------------------------------------------------------------- */

extern volatile uint32_t rt_poll_word[];

void rt_poll_slow(void);
/* A poll: for loop back edges and returns. One load and a branch when nobody asks. */
#define RT_POLL()                                                                                  \
	do {                                                                                       \
		if (__builtin_expect(__atomic_load_n(rt_poll_word, __ATOMIC_RELAXED), 0))                  \
			rt_poll_slow();                                                            \
	} while (0)

/* Between these the coroutine stays on its thread, is not preempted and does not stop. They nest.
 * No blocking call may be made between them. No safepoint; the last _on polls. */
void rt_preempt_off(void);
void rt_preempt_on(void);

/* Runs fn(arg) while no other coroutine runs: every thread stands still, in foreign code too. fn
 * runs on a system stack, must not block and must take no lock that a stopped thread may hold
 * (malloc's, stdio's). cause names the histogram that takes the time to safepoint. */
void rt_stop_world(const char *cause, void (*fn)(void *arg), void *arg);

/* System calls, foreign code and foreign threads ------------------------------------------------ */

/* Around a call that may block the thread: the scheduling context goes to others meanwhile. What
 * stands between may use any libc, and no function of this header. errno after the call belongs
 * into a variable before rt_exit_syscall. */
void rt_enter_syscall(void);
void rt_exit_syscall(void);

/* fn(arg) on the thread's own, deep stack; no blocking call of this header inside. The world is not
 * stopped meanwhile: what lasts belongs into rt_blocking. */
void *rt_on_system_stack(void *(*fn)(void *arg), void *arg);
/* fn(arg) on a thread where it may block: rt_enter_syscall and rt_on_system_stack in one. */
void *rt_blocking(void *(*fn)(void *arg), void *arg);

/* From threads that the runtime did not make. Between attach and detach the runtime counts on the
 * thread to post: no deadlock is reported. Errors: -ESRCH no runtime runs (or it is ending) */
int rt_attach(void);                                     /* any */
void rt_detach_thread(void);                             /* any */
int rt_post(void (*fn)(void *arg), void *arg);           /* any; starts a coroutine */
int rt_call(void *(*fn)(void *arg), void *arg, void **ret); /* foreign threads; waits for its end */

/* Channels ------------------------------------------------------------------------------------ */

/* cap values of elem_bytes (0 is fine for both: a rendezvous, a pure signal). */
struct rt_chan *rt_chan_new(size_t elem_bytes, size_t cap); /* any */
void rt_chan_free(struct rt_chan *c); /* any; nobody may wait on it. Accepts NULL */
/* Copies *elem in, waits for room or a receiver. Sending on a closed channel ends the process. */
void rt_send(struct rt_chan *c, const void *elem);
/* false: closed and drained, and *ret is zeroed. ret may be NULL. */
bool rt_recv(struct rt_chan *c, void *ret);
/* Errors: -ETIMEDOUT; a deadline of 0 tries once. Receiving: -EPIPE closed and drained */
int rt_send_dl(struct rt_chan *c, const void *elem, int64_t deadline);
int rt_recv_dl(struct rt_chan *c, void *ret, int64_t deadline);
void rt_close(struct rt_chan *c); /* wakes everybody; closing twice ends the process */
size_t rt_chan_len(const struct rt_chan *c); /* any; a moment's truth */

enum rt_dir { RT_SEND, RT_RECV };
struct rt_case {
	struct rt_chan *chan; /* NULL: never ready */
	enum rt_dir dir;
	void *elem;  /* sent from, or received into (may be NULL then) */
	bool closed; /* set: the receive found the channel closed and drained */
};
/* Does exactly one case, chosen evenly among those ready, and returns its index. A deadline of 0
 * tries once. At most 64 cases. Errors: -ETIMEDOUT */
int rt_select(struct rt_case *cases, size_t n, int64_t deadline);

/* Locks and meetings: zero is a valid initial value of each, none needs to be freed. ------------ */

struct rt_waiters {
	void *first, *last;
};

struct rt_mutex { /* starts fair hand-over after 1 ms of waiting; not recursive */
	_Atomic uint32_t state;
	_Atomic uint32_t guard;
	struct rt_waiters waiters;
};
void rt_lock(struct rt_mutex *m);
int rt_lock_dl(struct rt_mutex *m, int64_t deadline); /* -ETIMEDOUT */
bool rt_trylock(struct rt_mutex *m);
void rt_unlock(struct rt_mutex *m); /* by any coroutine */

struct rt_rwlock { /* a waiting writer holds later readers back */
	_Atomic uint32_t guard;
	uint32_t readers, writers_waiting;
	bool writing;
	struct rt_waiters waiters;
};
void rt_rdlock(struct rt_rwlock *l);
void rt_wrlock(struct rt_rwlock *l);
int rt_rdlock_dl(struct rt_rwlock *l, int64_t deadline); /* -ETIMEDOUT */
int rt_wrlock_dl(struct rt_rwlock *l, int64_t deadline); /* -ETIMEDOUT */
void rt_rdunlock(struct rt_rwlock *l);
void rt_wrunlock(struct rt_rwlock *l);

struct rt_group { /* a wait group */
	_Atomic uint32_t guard;
	int32_t count;
	struct rt_waiters waiters;
};
void rt_group_add(struct rt_group *g, int n); /* below zero ends the process */
void rt_group_done(struct rt_group *g);
void rt_group_wait(struct rt_group *g);
int rt_group_wait_dl(struct rt_group *g, int64_t deadline); /* -ETIMEDOUT */

struct rt_once {
	_Atomic uint32_t done;
	struct rt_mutex lock;
};
void rt_once(struct rt_once *o, void (*fn)(void *arg), void *arg);

struct rt_cond {
	_Atomic uint32_t guard;
	struct rt_waiters waiters;
};
void rt_cond_wait(struct rt_cond *c, struct rt_mutex *m);
int rt_cond_wait_dl(struct rt_cond *c, struct rt_mutex *m, int64_t deadline); /* -ETIMEDOUT */
void rt_cond_signal(struct rt_cond *c);
void rt_cond_broadcast(struct rt_cond *c);

struct rt_sem { /* .count is the initial value; served in order */
	_Atomic uint32_t guard;
	int64_t count;
	struct rt_waiters waiters;
};
void rt_sem_acquire(struct rt_sem *s, int64_t n);
int rt_sem_acquire_dl(struct rt_sem *s, int64_t n, int64_t deadline); /* -ETIMEDOUT */
void rt_sem_release(struct rt_sem *s, int64_t n);

/* Contexts: a tree; cancelling one cancels what was made from it. -------------------------------- */

/* parent NULL: a root. deadline RT_FOREVER: the parent's. */
struct rt_ctx *rt_ctx_new(struct rt_ctx *parent, int64_t deadline);
void rt_ctx_cancel(struct rt_ctx *c);
int rt_ctx_err(const struct rt_ctx *c); /* 0, -ECANCELED or -ETIMEDOUT */
int64_t rt_ctx_deadline(const struct rt_ctx *c);
/* Closed when it is cancelled or its deadline has passed; for rt_select. Borrowed. */
struct rt_chan *rt_ctx_done(struct rt_ctx *c);
void rt_ctx_free(struct rt_ctx *c); /* cancels it first; accepts NULL */

/* Files, sockets, names: calls that park the coroutine, not the thread. --------------------------- */

/* A descriptor that was given to rt_fd_open is made non-blocking and waits through epoll; any other
 * one blocks a thread in the system call, and the scheduling context goes on without it. The same
 * calls serve both. Errors: negative errno, -ETIMEDOUT past the deadline, -ECANCELED closed by
 * rt_close_fd meanwhile, -EAGAIN non-blocking without having been given to rt_fd_open. */
int rt_fd_open(int fd);  /* -EPERM: epoll cannot wait for it (a regular file), it stays as it was */
/* Wakes who waits on it, waits until the calls under way have returned, then closes. */
int rt_close_fd(int fd);
ssize_t rt_read(int fd, void *buf, size_t n, int64_t deadline);
ssize_t rt_write(int fd, const void *buf, size_t n, int64_t deadline); /* as much as goes at once */
ssize_t rt_write_all(int fd, const void *buf, size_t n, int64_t deadline);
ssize_t rt_writev(int fd, const struct iovec *v, int n, int64_t deadline);
/* Sockets do not raise SIGPIPE (-EPIPE). What these make is registered already, accepted and listening
 * TCP sockets without Nagle's delay. host NULL or "*": every address of both families. Several
 * coroutines may accept from one socket. Errors of rt_listen and rt_dial besides the kernel's:
 * -ENOENT the name is unknown, -EAGAIN no name server answers */
int rt_listen(const char *host, const char *port, int backlog);
int rt_accept(int fd, struct sockaddr *addr, unsigned *addr_bytes, int64_t deadline); /* the new fd */
int rt_connect(const struct sockaddr *addr, unsigned addr_bytes, int64_t deadline); /* the new fd */
int rt_dial(const char *host, const char *port, int64_t deadline); /* looks up, tries each in turn */
/* getaddrinfo on a thread where it may block; its EAI_ codes. Free with freeaddrinfo. */
int rt_lookup(const char *host, const char *port, const struct addrinfo *hints,
	      struct addrinfo **ret);
/* Waits until the descriptor is readable (or writable); for libraries with their own sockets. */
int rt_wait_fd(int fd, bool writable, int64_t deadline);

/* Garbage-collected memory ----------------------------------------------------------------------- */

#include "rt_mem.h"
#include "rt_pool.h"

/* Looking at it ------------------------------------------------------------------------------- */

/*
 * RT_DEBUG=schedtrace=1000,scheddetail=1   a line each 1000 ms as Go prints it, and one for each P, M, G
 *          leakwatch=1000,leakwindow=60    tell when there are 1000 coroutines more within a minute
 *          pool=1,arena=1,scoped=1         catch misuse of pools, arenas, scoped objects (rt_pool.h)
 *          blockprofile=1,mutexprofile=1   rates from the start (obs/debug.h, which has the profiles)
 */
/* Every coroutine with state, reason, waiting time and stack, as SIGQUIT does. Stops nothing. any */
void rt_dump(int fd);
