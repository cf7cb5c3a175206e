/*
 * Samples are encoded as they come; locations and functions get their numbers on first use and are
 * looked up when the profile is written, each address once.
 */
#include "profile.h"

#include "map.h"
#include "modules.h"
#include "symbol.h"

#include <stdlib.h>
#include <string.h>

/* Field numbers of profile.proto. */
enum {
	PROFILE_SAMPLE_TYPE = 1,
	PROFILE_SAMPLE = 2,
	PROFILE_MAPPING = 3,
	PROFILE_LOCATION = 4,
	PROFILE_FUNCTION = 5,
	PROFILE_STRING_TABLE = 6,
	PROFILE_TIME_NANOS = 9,
	PROFILE_DURATION_NANOS = 10,
	PROFILE_PERIOD_TYPE = 11,
	PROFILE_PERIOD = 12,
	PROFILE_DEFAULT_SAMPLE_TYPE = 14,
	VALUE_TYPE_TYPE = 1,
	VALUE_TYPE_UNIT = 2,
	SAMPLE_LOCATION_ID = 1,
	SAMPLE_VALUE = 2,
	MAPPING_ID = 1,
	MAPPING_START = 2,
	MAPPING_LIMIT = 3,
	MAPPING_OFFSET = 4,
	MAPPING_FILENAME = 5,
	MAPPING_BUILD_ID = 6,
	MAPPING_HAS_FUNCTIONS = 7,
	MAPPING_HAS_FILENAMES = 8,
	MAPPING_HAS_LINES = 9,
	MAPPING_HAS_INLINES = 10,
	LOCATION_ID = 1,
	LOCATION_MAPPING_ID = 2,
	LOCATION_ADDRESS = 3,
	LOCATION_LINE = 4,
	LINE_FUNCTION_ID = 1,
	LINE_LINE = 2,
	FUNCTION_ID = 1,
	FUNCTION_NAME = 2,
	FUNCTION_SYSTEM_NAME = 3,
	FUNCTION_FILENAME = 4,
};

struct profile {
	struct profile_kind kind;
	size_t n_values;
	int64_t start_ns, duration_ns;
	struct out samples, locations, functions;
	struct map strings, addresses, function_ids; /* value: index, or number from 1 */
	struct out texts; /* the string table, encoded */
	uintptr_t *pcs;   /* of location i + 1 */
	size_t pcs_room;
	struct modules modules;
};

static uint64_t string_index(struct profile *p, const char *text)
{
	bool fresh;
	uint64_t *index = map_text(&p->strings, text, &fresh);

	if (fresh) {
		*index = p->strings.n - 1;
		pb_string(&p->texts, PROFILE_STRING_TABLE, text);
	}
	return *index;
}

struct profile *profile_new(const struct profile_kind *kind)
{
	struct profile *p = calloc(1, sizeof *p);

	p->kind = *kind;
	while (p->n_values < PROFILE_VALUES_MAX && kind->types[p->n_values].type)
		p->n_values++;
	string_index(p, "");
	modules_load(&p->modules);
	return p;
}

void profile_free(struct profile *p)
{
	if (!p)
		return;
	out_done(&p->samples);
	out_done(&p->locations);
	out_done(&p->functions);
	out_done(&p->texts);
	map_done(&p->strings);
	map_done(&p->addresses);
	map_done(&p->function_ids);
	modules_done(&p->modules);
	free(p->pcs);
	free(p);
}

void profile_set_time(struct profile *p, int64_t start_ns, int64_t duration_ns)
{
	p->start_ns = start_ns;
	p->duration_ns = duration_ns;
}

/* The call, not what comes after it. */
static uintptr_t call_of(uintptr_t return_address)
{
	return return_address - 1;
}

static uint64_t location_id(struct profile *p, uintptr_t pc)
{
	bool fresh;
	uint64_t *id = map_number(&p->addresses, pc, &fresh);

	if (!fresh)
		return *id;
	*id = p->addresses.n;
	if (p->addresses.n > p->pcs_room) {
		p->pcs_room = p->addresses.n * 2;
		p->pcs = realloc(p->pcs, p->pcs_room * sizeof *p->pcs);
	}
	p->pcs[*id - 1] = pc;
	return *id;
}

void profile_add(struct profile *p, const uintptr_t *pcs, size_t n, const int64_t *values)
{
	uint64_t *ids = calloc(n + 1, sizeof *ids);
	size_t sample = pb_begin(&p->samples, PROFILE_SAMPLE);

	for (size_t i = 0; i < n; i++)
		ids[i] = location_id(p, call_of(pcs[i]));
	pb_packed(&p->samples, SAMPLE_LOCATION_ID, ids, n);
	pb_packed(&p->samples, SAMPLE_VALUE, (const uint64_t *)values, p->n_values);
	pb_end(&p->samples, sample);
	free(ids);
}

static uint64_t function_id(struct profile *p, const struct symbol *s)
{
	bool fresh;
	uint64_t name = string_index(p, s->function), file = string_index(p, s->file ? s->file : "");
	uint64_t *id = map_number(&p->function_ids, name << 32 | file, &fresh);
	size_t function;

	if (!fresh)
		return *id;
	*id = p->function_ids.n;
	function = pb_begin(&p->functions, PROFILE_FUNCTION);
	pb_uint(&p->functions, FUNCTION_ID, *id);
	pb_uint(&p->functions, FUNCTION_NAME, name);
	pb_uint(&p->functions, FUNCTION_SYSTEM_NAME, name);
	pb_uint_opt(&p->functions, FUNCTION_FILENAME, file);
	pb_end(&p->functions, function);
	return *id;
}

static void write_location(struct profile *p, uint64_t id, uintptr_t pc)
{
	struct symbol lines[SYMBOL_INLINE_MAX];
	int n = symbol_of(pc, lines);
	size_t location = pb_begin(&p->locations, PROFILE_LOCATION);

	pb_uint(&p->locations, LOCATION_ID, id);
	pb_uint_opt(&p->locations, LOCATION_MAPPING_ID, modules_find(&p->modules, pc));
	pb_uint(&p->locations, LOCATION_ADDRESS, pc);
	for (int i = 0; i < n; i++) {
		uint64_t function = function_id(p, &lines[i]);
		size_t line = pb_begin(&p->locations, LOCATION_LINE);

		pb_uint(&p->locations, LINE_FUNCTION_ID, function);
		pb_uint_opt(&p->locations, LINE_LINE, lines[i].line);
		pb_end(&p->locations, line);
	}
	pb_end(&p->locations, location);
}

static void write_mapping(struct profile *p, struct out *o, uint64_t id, const struct module *m)
{
	size_t mapping = pb_begin(o, PROFILE_MAPPING);

	pb_uint(o, MAPPING_ID, id);
	pb_uint(o, MAPPING_START, m->start);
	pb_uint(o, MAPPING_LIMIT, m->limit);
	pb_uint_opt(o, MAPPING_OFFSET, m->offset);
	pb_uint(o, MAPPING_FILENAME, string_index(p, m->file));
	pb_uint_opt(o, MAPPING_BUILD_ID, string_index(p, m->build_id));
	/* What is known is in the locations: pprof need not look for the files. */
	pb_uint(o, MAPPING_HAS_FUNCTIONS, 1);
	pb_uint(o, MAPPING_HAS_FILENAMES, 1);
	pb_uint(o, MAPPING_HAS_LINES, 1);
	pb_uint(o, MAPPING_HAS_INLINES, 1);
	pb_end(o, mapping);
}

static void write_type(struct profile *p, struct out *o, unsigned field, struct profile_type t)
{
	uint64_t type = string_index(p, t.type), unit = string_index(p, t.unit);
	size_t value_type = pb_begin(o, field);

	pb_uint(o, VALUE_TYPE_TYPE, type);
	pb_uint(o, VALUE_TYPE_UNIT, unit);
	pb_end(o, value_type);
}

void profile_write(struct profile *p, struct out *ret)
{
	struct out o = {0};

	for (size_t i = 0; i < p->n_values; i++)
		write_type(p, &o, PROFILE_SAMPLE_TYPE, p->kind.types[i]);
	out_add(&o, p->samples.data, p->samples.n);
	for (size_t i = 0; i < p->modules.n; i++)
		write_mapping(p, &o, i + 1, &p->modules.all[i]);
	for (size_t i = 0; i < p->addresses.n; i++)
		write_location(p, i + 1, p->pcs[i]);
	out_add(&o, p->locations.data, p->locations.n);
	out_add(&o, p->functions.data, p->functions.n);
	pb_uint_opt(&o, PROFILE_TIME_NANOS, (uint64_t)p->start_ns);
	pb_uint_opt(&o, PROFILE_DURATION_NANOS, (uint64_t)p->duration_ns);
	if (p->kind.period_type.type)
		write_type(p, &o, PROFILE_PERIOD_TYPE, p->kind.period_type);
	pb_uint_opt(&o, PROFILE_PERIOD, (uint64_t)p->kind.period);
	if (p->kind.default_type)
		pb_uint(&o, PROFILE_DEFAULT_SAMPLE_TYPE, string_index(p, p->kind.default_type));
	out_add(&o, p->texts.data, p->texts.n);
	out_gzip(&o);
	out_add(ret, o.data, o.n);
	out_done(&o);
}
