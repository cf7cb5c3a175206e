/* rt-preempt: exhaustive for now */
#include "exhaustive.h"
#include "rt.h"

#include <stdio.h>
#include <string.h>

static const char *only;

static void *run(void *arg)
{
	int wrong = 0;

	step_init();
	for (size_t i = 0; i < n_kernels; i++)
		for (int a = 0; a < STEP_ACTIONS; a++) {
			struct step_report r;
			int64_t t = rt_now();

			if (only && strcmp(only, kernels[i].name))
				continue;
			rt_set_procs(a == STEP_SAME ? 1 : 2);
			step_kernel(&kernels[i], (enum step_action)a, &r);
			printf("%-16s %-13s %5llu instructions %4llu addresses %5llu passes %5llu moved, wrong: %llu values %llu states, %llu not taken  %.0f ms %s\n",
			       kernels[i].name, step_action_names[a], (unsigned long long)r.instructions,
			       (unsigned long long)r.addresses, (unsigned long long)r.passes,
			       (unsigned long long)r.moved, (unsigned long long)r.wrong_value,
			       (unsigned long long)r.wrong_state, (unsigned long long)r.not_taken,
			       (double)(rt_now() - t) / 1e6, r.first_wrong);
			fflush(stdout);
			wrong += r.wrong_value || r.wrong_state;
		}
	return (void *)(long)wrong;
}

int main(int argc, char **argv)
{
	struct rt_options o = {.preempt = RT_PREEMPT_COOPERATIVE};
	void *ret;

	only = argc > 1 ? argv[1] : NULL;
	if (rt_run(&o, run, NULL, &ret) < 0)
		return 2;
	return ret != NULL;
}
