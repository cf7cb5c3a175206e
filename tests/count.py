"""count.py STATUS JUNIT.xml... - the suite's last line, and its exit code

A test program that died without a verdict counts as one failure: meson's own exit status is the
second witness.
"""
import sys
import xml.etree.ElementTree as ET

status = int(sys.argv[1])
passed = failed = skipped = 0
for path in sys.argv[2:]:
    for case in ET.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
if status and not failed:
    failed = 1
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed or not passed else 0)
