"""One torch thread a test process: two processes on two cores that spin at each other's barriers take ten times the CPU."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
