"""A right program with OpenMP target regions once more, offloaded to this machine's GPU.

Knows when that is done, the runs and what they must show.  Knows nothing of CUDA programs or of how target regions are judged on the
x86_64 device, which comes first and finds what a GPU hides: missing maps, where it reads the host's memory, and threads without work.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from parallax_lib import cupti, oracle, proof
from parallax_lib.build import GPU, TARGET, UNIFIED, Built, Ran, build
from parallax_lib.kernels import Task
from parallax_lib.reference import Bench, Reference, inputs, run_once

THREADS = "4"  # OMP_NUM_THREADS on the host; the device chooses its own
RUNS = 2  # of every input
UNABLE = ("compile_error", "not_checkable")


@dataclass(frozen=True)
class Offloaded:
    """`evidence`: what ran on the GPU or why nothing did; a failure's level and reason, 0 and "" for none; and the cost."""

    evidence: str = ""
    level: int = 0
    reason: str = ""
    cpu_s: float = 0.0
    seconds: float = 0.0


def on_gpu(bench: Bench) -> Bench:
    """The bench whose OpenMP programs offload to the GPU; the same one where they cannot."""
    there = bench.toolchains["omp"].offloaded
    return replace(bench, toolchains={**bench.toolchains, "omp": there}) if there else bench


def wanted(code: str, task: Task, bench: Bench) -> bool:
    return task.target == "omp" and bench.toolchains["omp"].offloaded is not None and TARGET.search(code) is not None


def program(code: str, task: Task, bench: Bench) -> bytes:
    """What runs on the GPU, for the timing lane; b"" where nothing of it does."""
    return build_there(code, task, bench).program if wanted(code, task, bench) and not re.search(UNIFIED, code) else b""


def build_there(code: str, task: Task, bench: Bench) -> Built:
    return build(code, on_gpu(bench).toolchains["omp"], task.kernel.flags.get("omp", ()), bench.level)


def check(code: str, task: Task, bench: Bench, reference: Reference) -> Offloaded:
    """Every input twice on the GPU: the same right data, from kernels that the device ran."""
    there = on_gpu(bench)
    if re.search(UNIFIED, code):
        return Offloaded("not offloaded to the GPU: it asks for memory shared with the host")
    built = build_there(code, task, bench)
    spent = [built.outcome]
    if built.reason in UNABLE:
        return _told(spent, f"not offloaded to the GPU: clang does not build it: {first_line(built.log)}")
    if built.reason != "ok":
        return _told(spent, built.log, 2, built.reason)
    runs: list[Ran] = []
    for i, (args, case) in enumerate(zip(inputs(task.kernel), reference.cases, strict=True), 1):
        texts = []
        for _ in range(RUNS):
            ran = run_once(built.program, "omp", args, int(THREADS), there, task.kernel.inputs)
            spent.append(ran.outcome)
            if ran.reason != "ok":
                return _told(spent, f"input {i}: {ran.log}", 2, ran.reason)
            texts.append(oracle.READ[task.kernel.oracle](ran.text))
            runs.append(ran)
        reason, why = oracle.differs(case, texts)
        if reason:
            return _told(spent, f"input {i}: {why}", 4 if all(oracle.comparable(case, t) for t in texts) else 3, reason)
    shown = proof.of_offloaded([ran.proof for ran in runs], cupti.why_not(there.toolchains["omp"], bench.level))
    return _told(spent, shown.evidence, 4 if shown.reason else 0, shown.reason)


def first_line(log: str) -> str:
    lines = log.splitlines() or [""]
    return next((line for line in lines if "error" in line), lines[0])[:160]


def _told(spent: list, evidence: str, level: int = 0, reason: str = "") -> Offloaded:
    words = evidence if evidence.startswith("not offloaded") else f"{GPU}: {evidence}"
    return Offloaded(words, level, reason, sum(o.cpu_s for o in spent), sum(o.wall_s for o in spent))
