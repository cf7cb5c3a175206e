/*
 * libcurl's multi interface tells through two callbacks which sockets and which time to wait for;
 * both become sd-event sources, and each of them that fires is handed back to libcurl, after which
 * the finished transfers are collected. Easy handles are used again: making one costs more than a
 * request.
 *
 * An address is forced with CURLOPT_CONNECT_TO and not CURLOPT_RESOLVE: it belongs to one request,
 * while the latter fills a cache that all requests of the client share, so addresses of one name
 * could not take turns.
 */
#include "http.h"

#include "curl.h"

#include "../base/clock.h"

#include <errno.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>

enum { SPARE_MAX = 64, TIMEOUT_DEFAULT_MS = 30000 };

struct http_call {
	struct http_client *client;
	struct http_call *next, *prev;
	CURL *easy;
	struct curl_slist *headers, *connect_to;
	struct http_request request;
	struct str body;
	uint64_t received;
	bool too_large;
	int socket_error; /* of open_socket, positive errno */
	char text[CURL_ERROR_SIZE];
	void (*done)(void *data, const struct http_response *r);
	void *data;
};

struct http_client {
	const struct curl_api *api;
	struct sd_event *loop;
	CURLM *multi;
	sd_event_source *timer;
	struct http_call *calls;
	CURL *spare[SPARE_MAX];
	size_t n_spare;
};

static const char *const outcome_names[] = {
	[HTTP_OK] = "ok",
	[HTTP_REFUSED] = "refused",
	[HTTP_RESET] = "reset",
	[HTTP_TIMEOUT] = "timeout",
	[HTTP_UNREACHABLE] = "unreachable",
	[HTTP_UNRESOLVED] = "unresolved",
	[HTTP_TLS] = "tls",
	[HTTP_TOO_LARGE] = "too-large",
	[HTTP_OTHER] = "other",
};

const char *http_outcome_name(enum http_outcome o)
{
	return outcome_names[o];
}

static void call_free(struct http_call *call)
{
	struct http_client *c = call->client;

	if (call->easy) {
		c->api->multi_remove_handle(c->multi, call->easy);
		c->api->easy_reset(call->easy); /* it must not point here any longer */
		if (c->n_spare < SPARE_MAX)
			c->spare[c->n_spare++] = call->easy;
		else
			c->api->easy_cleanup(call->easy);
	}
	c->api->slist_free_all(call->headers);
	c->api->slist_free_all(call->connect_to);
	if (call->prev)
		call->prev->next = call->next;
	else
		c->calls = call->next;
	if (call->next)
		call->next->prev = call->prev;
	str_done(&call->body);
	free(call);
}

static enum http_outcome outcome_of_errno(long os_errno)
{
	switch (os_errno) {
	case ECONNREFUSED:
		return HTTP_REFUSED;
	case EHOSTUNREACH:
	case ENETUNREACH:
		return HTTP_UNREACHABLE;
	case ETIMEDOUT:
		return HTTP_TIMEOUT;
	case ECONNRESET:
	case EPIPE:
		return HTTP_RESET;
	default:
		return HTTP_OTHER;
	}
}

static enum http_outcome outcome_of(const struct http_call *call, CURLcode code)
{
	long os_errno = 0;

	switch (code) {
	case CURLE_OK:
		return HTTP_OK;
	case CURLE_OPERATION_TIMEDOUT:
		return HTTP_TIMEOUT;
	case CURLE_COULDNT_RESOLVE_HOST:
		return HTTP_UNRESOLVED;
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		return HTTP_RESET;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
		return HTTP_TLS;
	case CURLE_WRITE_ERROR:
		return call->too_large ? HTTP_TOO_LARGE : HTTP_OTHER;
	case CURLE_COULDNT_CONNECT:
		call->client->api->easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &os_errno);
		return outcome_of_errno(os_errno);
	default:
		return HTTP_OTHER;
	}
}

static void finish(struct http_call *call, CURLcode code)
{
	struct http_response r = {.outcome = outcome_of(call, code), .text = call->text};
	long status = 0;

	call->client->api->easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	r.status = (int)status;
	r.body = call->body.s ? call->body.s : "";
	r.body_len = call->body.len;
	r.received = call->received;
	if (call->socket_error)
		r.text = strerror(call->socket_error);
	else if (code != CURLE_OK && !call->text[0])
		r.text = call->client->api->easy_strerror(code);
	call->done(call->data, &r);
	call_free(call);
}

static void collect(struct http_client *c)
{
	CURLMsg *msg;
	int left;

	while ((msg = c->api->multi_info_read(c->multi, &left))) {
		CURLcode code = msg->data.result;
		struct http_call *call;

		if (msg->msg != CURLMSG_DONE)
			continue;
		c->api->easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&call);
		finish(call, code);
	}
}

static int on_socket_ready(sd_event_source *src, int fd, uint32_t revents, void *data)
{
	struct http_client *c = data;
	int mask = (revents & EPOLLIN ? CURL_CSELECT_IN : 0) |
		   (revents & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
		   (revents & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
	int running;

	c->api->multi_socket_action(c->multi, fd, mask, &running);
	collect(c);
	return 0;
}

static int on_timer(sd_event_source *src, uint64_t usec, void *data)
{
	struct http_client *c = data;
	int running;

	c->api->multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	collect(c);
	return 0;
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *socket_data)
{
	static const uint32_t events[] = {
		[CURL_POLL_IN] = EPOLLIN,
		[CURL_POLL_OUT] = EPOLLOUT,
		[CURL_POLL_INOUT] = EPOLLIN | EPOLLOUT,
	};
	struct http_client *c = data;
	sd_event_source *src = socket_data;

	if (what == CURL_POLL_REMOVE) {
		sd_event_source_disable_unref(src);
		return 0;
	}
	if (src)
		return sd_event_source_set_io_events(src, events[what]) < 0 ? -1 : 0;
	if (sd_event_add_io(c->loop, &src, fd, events[what], on_socket_ready, c) < 0)
		return -1;
	c->api->multi_assign(c->multi, fd, src);
	return 0;
}

static int set_timer(CURLM *multi, long timeout_ms, void *data)
{
	struct http_client *c = data;
	int enabled = timeout_ms < 0 ? SD_EVENT_OFF : SD_EVENT_ONESHOT;

	if (timeout_ms >= 0)
		sd_event_source_set_time(c->timer, (uint64_t)clock_now_ns() / NSEC_PER_USEC +
							   (uint64_t)timeout_ms * 1000);
	sd_event_source_set_enabled(c->timer, enabled);
	return 0;
}

int http_client_new(struct sd_event *loop, struct http_client **ret, struct err *e)
{
	autoptr(http_client) c = xcalloc(1, sizeof *c);
	int r;

	c->loop = sd_event_ref(loop);
	c->api = curl_load(e);
	if (!c->api)
		return err_wrap(e, "HTTP client");
	c->multi = c->api->multi_init();
	if (!c->multi)
		return err_set(e, ENOMEM, "HTTP client: libcurl cannot make a handle");
	r = sd_event_add_time(loop, &c->timer, CLOCK_MONOTONIC, 0, 1, on_timer, c);
	if (r < 0)
		return err_errno(e, -r, "HTTP client: timer");
	sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
	c->api->multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	c->api->multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	c->api->multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	c->api->multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
	*ret = take(c);
	return 0;
}

void http_client_free(struct http_client *c)
{
	if (!c)
		return;
	while (c->calls)
		call_free(c->calls);
	for (size_t i = 0; i < c->n_spare; i++)
		c->api->easy_cleanup(c->spare[i]);
	if (c->multi)
		c->api->multi_cleanup(c->multi);
	sd_event_source_disable_unref(c->timer);
	sd_event_unref(c->loop);
	free(c);
}

static curl_socket_t open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct http_call *call = data;
	const struct http_request *r = &call->request;
	int type = address->socktype | SOCK_CLOEXEC;
	int fd;

	if (r->open_socket)
		fd = r->open_socket(r->socket_data, address->family, type, address->protocol);
	else
		fd = socket(address->family, type, address->protocol);
	if (fd >= 0)
		return fd;
	call->socket_error = r->open_socket ? -fd : errno;
	return CURL_SOCKET_BAD;
}

static size_t take_body(char *bytes, size_t one, size_t n, void *data)
{
	struct http_call *call = data;

	call->received += n;
	if (!call->request.max_body)
		return n;
	if (call->body.len + n > call->request.max_body) {
		call->too_large = true;
		return 0;
	}
	str_addn(&call->body, bytes, n);
	return n;
}

static void set_headers(struct http_call *call)
{
	const struct curl_api *api = call->client->api;
	const struct kvs *headers = call->request.headers;

	/* Without it libcurl waits a second for "100 Continue" before it sends a large body. */
	call->headers = api->slist_append(NULL, "Expect:");
	for (size_t i = 0; headers && i < headers->n; i++) {
		const struct kv *kv = &headers->items[i];
		/* "Name;" is how libcurl is asked for an empty header. */
		autofree char *line = *kv->value ? xasprintf("%s: %s", kv->key, kv->value)
						 : xasprintf("%s;", kv->key);

		call->headers = api->slist_append(call->headers, line);
	}
	api->easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers);
}

static void set_address(struct http_call *call)
{
	const struct curl_api *api = call->client->api;
	const char *a = call->request.connect_to;
	autofree char *entry = NULL;

	if (!a)
		return;
	entry = xasprintf(strchr(a, ':') && *a != '[' ? "::[%s]:" : "::%s:", a);
	call->connect_to = api->slist_append(NULL, entry);
	api->easy_setopt(call->easy, CURLOPT_CONNECT_TO, call->connect_to);
}

static void set_method(struct http_call *call)
{
	const struct curl_api *api = call->client->api;
	const char *method = call->request.method ? call->request.method : "GET";
	const char *body = call->request.body;

	if (!body && (streq(method, "POST") || streq(method, "PUT") || streq(method, "PATCH")))
		body = ""; /* for "Content-Length: 0", which servers insist on */
	if (body)
		api->easy_setopt(call->easy, CURLOPT_POSTFIELDS, body);
	if (streq(method, "HEAD"))
		api->easy_setopt(call->easy, CURLOPT_NOBODY, 1L);
	else if (body || !streq(method, "GET"))
		api->easy_setopt(call->easy, CURLOPT_CUSTOMREQUEST, method);
}

static void set_options(struct http_call *call)
{
	const struct http_request *r = &call->request;
	__typeof__(call->client->api->easy_setopt) set = call->client->api->easy_setopt;
	long timeout_ms =
		r->timeout_ns ? (long)(r->timeout_ns / NSEC_PER_MSEC) : TIMEOUT_DEFAULT_MS;

	set(call->easy, CURLOPT_PRIVATE, call);
	set(call->easy, CURLOPT_URL, r->url);
	set(call->easy, CURLOPT_ERRORBUFFER, call->text);
	set(call->easy, CURLOPT_TIMEOUT_MS, MAX_OF(timeout_ms, 1L));
	set(call->easy, CURLOPT_NOSIGNAL, 1L);
	set(call->easy, CURLOPT_QUICK_EXIT, 1L); /* do not wait for the resolver's thread */
	set(call->easy, CURLOPT_PROXY, "");	 /* not even one from the environment */
	set(call->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	set(call->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	set(call->easy, CURLOPT_USERAGENT, "brunt/" BRUNT_VERSION);
	set(call->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	set(call->easy, CURLOPT_OPENSOCKETDATA, call);
	set(call->easy, CURLOPT_WRITEFUNCTION, take_body);
	set(call->easy, CURLOPT_WRITEDATA, call);
	set(call->easy, CURLOPT_FORBID_REUSE, r->keep_alive ? 0L : 1L);
	set(call->easy, CURLOPT_FRESH_CONNECT, r->keep_alive ? 0L : 1L);
	set(call->easy, CURLOPT_CONNECT_ONLY, r->connect_only ? 1L : 0L);
	set(call->easy, CURLOPT_UNIX_SOCKET_PATH, r->unix_socket);
	if (r->insecure) {
		set(call->easy, CURLOPT_SSL_VERIFYPEER, 0L);
		set(call->easy, CURLOPT_SSL_VERIFYHOST, 0L);
	}
}

int http_send(struct http_client *c, const struct http_request *r,
	      void (*done)(void *data, const struct http_response *response), void *data,
	      struct http_call **ret_call, struct err *e)
{
	struct http_call *call = xcalloc(1, sizeof *call);
	CURLMcode code;

	*call = (struct http_call){.client = c, .request = *r, .done = done, .data = data};
	call->next = c->calls;
	if (call->next)
		call->next->prev = call;
	c->calls = call;
	call->easy = c->n_spare ? c->spare[--c->n_spare] : c->api->easy_init();
	if (!call->easy) {
		call_free(call);
		return err_set(e, ENOMEM, "%s: libcurl cannot make a handle", r->url);
	}
	set_options(call);
	set_method(call);
	set_headers(call);
	set_address(call);
	code = c->api->multi_add_handle(c->multi, call->easy);
	if (code != CURLM_OK) {
		call_free(call);
		return err_set(e, EIO, "%s: %s", r->url, c->api->multi_strerror(code));
	}
	if (ret_call)
		*ret_call = call;
	return 0;
}

void http_cancel(struct http_call *call)
{
	call_free(call);
}
