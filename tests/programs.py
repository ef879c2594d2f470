"""One small program in three APIs, its hidden inputs, a racy version, and what a machine needs to judge them."""

import shutil
import subprocess

import pytest

from parallax_lib.tasks.task import Kernel, Task
from parallax_lib.verdict import toolchain

BARE = ["bwrap", "--unshare-user", "--ro-bind", "/", "/", "g++", "--version"]
ABLE = shutil.which("bwrap") is not None and subprocess.run(BARE, capture_output=True).returncode == 0
sandboxed = pytest.mark.skipif(not ABLE, reason="needs g++, bubblewrap and user namespaces")
SERIAL = """#include <stdio.h>
#include <stdlib.h>

double total(int n, const double *x) {
  double s = 0;
  for (int i = 0; i < n; i++) s += x[i];
  return s;
}

int main(int argc, char **argv) {
  int n = atoi(argv[1]);
  unsigned state = atoi(argv[2]);
  double *x = (double *)malloc(n * sizeof(double));
  for (int i = 0; i < n; i++) { state = state * 1664525u + 1013904223u; x[i] = (state >> 8) / 16777216.0; }
  printf("n %d total %.9e\\n", n, total(n, x));
  printf("last %.9e\\n", x[n - 1]);
  return 0;
}
"""
PRAGMA = "#pragma omp parallel for reduction(+ : s)\n"
LOOP = "  for (int i = 0; i < n; i++) s"
OMP = SERIAL.replace(LOOP, PRAGMA + LOOP)
CUDA = SERIAL.replace("double total", "__global__ void touch(double *x) { x[0] += 0; }\ndouble total").replace(
    "  return 0;", "  double *d; cudaMalloc(&d, 8); touch<<<1, 1>>>(d);\n  return 0;"
)
HIDDEN = (("2000000", "7"), ("1500001", "11"), ("777", "29"))
KERNEL = Kernel("total", "sum", "minibench", {"serial": SERIAL, "omp": OMP, "cuda": CUDA}, ("10", "1"), HIDDEN)
TASK = Task(KERNEL, "serial", "omp")
UNISTD = "#include <fcntl.h>\n#include <sys/wait.h>\n#include <unistd.h>\n"
MAIN = "int main(int argc, char **argv) {"
RACY = OMP.replace(" reduction(+ : s)", "").replace("double s = 0", "volatile double s = 0")
RACY = RACY.replace("s += x[i]", "for (int k = 0; k < 5; k++) s = s + 0.2 * x[i]")  # long enough for threads to overlap
INDEXED = """#include <cstdio>
#include <cstdlib>
#include <omp.h>
int main(int argc, char **argv) {
  int n = atoi(argv[1]), blocks = (n + 63) / 64, *x = (int *)malloc(n * sizeof(int));
  long *out = (long *)malloc(blocks * sizeof(long)), sum = 0;
  for (int i = 0; i < n; i++) x[i] = i % 100;
  #pragma omp target teams num_teams(blocks) thread_limit(64) map(to: x[0:n]) map(from: out[0:blocks])
  {
    long part[64];
    #pragma omp parallel num_threads(64)
    {
      int t = omp_get_thread_num(), i = omp_get_team_num() * 64 + t;
      part[t] = i < n ? (long)x[i] * x[i] : 0;
      #pragma omp barrier
      for (int d = 32; d; d /= 2) {
        if (t < d) part[t] += part[t + d];
        #pragma omp barrier
      }
      if (t == 0) out[omp_get_team_num()] = part[0];
    }
  }
  for (int b = 0; b < blocks; b++) sum += out[b];
  printf("Sum of squares: %ld\\n", sum);
}
"""  # thread numbers stand for CUDA's indices
needs_nvcc = pytest.mark.skipif(toolchain.cuda_home() is None, reason="nvcc is not installed")


def first(code, inside):
    """`code` with `inside` at the start of main."""
    return code.replace(MAIN, MAIN + "\n  " + inside)
