#!/usr/bin/python3
"""No step without a living guard; and whichever of a run's processes die or stand still, nothing stays

Random subsets of them are killed too: BRUNT_SEED=N repeats a round, ROUNDS=N asks for more of them.
"""
import os
import random
import shutil
import signal
import sqlite3
import time

import crash_case
import harness
from crash_case import dump, is_gone, is_stopped

PATIENT = True
ROUNDS = int(os.environ.get("ROUNDS", "8"))


def setUpModule():
    crash_case.make_pair()


def tearDownModule():
    crash_case.remove_pair()


def proc(pid, name):
    try:
        with open(f"/proc/{pid}/{name}", "rb") as f:
            return f.read()
    except OSError:
        return b""


class RunCase(crash_case.NetCase):
    """Who of a run lives."""

    def processes(self):
        """(pid, role) of every process of brunt's that has this test's state directory."""
        mine = f"BRUNT_STATE_DIR={self.state}".encode()
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            argv = proc(pid, "cmdline").split(b"\0")
            if mine not in proc(pid, "environ").split(b"\0") or is_gone(pid):
                continue
            if os.path.basename(argv[0]) == b"brunt":
                found.append((int(pid), argv[1].decode()))
        return sorted(found)

    def brokers(self, parent):
        return [pid for pid, role in self.processes()
                if role == "__broker" and f"\nPPid:\t{parent}\n".encode() in proc(pid, "status")]

    def of_role(self, role):
        return [pid for pid, r in self.processes() if r == role]

    @staticmethod
    def send(pids, sig):
        for pid in pids:
            os.kill(pid, sig)
        if sig == signal.SIGSTOP:
            harness.wait_for(lambda: all(is_stopped(p) for p in pids), "them to stand still")

    def assert_nobody_left(self):
        harness.wait_for(lambda: not self.processes(), "no process of the run to be left")

    def ends(self, p, code):
        out, _ = p.communicate(timeout=120)
        self.assertEqual(p.returncode, code, out)
        return out


class Liveness(RunCase):
    def go_on(self, p):
        """Nobody had it injected, and it must not be any more."""
        self.assertEqual(self.state_of(), self.before)
        p.send_signal(signal.SIGCONT)
        out = self.ends(p, 3)
        self.assertNotRegex(out, r"(?<!not )injected")
        self.assertTrue(self.is_clean(), self.state_of())
        self.assert_nobody_left()
        return out

    def test_owner_that_stood_still_does_not_inject_once_the_guard_was_killed(self):
        p = self.stopped("armed", fault="60s")
        guard = self.guard_pid()
        os.kill(guard, signal.SIGKILL)
        harness.wait_for(lambda: is_gone(guard), "the guard's end")
        self.assertIn("the guard process", self.go_on(p))

    def test_owner_that_stood_still_does_not_inject_once_the_guard_has_acted(self):
        p = self.stopped("armed", fault="1s")
        guard = self.guard_pid()
        harness.wait_for(lambda: is_gone(guard), "the guard to act and leave")
        self.go_on(p)

    def test_owner_that_stood_still_does_not_inject_after_the_faults_time(self):
        """The guard lives, and waits out its grace."""
        p = self.stopped("armed", fault="1s")
        guard = self.guard_pid()
        harness.wait_for(lambda: time.monotonic() > self.armed_at + 1.5, "the end of the fault's time")
        self.assertFalse(is_gone(guard))
        p.send_signal(signal.SIGCONT)
        out, _ = p.communicate(timeout=120)
        self.assertIn("not injected: its time was over", out)
        self.assertNotEqual(p.returncode, 0, out)
        self.assertTrue(self.is_clean(), self.state_of())

    def stopped(self, point, **kw):
        p = super().stopped(point, **kw)
        self.armed_at = time.monotonic()
        return p

    def test_owner_that_stands_still_in_a_step_is_killed_by_the_guard(self):
        p = self.stopped("inject", fault="1s")
        self.assertEqual(p.wait(60), -signal.SIGKILL)
        self.assert_clean()
        self.assert_nobody_left()

    def test_guard_that_is_stopped_is_no_guard(self):
        p = self.injected(fault="60s")
        guard = self.guard_pid()
        self.send([guard], signal.SIGSTOP)
        out = self.ends(p, 3)
        self.assertIn("gave no answer, and was killed", out)
        self.assertTrue(self.is_clean(), self.state_of())
        self.assertTrue(is_gone(guard))
        self.assert_nobody_left()

    def test_guard_that_is_told_to_end_reverts(self):
        p = self.injected(fault="60s")
        os.kill(self.guard_pid(), signal.SIGTERM)
        self.assertIn("the guard process ended before the run", self.ends(p, 3))
        self.assertTrue(self.is_clean(), self.state_of())

    def check_owners_broker(self, sig):
        p = self.injected(fault="3s")
        brokers = self.brokers(p.pid)
        self.assertEqual(len(brokers), 1)
        self.send(brokers, sig)
        out, _ = p.communicate(timeout=120)
        self.assertNotIn(p.returncode, (3, 4, -signal.SIGKILL), out)
        self.assertTrue(self.is_clean(), self.state_of())
        self.assert_nobody_left()

    def test_owners_broker_killed(self):
        self.check_owners_broker(signal.SIGKILL)

    def test_owners_broker_stopped(self):
        self.check_owners_broker(signal.SIGSTOP)

    def check_guards_broker(self, sig):
        """The first of them, which is asked; the guard has one in waiting."""
        p = self.injected(fault="60s")
        self.send(self.brokers(self.guard_pid())[:1], sig)
        p.kill()
        self.assert_clean()
        self.assert_nobody_left()

    def test_guards_broker_killed(self):
        self.check_guards_broker(signal.SIGKILL)

    def test_guards_broker_stopped(self):
        self.check_guards_broker(signal.SIGSTOP)

    def check_all_brokers(self, sig):
        p = self.injected(fault="60s")
        guard = self.guard_pid()
        self.send(self.of_role("__broker"), sig)
        p.kill()
        p.wait()
        harness.wait_for(lambda: is_gone(guard), "the guard's end")
        self.brunt("recover")
        self.assertTrue(self.is_clean(), self.state_of())
        self.assert_nobody_left()

    def test_all_brokers_killed_with_the_owner(self):
        self.check_all_brokers(signal.SIGKILL)

    def test_all_brokers_stopped_and_the_owner_killed(self):
        self.check_all_brokers(signal.SIGSTOP)

    def test_delay_engine_stopped(self):
        p = self.injected(fault="2s")
        engines = self.of_role("__delay")
        if not engines:
            self.skipTest("this kernel has netem, so there is no delay engine")
        self.send(engines, signal.SIGSTOP)
        out, _ = p.communicate(timeout=120)
        self.assertNotIn(p.returncode, (0, 4), out)
        self.assertTrue(self.is_clean(), self.state_of())
        self.assert_nobody_left()

    def test_delay_engine_stopped_and_the_owner_killed(self):
        p = self.injected(fault="60s")
        engines = self.of_role("__delay")
        if not engines:
            self.skipTest("this kernel has netem, so there is no delay engine")
        self.send(engines, signal.SIGSTOP)
        p.kill()
        self.assert_clean()
        self.assert_nobody_left()

    def test_random_processes_killed(self):
        """Then `recover`, and nothing is left of it."""
        first = int(os.environ.get("BRUNT_SEED", random.randrange(1 << 30)))
        for seed in range(first, first + ROUNDS):
            with self.subTest(seed=seed):
                self.kill_random(random.Random(seed))

    def kill_random(self, rng):
        point = rng.choice(crash_case.FAULT_POINTS + ["baseline", "fault", "revert", "running"])
        p = self.injected(fault="60s") if point == "running" else self.stopped(point, fault="1s")
        victims = [v for v in self.processes() if rng.random() < 0.5] or [(p.pid, "run")]
        print(f"# {point}: {' '.join(role for _, role in victims)} killed", flush=True)
        rng.shuffle(victims)
        for pid, _ in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # went with another one
        if p.pid not in dict(victims):
            p.send_signal(signal.SIGCONT)
            p.send_signal(signal.SIGINT)
        p.communicate(timeout=120)
        harness.wait_for(lambda: not self.guard_pid() or is_gone(self.guard_pid()), "the guard's end")
        out = self.brunt("recover")
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        self.assertTrue(self.is_clean(), self.state_of())
        self.assert_nobody_left()


class LostJournal(RunCase):
    """The guard has its own copy of what is to be undone."""

    def check_lost(self, lose):
        p = self.injected(fault="60s")
        lose(os.path.join(self.state, "brunt.db"))
        p.kill()
        harness.wait_for(lambda: self.state_of() == self.before, "the target to be as before", 30)
        self.assert_nobody_left()

    def test_journal_is_overwritten(self):
        def lose(path):
            for name in (path, path + "-wal"):
                with open(name, "r+b") as f:
                    f.write(b"no database " * 1000)
        self.check_lost(lose)

    def test_journal_is_truncated(self):
        def lose(path):
            for name in (path, path + "-wal"):
                os.truncate(name, 0)
        self.check_lost(lose)

    def test_journal_is_deleted(self):
        def lose(path):
            for name in (path, path + "-wal", path + "-shm"):
                os.unlink(name)
        self.check_lost(lose)

    def test_state_directory_is_removed(self):
        self.check_lost(lambda path: shutil.rmtree(os.path.dirname(path)))

    def test_journal_is_emptied(self):
        def lose(path):
            with sqlite3.connect(path) as db:
                db.execute("DELETE FROM undo")
        self.check_lost(lose)

    def test_journal_is_locked_by_another_program(self):
        def lose(path):
            db = sqlite3.connect(path, isolation_level=None)
            self.addCleanup(db.close)
            db.execute("BEGIN EXCLUSIVE")
        self.check_lost(lose)

    def lost_with_all(self, lose):
        """recover's answer when owner, guard and records are gone: never that all is well."""
        p = self.injected(fault="60s")
        self.kill_both(p)
        lose(os.path.join(self.state, "brunt.db"))
        out = self.brunt("recover")
        self.assertNotEqual(out.returncode, 0, out.stdout + out.stderr)
        self.assertNotIn("nothing to recover", out.stdout)
        self.assertIn("NOT restored", out.stdout)
        self.assertIn("experiment/crash", out.stdout)
        return out

    def repair(self, path, kept):
        """The database comes back, as from a backup; then all is put back."""
        for name in (path, path + "-wal", path + "-shm"):
            if os.path.exists(name):
                os.unlink(name)
        os.rename(kept, path)
        self.recover()
        self.assert_clean()
        self.assertIn("nothing to recover", self.recover())

    def test_empty_journal_beside_a_lock_is_an_error(self):
        kept = os.path.join(self.dir, "kept.db")

        def lose(path):
            with sqlite3.connect(path) as db:
                db.execute("VACUUM INTO ?", [kept])
            for name in (path, path + "-wal", path + "-shm"):
                if os.path.exists(name):
                    os.unlink(name)
        self.assertEqual(self.lost_with_all(lose).returncode, 4)
        self.repair(os.path.join(self.state, "brunt.db"), kept)

    def test_damaged_journal_beside_a_lock_is_an_error_that_says_what_is_lost(self):
        kept = os.path.join(self.dir, "kept.db")

        def lose(path):
            with sqlite3.connect(path) as db:
                db.execute("VACUUM INTO ?", [kept])
            os.unlink(path + "-wal")  # or SQLite mends the file from it
            with open(path, "w", encoding="ascii") as f:
                f.write("no database " * 1000)
        out = self.lost_with_all(lose)
        self.assertIn("the only undo of runs", out.stderr)
        self.repair(os.path.join(self.state, "brunt.db"), kept)

    def test_run_that_died_before_it_changed_anything_is_not_lost(self):
        p = self.stopped("begin")
        p.kill()
        p.wait()
        self.assertIn("nothing to recover", self.recover())


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root for network namespaces")
        raise SystemExit(77)
    harness.main()
