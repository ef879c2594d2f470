"""What a kernel's own programs print on the hidden inputs: the numbers that a translation is compared with.

Knows kernels, inputs and reference runs.  Knows nothing of translations or verdicts.

References run in the same sandbox, under the same limits, as what they judge.  A reference that fails is a failure on
our side: nothing is scored by it, and it is not kept.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, astuple, dataclass, field, replace

from parallax_lib.core.storage import digest
from parallax_lib.tasks.task import Kernel
from parallax_lib.verdict import output_comparison, parallel_evidence, reference_rows, result_buffers, whole_teams, work_share
from parallax_lib.verdict.bench import RUN_ENV, Bench, run_as_stacks, run_once
from parallax_lib.verdict.build import build
from parallax_lib.verdict.harness import BUILD_LIMITS, PROBES, guard_source, proof_source
from parallax_lib.verdict.toolchain import Toolchain

HARNESS_VERSION = 31  # part of every cache key: raise it when a change here or in what this imports can change a verdict
RETRIES = 2  # of what fails on our side
ROUNDED = ("-O3", "-ffast-math")
FRESH = ("165", "90")  # bytes in what a reference gets from the heap, in its two runs
THREADS = {"serial": (1, 1), "omp": (1, 4), "cuda": (1, 2)}  # of the reference runs on each input
UNSEEN = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Reference:
    """Expected numbers of every hidden input, and the OMPT coverage of the kernel's own OpenMP program (0: unknown).

    `failure` says what went wrong on our side (infra_error), `unable` why nothing can be checked here (not_checkable).
    """

    cases: tuple[output_comparison.Expected, ...] = ()
    failure: str = ""
    unable: str = ""
    coverage: float = 0.0
    region_us: int = 0  # CPU time that it spends in its regions, all inputs together
    work: work_share.Pair = work_share.Pair()
    by: str = ""  # the program that says what is right, where it is not the source or the kernel's serial one
    strength: str = ""  # what its output can tell, for "own" oracles
    results: tuple[tuple[result_buffers.Buffer, ...], ...] = ()  # of each input, what its device gave back, where output is weak


def make_reference(kernel: Kernel, source: str, bench: Bench) -> Reference:
    """The kernel's reference, from the journal when known.  `source` stands in for a missing serial or omp program."""
    key = reference_key(kernel, source, bench)
    known = bench.journal.get("reference", key) if bench.journal else None
    if known:
        return Reference(**reference_rows.from_row(known))
    reference = Reference()
    for _ in range(1 + RETRIES):
        reference = _make(kernel, reference_apis(kernel, source), bench)
        if not reference.failure.startswith("infra_error"):
            break
    if bench.journal and not reference.failure:
        bench.journal.put("reference", key, reference_rows.to_row(kernel.name, reference))
    return reference


def reference_key(kernel: Kernel, source: str, bench: Bench) -> str:
    """sha256 of everything that can change the reference: programs, compilers, inputs, limits, level, version."""
    parts = [
        [api, kernel.sources[api], tool_facts(bench.toolchains[api]), kernel.flags.get(api, ())]
        for api in reference_apis(kernel, source)
    ]
    limits = [asdict(bench.limits), asdict(BUILD_LIMITS)]
    own = []
    if kernel.oracle == "own":
        parts += [["whole teams", kernel.sources[api], kernel.flags.get(api, ())] for api in kernel.unreliable if api in kernel.sources]
        own = [kernel.oracle, kernel.strength, {name: digest(data.hex()) for name, data in kernel.inputs.items()}, kernel.printed]
    return digest([HARNESS_VERSION, parts, inputs(kernel), limits, asdict(bench.level), *own])


def reference_apis(kernel: Kernel, source: str) -> list[str]:
    """The program that says what is right, then one whose differences widen the tolerance; where each is its own oracle the source's,
    then the others in the order in which they stand in for it.
    """
    if kernel.oracle == "own":
        able = [api for api in (source, "omp", "serial", "cuda") if api in kernel.sources and api not in kernel.unreliable]
        return list(dict.fromkeys(able)) or [source]
    first = next((api for api in ("serial", "omp") if api in kernel.sources), source)
    return [first] + (["omp"] if first == "serial" and "omp" in kernel.sources else [])


def inputs(kernel: Kernel) -> tuple[tuple[str, ...], ...]:
    """Arguments of every checked run: the hidden ones, or the program's own where a suite fixes them."""
    return tuple(map(tuple, kernel.hidden_args)) or (tuple(kernel.public_args),)


def tool_facts(toolchain: Toolchain) -> list:
    watched = [*toolchain.cupti, digest((PROBES / "cupti.cpp").read_text())] if any(toolchain.cupti) else []
    watched += tool_facts(toolchain.offloaded) if toolchain.offloaded else []
    watched += [["off", *toolchain.off]] if toolchain.off else []
    return [toolchain.compiler, toolchain.version, toolchain.flags, toolchain.can_build, toolchain.can_run,
            astuple(toolchain.llvm), hashlib.sha256(proof_source(toolchain) + guard_source(toolchain)).hexdigest(), *watched]  # fmt: skip


def visible(text: str) -> str:
    """Control and bidirectional characters as \\u escapes, so that a log cannot hide or reorder what it shows."""
    return UNSEEN.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


@dataclass(frozen=True)
class _Own:
    """Runs of a program.  lines, results: input -> run -> lines, what came back; counted: of runs with several threads; texts: printed."""

    lines: list[list[tuple[output_comparison.Line, ...]]]
    counted: list[dict[str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    results: list[list[tuple[result_buffers.Buffer, ...] | None]] = field(default_factory=list)


def _make(kernel: Kernel, apis: list[str], bench: Bench) -> Reference:
    return _of_own(kernel, apis, bench) if kernel.oracle == "own" else _of_pair(kernel, apis, bench)


def _of_pair(kernel: Kernel, apis: list[str], bench: Bench) -> Reference:
    """From the program that says what is right and one whose differences widen the tolerance."""
    programs = []
    for api in apis:
        programs.append(_runs_of(kernel, api, bench))
        if isinstance(programs[-1], Reference):
            return programs[-1]
    learned = _learned(kernel, programs[0], programs[-1], output_comparison.RELATIVE)
    if isinstance(learned, Reference):
        return learned
    if not all(case.has_numbers for case in learned):
        return Reference(unable="the reference prints no numbers")
    return _counted(kernel, learned, programs, bench)


def uncounted(kernel: Kernel, source: str, bench: Bench) -> Reference:
    """The reference of a kernel with an "own" oracle without counters of parallel work: what comparisons need, and nothing else."""
    return _of_own(kernel, reference_apis(kernel, source), bench, counted=False)


def _of_own(kernel: Kernel, apis: list[str], bench: Bench, counted: bool = True) -> Reference:
    """From the first program that runs here and passes its own check; the lines of others with the same values are as right.

    Where a suite tells what is printed, that decides.
    """
    if kernel.printed:
        printed = _Own([[output_comparison.read_lines(text)] for text in kernel.printed], texts=list(kernel.printed))
        learned = _learned(kernel, printed, None, output_comparison.OWN_RELATIVE)
        if isinstance(learned, Reference):
            return learned
        return Reference(tuple(learned), work=_work(kernel, bench), by="the expected output", strength=_strength(kernel, printed))
    able, failed = {}, {}
    for api in apis:
        runs = _runs_of(kernel, api, bench)
        cases = runs if isinstance(runs, Reference) else _learned(kernel, runs, runs, output_comparison.OWN_RELATIVE)
        if isinstance(cases, Reference):
            if cases.failure.startswith("infra_error"):
                return cases
            failed[api] = cases
        else:
            able[api] = runs, cases
    if not able:
        return next(iter(failed.values()))
    first, *others = able
    cases = able[first][1]
    for alike in [*(able[other][1] for other in others), *_with_whole_teams(kernel, bench)]:
        cases = [output_comparison.with_labels(case, same) for case, same in zip(cases, alike, strict=True)]
    reference = _counted(kernel, cases, [own for own, _ in able.values()], bench) if counted else Reference(tuple(cases))
    by = "" if first == apis[0] and not kernel.unreliable else first
    strength = _strength(kernel, able[first][0])
    gave = [own.results for own, _ in able.values()] if strength != "strong" else []
    results = result_buffers.of_programs(gave, kernel.sources.values())
    results = result_buffers.steady(results, _rounded(kernel, bench)) if "omp" in able and any(results) else results
    return replace(reference, by=by, strength=strength, results=results)


def _with_whole_teams(kernel: Kernel, bench: Bench) -> list[list[output_comparison.Expected]]:
    """What an OpenMP program prints whose thread numbers stand for indices: nothing is right by it, its labels may be."""
    if "omp" not in kernel.unreliable or "omp" not in kernel.sources:
        return []
    built = build(kernel.sources["omp"], whole_teams.host(bench.toolchains["omp"]), kernel.flags.get("omp", ()), bench.level)
    if built.reason != "ok" or not whole_teams.as_stacks(built):
        return []
    ran = [[run_as_stacks(built.program, args, turn, bench, kernel.inputs) for turn in (0, 1)] for args in inputs(kernel)]
    if any(run.reason != "ok" or output_comparison.own_check(run.text) for runs in ran for run in runs):
        return []
    own = _Own([[output_comparison.READ[kernel.oracle](run.text) for run in runs] for runs in ran])
    learned = _learned(kernel, own, own, output_comparison.OWN_RELATIVE)
    return [] if isinstance(learned, Reference) else [learned]


def _rounded(kernel: Kernel, bench: Bench) -> list[tuple[result_buffers.Buffer, ...] | None]:
    """What the OpenMP program's device gives back on each input where the compiler may round otherwise."""
    built = build(kernel.sources["omp"], bench.toolchains["omp"], (*kernel.flags.get("omp", ()), *ROUNDED), bench.level, results=True)
    ran = [run_once(built.program, "omp", args, 4, bench, kernel.inputs) for args in inputs(kernel)] if built.reason == "ok" else []
    return [result_buffers.read(one.results) if one.reason == "ok" else () for one in ran]


def _strength(kernel: Kernel, own: _Own) -> str:
    """What the outputs can tell: as a suite measured it, else by what was printed."""
    return kernel.strength if kernel.strength != "unknown" else output_comparison.strength(own.texts, sum(inputs(kernel), ()))


def _runs_of(kernel: Kernel, api: str, bench: Bench) -> _Own | Reference:
    """The runs of the kernel's own program in one API on every input, or why they cannot be had."""
    toolchain = bench.toolchains[api]
    if not (toolchain.can_build and toolchain.can_run):
        return Reference(unable=f"the reference needs {api}: {toolchain.why_not}")
    built = build(kernel.sources[api], toolchain, kernel.flags.get(api, ()), bench.level, kernel.gives_results)
    if built.reason != "ok":
        return Reference(failure=f"{built.reason}: {kernel.name}, its {api} program: {visible(built.log)[:500]}")
    own = _Own([])
    for i, args in enumerate(inputs(kernel), 1):
        fresh = FRESH if kernel.gives_results else ("", "")  # what nobody writes differs then, and decides nothing
        ran = [run_once(built.program, api, args, n, bench, kernel.inputs, f) for n, f in zip(THREADS[api], fresh, strict=True)]
        bad = next((r for r in ran if r.reason != "ok"), None)
        if bad:
            where = f"{kernel.name}, its {api} program on input {i}"
            return Reference(failure=f"{bad.reason}: {where}: {visible(bad.log)[:500]}")
        nothing = output_comparison.nothing_to_compare(ran[0].text, args) if kernel.oracle == "own" else ""
        if nothing:
            return Reference(unable=f"the {api} program {visible(nothing)}")
        own.texts.append(ran[0].text)
        own.results.append([result_buffers.read(r.results) for r in ran])
        own.lines.append([output_comparison.READ[kernel.oracle](r.text) for r in ran])
        own.counted.extend(r.proof for r, n in zip(ran, THREADS[api], strict=True) if n > 1)
    return own


def _learned(kernel: Kernel, own: _Own, other: _Own | None, relative: float) -> list[output_comparison.Expected] | Reference:
    """What is expected on each input, or why nothing can be."""
    pairs = zip(own.lines, other.lines if other else [()] * len(own.lines), strict=True)
    learned = [output_comparison.learn(lines, others, relative) for lines, others in pairs]
    unable = next((case for case in learned if isinstance(case, str)), "")
    if output_comparison.TOO_SLOW in unable:
        return Reference(failure=f"infra_error: {kernel.name}: {unable}")
    return Reference(unable=unable) if unable else learned


def _work(kernel: Kernel, bench: Bench) -> work_share.Pair:
    return work_share.of_kernel(kernel, bench.toolchains["omp"], counting(bench), tuple(dict.fromkeys(inputs(kernel))))


def _counted(kernel: Kernel, cases: list[output_comparison.Expected], programs: list[_Own], bench: Bench) -> Reference:
    """The reference with the counters of the kernel's own programs."""
    counted = [run for own in programs for run in own.counted]
    work = _work(kernel, bench)
    cover, inside = round(parallel_evidence.coverage(counted), 4), parallel_evidence.in_regions(counted)
    return Reference(tuple(cases), coverage=cover, region_us=inside, work=work)


def counting(bench: Bench) -> work_share.Place:
    """Where the work of programs is counted."""
    return work_share.Place(bench.level, bench.limits, RUN_ENV)
