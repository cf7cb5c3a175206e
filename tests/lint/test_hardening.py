#!/usr/bin/python3
"""What is built has Debian's hardening, as its ELF headers and symbols tell."""
import os
import subprocess
import tempfile
import unittest

import harness


def readelf(*words):
    return subprocess.run(["readelf", "--wide", *words], check=True, capture_output=True, text=True,
                          env={"PATH": os.environ["PATH"], "LC_ALL": "C"}).stdout


def missing(program, calls=()):
    """What of the hardening a program lacks; calls: functions it must refer to."""
    header, segments = readelf("-h", program), readelf("-l", program)
    dynamic, symbols = readelf("-d", program), readelf("--dyn-syms", program)
    found = {
        "position independence": "DYN (Position-Independent Executable file)" in header,
        "RELRO": "GNU_RELRO" in segments,
        "BIND_NOW": "BIND_NOW" in dynamic or "NOW" in dynamic.partition("(FLAGS_1)")[2].partition("\n")[0],
        "a stack that is no code": "GNU_STACK" in segments and " RWE " not in segments,
    }
    found.update({call: f" {call}@" in symbols for call in calls})
    return [name for name, there in found.items() if not there]


class Hardening(unittest.TestCase):
    def test_brunt_has_all_of_it(self):
        self.assertEqual([], missing(harness.BRUNT, ["__stack_chk_fail", "__snprintf_chk", "__memcpy_chk"]))

    def test_liveroom_has_what_its_runtime_allows(self):
        self.assertEqual([], missing(os.path.join(harness.BUILD, "liveroom")))

    def test_a_program_without_it_is_found(self):
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "soft")
            subprocess.run(["cc", "-no-pie", "-fno-stack-protector", "-Wl,-z,norelro", "-Wl,-z,lazy",
                            "-Wl,-z,execstack", "-x", "c", "-", "-o", program],
                           input="int main(void) { return 0; }\n", text=True, check=True)
            self.assertEqual(
                ["position independence", "RELRO", "BIND_NOW", "a stack that is no code", "__stack_chk_fail"],
                missing(program, ["__stack_chk_fail"]))


if __name__ == "__main__":
    harness.main()
