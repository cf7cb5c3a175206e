#!/usr/bin/python3
"""rt-preempt while the process is throttled, short of memory, stopped and continued.

No value is wrong, and what a mode cannot stop is of another order than what it can. The objectives of time
are not asserted: the kernel counts a throttled period when it is over, also the part before a stop.
"""
import harness
from rt_preempt_case import RtPreemptCase, objectives

LEGS = "host lab"  # the lab's control groups are version 2


class Faults(RtPreemptCase):
    def under(self, fault):
        for workload in ("allocation-storm", "tight-loop"):
            lines = self.report("matrix", "--fault", fault, "--only", workload, "--stops", "20",
                                expected=(0, 1))
            self.assertEqual({name: line["expected"] for name, line in lines.items()},
                             {name: e for name, e in objectives().items()
                              if name.startswith(workload + "/")})
            for name, line in lines.items():
                self.assertEqual(line["wrong_values"], 0, name)
                self.assertGreater(line["fault_hits"], 0, name)
                if line["expected"] == "pass":
                    for slow in lines.values():
                        if slow["expected"] == "fail":
                            self.assertLess(line["p50_us"], slow["p50_us"], name)

    def test_under_a_cpu_quota(self):
        self.under("quota")

    def test_under_a_memory_limit(self):
        self.under("memory")

    def test_stopped_and_continued(self):
        self.under("sigstop")


if __name__ == "__main__":
    harness.main()
