/*
 * manifest - Kubernetes Deployments and Pods, the part of them that a lab runs
 *
 * The schema tables say which fields exist. `image` and its pull policy are accepted and ignored:
 * a lab runs command[0] from this machine's PATH or from the folder of the brunt binary. So are
 * resources.requests: nothing is scheduled.
 *
 * Flow:    files -> [manifest] -> supervisor
 * Owns:    a lab_spec owns its documents; its pods borrow from them
 * Errors:  all errors of all files are collected in diags
 */
#pragma once

#include "../base/field.h"

#include <stdint.h>

enum {
	LAB_MAX_PODS = 1000,
	LAB_MAX_CONTAINERS = 16,
	LAB_NAME_MAX = 63,
};

enum restart_policy { RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_NEVER };

struct lab_port {
	char *name;
	int64_t number;
	int protocol;
};

struct lab_env {
	char *name, *value;
};

struct lab_header {
	char *name, *value;
};

struct lab_resources {
	uint64_t memory_bytes; /* 0: no limit */
	uint64_t cpu_milli;    /* 0: no limit */
};

struct lab_limits {
	struct lab_resources limits, requests;
};

struct lab_http_get {
	char *path, *host;
	int scheme;
	char *port; /* as written: a number, or the name of one of the container's ports */
	struct lab_header *headers;
	size_t n_headers;
};

struct lab_tcp_socket {
	char *port;
};

struct lab_probe {
	struct lab_http_get http;
	struct lab_tcp_socket tcp;
	bool is_http, is_tcp;
	int64_t initial_delay_s, period_s, timeout_s, success_threshold, failure_threshold;
	int64_t port; /* resolved */
};

struct lab_container {
	char *name, *image;
	int pull_policy;
	struct strlist command, args;
	char *working_dir;
	struct lab_env *env;
	size_t n_env;
	struct lab_port *ports;
	size_t n_ports;
	struct lab_limits resources;
	bool has_probe;
	struct lab_probe probe;
	int line, column; /* of the command */
	char *file;
	char *path; /* of the program, after lab_spec_resolve() */
};

struct lab_metadata {
	char *name, *namespace;
	struct kvs labels, annotations;
};

struct lab_pod_spec {
	struct lab_container *containers;
	size_t n_containers;
	int restart_policy;
	int64_t grace_s;
};

struct lab_pod_template {
	struct lab_metadata metadata;
	struct lab_pod_spec spec;
};

struct lab_label_selector {
	struct kvs match_labels;
};

struct lab_deployment_spec {
	int64_t replicas;
	struct lab_label_selector selector;
	struct lab_pod_template template;
};

/* One document; kind says which of the two it is. */
struct lab_document {
	int api_version, kind;
	struct lab_metadata metadata;
	struct lab_pod_spec pod;               /* kind Pod */
	struct lab_deployment_spec deployment; /* kind Deployment */
};

extern const struct schema lab_pod_schema;
extern const struct schema lab_deployment_schema;

/* A pod to run. Everything is borrowed from its document but what is marked. */
struct lab_pod {
	const char *ns;
	char *name;            /* owned: room-0 */
	const char *deployment; /* NULL: a bare Pod */
	const struct kvs *labels, *annotations;
	struct lab_container *containers;
	size_t n_containers;
	enum restart_policy restart_policy;
	int64_t grace_ns;
	char *address4, *address6; /* owned */
};

struct lab_spec {
	struct lab_document **documents;
	size_t n_documents;
	const struct schema **schemas; /* of the documents */
	struct lab_pod *pods;
	size_t n_pods;
};

/* A manifest's name as shown in messages, and its text. */
struct lab_file {
	char *name, *text;
	size_t len;
};

struct lab_files {
	struct lab_file *items;
	size_t n;
};

/* Reads files, folders (*.yaml, *.yml, sorted) and "-". */
int lab_files_read(const char *const *paths, size_t n, struct lab_files *ret, struct err *e);
void lab_files_done(struct lab_files *f);

/* 0, or -EINVAL with diags filled and *ret NULL. */
int lab_spec_parse(const struct lab_files *files, struct diags *d, struct lab_spec **ret);
void lab_spec_free(struct lab_spec *s);
DEFINE_AUTOPTR(lab_spec, lab_spec_free);

/* An executable in the folders of path (as in $PATH), then in beside; a name with a slash is taken
 * as it is. NULL when there is none; the caller frees. */
char *lab_find_program(const char *name, const char *path, const char *beside);

/* Finds every container's program in the folders of path (as in $PATH), then in beside. */
int lab_spec_resolve(struct lab_spec *s, const char *path, const char *beside, struct diags *d);

/* Names to addresses as a pod of namespace ns sees them (NULL: as the switch does): pods and
 * deployments by their names, those of other namespaces as name.namespace. */
void lab_spec_hosts(const struct lab_spec *s, const char *ns, struct kvs *ret);
/* The same in the form of /etc/hosts. */
void lab_spec_hosts_file(const struct lab_spec *s, const char *ns, struct str *ret);
