"""What do sandbox and proof cost a judged program?  Prints medians in milliseconds and one JSON line.

The same program is built and run bare, in the sandbox with g++'s own runtime, and in the sandbox with LLVM's runtime and
the proof.  A run's CPU time is what bash's `time` says of the program plus what the kernel counts for the sandbox around
it; a build's is polled every 50 ms.  Compare rows of one kernel; wall times mean little on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
from dataclasses import replace

from parallax_lib.core.settings import Suite
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import JOB, Level, Limits
from parallax_lib.tasks.suites import load_suite
from parallax_lib.verdict import bench, build, llvm, toolchain

TIMED = ["/usr/bin/env", "bash", "-c", 'TIMEFORMAT="cpu %U %S"; time "$@"', "bash", f"{JOB}/program"]
KERNELS = ("saxpy", "gemm", "lcs", "oddeven")


def run_ms(program: bytes, args: tuple[str, ...], level: Level) -> tuple[float, float]:
    """(CPU, wall) of one run."""
    env, nonce = bench.run_env(4), b"0" * 32
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = sandbox.run([*TIMED, *args], {"program": program}, Limits(cpu_s=20), level, env=env, stdin=nonce)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    around = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    inside = sum(map(float, re.search(r"cpu ([\d.]+) ([\d.]+)", out.stderr).groups()))
    return 1e3 * (around if level.name == "unsafe" else around + inside), 1e3 * out.wall_s


def anew(code: str, tools: toolchain.Toolchain, where: Level) -> build.Built:
    build.RECENT.clear()
    return build.build(code, tools, (), where)


def median(rows: list[tuple[float, float]]) -> tuple[float, float]:
    return tuple(round(statistics.median(column), 1) for column in zip(*rows, strict=True))


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--rounds", type=int, default=9)
    rounds = ask.parse_args().rounds
    proven, level = toolchain.detect()["omp"], sandbox.probe()
    plain, table = replace(proven, llvm=llvm.Llvm()), {}
    ways = (("bare", plain, Level("unsafe")), ("sandbox", plain, level), ("sandbox + proof", proven, level))
    for kernel in [k for k in load_suite(Suite()) if k.name in KERNELS]:
        for name, tools, where in ways:
            built = [anew(kernel.sources["omp"], tools, where) for _ in range(3)]
            row = {"build": median([(1e3 * b.outcome.cpu_s, 1e3 * b.outcome.wall_s) for b in built])}
            row["run"] = median([run_ms(built[0].program, kernel.hidden_args[0], where) for _ in range(rounds)])
            table[f"{kernel.name}, {name}"] = row
            print(f"{kernel.name:9} {name:16}", *(f"{k}: {c:7} ms CPU, {w:7} ms wall  " for k, (c, w) in row.items()), flush=True)
    print(json.dumps(table))


if __name__ == "__main__":
    main()
