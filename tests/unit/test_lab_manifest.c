#include "lab/environ.h"
#include "lab/log.h"
#include "lab/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

static int parse(const char *text, struct diags *d, struct lab_spec **ret)
{
	struct lab_file f = {.name = (char *)"m.yaml", .text = (char *)text, .len = strlen(text)};

	return lab_spec_parse(&(struct lab_files){.items = &f, .n = 1}, d, ret);
}

#define POD_HEAD "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n"
#define CONTAINER "  containers:\n  - name: app\n    command: [a]\n"

static const struct {
	const char *text, *message;
} bad[] = {
	{"kind: Service\n",
	 "m.yaml:1:7: kind: \"Service\" is not a kind that a lab runs (want Deployment or Pod)\n"},
	{"kind: Deploymnt\n",
	 "m.yaml:1:7: kind: \"Deploymnt\" is not a kind that a lab runs (did you mean "
	 "Deployment)\n"},
	{"a: b\n", "m.yaml:1:1: kind: missing (want Deployment or Pod)\n"},
	{"", "m.yaml:1:1: no document (want a Deployment or a Pod)\n"},
	{POD_HEAD "  containers:\n  - name: app\n",
	 "m.yaml:6:5: spec.containers[0].command: missing (a lab runs programs of this "
	 "machine; images are ignored)\n"},
	{POD_HEAD CONTAINER "    livenessProbe: {tcpSocket: {port: 80}}\n",
	 "m.yaml:8:5: spec.containers[0].livenessProbe: is not supported in a lab yet: leave it out for the "
	 "lab's copy\n"},
	{POD_HEAD CONTAINER "  initContainers: []\n",
	 "m.yaml:8:3: spec.initContainers: is not supported in a lab yet: leave it out for the lab's "
	 "copy\n"},
	{POD_HEAD "  containers: []\n", "m.yaml:5:15: spec.containers: must not be empty\n"},
	{POD_HEAD CONTAINER "    readinessProbe: {periodSeconds: 1}\n",
	 "m.yaml:8:21: spec.containers[0].readinessProbe: want one of httpGet and tcpSocket\n"},
	{POD_HEAD CONTAINER "    readinessProbe: {tcpSocket: {port: web}}\n",
	 "m.yaml:8:40: spec.containers[0].readinessProbe.tcpSocket.port: \"web\" is neither a port from 1 "
	 "to 65535 nor the name of one of the container's ports\n"},
	{POD_HEAD CONTAINER "    readinessProbe: {httpGet: {port: 70000}}\n",
	 "m.yaml:8:38: spec.containers[0].readinessProbe.httpGet.port: \"70000\" is neither a port from 1 "
	 "to 65535 nor the name of one of the container's ports\n"},
	{POD_HEAD CONTAINER "  - name: app\n    command: [b]\n",
	 "m.yaml:8:11: spec.containers[1].name: \"app\" is also containers[0]\n"},
	{POD_HEAD "  containers:\n  - name: App\n    command: [a]\n",
	 "m.yaml:6:11: spec.containers[0].name: \"App\" is not a name (want a-z, 0-9 and -, up "
	 "to 63 letters)\n"},
	{"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n"
	 "  selector: {matchLabels: {app: x}}\n  template:\n    metadata: {labels: {app: y}}\n    spec:\n"
	 "      containers: [{name: c, command: [a]}]\n",
	 "m.yaml:5:13: spec.selector.matchLabels: app: x is not among the template's labels\n"},
	{"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  template:\n    spec:\n"
	 "      restartPolicy: Never\n      containers: [{name: c, command: [a]}]\n",
	 "m.yaml:7:22: spec.template.spec.restartPolicy: a Deployment's pods have Always\n"},
	{POD_HEAD CONTAINER "---\n" POD_HEAD CONTAINER,
	 "m.yaml:11:18: metadata.name: there is a pod default/p already\n"},
};

static void test_bad_manifests_say_what_and_where(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		autodiags d = {0};
		struct lab_spec *s = NULL;
		autofree char *text = NULL;

		assert_int_equal(parse(bad[i].text, &d, &s), -EINVAL);
		assert_null(s);
		text = diags_text(&d);
		if (!strstr(text, bad[i].message) || d.n != 1)
			print_error("%s\n want %s\n", text, bad[i].message);
		assert_int_equal(d.n, 1);
		assert_string_equal(text, bad[i].message);
	}
}

static const char good[] =
	"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: room, namespace: live}\nspec:\n"
	"  replicas: 2\n  template:\n    metadata: {labels: {app: room}}\n    spec:\n"
	"      containers:\n"
	"      - name: app\n        image: x\n        command: [sh, -c, \"echo $(PORT) "
	 "$$(PORT) $(NONE)\"]\n"
	"        args: [$(URL)]\n"
	"        env: [{name: PORT, value: 8080}, {name: URL, value: \"http://$(POD_IP):$(PORT)\"}]\n"
	"        ports: [{name: http, containerPort: 8080}]\n"
	"        resources: {limits: {cpu: 1500m, memory: 64Mi}, requests: {cpu: 1}}\n"
	"        readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 2}\n"
	"---\n" POD_HEAD CONTAINER;

static struct lab_spec *good_spec(void)
{
	struct lab_spec *s = NULL;
	autodiags d = {0};
	int r = parse(good, &d, &s);
	autofree char *text = diags_text(&d);

	if (r < 0)
		print_error("%s", text);
	assert_int_equal(r, 0);
	return s;
}

static void test_replicas_become_pods_with_addresses(void **state)
{
	autoptr(lab_spec) s = good_spec();
	const struct lab_container *c = &s->pods[0].containers[0];

	assert_int_equal(s->n_pods, 3);
	assert_string_equal(s->pods[1].name, "room-1");
	assert_string_equal(s->pods[1].ns, "live");
	assert_string_equal(s->pods[1].address4, "10.77.0.3");
	assert_string_equal(s->pods[1].address6, "fd00:77::3");
	assert_string_equal(s->pods[2].ns, "default");
	assert_int_equal(c->resources.limits.cpu_milli, 1500);
	assert_int_equal(c->resources.limits.memory_bytes, 64 << 20);
	assert_int_equal(c->probe.port, 8080);
	assert_int_equal(c->probe.period_s, 2);
	assert_int_equal(c->probe.timeout_s, 1);
	assert_int_equal(c->probe.failure_threshold, 3);
	assert_int_equal(s->pods[0].grace_ns, 30 * NSEC_PER_SEC);
}

static void test_hosts_name_pods_and_deployments(void **state)
{
	autoptr(lab_spec) s = good_spec();
	struct kvs live = {0}, all = {0};
	autostr text = {0};

	lab_spec_hosts(s, "live", &live);
	assert_string_equal(kvs_get(&live, "room-0"), "10.77.0.2,fd00:77::2");
	assert_string_equal(kvs_get(&live, "room"), "10.77.0.2,fd00:77::2,10.77.0.3,fd00:77::3");
	assert_null(kvs_get(&live, "p"));
	assert_string_equal(kvs_get(&live, "p.default"), "10.77.0.4,fd00:77::4");
	lab_spec_hosts(s, NULL, &all);
	assert_non_null(kvs_get(&all, "p"));
	assert_non_null(kvs_get(&all, "room"));
	lab_spec_hosts_file(s, "live", &text);
	assert_non_null(strstr(text.s, "10.77.0.3\troom-1 room\troom-1.live room.live\n"));
	assert_non_null(strstr(text.s, "fd00:77::4\tp.default\n"));
	kvs_done(&live);
	kvs_done(&all);
}

static void test_references_are_expanded_as_in_kubernetes(void **state)
{
	autoptr(lab_spec) s = good_spec();
	struct kvs env = {0};
	struct strlist args = {0};

	lab_environ(&s->pods[0], &s->pods[0].containers[0], "/bin", "/opt/brunt", &env);
	lab_arguments(&s->pods[0].containers[0], &env, &args);
	assert_string_equal(kvs_get(&env, "PATH"), "/bin:/opt/brunt");
	assert_string_equal(kvs_get(&env, "HOSTNAME"), "room-0");
	assert_int_equal(args.n, 4);
	assert_string_equal(args.items[2], "echo 8080 $(PORT) $(NONE)");
	assert_string_equal(args.items[3], "http://10.77.0.2:8080");
	kvs_done(&env);
	strlist_done(&args);
}

static void test_resolve_names_what_is_missing(void **state)
{
	autoptr(lab_spec) s = good_spec();
	autodiags d = {0};
	autofree char *text = NULL;

	assert_int_equal(lab_spec_resolve(s, "/bin:/usr/bin", "/nonexistent", &d), -ENOENT);
	text = diags_text(&d);
	assert_string_equal(text, "m.yaml:25:14: containers[0].command[0]: a: not found in PATH or "
				  "beside brunt\n");
	assert_string_equal(s->pods[0].containers[0].path, "/bin/sh");
}

static void test_log_is_bounded_and_cut_at_lines(void **state)
{
	char dir[] = "/tmp/bt-lab-log-XXXXXX";
	autofree char *path = NULL, *old = NULL;
	struct lab_log l;
	struct stat st;
	char line[32];

	assert_non_null(mkdtemp(dir));
	path = xasprintf("%s/logs/x.log", dir);
	old = xasprintf("%s.1", path);
	assert_int_equal(lab_log_open(path, 1000, &l, NULL), 0);
	for (int i = 0; i < 1000; i++) {
		snprintf(line, sizeof line, "line %04d\n", i);
		lab_log_write(&l, line, 10);
	}
	lab_log_close(&l);
	assert_int_equal(stat(old, &st), 0);
	assert_int_equal(st.st_size, 1000);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size <= 1000 && st.st_size % 10 == 0);
	unlink(old);
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_manifests_say_what_and_where),
		cmocka_unit_test(test_replicas_become_pods_with_addresses),
		cmocka_unit_test(test_hosts_name_pods_and_deployments),
		cmocka_unit_test(test_references_are_expanded_as_in_kubernetes),
		cmocka_unit_test(test_resolve_names_what_is_missing),
		cmocka_unit_test(test_log_is_bounded_and_cut_at_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
