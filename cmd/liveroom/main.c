/*
 * liveroom - a small live-streaming service to break, and the viewers to break it with
 *
 * It shares no code with brunt: the victim must not fail because the injector does.
 */
#include "../../tests/preempt/preempt.h"
#include "load.h"
#include "roles.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

static const char usage[] =
	"usage: liveroom serve --listen HOST:PORT [options]\n"
	"       liveroom load --target URL --viewers N [options]\n"
	"       liveroom preempt matrix|exhaustive|random [options]\n"
	"\n"
	"serve: answers /join, /segment, /chat, /leave, /healthz, /readyz and /metrics\n"
	"  --listen HOST:PORT     where to listen; port 0: any\n"
	"  --role ROLE            gateway, room or store; default: all in one process\n"
	"  --room URL             where the gateway finds room servers; default: this process\n"
	"  --store URL            where rooms find the store; default: this process\n"
	"  --segment-bytes N      size of a segment (default 32768)\n"
	"  --cache-bytes N        most that a room keeps in memory (default 33554432)\n"
	"  --window N             seconds of the past that a room keeps (default 120)\n"
	"  --sessions N           viewers of a room at one time; beyond them a join is answered 503\n"
	"                         (default 16384)\n"
	"  --session-idle SECONDS until a viewer's session ends of which nothing is heard (default 30)\n"
	"  --threads N            requests under way at one time, at most 65536; beyond them the\n"
	"                         answer is 503 (default 1024)\n"
	"  --debug [HOST:]PORT    where to show profiles, traces and stacks, of 127.0.0.1 unless a host is\n"
	"                         named: /debug/pprof/ lists them (default: nowhere)\n"
	"  --control PATH         a socket through which experiments disturb the scheduler\n"
	"  --per-client N         connections from one address; beyond them 429 (default: no bound)\n"
	"\n"
	"load: viewers as an open loop; prints what they saw\n"
	"  --target URL           the gateway\n"
	"  --viewers N            how many watch at one time\n"
	"  --rate R               joins per second (default: a tenth of the viewers); a viewer\n"
	"                         stays for N / R seconds\n"
	"  --rooms N              rooms that they spread over (default 8)\n"
	"  --duration SECONDS     default: until SIGTERM\n"
	"  --timeout SECONDS      of one request (default 3)\n"
	"  --metrics-listen HOST:PORT   the viewers' own /metrics\n"
	"  --json                 the summary as JSON\n"
	"\n"
	"preempt: proves that this program may be stopped and preempted anywhere; its own --help\n";

static int usage_error(const char *what, const char *value)
{
	fprintf(stderr, "liveroom: %s%s%s\nliveroom: see liveroom --help\n", what,
		value ? " " : "", value ? value : "");
	return 2;
}

/* The whole text as a number in [min, max]; -1 if it is none. */
static double number(const char *text, double min, double max)
{
	char *end;
	double n = strtod(text, &end);

	return end == text || *end || !(n >= min && n <= max) ? -1 : n;
}

static unsigned role_named(const char *name)
{
	static const struct {
		const char *name;
		unsigned role;
	} roles[] = {{"gateway", ROLE_GATEWAY}, {"room", ROLE_ROOM}, {"store", ROLE_STORE}};

	for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
		if (!strcmp(roles[i].name, name))
			return roles[i].role;
	return 0;
}

static int serve_option(int opt, struct upstream *room, struct upstream *store)
{
	double n = number(optarg, 1, 1e12);

	switch (opt) {
	case 'r':
		config.roles = role_named(optarg);
		return config.roles ? 0 : usage_error("no such role:", optarg);
	case 'R':
	case 'S':
		if (!http_parse_origin(optarg, opt == 'R' ? &room->origin : &store->origin))
			return usage_error("not an http URL:", optarg);
		*(opt == 'R' ? &config.room : &config.store) = opt == 'R' ? room : store;
		return 0;
	case 'd':
		config.debug = optarg;
		return 0;
	case 'x':
		config.control = optarg;
		return 0;
	}
	if (n < 0)
		return usage_error("not a number above 0:", optarg);
	switch (opt) {
	case 'b':
		config.segment_bytes = n;
		return n >= 64 && n <= UPSTREAM_BODY_MAX
			       ? 0
			       : usage_error("not a size from 64 to 4194304:", optarg);
	case 'c':
		config.cache_bytes = n;
		return 0;
	case 'w':
		config.window = n;
		return 0;
	case 's':
		config.sessions = n;
		return n <= 1e6 ? 0 : usage_error("more than 1000000 viewers:", optarg);
	case 'i':
		config.session_idle_ns = n * RT_SEC;
		return n <= 1e6 ? 0 : usage_error("more than 1000000 seconds:", optarg);
	case 'C':
		config.max_per_client = n;
		return n <= 65536 ? 0 : usage_error("more than 65536 connections:", optarg);
	default:
		config.max_requests = n;
		return n <= 65536 ? 0 : usage_error("more than 65536 requests:", optarg);
	}
}

/* The first coroutine of the runtime; its exit code. */
static int run(void *(*fn)(void *arg), void *arg)
{
	struct rt_options o = {0};
	void *code = NULL;
	int r = rt_run(&o, fn, arg, &code);

	if (r < 0)
		fprintf(stderr, "liveroom: the runtime does not start: %s\n", strerror(-r));
	return r < 0 ? 1 : (int)(intptr_t)code;
}

static void *serve_main_co(void *listen)
{
	return (void *)(intptr_t)serve(listen);
}

static int serve_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"cache-bytes", required_argument, NULL, 'c'},
		{"debug", required_argument, NULL, 'd'},
		{"control", required_argument, NULL, 'x'},
		{"listen", required_argument, NULL, 'l'},
		{"per-client", required_argument, NULL, 'C'},
		{"role", required_argument, NULL, 'r'},
		{"room", required_argument, NULL, 'R'},
		{"segment-bytes", required_argument, NULL, 'b'},
		{"session-idle", required_argument, NULL, 'i'},
		{"sessions", required_argument, NULL, 's'},
		{"store", required_argument, NULL, 'S'},
		{"threads", required_argument, NULL, 't'},
		{"window", required_argument, NULL, 'w'},
		{0},
	};
	static struct upstream room, store;
	const char *listen = NULL;
	int opt, r = 0;

	config = (struct config){.roles = ROLE_ALL, .segment_bytes = 32 << 10,
				 .cache_bytes = 32 << 20, .window = 120, .max_requests = 1024,
				 .sessions = 16384, .session_idle_ns = 30 * RT_SEC};
	while (!r && (opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (opt == '?')
			return 2;
		if (opt == 'l')
			listen = optarg;
		else
			r = serve_option(opt, &room, &store);
	}
	if (r)
		return r;
	if (!listen || optind < argc)
		return usage_error(listen ? "unexpected argument" : "--listen is missing",
				   argv[optind]);
	return run(serve_main_co, (void *)listen);
}

static int load_option(int opt, struct load_options *o)
{
	double n = opt == 'T' || opt == 'm' || opt == 'j' ? 0 : number(optarg, 0.001, 1e6);

	if (n < 0)
		return usage_error("not a number above 0:", optarg);
	switch (opt) {
	case 'T':
		return http_parse_origin(optarg, &o->target.origin)
			       ? 0
			       : usage_error("not an http URL:", optarg);
	case 'm':
		o->metrics_listen = optarg;
		return 0;
	case 'j':
		o->json = true;
		return 0;
	case 'v':
		o->viewers = n;
		return 0;
	case 'o':
		o->rooms = n < 1 ? 1 : n;
		return 0;
	case 'r':
		o->joins_per_s = n;
		return 0;
	case 'd':
		o->duration_ns = n * RT_SEC;
		return 0;
	default:
		o->timeout_ns = n * RT_SEC;
		return 0;
	}
}

static void *load_main_co(void *options)
{
	return (void *)(intptr_t)load_run(options);
}

static int load_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"duration", required_argument, NULL, 'd'},
		{"json", no_argument, NULL, 'j'},
		{"metrics-listen", required_argument, NULL, 'm'},
		{"rate", required_argument, NULL, 'r'},
		{"rooms", required_argument, NULL, 'o'},
		{"target", required_argument, NULL, 'T'},
		{"timeout", required_argument, NULL, 't'},
		{"viewers", required_argument, NULL, 'v'},
		{0},
	};
	struct load_options o = {.rooms = 8, .timeout_ns = 3 * RT_SEC};
	int opt, r = 0;

	while (!r && (opt = getopt_long(argc, argv, "", options, NULL)) >= 0)
		r = opt == '?' ? 2 : load_option(opt, &o);
	if (r)
		return r;
	if (optind < argc)
		return usage_error("unexpected argument", argv[optind]);
	if (!o.target.origin.host[0] || !o.viewers)
		return usage_error(o.viewers ? "--target is missing" : "--viewers is missing", NULL);
	return run(load_main_co, &o);
}

static void allow_many_files(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

/* Before any thread exists, so that all of them inherit the mask. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	if (!strcmp(verb, "--help") || !strcmp(verb, "help")) {
		fputs(usage, stdout);
		return 0;
	}
	if (!strcmp(verb, "preempt"))
		return preempt_main("liveroom preempt", argc - 1, argv + 1);
	block_signals();
	allow_many_files();
	if (!strcmp(verb, "serve"))
		return serve_main(argc - 1, argv + 1);
	if (!strcmp(verb, "load"))
		return load_main(argc - 1, argv + 1);
	fputs(usage, stderr);
	return 2;
}
