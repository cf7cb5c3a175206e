/*
 * environ - a container's arguments and environment, with Kubernetes' $(NAME) references
 */
#pragma once

#include "manifest.h"

/* PATH (then the folder beside), HOME, HOSTNAME, POD_NAMESPACE, POD_IP, and the container's own. */
void lab_environ(const struct lab_pod *p, const struct lab_container *c, const char *path,
		 const char *beside, struct kvs *ret);
/* command and args; $(NAME) stands for a variable, $$ for a dollar, an unknown name for itself. */
void lab_arguments(const struct lab_container *c, const struct kvs *env, struct strlist *ret);
/* The folder of brunt's own binary; the caller frees. */
char *lab_program_folder(void);
/* "NAME=value" lines for execve. */
void lab_environ_list(const struct kvs *env, struct strlist *ret);
