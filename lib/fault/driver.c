#include "driver.h"

#include <errno.h>

#define FAULT(driver) extern const struct fault_driver driver;
#include "drivers.def"
#undef FAULT

static const struct fault_driver *const drivers[] = {
#define FAULT(driver) &driver,
#include "drivers.def"
#undef FAULT
	NULL,
};

enum { N_DRIVERS = ARRAY_SIZE(drivers) - 1 };

const struct fault_driver *fault_driver_for_tests;

const struct fault_driver *const *fault_drivers(size_t *ret_n)
{
	*ret_n = N_DRIVERS;
	return drivers;
}

const struct fault_driver *fault_driver_by_kind(const char *kind)
{
	if (fault_driver_for_tests && streq(fault_driver_for_tests->kind, kind))
		return fault_driver_for_tests;
	for (size_t i = 0; i < N_DRIVERS; i++)
		if (streq(drivers[i]->kind, kind))
			return drivers[i];
	return NULL;
}

const struct fault_driver *fault_driver_by_field(const char *field)
{
	if (fault_driver_for_tests && streq(fault_driver_for_tests->field, field))
		return fault_driver_for_tests;
	for (size_t i = 0; i < N_DRIVERS; i++)
		if (streq(drivers[i]->field, field))
			return drivers[i];
	return NULL;
}

void undo_done(struct undo *u)
{
	free(u->fault);
	free(u->target);
	free(u->before);
	free(u->run_id);
	free(u->data);
	*u = (struct undo){0};
}

void undo_list_done(struct undo_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		undo_done(&l->items[i]);
	free(l->items);
	*l = (struct undo_list){0};
}

void undo_set_json(struct undo *u, json_t *data)
{
	free(u->data);
	u->data = json_dumps(data, JSON_COMPACT);
	json_decref(data);
}

json_t *undo_json(const struct undo *u)
{
	return u->data ? json_loads(u->data, 0, NULL) : NULL;
}

int undo_vet(const struct undo *u, struct err *e)
{
	struct err why = {0};

	if (!u->driver->vet || !u->driver->revert)
		return err_set(e, EPERM, "brunt did not write this undo record of %s: the kind has none",
			       u->driver->kind);
	if (u->driver->vet(u, &why) == 0)
		return 0;
	return err_set(e, EPERM, "brunt did not write this undo record of %s: %s", u->driver->kind,
		       why.text);
}
