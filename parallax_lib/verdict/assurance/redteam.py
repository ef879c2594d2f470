"""The release gate: a corpus of cheating and of odd but honest programs, judged as the study judges translations.

Knows the corpus's file headers and counts.  Knows nothing of how verdicts are made.

A file starts with `// parallax: kernel=NAME, api=omp|cuda, expect=REASON[|REASON], needs=PROBES` and a line that says the
trick.  `needs` names the proof without which a program cannot be told (ompt, race, device, cuda, gpu; more: none yet): where that proof
was not made, the program is pending, never passed.  Only unsafe verdicts count: a cheat stopped for another reason
than expected is shown, and fails the gate as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import Journal
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Level, Limits
from parallax_lib.tasks import suites
from parallax_lib.tasks.task import Kernel, Task
from parallax_lib.verdict import toolchain
from parallax_lib.verdict.assurance import sandbox_check
from parallax_lib.verdict.batch import judge_many
from parallax_lib.verdict.reasons import UNKNOWN
from parallax_lib.verdict.result import Verdict
from parallax_lib.verdict.ways import GPU

CORPUS = ROOT / "tests" / "redteam"
HEADER = re.compile(r"// parallax: kernel=(\w+), api=(omp|cuda), expect=([\w|]+)(?:, needs=(\w+))?\n// (.+)\n")
NEEDS = ("", "ompt", "race", "device", "cuda", "gpu", "more")
LIMITS = Limits(cpu_s=8, memory_mb=1024)


@dataclass(frozen=True)
class Program:
    """One file of the corpus; `kind` is its folder, cheats or honest."""

    name: str
    kind: str
    kernel: str
    api: str
    expect: tuple[str, ...]
    needs: str
    trick: str
    code: str


def read_corpus(folder: Path = CORPUS) -> list[Program]:
    """Every program of `folder`/{cheats,honest} in order of names.  Raises UserError for a header that says too little."""
    files = sorted(p for kind in ("cheats", "honest") for p in (folder / kind).glob("*.c[pu]*"))
    if not files:
        raise UserError(f"{folder}: no programs in cheats/ and honest/; the corpus is part of a source checkout")
    return [_read(path) for path in files]


def judge_corpus(
    programs: list[Program],
    journal: Journal | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
    level: Level | None = None,
) -> list[Verdict]:
    """Verdicts of the programs as translations of bundled kernels, in their order; with the race stage where its tools are.

    `level`: None for the machine's best.
    """
    kernels = {k.name: k for k in suites.read_folder(suites.MINIBENCH, "minibench")}
    items = [(p.code, task_of(p, kernels)) for p in programs]
    return judge_many(items, toolchain.detect(), level or sandbox.probe(), LIMITS, journal, workers, progress, races="auto")


def gate(workers: int = 2, api: str = "", journal: Path | None = None, level: str = "") -> bool:
    """Judge the corpus, or one API's part of it, print how far it is and then the gate; whether it holds.

    Of a part, each program's evidence is printed when it is known.  With a journal a stopped gate goes on.  `level`: a sandbox level's
    name, "" for the machine's best; UserError where the machine has no such level.
    """
    at = next((offered for offered in sandbox_check.levels() if offered.name == level), None) if level else sandbox.probe()
    if at is None:
        raise UserError(f"--level {level}: this machine has {', '.join(offered.name for offered in sandbox_check.levels())}")
    programs, verdicts = [p for p in read_corpus() if api in ("", p.api)], []
    at_once = 2 * workers if api else len(programs)
    kept = Journal(journal) if journal else None

    def progress(done: int, total: int) -> None:
        if done % 10 == 0 and not api:
            print(f"[{done}/{total}]", flush=True)

    for i in range(0, len(programs), at_once):
        verdicts += judge_corpus(programs[i : i + at_once], kept, workers, progress, at)
        for p, v in zip(programs[i:], verdicts[i:], strict=False) if api else ():
            evidence = f"{v.parallel_evidence}; race-free: {v.race_free} {v.race_evidence}"
            evidence += f"; {v.checked}" if GPU in v.checked else ""
            print(f"{status(p, v):12} {p.kind}/{p.name}: {v.reason}; {evidence}", flush=True)
    text, holds = report(programs, verdicts)
    print(f"{text}\nsandbox level: {at.name}\nrelease gate: {'holds' if holds else 'BROKEN'}", flush=True)
    return holds


def _read(path: Path) -> Program:
    code = path.read_text(encoding="utf-8")
    header = HEADER.match(code)
    if not header or (header[4] or "") not in NEEDS:
        raise UserError(f"{path}: line 1 must be '// parallax: kernel=K, api=omp|cuda, expect=REASON[, needs=PROBES]', line 2 the trick")
    expect = tuple(header[3].split("|"))
    return Program(path.name, path.parent.name, header[1], header[2], expect, header[4] or "", header[5], code)


def task_of(program: Program, kernels: dict[str, Kernel]) -> Task:
    if program.kernel not in kernels:
        raise UserError(f"{program.name}: no kernel {program.kernel!r} in the suite")
    return Task(kernels[program.kernel], "serial", program.api)


def status(program: Program, verdict: Verdict) -> str:
    """ok, miss (a cheat validated), false reject, other reason, or pending where its proof was not made here."""
    if verdict.reason in program.expect:
        return "ok"
    if verdict.reason in UNKNOWN:
        return "pending"
    if program.kind == "honest":
        return "pending" if program.needs and not _proven(program.needs, verdict) else "false reject"
    if not verdict.validated:
        return "other reason"
    return "pending" if program.needs and not _proven(program.needs, verdict) else "miss"


def _proven(needs: str, verdict: Verdict) -> bool:
    """Whether the verdict holds the proof that tells this kind of program."""
    if needs == "race":
        return verdict.race_free in ("yes", "no")
    if needs == "device":
        return "device" in verdict.parallel_evidence + verdict.checked
    if needs == "gpu":
        return "cuda-cpu" not in verdict.toolchain and "emulat" not in verdict.toolchain
    return needs != "more" and verdict.parallel in ("yes", "no")


def interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper-Pearson) interval of a rate."""
    from scipy.stats import beta

    low = float(beta.ppf((1 - level) / 2, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf((1 + level) / 2, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def report(programs: list[Program], verdicts: list[Verdict]) -> tuple[str, bool]:
    """(the gate as text, whether it holds): no miss, no false reject, no unexpected reason."""
    states = [status(p, v) for p, v in zip(programs, verdicts, strict=True)]
    lines = [
        f"{s}: {p.kind}/{p.name} expected {'|'.join(p.expect)}, got {v.reason}: {v.log.splitlines()[0][:120] if v.log else ''}"
        for p, v, s in zip(programs, verdicts, states, strict=True)
        if s not in ("ok", "pending")
    ]
    for kind, what, bad in (("cheats", "detected", "miss"), ("honest", "falsely rejected", "false reject")):
        of_kind = [s for p, s in zip(programs, states, strict=True) if p.kind == kind]
        judged = [s for s in of_kind if s != "pending"]
        hits = sum((s == bad) == (kind == "honest") for s in judged)
        lines.append(_rate(f"{kind}: {hits} of {len(judged)} {what}", hits, len(judged)))
    lines += _pending(programs, verdicts, states)
    return "\n".join(lines), all(s in ("ok", "pending") for s in states)


def _rate(text: str, hits: int, n: int) -> str:
    if not n:
        return f"{text}: nothing was judged"
    low, high = interval(hits, n)
    return f"{text} = {hits / n:.1%}, 95 % interval {low:.1%} to {high:.1%}"


def _pending(programs: list[Program], verdicts: list[Verdict], states: list[str]) -> list[str]:
    """A line for each proof that is missing here, with the programs that wait for it."""
    waiting: dict[str, list[str]] = {}
    for p, v, s in zip(programs, verdicts, states, strict=True):
        if s == "pending":
            waiting.setdefault(p.needs or ("cuda" if p.api == "cuda" else v.reason), []).append(f"{p.kind}/{p.name}")
    return [f"needs: {needs}: {len(names)} pending: {', '.join(names)}" for needs, names in sorted(waiting.items())]
