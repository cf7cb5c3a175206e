#!/usr/bin/python3
"""rt-preempt's objectives hold while the process is throttled, short of memory, stopped and continued."""
import harness
from rt_preempt_case import RtPreemptCase, objectives

LEGS = "host lab"  # the lab's control groups are version 2


class Faults(RtPreemptCase):
    def under(self, fault):
        for workload in ("allocation-storm", "tight-loop"):
            lines = self.report("matrix", "--fault", fault, "--only", workload, "--stops", "50")
            self.check_cells(lines, {name: e for name, e in objectives().items()
                                     if name.startswith(workload + "/")})
            for name, line in lines.items():
                self.assertGreater(line["fault_hits"], 0, name)

    def test_under_a_cpu_quota(self):
        self.under("quota")

    def test_under_a_memory_limit(self):
        self.under("memory")

    def test_stopped_and_continued(self):
        self.under("sigstop")


if __name__ == "__main__":
    harness.main()
