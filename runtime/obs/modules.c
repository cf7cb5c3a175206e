/* The loader knows them without a file being read: build ids are notes in memory. */
#include "modules.h"

#include "../sched/sched.h"

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void read_build_id(const struct dl_phdr_info *info, const ElfW(Phdr) *note, char *ret,
			  size_t room)
{
	const char *p = (const char *)(info->dlpi_addr + note->p_vaddr), *end = p + note->p_memsz;

	while (p + sizeof(ElfW(Nhdr)) <= end) {
		const ElfW(Nhdr) *h = (const void *)p;
		const char *name = p + sizeof *h;
		const uint8_t *id = (const uint8_t *)name + ((h->n_namesz + 3) & ~3U);

		if (h->n_type == NT_GNU_BUILD_ID && h->n_namesz == 4 && memcmp(name, "GNU", 4) == 0) {
			for (size_t i = 0; i < h->n_descsz && 2 * i + 2 < room; i++)
				snprintf(ret + 2 * i, 3, "%02x", id[i]);
			return;
		}
		p = (const char *)id + ((h->n_descsz + 3) & ~3U);
	}
}

static void name_file(const struct dl_phdr_info *info, struct module *m)
{
	ssize_t n;

	if (info->dlpi_name[0]) {
		snprintf(m->file, sizeof m->file, "%s", info->dlpi_name);
		return;
	}
	n = readlink("/proc/self/exe", m->file, sizeof m->file - 1);
	m->file[n > 0 ? n : 0] = 0;
}

static void add(struct modules *m, const struct dl_phdr_info *info, const ElfW(Phdr) *text,
		const char *build_id)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
	uintptr_t start = (info->dlpi_addr + text->p_vaddr) & ~page;
	struct module *all = realloc(m->all, (m->n + 1) * sizeof *all);

	if (!all)
		rt_fatal("out of memory for the list of loaded libraries");
	m->all = all;
	all[m->n] = (struct module){
		.start = start,
		.limit = (info->dlpi_addr + text->p_vaddr + text->p_memsz + page) & ~page,
		.offset = text->p_offset & ~(uint64_t)page,
	};
	name_file(info, &all[m->n]);
	memcpy(all[m->n].build_id, build_id, sizeof all[m->n].build_id);
	m->n++;
}

static int add_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct modules *m = arg;
	char build_id[sizeof m->all->build_id] = "";

	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_NOTE && !build_id[0])
			read_build_id(info, &info->dlpi_phdr[i], build_id, sizeof build_id);
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X)
			add(m, info, &info->dlpi_phdr[i], build_id);
	return 0;
}

void modules_load(struct modules *m)
{
	dl_iterate_phdr(add_module, m);
}

void modules_done(struct modules *m)
{
	free(m->all);
	*m = (struct modules){0};
}

size_t modules_find(const struct modules *m, uintptr_t pc)
{
	for (size_t i = 0; i < m->n; i++)
		if (pc >= m->all[i].start && pc < m->all[i].limit)
			return i + 1;
	return 0;
}
