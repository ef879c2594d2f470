"""One torch thread a test process, and the longest files first.

Two processes on two cores that spin at each other's barriers take ten times the CPU.  A file goes to one process as a whole, so that a long
one that starts last keeps the other process waiting.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
LONGEST = ("test_tiny_run.py", "test_admission.py", "test_study.py", "test_sandbox.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
