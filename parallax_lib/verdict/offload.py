"""A right program with OpenMP target regions once more, offloaded to this machine's GPU.

Knows when that is done, the runs and what they must show.  Knows nothing of CUDA programs or of how target regions are judged on the
x86_64 device, which comes first and finds what a GPU hides: missing maps, where it reads the host's memory, and threads without work.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace

from parallax_lib.sandbox.sandbox import Level, Limits, Outcome
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import cupti, output_comparison, parallel_evidence, static_checks
from parallax_lib.verdict.build import Built, Ran, build, execute
from parallax_lib.verdict.llvm import JIT, KNOWN, MANDATORY
from parallax_lib.verdict.reference import Bench, Reference, inputs, run_once
from parallax_lib.verdict.toolchain import Toolchain
from parallax_lib.verdict.ways import GPU, has_target, shares_memory

THREADS = 4  # on the host; the device chooses its own
RUNS = 2  # of every input
UNABLE = ("compile_error", "compile_limit", "not_checkable")
LIMITS = Limits(cpu_s=20, memory_mb=4096)  # of the known program
FULL = re.compile(r"out of memory", re.I)  # as LLVM's runtime says it
NOT = "not offloaded to the GPU"


@dataclass(frozen=True)
class Offloaded:
    """checked: in the harness's own words, what ran on the GPU or why nothing did; log: what compiler or program said.

    level, reason: of a failure, 0 and "" for none; program: what offloaded regions, b"" where nothing did; and the cost.
    """

    checked: str
    log: str = ""
    level: int = 0
    reason: str = ""
    program: bytes = b""
    cpu_s: float = 0.0
    seconds: float = 0.0


def on_gpu(bench: Bench) -> Bench:
    """The bench whose OpenMP programs offload to the GPU; the same one where they cannot."""
    toolchain = bench.toolchains["omp"].offloaded
    return replace(bench, toolchains={**bench.toolchains, "omp": toolchain}) if toolchain else bench


def applies(code: str, task: Task, bench: Bench) -> bool:
    """Whether the stage is to run: a program with target regions, where clang offloads to a GPU."""
    return task.target == "omp" and bench.toolchains["omp"].offloaded is not None and has_target(code)


def build_for_gpu(code: str, flags: tuple[str, ...], bench: Bench) -> Built:
    """The program for the GPU.  Where code for it is made at the start, it must link ahead of time too: what it lacks shows there."""
    tool = on_gpu(bench).toolchains["omp"]
    ahead = replace(tool, llvm=replace(tool.llvm, gpu=tuple(f for f in tool.llvm.gpu if f != JIT)))
    built = build(code, ahead, flags, bench.level)
    return built if ahead == tool or built.reason != "ok" else build(code, tool, flags, bench.level)


def check(code: str, task: Task, bench: Bench, reference: Reference, elsewhere: bool = False) -> Offloaded:
    """Every input twice on the GPU: the same right data, from kernels that the device ran.

    `elsewhere`: its regions ran on the x86_64 device; then some have to run here.
    """
    gpu_bench = on_gpu(bench)
    if why := unusable(gpu_bench.toolchains["omp"], bench.level):
        return Offloaded(f"{NOT}: a known program does not run there in the sandbox", why)
    built = build_for_gpu(code, task.kernel.flags.get("omp", ()), bench)
    spent = [built.outcome]
    if built.reason in UNABLE:
        return _ended(spent, f"{NOT}: clang does not build it for the GPU", built.log)
    if built.reason != "ok":
        return _ended(spent, f"{GPU}: not built", built.log, 2, built.reason)
    if suspicion := static_checks.suspicion(built, code):
        return _ended(spent, f"{GPU}: not run", f"built for the GPU, {suspicion}", 2, "cheat_suspected")
    if shares_memory(built.source):
        return _ended(spent, f"{NOT}: it asks for memory shared with the host")
    runs: list[Ran] = []
    for i, (args, case) in enumerate(zip(inputs(task.kernel), reference.cases, strict=True), 1):
        texts = []
        for _ in range(RUNS):
            ran = run_once(built.program, "omp", args, THREADS, gpu_bench, task.kernel.inputs)
            spent.append(ran.outcome)
            if ran.reason != "ok":
                return _ended_badly(built, args, ran, i, task, gpu_bench, spent)
            texts.append(output_comparison.READ[task.kernel.oracle](ran.text))
            runs.append(ran)
        reason, why = output_comparison.differs(case, texts)
        if reason:
            level = 4 if all(output_comparison.comparable(case, t) for t in texts) else 3
            return _ended(spent, f"{GPU}: {reason}", f"offloaded, input {i}: {why}", level, reason)
    shown = parallel_evidence.of_offloaded([ran.proof for ran in runs], cupti.why_not(gpu_bench.toolchains["omp"], bench.level), elsewhere)
    ours = built.program if any(int(ran.proof.get("targets", 0)) for ran in runs) else b""
    return _ended(spent, f"{GPU}: {shown.evidence}", shown.evidence, 4 if shown.reason else 0, shown.reason, ours)


@functools.cache
def unusable(toolchain: Toolchain, level: Level) -> str:
    """Why the known program does not run on the GPU in the sandbox, "" when it does; found out once a process."""
    return _known_fails(toolchain, level)


def _known_fails(toolchain: Toolchain, level: Level) -> str:
    built = build(KNOWN, toolchain, (), level)
    ran = execute(built.program, toolchain, (), LIMITS, level, MANDATORY) if built.reason == "ok" else None
    if ran is None:
        return f"{built.reason}: {built.log}"
    return "" if ran.reason == "ok" else f"{ran.reason}: {ran.log}"


def _ended_badly(built: Built, args: tuple[str, ...], ran: Ran, i: int, task: Task, gpu_bench: Bench, spent: list[Outcome]) -> Offloaded:
    """A failure on our side where no program runs on the GPU any more, or where its memory was full and now the same run ends well."""
    again = run_once(built.program, "omp", args, THREADS, gpu_bench, task.kernel.inputs)
    spent.append(again.outcome)
    log = f"offloaded, input {i}: {ran.log}"
    if (again.reason == "ok" and FULL.search(ran.log)) or _known_fails(gpu_bench.toolchains["omp"], gpu_bench.level):
        log += "\nbut not when run again, or nothing else runs on the GPU either"
        return _ended(spent, f"{GPU}: infra_error", log, 2, "infra_error")
    return _ended(spent, f"{GPU}: {ran.reason}", log, 2, ran.reason)


def _ended(spent: list[Outcome], checked: str, log: str = "", level: int = 0, reason: str = "", program: bytes = b"") -> Offloaded:
    return Offloaded(checked, log, level, reason, program, sum(o.cpu_s for o in spent), sum(o.wall_s for o in spent))
