/*
 * What the allocator refuses ends the process with a message that says what to do; and it does with
 * the address space that it gets. Each case runs in a child.
 */
#include "help.h"
#include "tap.h"

#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct node {
	struct node *const next;
	long value;
};
struct huge {
	struct huge *const next;
	char bytes[1 << 20];
};
RT_TYPE(node_type, struct node, next);
RT_TYPE(huge_type, struct huge, next);

static const uint32_t odd_ptrs[] = {4}, late_ptrs[] = {8, 16}, turned_ptrs[] = {8, 0};
static struct rt_type odd_type = {.name = "odd", .bytes = 16, .n_ptrs = 1, .ptrs = odd_ptrs};
static struct rt_type late_type = {.name = "late", .bytes = 16, .n_ptrs = 2, .ptrs = late_ptrs};
static struct rt_type turned_type = {
	.name = "turned", .bytes = 16, .n_ptrs = 2, .ptrs = turned_ptrs};

static void no_bytes(void)
{
	rt_new_bytes(0);
}

static void no_pointers(void)
{
	rt_new_ptrs(0);
}

static void no_objects(void)
{
	rt_new_array(&node_type, 0);
}

static void many_objects(void)
{
	rt_new_array(&node_type, SIZE_MAX / 8);
}

static void many_pointers(void)
{
	rt_new_ptrs(SIZE_MAX / 4);
}

static void many_bytes(void)
{
	rt_new_bytes(SIZE_MAX - 5);
}

static void pointer_at_4(void)
{
	rt_new(&odd_type);
}

static void pointer_behind(void)
{
	rt_new(&late_type);
}

static void pointers_not_ascending(void)
{
	rt_new_array(&turned_type, 2);
}

static void keep_all(void)
{
	rt_gc_set_percent(-1);
	for (;;)
		rt_new(&huge_type);
}

static void keep_all_small(void)
{
	rt_gc_set_percent(-1);
	for (;;)
		rt_new_bytes(32 << 10);
}

/* There is a run to take it from. */
static void in_system_call(void)
{
	rt_new(&node_type);
	rt_enter_syscall();
	rt_new(&node_type);
}

static void in_system_call_tiny(void)
{
	rt_new_bytes(3);
	rt_enter_syscall();
	rt_new_bytes(3);
}

static void *make_one(void *arg)
{
	return rt_new_bytes((size_t)(uintptr_t)arg);
}

static void in_thread(size_t bytes)
{
	pthread_t t;

	pthread_create(&t, NULL, make_one, (void *)bytes);
	rt_enter_syscall();
	pthread_join(t, NULL);
	rt_exit_syscall();
}

static void on_foreign_thread(void)
{
	in_thread(100);
}

static void on_foreign_thread_tiny(void)
{
	in_thread(3);
}

static void finalise_nothing(void *obj)
{
	(void)obj;
}

static void finalised_twice(void)
{
	void *p = rt_new(&node_type);

	rt_finalise(p, finalise_nothing);
	rt_finalise(p, finalise_nothing);
}

static void weak_to_the_inside(void)
{
	rt_weak_new((char *)rt_new_bytes(100) + 8);
}

static void weak_to_a_local(void)
{
	char local[16];

	rt_weak_new(local);
}

#ifdef RT_CHECKS
static void names_a_stack(void)
{
	struct node local = {0}, *n = rt_new(&node_type);

	RT_SET(local.next, n); /* a local may be set so */
	RT_SET(n->next, n);
	fprintf(stderr, "until here\n");
	RT_SET(n->next, &local);
}

static void copies_what_names_a_stack(void)
{
	struct node local = {0}, *n = rt_new(&node_type);

	RT_SET(local.next, &local);
	rt_copy(&node_type, n, &local, 1);
}
#endif

/* Goes well with little address space. */
static void makes_some(void)
{
	for (int i = 0; i < 100000; i++)
		rt_new(&node_type);
	for (int i = 0; i < 50; i++)
		rt_new(&huge_type);
	fprintf(stderr, "made some\n");
}

static const struct misuse {
	const char *name;
	void (*fn)(void);
	const char *text;
	size_t address_space; /* MiB; 0: all */
} misuses[] = {
	{"no_bytes", no_bytes, "rt_new_bytes: no bytes", 0},
	{"no_pointers", no_pointers, "rt_new_ptrs: no pointers", 0},
	{"no_objects", no_objects, "rt_new_array: no objects of type struct node", 0},
	{"many_objects", many_objects, "objects of type struct node are more bytes than", 0},
	{"many_pointers", many_pointers, "pointers are more bytes than", 0},
	{"many_bytes", many_bytes, "out of memory", 0},
	{"pointer_at_4", pointer_at_4, "type odd: pointer 0 at offset 4", 0},
	{"pointer_behind", pointer_behind, "type late: pointer 1 at offset 16", 0},
	{"pointers_not_ascending", pointers_not_ascending, "type turned: pointer 1 at offset 0", 0},
	{"in_system_call", in_system_call,
	 "rt_new: called between rt_enter_syscall and rt_exit_syscall", 0},
	{"in_system_call_tiny", in_system_call_tiny,
	 "rt_new_bytes: called between rt_enter_syscall and rt_exit_syscall", 0},
	{"on_foreign_thread", on_foreign_thread,
	 "rt_new_bytes: called by a thread that the runtime did not make", 0},
	{"on_foreign_thread_tiny", on_foreign_thread_tiny,
	 "rt_new_bytes: called by a thread that the runtime did not make", 0},
	{"finalised_twice", finalised_twice, "has a finaliser", 0},
	{"weak_to_the_inside", weak_to_the_inside, "is not the start of an object", 0},
	{"weak_to_a_local", weak_to_a_local, "rt_weak_new", 0},
#ifdef RT_CHECKS
	{"names_a_stack", names_a_stack, "until here\nfatal error", 0},
	{"names_a_stack", names_a_stack, "on the stack of coroutine 1", 0},
	{"copies_what_names_a_stack", copies_what_names_a_stack, "rt_copy: object", 0},
#endif
	{"keep_all", keep_all, "out of memory: no 1088 KiB beside each other are free", 2048},
	{"keep_all_small", keep_all_small, "out of memory: no 64 KiB beside each other are free",
	 1024},
	{"no_address_space", makes_some, "address space for the heap", 60},
	{"little_address_space", makes_some, "made some", 1200},
};

static void *call(void *arg)
{
	const struct misuse *m = arg;

	m->fn();
	return NULL;
}

static void be_child(const struct misuse *m, int out)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	if (m->address_space)
		setrlimit(RLIMIT_AS,
			  &(struct rlimit){m->address_space << 20, m->address_space << 20});
	dup2(out, STDERR_FILENO);
	rt_run(&(struct rt_options){.procs = 1}, call, (void *)m, NULL);
	_exit(0);
}

/* What the child said on stderr; *ret_status as of waitpid. */
static void run_child(const struct misuse *m, char *text, size_t size, int *ret_status)
{
	size_t n = 0;
	ssize_t r;
	int fds[2];
	pid_t pid;

	*text = 0;
	if (pipe(fds) < 0 || (fflush(stdout), pid = fork()) < 0)
		return;
	if (pid == 0) {
		close(fds[0]);
		be_child(m, fds[1]);
	}
	close(fds[1]);
	while ((r = read(fds[0], text + n, size - 1 - n)) > 0)
		n += (size_t)r;
	text[n] = 0;
	close(fds[0]);
	waitpid(pid, ret_status, 0);
}

int main(void)
{
	static char text[65536];

	for (size_t i = 0; i < COUNT_OF(misuses); i++) {
		const struct misuse *m = &misuses[i];
		bool dies = m->fn != makes_some || m->address_space < 100;
		int status = 0;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
		if (m->address_space)
			continue; /* the sanitizer's own shadow does not fit */
#endif
		run_child(m, text, sizeof text, &status);
		CHECK(dies ? WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT : status == 0,
		      "%s: %s", m->name, dies ? "ends the process" : "does not end the process");
		CHECK(strstr(text, m->text), "%s: it says \"%s\"", m->name, m->text);
		if (!strstr(text, m->text))
			fprintf(stderr, "%s\n", text);
	}
	return tap_done();
}
