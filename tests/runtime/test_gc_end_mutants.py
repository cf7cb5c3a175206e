#!/usr/bin/python3
"""Mutants of a runtime's end: what the collector or a stop leaves to the next runtime, each caught by a case
of test_gc_end."""
import gcmutants
import rtmutant

GC = "runtime/mem/gc.c"


class GcEndMutants(gcmutants.Case):
    program = "test_gc_end"

    def fails_or_hangs(self, edits, case):
        """In one of a few runs: where a runtime ends, and whether it marks then, is up to the threads of the
        moment."""
        with rtmutant.Mutant(edits, self.objects()) as m:
            codes = []
            while len(codes) < 10 and not any(codes):
                codes.append(m.run(case, timeout=20)[0])
        self.assertTrue(any(codes))

    def test_without_mutation_passes(self):
        self.passes()

    def test_lists_of_work_stay(self):
        self.fails_or_hangs([(GC, "\twork_forget();\n", "")], "marking")

    def test_shaded_pointers_stay(self):
        self.fails_or_hangs([("runtime/mem/alloc.c", "\tc->unaccounted = 0;\n\tc->n_shaded = 0;\n",
                              "\tc->unaccounted = 0;\n")], "marking")

    def test_marks_of_objects_that_stay(self):
        self.fails_or_hangs([(GC, "\t\tsweep_forget_marks();\n", "")], "behind")

    def test_the_cycle_stays_with_what_is_left_behind(self):
        self.fails_or_hangs([("runtime/sched/boot.c", "\t\tgc_abandon();\n", "")], "behind")

    def test_a_coroutine_left_behind_goes_on_in_the_next_runtime(self):
        self.fails_or_hangs([("runtime/sched/syscall.c",
                              "\tif (m->generation != atomic_load(&sched.generation))\n\t\treturn;\n", "")], "behind")

    def test_whose_turn_it_was_to_stop_the_world_stays(self):
        self.fails_or_hangs([("runtime/sched/stop.c", "\tstop.turn = (struct rt_mutex){0};\n", "")], "stopping")

    def test_threads_end_with_a_p_that_a_stop_waits_for(self):
        self.fails_or_hangs([("runtime/sched/schedule.c", "\t\t\tif (m->p)\n\t\t\t\tp_put_away(p_release(m));\n", "")],
                            "stopping")


gcmutants.main()
