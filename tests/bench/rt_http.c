/*
 * rt_http PORT - the smallest service on the runtime, for a load generator to ask: GET / answers
 * hello, nothing else is there
 */
#include "../../runtime/rt.h"
#include "../../runtime/service/http.h"

#include <stdio.h>
#include <string.h>

static void hello(const struct http_request *req, struct http_answer *a)
{
	a->body = "Hello, World!";
	a->len = strlen(a->body);
}

static const struct http_route routes[] = {
	{"/", HTTP_GET, 0, hello},
	{0},
};

static void *serve(void *arg)
{
	struct http_options o = {.host = "127.0.0.1", .port = arg, .routes = routes};
	struct http_server *s;
	int r = http_serve(&o, &s);

	if (r < 0) {
		fprintf(stderr, "rt_http: listen on 127.0.0.1:%s: %s\n", o.port, strerror(-r));
		return arg;
	}
	printf("%s\n", http_address(s));
	fflush(stdout);
	for (;;)
		rt_sleep(RT_SEC);
}

int main(int argc, char **argv)
{
	struct rt_options o = {0};
	void *failed = argv[0];
	int r;

	if (argc != 2) {
		fprintf(stderr, "usage: rt_http PORT\n");
		return 2;
	}
	r = rt_run(&o, serve, argv[1], &failed);
	if (r < 0)
		fprintf(stderr, "rt_http: %s\n", strerror(-r));
	return r < 0 || failed;
}
