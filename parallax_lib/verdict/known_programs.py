"""Small programs whose right verdicts are known, one of each kind that this machine must tell apart.

Knows programs and tasks.  Knows nothing of how they are judged.  Every array element is computed where the program says, in a
loop that is long enough to count; what is printed depends on all of them.
"""

from __future__ import annotations

from parallax_lib.tasks.task import Kernel, Task

ELEMENT = """%sdouble element(double v) {
  for (int k = 0; k < 60; k++) v = 0.5 * v + 1 / (1 + v * v);
  return v;
}
"""
HEAD = "#include <stdio.h>\n#include <stdlib.h>\n"
MAIN = """int main(int argc, char **argv) {
  int n = atoi(argv[1]);
  unsigned state = atoi(argv[2]);
  double *x = (double *)malloc(n * sizeof(double)), *y = (double *)malloc(n * sizeof(double)), sum = 0;
  for (int i = 0; i < n; i++) { state = state * 1664525u + 1013904223u; x[i] = (state >> 8) / 16777216.0; }
  work(n, x, y);
  for (int i = 0; i < n; i++) sum += y[i] * (1 + i % 7);
  printf("sum %.9e first %.9e last %.9e\\n", sum, y[0], y[n - 1]);
  return 0;
}
"""
WORK = "void work(int n, const double *x, double *y) {\n%s  for (int i = 0; i < n; i++) y[i] = element(x[i]);\n}\n"
TARGET = "  #pragma omp target teams distribute parallel for"


def _host(pragma: str = "") -> str:
    return HEAD + ELEMENT % "" + WORK % pragma + MAIN


def _device(kind: str, threads: int) -> str:
    """A CUDA program; `kind` marks the function that each thread calls, `threads` are asked for in each block."""
    kernel = "__global__ void kernel(int n, const double *x, double *y) {\n  int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
    kernel += "  if (i < n) y[i] = element(x[i]);\n}\n"
    launch = f"""void work(int n, const double *x, double *y) {{
  double *a, *b;
  cudaMalloc(&a, n * sizeof(double));
  cudaMalloc(&b, n * sizeof(double));
  cudaMemcpy(a, x, n * sizeof(double), cudaMemcpyHostToDevice);
  kernel<<<(n + {threads - 1}) / {threads}, {threads}>>>(n, a, b);
  cudaMemcpy(y, b, n * sizeof(double), cudaMemcpyDeviceToHost);
  cudaFree(a);
  cudaFree(b);
}}
"""
    return HEAD + ELEMENT % kind + kernel + launch + MAIN


SERIAL = _host()
WRONG = SERIAL.replace("0.5 * v", "0.5001 * v")
OMP = _host("  #pragma omp parallel for\n")
PRETENDED = _host("  // #pragma omp parallel for\n")
RACY = OMP.replace("void work", "int touched;\nvoid work").replace("y[i] = e", "touched |= i >= 0, y[i] = e")
RACY = RACY.replace('last %.9e\\n", sum, y[0], y[n - 1])', 'last %.9e\\n", sum / touched, y[0], y[n - 1])')
MAPPED = _host(f"{TARGET} map(to : x[0 : n]) map(from : y[0 : n])\n")
UNMAPPED = _host(f"{TARGET}\n")
CUDA = _device("__device__ ", 128)
WRONG_CUDA = CUDA.replace("0.5 * v", "0.5001 * v")
TOO_MANY = _device("__device__ ", 4096)  # more threads than a block can have: the launch is an error
NOT_CUDA = _device("", 128)  # a kernel calls a function of the host: nvcc refuses it
SOURCES = {"serial": SERIAL, "omp": OMP, "cuda": CUDA}
KERNEL = Kernel("admission", "map", "minibench", SOURCES, ("10", "1"), (("60000", "7"), ("777", "29")))
TASKS = {"serial": Task(KERNEL, "omp", "serial"), "omp": Task(KERNEL, "serial", "omp"), "cuda": Task(KERNEL, "serial", "cuda")}
