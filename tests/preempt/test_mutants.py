#!/usr/bin/python3
"""The preemption harness can fail: it catches each mutant of the runtime or of a workload."""
import glob
import os
import signal
import unittest

import harness
import rtmutant

PARTS = (rtmutant.RUNTIME_PART,
         rtmutant.Part("tests/preempt",
                       os.path.join(harness.BUILD, "tests", "preempt", "librt_preempt_managed.a.p"),
                       "rt_managed"))
HARNESS = [os.path.join(harness.BUILD, "tests", "preempt", folder)
           for folder in ("rt-preempt.p", "librt_preempt_harness.a.p")]
PREEMPT = "runtime/sched/preempt.c"
PREEMPT_S = "runtime/sched/preempt_x86_64.S"
SWITCH_S = "runtime/sched/switch_x86_64.S"
STOP = "runtime/sched/stop.c"
ROOTS = "runtime/mem/roots.c"
ALLOC = "runtime/mem/alloc.c"
BARRIER = "runtime/mem/barrier.c"
SHADE = "\t\tshade_for_store(old, value);\n"
FREED_TOO_EARLY = (1, -signal.SIGABRT, -signal.SIGSEGV)  # a value, the verifier, a poisoned pointer
ASK_AGAIN = "#define ASK_AGAIN_NS (100 * RT_USEC)"
ASK = ("\task_all(own, preempt_flag);\n\tif (!preempt_has_polls() || !all_come_soon())\n"
       "\t\task_all(own, preempt_signal);\n")
STOPS = ["--stops", "30"]
SOAK = ["random", "--mode", "signal", "--seconds", "1"]


def Mutant(*edits):
    """A build of rt-preempt in which some lines of the source read otherwise."""
    return rtmutant.Mutant(edits, [o for folder in HARNESS for o in glob.glob(os.path.join(folder, "*.o"))],
                           PARTS)


class Case(unittest.TestCase):
    def caught(self, edits, *args):
        """In one run of three: what must meet by chance does not in each."""
        with Mutant(*edits) as m:
            for _ in range(3):
                junit = os.path.join(m.dir, "junit.xml")
                code, text = m.run(*args, "--junit", junit, timeout=15)
                if code == 1:
                    with open(junit, encoding="utf-8") as f:
                        self.assertIn("<failure message=", f.read())
                if code != 0:
                    return
        self.fail(text)

    def too_slow(self, edits, *args):
        """An objective of time is broken in every round."""
        with Mutant(*edits) as m:
            code, text = m.run("matrix", *args, timeout=300)
        self.assertEqual(code, 1, text)
        self.assertIn("kept in 0 of 7 rounds", text)
        self.assertNotIn("WRONG VALUES", text)


class Mutants(Case):
    """Of what is measured."""

    def test_unchanged_passes(self):
        with Mutant() as m:
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
        self.caught([(PREEMPT, "\tif (co->off) {\n\t\tco->off_pending = true;\n\t\treturn false;\n\t}\n", "")],
                    "matrix", "--only", "preempt-off", "--mode", "signal", *STOPS)

    def test_preempted_in_libc(self):
        self.caught([(PREEMPT, "!preempt_is_managed((uintptr_t)u->uc_mcontext.gregs[REG_RIP])",
                      "is_in((uintptr_t)u->uc_mcontext.gregs[REG_RIP], __start_rt_text, __stop_rt_text)")],
                    *SOAK)

    def test_preempted_anywhere(self):
        self.caught([(PREEMPT, "!preempt_is_managed((uintptr_t)u->uc_mcontext.gregs[REG_RIP])", "false")],
                    *SOAK)

    def test_stop_in_managed_text_only(self):
        self.caught([(PREEMPT, "!at_poll && is_in(pc, __start_rt_text, __stop_rt_text)",
                      "!at_poll && !preempt_is_managed(pc)")],
                    "matrix", "--only", "blocking-syscall", "--mode", "signal", *STOPS)

    # How long a stop takes.

    def test_a_stop_waits_for_the_end_of_the_loop(self):
        self.too_slow([(PREEMPT, "if (signals_work() && m &&", "if (false && m &&")],
                      "--only", "tight-loop", "--mode", "all", "--stops", "10")

    def test_a_stop_asks_1_ms_late(self):
        self.too_slow([(STOP, ASK_AGAIN, ASK_AGAIN.replace("100", "1000")),
                       (STOP, ASK, "")],
                      "--only", "tight-loop", "--mode", "signal", *STOPS)

    def test_one_stop_of_8_asks_a_slice_late(self):
        self.too_slow([(STOP, ASK_AGAIN, ASK_AGAIN.replace("100", "10000")),
                       (STOP, ASK, "\tstatic unsigned n;\n\tif (n++ % 8) {\n" + ASK + "\t}\n")],
                      "--only", "tight-loop", "--mode", "signal", "--stops", "100")

    # Polls.

    def test_poll_removed(self):
        self.caught([("tests/preempt/workloads.c", "\t\tx = mix(x);\n\t\tRT_POLL();\n", "\t\tx = mix(x);\n")],
                    "matrix", "--only", "loop-with-polls", "--mode", "cooperative", *STOPS)

    def test_poll_removed_in_calls_of_the_runtime(self):
        self.caught([("runtime/sync/chan.c", "\tpoll_here();\n", "", 5)],
                    "matrix", "--only", "runtime-calls", "--mode", "cooperative", *STOPS)

    def test_no_flag_left_by_a_signal_at_the_wrong_moment(self):
        self.caught([(PREEMPT, "\tif (!preempt_has_polls())\n", "\tif (false)\n")],
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
        self.caught([(SWITCH_S, "2:\tldmxcsr\t24(%rsi)\n", "2:\n")], "exhaustive", "--only", "flags")

    def test_x87_control_word_not_restored(self):
        self.caught([(SWITCH_S, "3:\tfldcw\t28(%rsi)\n", "3:\n")], "exhaustive", "--only", "flags")

class MutantsOfTheCollector(Case):
    """What is freed too early is poisoned: a value is wrong, or the verifier ends the program."""

    patient = True

    def freed_too_early(self, edits, kernel):
        """In one run of three. No time is enough: a mutant that hangs is not caught."""
        with Mutant(*edits) as m:
            for _ in range(3):
                code, text = m.run("exhaustive", "--only", kernel, timeout=180)
                self.assertIn(code, (0, *FREED_TOO_EARLY), text)
                if code != 0:
                    if code != -signal.SIGSEGV:
                        self.assertRegex(text, "NOT OK .* wrong: [1-9]|the collector missed")
                    return
        self.fail(text)

    def test_unchanged_passes(self):
        with Mutant() as m:
            for kernel in ("call", "list", "move", "register", "syscall", "vector"):
                code, text = m.run("exhaustive", "--only", f"heap-{kernel}", timeout=180)
                self.assertEqual(code, 0, text)

    # What is searched.

    def test_vector_registers_not_searched(self):
        self.freed_too_early([(ROOTS, "\tif (!fp)\n\t\treturn;\n", "\tif (fp)\n\t\treturn;\n")],
                                      "heap-vector")

    def test_upper_vector_halves_not_searched(self):
        self.freed_too_early([(ROOTS, "fp->__glibc_reserved1[13] : sizeof", "sizeof *fp : sizeof")],
                                      "heap-vector")

    def test_registers_not_searched(self):
        self.freed_too_early([(ROOTS, "\tmark_range(k, (uintptr_t)u->uc_mcontext.gregs, (uintptr_t)"
                               "(u->uc_mcontext.gregs + NGREG));\n", "")],
                                      "heap-register")

    def test_red_zone_not_searched(self):
        self.freed_too_early([(ROOTS, "[REG_RSP] - 128 /*", "[REG_RSP] /*")], "heap-register")

    def test_registers_at_a_system_call_not_searched(self):
        self.freed_too_early([(ROOTS, "\t\t\tmark_word(k, co->left_regs[i]);\n", "\t\t\t;\n")],
                                      "heap-call")

    def test_stack_at_a_system_call_not_searched(self):
        self.freed_too_early([(ROOTS, "\t\tsearch_stack(k, co, __atomic_load_n(&co->left_sp, __ATOMIC_RELAXED));\n"
                                      "\t\tbreak;", "\t\tbreak;"),
                              (ROOTS, "\t\t\tmark_word(k, co->left_regs[i]);\n", "\t\t\t;\n")],
                                      "heap-syscall")

    def test_stack_of_who_is_away_not_searched(self):
        self.freed_too_early([(ROOTS, "\t\tsearch_stack(k, co, (uintptr_t)co->saved.sp);\n", "\t\t;\n")],
                                      "heap-list")

    # When.

    def test_not_searched_before_it_is_resumed(self):
        self.freed_too_early([(ROOTS, "memory_order_acquire) == done)\n\t\treturn;\n",
                               "memory_order_acquire) == done || true)\n\t\treturn;\n")],
                                      "heap-list")

    def test_nothing_shaded(self):
        self.freed_too_early([(BARRIER, SHADE, "")],
                                      "heap-move")

    def test_new_objects_not_marked(self):
        self.freed_too_early([(ALLOC, "\t\tif (r->cur != run_claimed_end(r))\n", "\t\tif (false)\n")],
                                               "heap-list")

    def test_a_field_not_searched(self):
        self.freed_too_early([("runtime/mem/mark.c", "for (uint64_t mask = b->mask; mask;",
                               "for (uint64_t mask = b->mask & 1; mask;"),
                              ("runtime/mem/near.c", "near_collect(near, base, b->mask,",
                               "near_collect(near, base, b->mask & 1,")], "heap-register")


if __name__ == "__main__":
    harness.main()
