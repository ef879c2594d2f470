"""How strong a suite's output comparison is: mutants of every reference, judged as translations, and what survives.

Knows mutants, verdicts and counts.  Knows nothing of how programs are judged or of models.

A mutant counts as killed when it compiles and is not validated.  A survivor is excluded as equivalent only on evidence:
the same program at -O2, or the same output as its original on further sizes and seeds (equivalent as far as shown; both
kinds are reported apart).  Survivors of race operators are right by luck of timing and wait for the race stage: they
are counted apart, neither killed nor excused.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

from parallax_lib.core.config import load_file
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import digest, write_json
from parallax_lib.tasks import suites
from parallax_lib.tasks.hecbench import checkout as hecbench
from parallax_lib.tasks.task import Kernel, Task, put_together
from parallax_lib.verdict import output_comparison, serialised_control
from parallax_lib.verdict.assurance import mutation, printing_mutants
from parallax_lib.verdict.batch import judge_many
from parallax_lib.verdict.bench import Bench, run_env, run_once
from parallax_lib.verdict.build import build, same_code
from parallax_lib.verdict.output_comparison import CLAIM
from parallax_lib.verdict.reasons import UNKNOWN
from parallax_lib.verdict.reference import inputs
from parallax_lib.verdict.result import Verdict

STRONG = 0.95
PRINTING = 0.99  # of the mutants of outputs
BUILT_NOT = ("compile_error", "compile_limit")
EXTRA = (("1", "3"), ("2", "5"), ("7", "11"), ("64", "17"), ("255", "23"), ("1024", "31"))  # (size, seed) beyond the hidden inputs
FILE = "audit.json"


@dataclass(frozen=True)
class Audit:
    """What became of one kernel's mutants.  score: killed of killed + survived, None where nothing was judged."""

    kernel: str
    family: str
    label: str  # strong | weak | none
    score: float | None
    killed: int = 0
    survived: list[str] = field(default_factory=list)
    needs_race_stage: list[str] = field(default_factory=list)
    same_code: int = 0
    same_output: list[str] = field(default_factory=list)
    not_compiled: int = 0
    not_judged: dict[str, int] = field(default_factory=dict)
    killed_by: dict[str, int] = field(default_factory=dict)
    self_check: str = "none printed"


def read_suite(path: Path) -> list[Kernel]:
    """Kernels of a folder with kernels.yaml or a HeCBench checkout, or of a parameter file's suite section."""
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return [put_together(kernel) for kernel in suites.load_suite(load_file(path).suite)]
    if (path / "kernels.yaml").exists():
        return suites.read_folder(path, path.name)
    if not (path / "src").is_dir():
        raise UserError(f"{path}: no kernels.yaml and no src/ here; name a suite's folder, a HeCBench checkout or a parameter file")
    return [put_together(kernel) for kernel in hecbench.kernels(path)]


def suite_digest(kernels: list[Kernel]) -> str:
    """Identity of everything of the suite that can change its audit."""
    return digest([[k.name, k.sources, k.hidden_args, k.public_args, k.flags] for k in sorted(kernels, key=lambda k: k.name)])


def audit(kernels: list[Kernel], bench: Bench, per_operator: int = 3, workers: int = 2, say: Callable = print) -> list[Audit]:
    """An Audit of every kernel, journalled mutant by mutant, so that a killed call resumes where it was."""
    done = []
    for kernel in kernels:
        mutants = [(api, m) for api in _runnable(kernel, bench) for m in mutation.mutants(kernel.sources[api], per_operator)]
        source = next(api for api in ("serial", "omp", "cuda") if api in kernel.sources)
        items = [(m.code, Task(kernel, source, api)) for api, m in mutants]
        verdicts = judge_many(items, bench.toolchains, bench.level, bench.limits, bench.journal, workers)
        done.append(_count(kernel, mutants, verdicts, bench))
        say(line(done[-1]))
    return done


def line(a: Audit) -> str:
    """One row of the table."""
    score = "   -  " if a.score is None else f"{a.score:6.1%}"
    return (
        f"{a.kernel:24} {a.label:6} {score} {a.killed:4} killed {len(a.survived):3} survived {len(a.needs_race_stage):3} need race stage "
        f"{a.same_code:3} same code {len(a.same_output):3} same output {a.not_compiled:3} not compiled"
        + (f"; not judged: {a.not_judged}" if a.not_judged else "")
        + (f"; self-check: {a.self_check}" if a.self_check != "none printed" else "")
    )


def as_json(kernels: list[Kernel], audits: list[Audit], per_operator: int) -> dict:
    """What audit.json holds."""
    rows = {a.kernel: asdict(a) for a in audits}
    return {"suite": suite_digest(kernels), "per_operator": per_operator, "operators": list(mutation.OPERATORS), "kernels": rows}


def printed(kernels: list[Kernel], bench: Bench, per_operator: int, say: Callable = print) -> dict[str, printing_mutants.Printing]:
    """Kernel name -> what became of the mutants of its reference's output; nothing is compiled for a mutant."""
    found = {}
    for kernel in kernels:
        found[kernel.name] = printing_mutants.audit(kernel, bench, per_operator)
        say(printing_mutants.line(kernel.name, found[kernel.name]))
    killed, of = printed_totals(found)
    share = f" ({killed / of:.1%})" if of else ""
    say(f"{killed} of {of} mutants of what {len(found)} kernels print are rejected{share}")
    return found


def printed_totals(found: dict[str, printing_mutants.Printing]) -> tuple[int, int]:
    """(killed, killed and survived) over all kernels."""
    killed = sum(p.killed for p in found.values())
    return killed, killed + sum(len(p.survived) for p in found.values())


def strengths(folder: Path, kernels: list[Kernel]) -> dict[str, str]:
    """Kernel name -> strong, weak or none, from the folder's audit.json; "not audited" where it is of another suite."""
    path = folder / FILE
    known = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    current = known.get("suite") == suite_digest(kernels)
    return {k.name: known["kernels"][k.name]["label"] if current else "not audited" for k in kernels}


@functools.cache
def bundled_strengths() -> dict[str, str]:
    """Kernel name -> strength of the bundled suite's output comparison."""
    return strengths(suites.MINIBENCH, suites.read_folder(suites.MINIBENCH, "minibench"))


def _runnable(kernel: Kernel, bench: Bench) -> list[str]:
    return [api for api in kernel.sources if bench.toolchains[api].can_build and bench.toolchains[api].can_run]


def _count(kernel: Kernel, mutants: list[tuple[str, mutation.Mutant]], verdicts: list[Verdict], bench: Bench) -> Audit:
    killed, not_judged, kept = Counter(), Counter(), {"survived": [], "race": [], "code": [], "output": []}
    not_compiled = 0
    for (api, mutant), verdict in zip(mutants, verdicts, strict=True):
        if verdict.reason in BUILT_NOT:
            not_compiled += 1
        elif verdict.reason in UNKNOWN:
            not_judged[verdict.reason] += 1
        elif not verdict.validated:
            killed[verdict.reason] += 1
        else:
            kept[_survivor(kernel, api, mutant, bench)].append(f"{api} line {mutant.line}: {mutant.operator}: {mutant.says}")
    n, survived = killed.total(), kept["survived"]
    score = n / (n + len(survived)) if n + len(survived) else None
    label = "none" if not n else "strong" if score >= STRONG else "weak"
    return Audit(
        kernel.name, kernel.family, label, score, n, survived, kept["race"], len(kept["code"]), kept["output"],
        not_compiled, dict(sorted(not_judged.items())), dict(sorted(killed.items())), self_check(kernel, bench),
    )  # fmt: skip


def _survivor(kernel: Kernel, api: str, mutant: mutation.Mutant, bench: Bench) -> str:
    """code, output, race or survived: what is known of a mutant that was validated."""
    key = digest([kernel.sources[api], mutant.code, suite_digest([kernel]), EXTRA, bench.toolchains[api].version])
    known = bench.journal.get("survivor", key) if bench.journal else None
    if known:
        return known["is"]
    texts, how = (kernel.sources[api], mutant.code), (bench.toolchains[api], kernel.flags.get(api, ()), bench.level)
    if same_code(*texts, *how):
        found = "code"
    elif mutant.operator in mutation.RACES:
        found = "race"
    else:
        found = "survived" if _differ(kernel, api, [build(text, *how).program for text in texts], bench) else "output"
    if bench.journal:
        bench.journal.put("survivor", key, {"is": found})
    return found


def _differ(kernel: Kernel, api: str, programs: list[bytes], bench: Bench) -> bool:
    """Whether two programs differ on any further input that the first one takes."""
    compared = 0
    for args in _extra(kernel):
        own = [run_once(programs[0], api, args, n, bench) for n in (1, 4)]
        case = (
            output_comparison.learn([output_comparison.read(r.text) for r in own]) if all(r.reason == "ok" for r in own) else "cannot run"
        )
        if isinstance(case, str):
            continue
        compared += 1
        lines = output_comparison.read((other := run_once(programs[1], api, args, 4, bench)).text)
        if other.reason != "ok" or not output_comparison.comparable(case, lines) or output_comparison.difference(case, lines):
            return True
    return compared == 0


def _extra(kernel: Kernel) -> list[tuple[str, ...]]:
    """Further inputs: sizes and seeds of its own kind for programs that take both, else the public arguments."""
    if all(len(args) == 2 and all(w.isdigit() for w in args) for args in inputs(kernel)):
        return [*EXTRA, kernel.public_args]
    return [kernel.public_args] if kernel.public_args not in inputs(kernel) else []


def self_check(kernel: Kernel, bench: Bench) -> str:
    """Whether a program that prints PASS or FAIL still prints the same with its parallel regions switched off."""
    if "omp" not in kernel.sources or not CLAIM.search(kernel.sources["omp"]):
        return "none printed"
    built = build(kernel.sources["omp"], bench.toolchains["omp"], kernel.flags.get("omp", ()), bench.level)
    args, env = inputs(kernel)[-1], run_env(4)
    if built.reason != "ok":
        return f"not checked: {built.reason}"
    whole = run_once(built.program, "omp", args, 4, bench)
    idle = serialised_control.run_idle(built.program, bench.toolchains["omp"], args, bench.limits, bench.level, env)
    claims = [[x for x in r.text.splitlines() if CLAIM.search(x)] for r in (whole, idle)]
    if whole.reason != "ok" or not claims[0]:
        return "none printed"
    return "vacuous: unchanged without its regions" if claims[0] == claims[1] else "depends on its regions"


def run(
    path: Path, per_operator: int, workers: int, out: Path | None, bench: Bench, only: tuple[str, ...] = (), printing: bool = False
) -> bool:
    """Audit a suite, print the tables, write the JSON; whether every kernel is strong and 99 % of the mutants of outputs are rejected.

    printing: only mutants of outputs; what the JSON holds of programs stays.
    """
    kernels = read_suite(path)
    chosen = [k for k in kernels if not only or k.name in only]
    if not chosen:
        raise UserError(f"{path}: none of {', '.join(only)} is a kernel of this suite")
    say = functools.partial(print, flush=True)
    audits = [] if printing else audit(chosen, bench, per_operator, workers, say)
    if audits:
        counts = Counter(a.label for a in audits)
        say(f"{len(audits)} kernels: {counts['strong']} strong (>= {STRONG:.0%}), {counts['weak']} weak, {counts['none']} none")
    found = printed(chosen, bench, per_operator, say)
    killed, of = printed_totals(found)
    if out is not None:
        whole = json.loads(out.read_text(encoding="utf-8")) if printing and out.exists() else as_json(chosen, audits, per_operator)
        rows = {name: asdict(p) for name, p in found.items()}
        write_json(out, {**whole, "printing": {"per_operator": per_operator, "killed": killed, "of": of, "kernels": rows}})
    return all(a.label == "strong" for a in audits) and killed >= PRINTING * of
