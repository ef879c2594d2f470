"""What do sandbox and proof cost a judged program?  Prints medians in milliseconds and one JSON line.

The same program is built and run bare (no sandbox, g++'s own runtime), in the sandbox, and in the sandbox with the
proof.  CPU time is that of children as the kernel counts it (getrusage), wall time that of the call.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from dataclasses import replace

from parallax_lib import build, llvm, reference, sandbox, toolchain
from parallax_lib.params import Suite
from parallax_lib.sandbox import Level, Limits
from parallax_lib.suite import load_suite


def spent(work, rounds: int) -> tuple[float, float]:
    """Median (CPU ms, wall ms) of calling `work`."""
    seen = []
    for _ in range(rounds):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        work()
        after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        seen.append((1e3 * cpu, 1e3 * wall))
    return tuple(round(statistics.median(column), 1) for column in zip(*seen, strict=True))


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--rounds", type=int, default=9)
    rounds = ask.parse_args().rounds
    omp, level, bare = toolchain.detect()["omp"], sandbox.probe(), Level("unsafe")
    plain, limits = replace(omp, llvm=llvm.Llvm()), Limits(cpu_s=20)
    table = {}
    for kernel in [k for k in load_suite(Suite()) if k.name in ("saxpy", "gemm", "lcs", "oddeven")]:
        code, args = kernel.sources["omp"], kernel.hidden_args[0]
        for name, tool, where in (("bare", plain, bare), ("sandbox", plain, level), ("sandbox + proof", omp, level)):
            made = build.build(code, tool, (), where)
            env = {**reference.RUN_ENV, "OMP_NUM_THREADS": "4"}
            row = {
                "build": spent(lambda c=code, t=tool, w=where: build.build(c, t, (), w), max(3, rounds // 3)),
                "run": spent(lambda m=made, t=tool, w=where, a=args, e=env: build.execute(m.program, t, a, limits, w, e), rounds),
            }
            table[f"{kernel.name}, {name}"] = row
            print(f"{kernel.name:10} {name:16} build {row['build'][0]:7} ms CPU {row['build'][1]:7} ms wall   "
                  f"run {row['run'][0]:7} ms CPU {row['run'][1]:7} ms wall", flush=True)  # fmt: skip
    print(json.dumps(table))


if __name__ == "__main__":
    main()
