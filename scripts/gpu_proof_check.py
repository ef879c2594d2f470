"""Does the CUDA proof tell programs apart on a real GPU?  To be run once on every kind of GPU machine.

Prints a table: program, expected and got reason, counters.  Also whether compute-sanitizer finds the two faulty programs of
the race stage.  Exit status 1 if any row is not as expected, 2 where there is no nvcc or no GPU.
"""

from __future__ import annotations

import sys

from parallax_lib import build, proof, races, reference, sandbox, toolchain
from parallax_lib.sandbox import Limits

GOOD = """#include <stdio.h>
__global__ void fill(int *x, int n) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) x[i] = i; }
int main(int argc, char **argv) {
  int n = 1000, h[1000] = {0}, *d;
  cudaMalloc(&d, n * sizeof(int));
  cudaMemset(d, 0, n * sizeof(int));
  fill<<<4, 256>>>(d, n);
  cudaMemcpy(h, d, n * sizeof(int), cudaMemcpyDeviceToHost);
  printf("last %d\\n", h[n - 1]);
  return 0;
}
"""
LAUNCH = "fill<<<4, 256>>>(d, n);"
PROGRAMS = {  # program, reason that the proof gives: "" for none
    "good": (GOOD, ""),
    "launched twice, device reset at the end": (GOOD.replace(LAUNCH, LAUNCH * 2).replace("return 0;", "cudaDeviceReset(); return 0;"), ""),
    "never launched": (GOOD.replace(LAUNCH, "if (0) " + LAUNCH), "no_kernel_launch"),
    "behind a condition that is false": (GOOD.replace(LAUNCH, "if (argc > 99) " + LAUNCH), "no_kernel_launch"),
    "2048 threads a block, error not read": (GOOD.replace("<<<4, 256>>>", "<<<4, 2048>>>"), "cuda_error"),
    "2048 threads a block, error cleared": (
        GOOD.replace(LAUNCH, LAUNCH.replace("256", "2048") + " cudaGetLastError();"),
        "cuda_error",
    ),
    "writes out of bounds, not synchronised": (
        GOOD.replace("x[i] = i;", "x[i + (1l << 40)] = i;").replace("cudaMemcpy(h", "if (argc > 99) cudaMemcpy(h"),
        "cuda_error",
    ),
}
SHARED = GOOD.replace(
    "__global__ void fill(int *x, int n) {",
    "__global__ void fill(int *x, int n) { __shared__ int s[256]; s[threadIdx.x] = threadIdx.x; x[0] = s[255 - threadIdx.x];",
)
FAULTY = {
    "no fault": (GOOD, "yes"),
    "out of bounds": (GOOD.replace("if (i < n)", "").replace("n * sizeof(int));\n  cudaMemset", "n);\n  cudaMemset"), "no"),
    "no __syncthreads": (SHARED, "no"),
}


def main() -> int:
    tools, level = toolchain.detect(), sandbox.probe()
    cuda = tools["cuda"]
    if not (cuda.compiler.endswith("/nvcc") and cuda.can_run):
        print(f"nothing to check here: {cuda.why_not or 'the CUDA toolchain is no nvcc'}", file=sys.stderr)
        return 2
    limits = Limits(cpu_s=30, memory_mb=8192)
    print(f"{toolchain.gpu_name()}, {toolchain.describe(cuda)}")
    wrong = 0
    for name, (code, expected) in PROGRAMS.items():
        built = build.build(code, cuda, (), level)
        static = built.reason != "ok" and built.reason or build.unused_api(built, "cuda") and "no_kernel_launch"
        ran = None if static else build.execute(built.program, cuda, (), limits, level, reference.RUN_ENV)
        shown = proof.of_cuda([ran.proof]) if ran and ran.reason == "ok" else None
        got = static or (shown.reason if shown else ran.reason)
        wrong += got != expected
        print(f"{'ok ' if got == expected else 'BAD'} {name:45} expected {expected or '-':18} got {got or '-':18} "
              f"{shown.evidence if shown else ran.log[:80] if ran else ''}")  # fmt: skip
    bench = reference.Bench(tools, level, limits, races="on")
    for name, (code, expected) in FAULTY.items():
        seen = races.check(code, "cuda", (), (), bench)
        wrong += seen.race_free != expected
        mark = "ok " if seen.race_free == expected else "BAD"
        print(f"{mark} race stage: {name:33} expected {expected:4} got {seen.race_free}: {seen.evidence}")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
