#!/usr/bin/python3
"""Each mutant of weak references and finalisers is caught by the case of test_gc_special that is about it."""
import gcmutants

SPECIAL, SWEEP, ROOTS = "runtime/mem/special.c", "runtime/mem/sweep.c", "runtime/mem/roots.c"


class Mutants(gcmutants.Case):
    program = "test_gc_special"

    def test_unchanged_passes(self):
        self.passes()

    # Weak references.

    def test_got_while_marking_without_shading(self):
        self.caught([(SPECIAL, "\t\tbarrier_shade(obj);\n\t\treturn obj;\n", "\t\treturn obj;\n")], "weak-marking")

    def test_dead_one_is_got_before_the_sweep(self):
        self.caught([(SPECIAL, "->gen != heap.sweep_gen &&\n", "->gen != heap.sweep_gen && false &&\n")], "weak-near")

    def test_live_one_is_not_got_after_the_sweep(self):
        self.caught([(SPECIAL, "of_block(o.block)->gen != heap.sweep_gen &&", "true &&")], "weak-far")

    def test_sweep_does_not_say_that_it_came_by(self):
        self.caught([(SPECIAL, "\ts->gen = heap.sweep_gen;\n", "")], "weak-far")

    def test_not_cleared(self):
        self.caught([(SPECIAL, "\t\t\tatomic_store_explicit(&r->weak->obj, 0, memory_order_relaxed);\n", "")],
                    "weak-far", "weak-reused")

    def test_known_to_be_alive_for_ever(self):
        self.caught([(SPECIAL, "&w->gen, memory_order_relaxed) == heap.sweep_gen", "&w->gen, memory_order_relaxed) <= heap.sweep_gen")],
                    "weak-near")

    def test_record_does_not_keep_its_reference(self):
        self.caught([(SPECIAL, "\tif (r->weak)\n\t\tmark_word(k, (uintptr_t)r->weak);\n\telse if (", "\tif (!r->weak && ")],
                    "weak-kept")

    def test_block_in_a_run_swept_without_its_records(self):
        self.caught([(SWEEP, "\tif (atomic_load_explicit(&b->special, memory_order_relaxed))\n\t\tspecial_sweep(b);\n\tsweep_cells(b);\n\treturn true;",
                      "\tsweep_cells(b);\n\treturn true;")], "final-near")

    # Finalisers.

    def test_object_not_kept(self):
        self.caught([(SPECIAL, "UINT64_C(1) << o->cell % 64,\n", "UINT64_C(0) << o->cell % 64,\n")], "final-far")

    def test_what_it_names_not_kept(self):
        self.caught([(SPECIAL, "\t\tmark_fields(k, &o);\n", "\t\treturn;\n")], "final-near", "final-far")

    def test_object_a_root(self):
        self.caught([(SPECIAL, "\t\tmark_fields(k, &o);\n", "\t\tmark_word(k, r->obj);\n")], "final-near", "final-far")

    def test_due_not_searched(self):
        self.caught([(SPECIAL, "r = specials.due; r; r = r->next)\n\t\tmark_word(k, r->obj);", "r = NULL; r; r = r->next)\n\t\tmark_word(k, r->obj);")],
                    "final-due")

    def test_taken_without_shading(self):
        self.caught([(SPECIAL, "\tif (gc_is_marking())\n\t\tbarrier_shade(*ret_obj);\n", "")], "final-due")

    def test_weak_reference_outlives(self):
        self.caught([(SPECIAL, "\tsweep_records(s, true);\n\tsweep_records(s, false);\n",
                      "\tsweep_records(s, false);\n\tsweep_records(s, true);\n")], "final-weak")

    def test_called_again(self):
        self.caught([(SPECIAL, "\t\t*at = r->next;\n\t\tif (weak) {", "\t\tif (weak)\n\t\t\t*at = r->next;\n\t\tif (!weak) {\n\t\t\tstruct record *copy = new_record();\n\n\t\t\t*copy = *r;\n\t\t\tat = &r->next;\n\t\t\tr = copy;\n\t\t}\n\t\tif (weak) {")],
                    "final-far")


if __name__ == "__main__":
    gcmutants.main()
