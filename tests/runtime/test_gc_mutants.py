#!/usr/bin/python3
"""Each mutant of the collector is caught by the case of test_gc_keep that is about it."""
import gcmutants

GC, MARK, NEAR, ROOTS, BARRIER = (f"runtime/mem/{name}.c" for name in
                                  ("gc", "mark", "near", "roots", "barrier"))
ALLOC, SWEEP, PINS = (f"runtime/mem/{name}.c" for name in ("alloc", "sweep", "pins"))
CHAN, CO = "runtime/sync/chan.c", "runtime/sched/co.c"
SHADES = "\t\tshade_for_store(old, value);\n"


class Mutants(gcmutants.Case):
    program = "test_gc_keep"

    def test_unchanged_passes(self):
        self.passes()

    # Stores.

    def test_store_shades_nothing(self):
        self.caught([(BARRIER, SHADES, "")], "store")

    def test_copy_shades_nothing(self):
        self.caught([(BARRIER, "\t\tif (gc_is_marking())\n\t\t\tshade_object(t, ", "\t\tif (false)\n\t\t\tshade_object(t, ")],
                    "copy")

    def test_stop_between_the_check_and_the_store(self):
        self.caught([(BARRIER, "(!watch, 1)) {\n", "(!watch, 1)) {\n\t\tRT_POLL();\n")], "split")

    def test_what_was_shaded_is_forgotten(self):
        self.caught([(GC, "\tpass_on_all();\n", "")], "store", "channel")

    def test_new_object_is_white(self):
        self.caught([(ALLOC, "\t\tbits_set_shared(b->mark, from, end);\n", "\t\t(void)0;\n")], "new")

    def test_rest_of_a_run_is_white(self):
        self.caught([(ALLOC, "\t\tif (r->cur != run_claimed_end(r))\n\t\t\tbits_set",
                      "\t\tif (false)\n\t\t\tbits_set")], "new")

    def test_new_large_object_is_white(self):
        self.caught([(ALLOC, "\t\tbits_set_shared(b->mark, 0, 1);\n", "\t\t(void)0;\n")], "new-large")

    # The snapshot.

    def test_goes_on_before_it_was_searched(self):
        self.caught([("runtime/sched/schedule.c", "\tif (gc_is_marking())\n\t\troots_before_run(co);\n", "")], "resume")

    def test_receives_without_shading(self):
        self.caught([(CHAN, "\t\tbarrier_shade_words(oldest, c->elem_bytes);\n", "\t\t(void)0;\n")], "channel")

    def test_joins_without_shading(self):
        self.caught([(CO, "\t\tbarrier_shade_words(&co->result, sizeof co->result);\n", "\t\t(void)0;\n")], "join")

    def test_unpins_without_shading(self):
        self.caught([(PINS, "\t\t\tbarrier_shade_words(&obj, sizeof obj);\n", "\t\t\t(void)0;\n")], "unpin")

    # Roots.

    def test_stacks_not_searched(self):
        self.caught([(ROOTS, "\tdefault:\n\t\tsearch_stack(k, co, (uintptr_t)co->saved.sp);\n", "\tdefault:\n\t\tbreak;\n")],
                    "stack", "resume")

    def test_vector_registers_of_a_held_thread(self):
        self.caught([(ROOTS, "\tif (!fp)\n\t\treturn;\n", "\tif (fp)\n\t\treturn;\n")], "vector-held")

    def test_registers_of_a_held_thread(self):
        self.caught([(ROOTS, "\t\tsearch_context(k, u);\n", "")], "register-held", "vector-held")

    def test_red_zone_of_a_held_thread(self):
        self.caught([(ROOTS, "gregs[REG_RSP] - 128 ", "gregs[REG_RSP] ")], "red-zone-held")

    def test_vector_registers_of_a_preempted_coroutine(self):
        """The area that rt_preempt_entry saves them in lies between the switch's frames and its own."""
        self.caught([(ROOTS, "\tdefault:\n\t\tsearch_stack(k, co, (uintptr_t)co->saved.sp);\n",
                      "\tdefault:\n\t\tsearch_stack(k, co, (uintptr_t)co->saved.sp + 768);\n")], "vector-preempted")

    def test_registers_of_a_system_call(self):
        self.caught([(ROOTS, "i < LEFT_REGS; i++)\n\t\t\tmark_word", "i < 0; i++)\n\t\t\tmark_word")], "syscall")

    def test_pins_not_searched(self):
        self.caught([(ROOTS, "\t\tpins_search(k);\n\t\tspecial", "\t\tspecial")], "pin")

    def test_channels_not_searched(self):
        self.caught([(ROOTS, "\t\tchan_search_all(k);\n", "\t\t(void)0;\n")], "sends")

    def test_inside_not_honoured(self):
        self.caught([(MARK, "\tif (found)\n\t\twork_push(&k->work, word);\n",
                      "\tif (found && o.addr == word)\n\t\twork_push(&k->work, word);\n")],
                    "inside")

    def test_past_the_end_not_honoured(self):
        self.caught([(MARK, "\tif ((!found || o.addr == word) && ", "\tif (false && ")], "past-end")

    # The heap.

    def test_rest_of_a_large_object_not_searched(self):
        self.caught([(MARK, "\t\twork_push(&k->work, end | PIECE);\n", "\t\t(void)0;\n")], "large")

    def test_marks_of_a_block_stay_apart(self):
        self.caught([(NEAR, "bits_count(more & ~atomic_fetch_or_explicit(&b->mark[i], more,",
                      "bits_count(more & ~atomic_fetch_or_explicit(&b->mark[i], 0,")], "near")

    def test_last_of_a_batch_not_searched(self):
        self.caught([(NEAR, "near_collect(near, base, b->mask, i, end), n)",
                      "near_collect(near, base, b->mask, i, end - 1), n)")], "near")

    def test_marks_of_other_words_forgotten(self):
        self.caught([(NEAR, "\t\t\t*at = word;\n\t\t\tat = ", "\t\t\tat = ")], "near")

    def test_marked_cell_freed(self):
        self.caught([(SWEEP, "store_explicit(&b->alloc[i], mark, ", "store_explicit(&b->alloc[i], mark & mark - 1, ")],
                    "sweep")

    def test_word_of_the_map_left_out(self):
        self.caught([(SWEEP, "\tfor (uint32_t i = 0; i * 64 < b->n_cells; i++) {\n\t\tuint64_t alloc",
                      "\tfor (uint32_t i = 0; i * 64 + 64 < b->n_cells; i++) {\n\t\tuint64_t alloc")], "frees")


if __name__ == "__main__":
    gcmutants.main()
