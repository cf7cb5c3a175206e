#include "preempt.h"

int main(int argc, char **argv)
{
	return preempt_main("rt-preempt", argc, argv);
}
