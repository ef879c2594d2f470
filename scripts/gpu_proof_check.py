"""Does the CUDA proof tell programs apart on a real GPU?  To be run once on every kind of GPU machine.

Prints a table: program, expected and got reason, counters.  Also whether fresh memory holds the pattern, whether CUPTI
watches, and whether compute-sanitizer finds the faulty programs of the race stage.  Exit status 1 if any row is not as
expected, 2 where there is no nvcc or no GPU.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from parallax_lib.sandbox import sandbox, seccomp
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.verdict import build, cupti, parallel_evidence, races, reference, toolchain

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
STREAMS = GOOD.replace(LAUNCH, "cudaStream_t s; cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking); cudaMalloc(&d, n * sizeof(int));"
                       " fill<<<4, 256, 0, s>>>(d, n); cudaStreamSynchronize(s);")  # fmt: skip
GRAPH = GOOD.replace(LAUNCH, "cudaStream_t s; cudaGraph_t g; cudaGraphExec_t e; cudaStreamCreate(&s);"
                     " cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal); fill<<<4, 256, 0, s>>>(d, n);"
                     " cudaStreamEndCapture(s, &g); cudaGraphInstantiate(&e, g, 0);"
                     " cudaGraphLaunch(e, s); cudaStreamSynchronize(s);")  # fmt: skip
HIDES = "#include <stdlib.h>\n" + GOOD.replace("int n = 1000", 'unsetenv("CUDA_INJECTION64_PATH"); int n = 1000')
FRESH = """#include <stdio.h>
#include <stdlib.h>
__global__ void touch(int *x) { x[threadIdx.x + 100] = 1; }
static void show(const char *what, const void *from) {
  unsigned h = 0;
  cudaError_t e = cudaMemcpy(&h, from, 4, cudaMemcpyDefault);
  printf("%s %x %s\\n", what, h, e ? cudaGetErrorName(e) : "");
}
int main() {
  int *p = 0;
  size_t pitch;
  cudaPitchedPtr cube;
  cudaMalloc(&p, 4096); show("cudaMalloc", p);
  touch<<<1, 32>>>(p);
  cudaFree(p); cudaMalloc(&p, 4096); show("again", p);
  cudaMallocPitch((void **)&p, &pitch, 100, 4); show("cudaMallocPitch", (char *)p + pitch * 3);
  cudaMalloc3D(&cube, make_cudaExtent(100, 4, 4)); show("cudaMalloc3D", (char *)cube.ptr + cube.pitch * 15);
  cudaMallocAsync((void **)&p, 4096, 0); show("cudaMallocAsync", p);
  cudaMallocHost((void **)&p, 4096); show("cudaMallocHost", p);
  cudaHostAlloc((void **)&p, 4096, 0); show("cudaHostAlloc", p);
  cudaMallocManaged((void **)&p, 4096); show("cudaMallocManaged", p);
}
"""
PATTERN = "fff5a5c3"
PROGRAMS = {  # program, reason that the proof gives: "" for none
    "good": (GOOD, ""),
    "launched twice, device reset at the end": (GOOD.replace(LAUNCH, LAUNCH * 2).replace("return 0;", "cudaDeviceReset(); return 0;"), ""),
    "on a stream that waits for no other": (STREAMS, ""),
    "launched by a graph": (GRAPH, ""),
    "launched one thread at a time": (GOOD.replace("<<<4, 256>>>", "<<<1, 1>>>"), "not_parallel"),
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
SUM = """#include <stdio.h>
__global__ void sum(int *x) {
  __shared__ int s[256];
  s[threadIdx.x] = threadIdx.x;
  __syncthreads();
  for (int step = 128; step; step /= 2) {
    if (threadIdx.x < step) s[threadIdx.x] += s[threadIdx.x + step];
    __syncthreads();
  }
  if (!threadIdx.x) x[0] = s[0];
}
int main() {
  int h = 0, *d;
  cudaMalloc(&d, 4);
  sum<<<1, 256>>>(d);
  cudaMemcpy(&h, d, 4, cudaMemcpyDeviceToHost);
  printf("sum %d\\n", h);
}
"""
FAULTY = {
    "no fault": (GOOD, "yes"),
    "shared memory with its barriers": (SUM, "yes"),
    "out of bounds": (GOOD.replace("if (i < n)", "").replace("n * sizeof(int));\n  cudaMemset", "n);\n  cudaMemset"), "no"),
    "no __syncthreads": (SHARED, "no"),
    "no __syncthreads in the loop": (SUM.replace("    __syncthreads();\n", ""), "no"),
    "two warps write one element": (SUM.replace("s[threadIdx.x] = threadIdx.x;", "s[threadIdx.x % 128] = threadIdx.x;"), "no"),
}


def run(code: str, bench: reference.Bench) -> tuple[str, build.Ran | None]:
    """(what the static look says, the run)."""
    cuda = bench.toolchains["cuda"]
    built = build.build(code, cuda, (), bench.level)
    static = built.reason != "ok" and f"{built.reason}: {built.log[:200]}" or build.unused_api(built, "cuda", code) and "no_kernel_launch"
    return static, None if static else reference.run_once(built.program, "cuda", (), 1, bench)


def check_proof(item: tuple, bench: reference.Bench) -> tuple[bool, str]:
    name, (code, expected) = item
    static, ran = run(code, bench)
    unwatched = cupti.why_not(bench.toolchains["cuda"], bench.level)
    shown = parallel_evidence.of_cuda([ran.proof], "", unwatched) if ran and ran.reason == "ok" else None
    got = static or (shown.reason if shown else ran.reason)
    said = shown.evidence if shown else ran.log[:300] if ran else ""
    return got == expected, f"{name:45} expected {expected or '-':18} got {got or '-':18} {said}"


def check_fresh(bench: reference.Bench) -> list[tuple[bool, str]]:
    """A row for each way to get memory."""
    static, ran = run(FRESH, bench)
    if static or ran.reason != "ok":
        return [(False, f"fresh memory: {static or ran.reason} {ran.log[:300] if ran else ''}")]
    found = dict(line.split(" ", 1) for line in ran.text.splitlines() if " " in line)
    return [(value.strip() == ("0" if name == "cudaMallocManaged" else PATTERN), f"fresh memory: {name:25} holds {value}")
            for name, value in found.items()] + [(len(found) == 8, f"fresh memory: {len(found)} of 8 ways shown")]  # fmt: skip


def check_race(item: tuple, bench: reference.Bench) -> tuple[bool, str]:
    name, (code, expected) = item
    result = races.check(code, "cuda", (), (), bench)
    return result.race_free == expected, f"race stage: {name:50} expected {expected:4} got {result.race_free}: {result.evidence}"


def without_filter(bench: reference.Bench) -> str:
    """What the race stage says when no system call is refused: tells a filter that is too strict from a tool that fails."""
    strict, seccomp.program = seccomp.program, lambda **_: b""
    try:
        result = races.check(GOOD, "cuda", (), (), bench)
        return f"race stage without the system-call filter: {result.race_free}: {result.evidence}"
    finally:
        seccomp.program = strict


def main() -> int:
    tools, level = toolchain.detect(), sandbox.probe()
    cuda = tools["cuda"]
    if not (cuda.compiler.endswith("/nvcc") and cuda.can_run):
        print(f"nothing to check here: {cuda.why_not or 'the CUDA toolchain is no nvcc'}", file=sys.stderr)
        return 2
    bench = reference.Bench(tools, level, Limits(cpu_s=30, memory_mb=8192), races="on")
    unwatched = cupti.why_not(cuda, level)
    print(f"{toolchain.gpu_name()}, {toolchain.describe(cuda)}, sandbox {level.name}, CUPTI: {unwatched or 'watches'}", flush=True)
    programs = {**PROGRAMS, "hides from CUPTI": (HIDES, "" if unwatched else "not_parallel")}
    wrong, unchecked = 0, 0
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(check_proof, item, bench) for item in programs.items()]
        jobs += [pool.submit(check_fresh, bench)] + [pool.submit(check_race, item, bench) for item in FAULTY.items()]
        for job in jobs:
            for good, text in job.result() if isinstance(job.result(), list) else [job.result()]:
                wrong, unchecked = wrong + (not good), unchecked + ("got not checked" in text)
                print(f"{'ok ' if good else 'BAD'} {text}", flush=True)
    if unchecked:
        print(without_filter(bench), flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
