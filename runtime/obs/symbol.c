/*
 * libdw reads what the linker and the compiler left: DWARF for functions, inlined ones and lines,
 * the symbol table where there is none (libc). backtrace_symbols() knows exported names only, and
 * addr2line as a process would have to be there on the target.
 *
 * The table of modules is made at the first question and completed when an address lies in none of
 * them: a library may have been loaded since.
 */
#include "symbol.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Dwfl *dwfl;

/* A debuginfod server would be asked over the network, in the middle of a dump. */
static int find_debuginfo(Dwfl_Module *mod, void **user, const char *name, Dwarf_Addr base,
			  const char *file, const char *link, GElf_Word crc, char **ret_file)
{
	if (getenv("DEBUGINFOD_URLS"))
		return -1;
	return dwfl_standard_find_debuginfo(mod, user, name, base, file, link, crc, ret_file);
}

static const Dwfl_Callbacks callbacks = {
	.find_elf = dwfl_linux_proc_find_elf,
	.find_debuginfo = find_debuginfo,
};

static void report_modules(void)
{
	if (!dwfl)
		dwfl = dwfl_begin(&callbacks);
	if (!dwfl)
		return;
	dwfl_report_begin_add(dwfl);
	dwfl_linux_proc_report(dwfl, getpid());
	dwfl_report_end(dwfl, NULL, NULL);
}

static Dwfl_Module *module_of(uintptr_t pc)
{
	Dwfl_Module *mod = dwfl ? dwfl_addrmodule(dwfl, pc) : NULL;

	if (mod)
		return mod;
	report_modules();
	return dwfl ? dwfl_addrmodule(dwfl, pc) : NULL;
}

/* Paths as they are shown: absolute, without "/x/..". libdw's pointers serve as the key. */
struct path {
	const char *dir, *file;
	char *full;
	struct path *next;
};

static char *join(const char *dir, const char *file)
{
	char *full = malloc(strlen(dir) + strlen(file) + 2);
	char *up;

	if (!full)
		return NULL;
	strcpy(full, dir);
	strcat(full, "/");
	strcat(full, file);
	while ((up = strstr(full, "/../"))) {
		char *parent = up;

		while (parent > full && parent[-1] != '/')
			parent--;
		if (parent == full)
			break;
		memmove(parent - 1, up + 3, strlen(up + 3) + 1);
	}
	return full;
}

static const char *path_of(const char *dir, const char *file)
{
	static struct path *buckets[256];
	struct path **b = &buckets[((uintptr_t)file >> 3) % 256];

	if (!file || file[0] == '/' || !dir)
		return file;
	for (struct path *p = *b; p; p = p->next)
		if (p->dir == dir && p->file == file)
			return p->full;
	struct path *p = malloc(sizeof *p);

	if (!p)
		return file;
	*p = (struct path){.dir = dir, .file = file, .full = join(dir, file), .next = *b};
	*b = p;
	return p->full ? p->full : file;
}

static void line_of(Dwfl_Module *mod, uintptr_t pc, struct symbol *ret)
{
	Dwfl_Line *line = dwfl_module_getsrc(mod, pc);
	int number = 0;
	const char *file = line ? dwfl_lineinfo(line, NULL, &number, NULL, NULL, NULL) : NULL;

	if (!file)
		return;
	ret->file = path_of(dwfl_line_comp_dir(line), file);
	ret->line = (unsigned)number;
}

/* Where an inlined function was called: in the frame around it. */
static void call_site(Dwarf_Die *cu, Dwarf_Die *inlined, struct symbol *ret)
{
	Dwarf_Attribute attr;
	Dwarf_Word file = 0, line = 0;
	Dwarf_Files *files;
	size_t n;
	const char *name;

	if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_file, &attr), &file) != 0 ||
	    dwarf_formudata(dwarf_attr(inlined, DW_AT_call_line, &attr), &line) != 0 ||
	    dwarf_getsrcfiles(cu, &files, &n) != 0 || file >= n)
		return;
	name = dwarf_filesrc(files, file, NULL, NULL);
	ret->file = path_of(dwarf_formstring(dwarf_attr(cu, DW_AT_comp_dir, &attr)), name);
	ret->line = (unsigned)line;
}

static bool is_function(Dwarf_Die *die)
{
	return dwarf_tag(die) == DW_TAG_subprogram || dwarf_tag(die) == DW_TAG_inlined_subroutine;
}

/* Concrete scopes around pc: past an inlined function dwarf_getscopes() goes on in its source. */
static int scopes_of(Dwarf_Die *cu, Dwarf_Addr addr, Dwarf_Die **ret)
{
	Dwarf_Die *scopes = NULL;
	int n = dwarf_getscopes(cu, addr, &scopes), i = 0;

	while (i < n && !is_function(&scopes[i]))
		i++;
	if (i >= n) {
		free(scopes);
		return 0;
	}
	n = dwarf_getscopes_die(&scopes[i], ret);
	free(scopes);
	return n;
}

static int by_debug_info(Dwfl_Module *mod, uintptr_t pc, struct symbol *ret)
{
	Dwarf_Addr bias = 0, entry = 0;
	Dwarf_Die *cu = dwfl_module_addrdie(mod, pc, &bias), *scopes = NULL;
	int n_scopes = cu ? scopes_of(cu, pc - bias, &scopes) : 0, n = 0;

	line_of(mod, pc, &ret[0]);
	for (int i = 0; i < n_scopes && n < SYMBOL_INLINE_MAX; i++) {
		if (!is_function(&scopes[i]))
			continue;
		ret[n].function = dwarf_diename(&scopes[i]);
		if (!ret[n].function)
			break;
		n++;
		if (dwarf_tag(&scopes[i]) == DW_TAG_subprogram) {
			dwarf_lowpc(&scopes[i], &entry);
			break;
		}
		if (n < SYMBOL_INLINE_MAX) {
			ret[n] = (struct symbol){0};
			call_site(cu, &scopes[i], &ret[n]);
		}
	}
	free(scopes);
	for (int i = 0; i < n; i++)
		ret[i].entry = entry ? entry + bias : 0;
	return n;
}

static int by_table(Dwfl_Module *mod, uintptr_t pc, struct symbol *ret)
{
	GElf_Off offset = 0;
	GElf_Sym sym;
	const char *name = dwfl_module_addrinfo(mod, pc, &offset, &sym, NULL, NULL, NULL);

	if (!name)
		return 0;
	ret->function = name;
	ret->entry = pc - offset;
	return 1;
}

int symbol_of(uintptr_t pc, struct symbol ret[static SYMBOL_INLINE_MAX])
{
	Dwfl_Module *mod;
	int n = 0;

	pthread_mutex_lock(&lock);
	ret[0] = (struct symbol){0};
	mod = module_of(pc);
	if (mod)
		n = by_debug_info(mod, pc, ret);
	if (mod && n == 0)
		n = by_table(mod, pc, ret);
	pthread_mutex_unlock(&lock);
	return n;
}
