#include "curl.h"

#include "../base/own.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>

/* Debian's flavours; they differ in the TLS library only. */
static const char *const sonames[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};

static int find_functions(void *lib, struct curl_api *api, struct err *e)
{
	static const struct {
		const char *name;
		size_t offset;
	} functions[] = {
#define X(name) {"curl_" #name, offsetof(struct curl_api, name)},
		CURL_FUNCTIONS(X)
#undef X
	};

	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		void *f = dlsym(lib, functions[i].name);

		if (!f)
			return err_set(e, ENOSYS, "libcurl has no %s", functions[i].name);
		memcpy((char *)api + functions[i].offset, &f, sizeof f);
	}
	return 0;
}

const struct curl_api *curl_load(struct err *e)
{
	static struct curl_api api;
	static bool loaded;
	void *lib = NULL;

	if (loaded)
		return &api;
	for (size_t i = 0; i < ARRAY_SIZE(sonames) && !lib; i++)
		lib = dlopen(sonames[i], RTLD_NOW | RTLD_LOCAL);
	if (!lib) {
		err_set(e, ENOENT, "%s", dlerror());
		err_hint(e, "install libcurl: apt-get install libcurl4");
		return NULL;
	}
	if (find_functions(lib, &api, e) < 0)
		return NULL;
	if (api.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		err_set(e, EIO, "libcurl cannot be initialised");
		return NULL;
	}
	loaded = true;
	return &api;
}
