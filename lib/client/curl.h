/*
 * curl - libcurl's functions, loaded when they are first needed
 *
 * Linking libcurl brings 32 shared libraries (TLS, LDAP, Kerberos, RTMP, ...) into every start of
 * brunt: 5.7 ms against 0.85 ms for a program that does nothing, on the reference machine. Most
 * verbs never make a request, so the few functions used are looked up in a table by dlopen.
 * The headers are used as they are; their names stay types and constants.
 *
 * Threads: curl_load from the loop's thread only
 */
#pragma once

#include "../base/err.h"

/* The type-checking macros call the linked functions. */
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

#define CURL_FUNCTIONS(X)                                                                          \
	X(easy_cleanup)                                                                            \
	X(easy_getinfo)                                                                            \
	X(easy_init)                                                                               \
	X(easy_reset)                                                                              \
	X(easy_setopt)                                                                             \
	X(easy_strerror)                                                                           \
	X(global_init)                                                                             \
	X(multi_add_handle)                                                                        \
	X(multi_assign)                                                                            \
	X(multi_cleanup)                                                                           \
	X(multi_info_read)                                                                         \
	X(multi_init)                                                                              \
	X(multi_remove_handle)                                                                     \
	X(multi_setopt)                                                                            \
	X(multi_socket_action)                                                                     \
	X(multi_strerror)                                                                          \
	X(slist_append)                                                                            \
	X(slist_free_all)

#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt
struct curl_api {
#define X(name) __typeof__(curl_##name) *name;
	CURL_FUNCTIONS(X)
#undef X
};

/* The table, or NULL with the reason; loads and initialises libcurl once. */
const struct curl_api *curl_load(struct err *e);
