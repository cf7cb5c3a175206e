#!/usr/bin/python3
"""The preemption harness can fail: it catches each mutant of the runtime or of a workload."""
import glob
import os
import unittest

import harness
import rtmutant

PARTS = (rtmutant.RUNTIME_PART,
         rtmutant.Part("tests/preempt", os.path.join(harness.BUILD, "tests", "librt_preempt_managed.a.p"),
                       "rt_managed"))
OBJECTS = os.path.join(harness.BUILD, "tests", "rt-preempt.p", "*.o")
PREEMPT = "runtime/sched/preempt.c"
PREEMPT_S = "runtime/sched/preempt_x86_64.S"
SWITCH_S = "runtime/sched/switch_x86_64.S"
STOPS = ["--stops", "30"]
SOAK = ["random", "--mode", "signal", "--seconds", "1"]


def mutant(*edits):
    return rtmutant.Mutant(edits, glob.glob(OBJECTS), PARTS)


class Case(unittest.TestCase):
    def caught(self, edits, *args):
        """In one run of three: on a busy machine an objective may be wide for once."""
        with mutant(*edits) as m:
            for _ in range(3):
                junit = os.path.join(m.dir, "junit.xml")
                code, text = m.run(*args, "--junit", junit, timeout=15)
                if code == 1:
                    with open(junit, encoding="utf-8") as f:
                        self.assertIn("<failure>", f.read())
                if code != 0:
                    return
        self.fail(text)


class Mutants(Case):
    """Of what is measured."""

    def test_unchanged_passes(self):
        with mutant() as m:
            for args in (["exhaustive", "--only", "flags"], ["exhaustive", "--only", "x87"],
                         ["exhaustive", "--only", "avx"], ["exhaustive", "--only", "red-zone"],
                         ["exhaustive", "--only", "direction-flag"],
                         ["matrix", "--only", "errno-in-flight", "--mode", "signal", *STOPS],
                         ["matrix", "--only", "loop-with-polls", "--mode", "cooperative", *STOPS],
                         ["matrix", "--only", "runtime-calls", "--mode", "cooperative", *STOPS],
                         ["matrix", "--only", "runtime-calls", "--mode", "signal", *STOPS],
                         ["matrix", "--only", "blocking-syscall", "--mode", "signal", *STOPS],
                         ["matrix", "--only", "preempt-off", "--mode", "signal", *STOPS], SOAK):
                code, text = m.run(*args)
                self.assertEqual(code, 0, text)

    def test_errno_of_the_handler_s_own_calls_left(self):
        self.caught([("runtime/sched/signal.c", "context, false);\n\terrno = saved;",
                      "context, false);\n\terrno = EAGAIN;")],
                    "matrix", "--only", "errno-in-flight", "--mode", "signal", *STOPS)

    # Where a coroutine may be stopped and preempted.

    def test_stop_within_preempt_off(self):
        self.caught([(PREEMPT, "\tif (co->off) {\n\t\tco->off_pending = true;\n\t\treturn;\n\t}\n", "")],
                    "matrix", "--only", "preempt-off", "--mode", "signal", *STOPS)

    def test_preempted_in_libc(self):
        self.caught([(PREEMPT, "preempt) && preempt_is_managed(pc))",
                      "preempt) && !is_in(pc, __start_rt_text, __stop_rt_text))")], *SOAK)

    def test_preempted_anywhere(self):
        self.caught([(PREEMPT, "preempt) && preempt_is_managed(pc))", "preempt))")], *SOAK)

    def test_stop_in_managed_text_only(self):
        self.caught([(PREEMPT, "!is_in(pc, __start_rt_text, __stop_rt_text))\n\t\t\tstop_hold",
                      "preempt_is_managed(pc))\n\t\t\tstop_hold")],
                    "matrix", "--only", "blocking-syscall", "--mode", "signal", *STOPS)

    # Polls.

    def test_poll_removed(self):
        self.caught([("tests/preempt/workloads.c", "\t\tx = mix(x);\n\t\tRT_POLL();\n", "\t\tx = mix(x);\n")],
                    "matrix", "--only", "loop-with-polls", "--mode", "cooperative", *STOPS)

    def test_poll_removed_in_calls_of_the_runtime(self):
        self.caught([("runtime/sync/chan.c", "\tpoll_here();\n", "", 5)],
                    "matrix", "--only", "runtime-calls", "--mode", "cooperative", *STOPS)

    def test_no_flag_left_by_a_signal_at_the_wrong_moment(self):
        self.caught([(PREEMPT, "\tif (!polls_work())\n", "\tif (false)\n")],
                    "matrix", "--only", "runtime-calls", "--mode", "signal", *STOPS)


class MutantsOfState(Case):
    """These are caught by values, however long it takes."""

    patient = True

    # What preempt_x86_64.S and the signal handler save.

    def test_register_not_saved(self):
        self.caught([(PREEMPT_S, "\tpopq\t%r11\n", "\taddq\t$8, %rsp\n")],
                    "exhaustive", "--only", "flags")

    def test_flags_not_saved(self):
        self.caught([(PREEMPT_S, "\tpopfq\n", "\taddq\t$8, %rsp\n")],
                    "exhaustive", "--only", "flags")

    def test_upper_vector_halves_not_saved(self):
        self.caught([(PREEMPT, "XSAVE_WANTED = 0xe7,", "XSAVE_WANTED = 0x3,")],
                    "exhaustive", "--only", "avx")

    def test_x87_not_saved(self):
        self.caught([(PREEMPT, "XSAVE_WANTED = 0xe7,", "XSAVE_WANTED = 0xe6,")],
                    "exhaustive", "--only", "x87")

    def test_x87_stack_not_emptied(self):
        self.caught([(PREEMPT_S, "\tfninit\n", "")], "exhaustive", "--only", "x87")

    def test_red_zone_clobbered(self):
        self.caught([(PREEMPT, "sp -= 128 + 8;", "sp -= 8;"), (PREEMPT_S, "\tret\t$128\n", "\tret\n")],
                    "exhaustive", "--only", "red-zone")

    def test_direction_flag_left_set(self):
        self.caught([(PREEMPT_S, "\tcld\n", "")], "exhaustive", "--only", "direction-flag")

    # What rt_switch gives back.

    def test_mxcsr_not_restored(self):
        self.caught([(SWITCH_S, "2:\tldmxcsr\t(%rsp)\n", "2:\n")], "exhaustive", "--only", "flags")

    def test_x87_control_word_not_restored(self):
        self.caught([(SWITCH_S, "3:\tfldcw\t4(%rsp)\n", "3:\n")], "exhaustive", "--only", "flags")


if __name__ == "__main__":
    harness.main()
