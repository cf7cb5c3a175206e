/*
 * rt_mem - garbage-collected memory; part of rt.h
 *
 * A concurrent, non-moving mark-and-sweep collector. Stacks, registers and the program's globals are
 * searched conservatively: whatever looks like a pointer into an object, to its start, its inside or
 * one past its end, keeps it alive. Objects are marked precisely, by their types: a pointer field may
 * name the start or the inside of an object, or anything outside the heap.
 *
 * Shapes:  an object is zeroed when it is made. Pointer fields are declared `T *const` and set by
 *          RT_SET or rt_copy only: a plain store would be lost to a collection under way, and does not
 *          compile. Local variables, parameters and globals are set as ever.
 * Owns:    nobody frees. What is known only to malloc memory, to the kernel or to threads that the
 *          runtime did not make must be pinned.
 * Threads: "coroutine" functions, unless marked
 * Errors:  out of memory ends the process with a message
 * Source:  deletion barrier: Yuasa, "Real-time garbage collection on general-purpose machines", 1990;
 *          pacing and memory limit after Go's (proposals 44167 and 48409)
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { RT_TYPE_CLASSES = 40 };

/* What the collector knows of a struct: where its pointers are. */
struct rt_type {
	const char *name;
	uint32_t bytes;
	uint32_t n_ptrs;
	const uint32_t *ptrs; /* offsets in bytes, ascending; each a multiple of 8 */
	/* The runtime's: where single objects and arrays of each size class are made; 0: nowhere yet. */
	uint16_t slot, array_slots[RT_TYPE_CLASSES];
};

/*
 * RT_TYPE(room_type, struct room, next, members); defines a static struct rt_type for struct room whose
 * pointers into the heap are room.next and room.members (at most 16; nested: a.b; elements: a[2]).
 * RT_TYPE_FREE(blob_type, struct blob); has none: such objects are never searched.
 */
#define RT_TYPE(id, T, ...)                                                                        \
	RT_EACH_(RT_FIELD_CHECK_, T, __VA_ARGS__)                                                  \
	static const uint32_t id##_ptrs_[] = {RT_EACH_(RT_FIELD_OFFSET_, T, __VA_ARGS__)};         \
	static struct rt_type id = {.name = #T, .bytes = sizeof(T), .ptrs = id##_ptrs_,            \
				    .n_ptrs = sizeof id##_ptrs_ / sizeof *id##_ptrs_}
#define RT_TYPE_FREE(id, T) static struct rt_type id = {.name = #T, .bytes = sizeof(T)}

#define RT_FIELD_OFFSET_(T, f) offsetof(T, f),
#define RT_FIELD_CHECK_(T, f)                                                                      \
	_Static_assert(__builtin_classify_type(((T *)0)->f) == 5, #T "." #f " is not a pointer");  \
	_Static_assert(offsetof(T, f) % sizeof(void *) == 0, #T "." #f " is not aligned");

#define RT_EACH_(m, T, ...)                                                                        \
	RT_EACH_PICK_(__VA_ARGS__, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)          \
	(m, T, __VA_ARGS__)
#define RT_EACH_PICK_(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, N, ...) RT_EACH_##N##_
#define RT_EACH_1_(m, T, f) m(T, f)
#define RT_EACH_2_(m, T, f, ...) m(T, f) RT_EACH_1_(m, T, __VA_ARGS__)
#define RT_EACH_3_(m, T, f, ...) m(T, f) RT_EACH_2_(m, T, __VA_ARGS__)
#define RT_EACH_4_(m, T, f, ...) m(T, f) RT_EACH_3_(m, T, __VA_ARGS__)
#define RT_EACH_5_(m, T, f, ...) m(T, f) RT_EACH_4_(m, T, __VA_ARGS__)
#define RT_EACH_6_(m, T, f, ...) m(T, f) RT_EACH_5_(m, T, __VA_ARGS__)
#define RT_EACH_7_(m, T, f, ...) m(T, f) RT_EACH_6_(m, T, __VA_ARGS__)
#define RT_EACH_8_(m, T, f, ...) m(T, f) RT_EACH_7_(m, T, __VA_ARGS__)
#define RT_EACH_9_(m, T, f, ...) m(T, f) RT_EACH_8_(m, T, __VA_ARGS__)
#define RT_EACH_10_(m, T, f, ...) m(T, f) RT_EACH_9_(m, T, __VA_ARGS__)
#define RT_EACH_11_(m, T, f, ...) m(T, f) RT_EACH_10_(m, T, __VA_ARGS__)
#define RT_EACH_12_(m, T, f, ...) m(T, f) RT_EACH_11_(m, T, __VA_ARGS__)
#define RT_EACH_13_(m, T, f, ...) m(T, f) RT_EACH_12_(m, T, __VA_ARGS__)
#define RT_EACH_14_(m, T, f, ...) m(T, f) RT_EACH_13_(m, T, __VA_ARGS__)
#define RT_EACH_15_(m, T, f, ...) m(T, f) RT_EACH_14_(m, T, __VA_ARGS__)
#define RT_EACH_16_(m, T, f, ...) m(T, f) RT_EACH_15_(m, T, __VA_ARGS__)

/* Objects --------------------------------------------------------------------------------------- */

void *rt_new(struct rt_type *t);
void *rt_new_array(struct rt_type *t, size_t n); /* n objects of t beside each other */
void *rt_new_ptrs(size_t n);                     /* n pointers, each to be set by RT_SET */
void *rt_new_bytes(size_t n);                    /* no pointers inside; at least 1 byte */

/* Sets a pointer field or element of an object: RT_SET(room->next, other). No safepoint. */
#define RT_SET(field, value)                                                                       \
	do {                                                                                       \
		__typeof__(field) rt_value_ = (value);                                             \
		rt_store((void **)(uintptr_t)&(field), (void *)(uintptr_t)rt_value_);              \
	} while (0)
void rt_store(void **field, void *value);
/* dst[0..n) = src[0..n), objects of type t; they may overlap. For what holds pointers, in place of
 * assignment, memcpy and memmove. */
void rt_copy(struct rt_type *t, void *dst, const void *src, size_t n);

/* The object is alive up to here, whatever the compiler thinks: after the last system call that was
 * given a pointer into it. */
#define RT_KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")

/* Pinned: alive until unpinned as often, without being known to anything that is searched. any */
void rt_pin(void *obj);
void rt_unpin(void *obj);
/* bytes at addr (8-byte aligned) are searched like globals, in the pause: memory of malloc, or a shared
 * library's globals. The program's own globals are known. any */
void rt_root_add(const void *addr, size_t bytes);
void rt_root_remove(const void *addr);

/* A weak reference does not keep obj (the start of an object) alive. It is an object itself, and the same
 * one each time for the same obj. */
struct rt_weak;
struct rt_weak *rt_weak_new(void *obj);
void *rt_weak_get(struct rt_weak *w); /* NULL: it is gone, or about to be finalised. No safepoint */
/* Once a cycle has found that nobody knows obj (the start of an object), fn(obj) runs once, some time later,
 * in a coroutine that all finalisers share. Until then what obj names is kept; so an obj that can be
 * reached from itself is never finalised. fn NULL: not any more. Nothing is finalised when rt_run ends. */
void rt_finalise(void *obj, void (*fn)(void *obj));

/* Collecting -------------------------------------------------------------------------------------- */

void rt_gc(void); /* a whole cycle, begun after the call; returns when it has been swept */
/* The heap may grow by percent of what was alive (RT_GOGC, 100; < 0: no collections but by the limit).
 * Returns what it was. any */
int rt_gc_set_percent(int percent);
int rt_gc_percent(void); /* any */
/* What heap, stacks and the runtime's own memory together should stay below, by collecting more often
 * but with at most half of the CPU (RT_MEMLIMIT with KiB, MiB, GiB; INT64_MAX: none). Returns what it
 * was; negative: only asks. any */
int64_t rt_gc_set_limit(int64_t bytes);

/* Follows what the collector costs: a pause above pause_ns lowers the percent by a tenth, a share of the
 * CPU (of all Ps, marking and assists) above cpu_percent raises it by a quarter, within min and max. The
 * memory limit goes first. RT_GCTUNE=on: the defaults, 1 ms and 20 percent, 50 to 400. */
struct rt_gc_tuning {
	int64_t pause_ns; /* 0: pauses change nothing */
	int cpu_percent;  /* 0: the CPU changes nothing */
	int min_percent, max_percent;
};
void rt_gc_tune(const struct rt_gc_tuning *t); /* NULL: off; the percent stays where it is. any */

struct rt_mem_stats {
	uint64_t heap_live;     /* bytes marked by the last cycle */
	uint64_t heap_bytes;    /* bytes in use, garbage not yet swept included */
	uint64_t heap_goal;     /* bytes at which the next cycle should be complete */
	uint64_t heap_mapped;   /* bytes of blocks that the kernel has given memory for */
	uint64_t heap_released; /* bytes given back to the kernel, of what was used once */
	uint64_t stack_bytes, own_bytes; /* of coroutines' stacks; of the collector's tables */
	uint64_t objects;       /* cells in use */
	uint64_t allocs, alloc_bytes, frees, free_bytes; /* since the start */
	uint64_t cycles;
	int64_t pause_ns;       /* all pauses, added up */
	int64_t mark_cpu_ns, assist_cpu_ns;
};
/* The last pauses of the world for collections, in ns from the request to the restart, oldest first.
 * Returns how many were written; *ret_total (may be NULL): how many there were. any */
size_t rt_gc_pauses(int64_t *ret, size_t room, uint64_t *ret_total);
void rt_mem_stats(struct rt_mem_stats *ret); /* any */
