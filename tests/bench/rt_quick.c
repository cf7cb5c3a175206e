#include "../../runtime/rt.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
struct tree { struct tree *const left, *const right; };
RT_TYPE(tree_type, struct tree, left, right);
static struct tree *make(int d)
{
	struct tree *t = rt_new(&tree_type);
	if (d > 0) { RT_SET(t->left, make(d - 1)); RT_SET(t->right, make(d - 1)); }
	return t;
}
static int check(const struct tree *t) { return t->left ? 1 + check(t->left) + check(t->right) : 1; }
static void *run(void *arg)
{
	int n = *(int *)arg;
	struct tree *longlived = make(n);
	printf("stretch %d\n", check(make(n + 1)));
	for (int d = 4; d <= n; d += 4) {
		int iters = 1 << (n - d + 4), c = 0;
		for (int i = 0; i < iters; i++) { c += check(make(d)); }
		printf("%d trees depth %d check %d\n", iters, d, c);
	}
	printf("long %d\n", check(longlived));
	return NULL;
}
int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 20;
	struct rusage u;
	rt_run(NULL, run, &n, NULL);
	getrusage(RUSAGE_SELF, &u);
	printf("cpu %ld.%03ld s rss %ld KB\n", u.ru_utime.tv_sec + u.ru_stime.tv_sec, (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000, u.ru_maxrss);
}
