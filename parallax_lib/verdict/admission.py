"""Admission of the machine: programs whose verdicts are known go the very way that candidates take, before any candidate does.

Knows parts (a toolchain at a sandbox level in one stage), what they must say, and how a part is switched off.  Knows nothing of suites,
models or candidates, and no rule of a verdict: it is given `judged`.

What fails is switched off (a stage) or refused (UserError) in one line that says why and what mends it; it is never a verdict.
What was switched off is a field of the toolchain, so it is part of every verdict's key: verdicts made without a stage are not
remembered once the machine is mended.  A part that passed is remembered for an hour, by its tools' files, the level, the limits,
the environment and the boot; a part that failed is not.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import Journal, digest
from parallax_lib.sandbox import scratch
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import denials, parallel_evidence, races, remedies
from parallax_lib.verdict import known_programs as known
from parallax_lib.verdict.harness import BUILD_LIMITS
from parallax_lib.verdict.llvm import Llvm
from parallax_lib.verdict.reference import HARNESS_VERSION, Bench, Reference, make_reference, reference_key, tool_facts
from parallax_lib.verdict.result import Verdict
from parallax_lib.verdict.ways import has_target

FRESH_S = 3600.0  # how long a part that passed is believed
PASSED: dict[str, tuple[float, str]] = {}  # key of a part -> (when it passed, the check's id)
Judged = Callable[[str, Task, Bench, Reference | None], Verdict]
References = dict[str, Reference]  # of the known kernel in one admission, by key: toolchains differ once a part is off


@dataclass(frozen=True)
class Part:
    """One way that candidates take.  `programs`: (program, API, what its verdict must show); `absent`: why the bench has no such way.

    `off`: the bench without it, where judging can go on; None where it cannot.
    """

    name: str
    programs: tuple[tuple[str, str, str], ...]
    absent: Callable[[Bench], str]
    off: Callable[[Bench], Bench] | None = None
    changes: dict[str, str] | None = None
    trouble: Callable[[Bench], str] = lambda bench: ""  # what stands in the way whatever the programs do
    more: Callable[[Bench, str], str] = lambda bench, why: why  # what else is worth saying of a failure


@dataclass(frozen=True)
class Row:
    """state: ok, off, refused, or absent."""

    part: str
    level: str
    state: str
    why: str = ""


@dataclass(frozen=True)
class Admitted:
    """The bench that is left to judge with, and what became of each part."""

    bench: Bench
    rows: tuple[Row, ...]

    @property
    def lines(self) -> list[str]:
        return [f"{row.part} at level {row.level}: switched {row.state}: {row.why}" for row in self.rows if row.state == "off"]


def admit(bench: Bench, parts: Collection[str], judged: Judged, again: bool = False) -> Admitted:
    """Every named part of PARTS, in their order.  UserError where one fails that cannot be switched off.  `again`: nothing is believed.

    Each line is also a warning, once a process.
    """
    rows: list[Row] = []
    references: References = {}
    for part in (part for part in PARTS if part.name in parts):
        bench, row = _part(part, bench, judged, again, references)
        rows.append(row)
    done = Admitted(replace(bench, admission=digest([PASSED.get(_key(p, bench)) for p in PARTS if p.name in parts])[:12]), tuple(rows))
    for line in done.lines:
        warnings.warn(f"this machine: {line}", stacklevel=2)
    for row in rows:
        if row.state == "refused":
            raise UserError(f"this machine cannot judge: {row.part} at level {row.level}: {row.why}")
    return done


def needed(bench: Bench, items: Collection[tuple[str | None, Task]]) -> set[str]:
    """Names of the parts that judging these programs takes."""
    apis = {api for _, task in items for api in task.direction.split("-")} | {"serial"}
    names = {"serial", *(name for name in ("OpenMP", "OpenMP race stage") if "omp" in apis)}
    if "omp" in apis and any(has_target(text) for code, task in items for text in (code or "", *task.kernel.sources.values())):
        names |= {"OpenMP target regions", "target regions on the GPU"}
    names |= {"CUDA", "CUDA race stage"} if "cuda" in apis else set()
    return names | ({"timing lane"} if bench.timing == "on" else set())


def every(bench: Bench) -> set[str]:
    """Names of all parts that this bench could use."""
    return {part.name for part in PARTS if part.name != "timing lane" or bench.timing == "on"}


def table(bench: Bench, judged: Judged) -> list[Row]:
    """Every part's row; a refusal is a row too."""
    rows = []
    references: References = {}
    for part in PARTS:
        if part.name in every(bench):
            bench, row = _part(part, bench, judged, False, references)
            rows.append(row)
    return rows


def _part(part: Part, bench: Bench, judged: Judged, again: bool, references: References) -> tuple[Bench, Row]:
    level = bench.level.name
    if absent := part.absent(bench):
        return bench, Row(part.name, level, "absent", absent)
    if not again and _passed(_key(part, bench)):
        return bench, Row(part.name, level, "ok")
    why = _failing(part, bench, judged, references)
    if why and part.off:
        less = part.off(bench)
        still = "" if part.absent(less) else _failing(part, less, judged, references)
        return (bench, Row(part.name, level, "refused", still)) if still else (less, Row(part.name, level, "off", why))
    if not why:
        _keep(_key(part, bench))
    return bench, Row(part.name, level, "refused" if why else "ok", why)


def _failing(part: Part, bench: Bench, judged: Judged, references: References) -> str:
    """What is wrong and what mends it, "" when every program gets the verdict that it must get, at the second try at the latest."""
    if trouble := part.trouble(bench):
        return trouble
    stages = {"races": "off", "timing": "off", **(part.changes or {})}
    alone = replace(bench, limits=_roomy(bench.limits), journal=None, admission="", **stages)
    for code, api, expected in part.programs:
        task = known.TASKS[api]
        for _ in range(2):
            verdict = judged(f"// {uuid.uuid4()}\n{code}", task, alone, _reference(task, alone, references))
            if not (wrong := _differs(verdict, expected, alone)):
                break
        else:
            return part.more(alone, wrong)
    return ""


def _reference(task: Task, bench: Bench, references: References) -> Reference:
    key = reference_key(task.kernel, task.source, bench)
    if key not in references or references[key].failure:
        references[key] = make_reference(task.kernel, task.source, bench)
    return references[key]


def _differs(verdict: Verdict, expected: str, bench: Bench) -> str:
    reason, _, more = expected.partition(" ")
    counted = bench.toolchains["omp"].llvm.libomp if more == "parallel" else True
    shown = {"parallel": verdict.parallel == "yes" or not counted, "race-free": verdict.race_free == "yes",
             "on the device": parallel_evidence.ON_DEVICE in verdict.parallel_evidence,
             "offloaded": "target regions: GPU" in verdict.checked,
             "timed": verdict.faster not in ("not checked", "not counted"), "": True}[more]  # fmt: skip
    if verdict.reason == reason and shown:
        return ""
    said = {"race-free": verdict.race_evidence, "parallel": verdict.parallel_evidence}.get(more, "") if verdict.reason == reason else ""
    log = "\n".join(filter(None, (verdict.log, said, verdict.reason if verdict.reason in ("memory_limit", "timeout") else "")))
    got = verdict.reason if verdict.reason != reason else f"not {more}"
    return f"a program that must be {expected} is {got}: {remedies.remedy(log or verdict.checked, bench.limits, BUILD_LIMITS)}"


def _without(api: str, what: str, **changes) -> Callable[[Bench], Bench]:
    """A bench whose toolchain has these fields and says that `what` is off; fields may be functions of the toolchain."""

    def off(bench: Bench) -> Bench:
        tool = bench.toolchains[api]
        given = {name: value(tool) if callable(value) else value for name, value in changes.items()}
        return replace(bench, toolchains={**bench.toolchains, api: replace(tool, off=(*tool.off, what), **given)})

    return off


def _no_stage(api: str) -> Callable[[Bench], str]:
    return lambda bench: races.why_not(bench.toolchains[api], bench.level.name) or ("" if races.applies(bench, api) else "not asked for")


def _cannot(api: str) -> Callable[[Bench], str]:
    return lambda bench: "" if bench.toolchains[api].can_build and bench.toolchains[api].can_run else bench.toolchains[api].why_not


def _no_gate(bench: Bench) -> Bench:
    """CUDA by emulation alone; a GPU's own compiler cannot be done without."""
    cuda = bench.toolchains["cuda"]
    version = f"{cuda.version.partition(', ')[0]}, without nvcc"
    return _without("cuda", "nvcc's consent", gate=(), version=version)(bench) if cuda.gate else bench


def _timing(bench: Bench) -> Bench:
    return replace(bench, timing="off")


def _crowded(bench: Bench) -> str:
    return remedies.neighbours() if bench.toolchains["cuda"].gpu else ""


def _refusals(bench: Bench, why: str) -> str:
    """With what the sandbox refused the driver, where CUDA runs on a GPU."""
    cuda = bench.toolchains["cuda"]
    found = denials.refused(known.CUDA, cuda, bench.level) if cuda.gpu else []
    return f"{why}; refused there: {', '.join(found[:6])}" if found else why


def _untimed(bench: Bench) -> str:
    return "not asked for" if bench.timing != "on" else ""


PARTS = (
    Part("serial", ((known.SERIAL, "serial", "ok"), (known.WRONG, "serial", "wrong_output")), _cannot("serial")),
    Part("OpenMP", ((known.OMP, "omp", "ok parallel"), (known.PRETENDED, "omp", "not_parallel")), _cannot("omp"),
         _without("omp", "proof of parallelism", llvm=Llvm(), offloaded=None)),
    Part("OpenMP race stage", ((known.OMP, "omp", "ok race-free"), (known.RACY, "omp", "race")), _no_stage("omp"),
         _without("omp", races.STAGE), {"races": "on"}),
    Part("OpenMP target regions", ((known.MAPPED, "omp", "ok on the device"), (known.UNMAPPED, "omp", "crash")),
         lambda bench: "" if bench.toolchains["omp"].llvm.offload else "no x86_64 offload device: target regions run on the host",
         _without("omp", "offload device", llvm=lambda tool: replace(tool.llvm, offload=False), offloaded=None)),
    Part("target regions on the GPU", ((known.MAPPED, "omp", "ok offloaded"),),
         lambda bench: "" if bench.toolchains["omp"].offloaded else "clang offloads to no GPU here",
         _without("omp", "target regions on the GPU", offloaded=None)),
    Part("CUDA", ((known.CUDA, "cuda", "ok"), (known.TOO_MANY, "cuda", "cuda_error"), (known.WRONG_CUDA, "cuda", "wrong_output")),
         _cannot("cuda"), _no_gate, more=_refusals),
    Part("nvcc's consent", ((known.NOT_CUDA, "cuda", "compile_error"),),
         lambda bench: "" if bench.toolchains["cuda"].gate else "CUDA is not emulated, or nvcc is not installed", _no_gate),
    Part("CUDA race stage", ((known.CUDA, "cuda", "ok race-free"),), _no_stage("cuda"), _without("cuda", races.STAGE), {"races": "on"}),
    Part("timing lane", ((known.OMP, "omp", "ok timed"),), _untimed, _timing, {"timing": "on"}, _crowded),
)  # fmt: skip


def _key(part: Part, bench: Bench) -> str:
    """sha256 of what can change how a part's programs fare: tools and their files, level, limits, environment, boot."""
    tools = {api for _, api, _ in part.programs} | {"serial"}
    facts = [tool_facts(bench.toolchains[api]) for api in sorted(tools)]
    files = sorted({path for api in tools for path in _files(bench, api)})
    stats = [(path, stat.st_mtime_ns, stat.st_size) for path in files if os.path.exists(path) for stat in [os.stat(path)]]
    bounds = [resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in ("FSIZE", "AS", "DATA", "NPROC", "STACK", "CPU")]
    boot = Path("/proc/sys/kernel/random/boot_id")
    around = [os.getuid(), os.environ.get("PATH"), tempfile.gettempdir(), bounds, boot.read_text() if boot.exists() else ""]
    programs = [HARNESS_VERSION, part.name, part.programs, known.KERNEL.hidden_args]
    return digest([programs, facts, stats, len(files), asdict(bench.level), asdict(_roomy(bench.limits)), around])


def _roomy(limits: Limits) -> Limits:
    """Limits that suffice for the known programs on a busy machine: a run's own may be tight, which is no fault of the machine's."""
    wall = max(limits.wall_s, 120.0) if limits.wall_s else 0.0
    return replace(limits, cpu_s=max(limits.cpu_s, 10.0), wall_s=wall, memory_mb=max(limits.memory_mb, 1024), output_bytes=1 << 20)


def _files(bench: Bench, api: str) -> list[str]:
    """The tools themselves: one that is replaced or removed is another one."""
    tool = bench.toolchains[api]
    lib = tool.llvm
    others = (f"/usr/bin/{name}" for name in ("objdump", "nm", "as", "ld"))
    return [path for path in (tool.compiler, *tool.gate[:1], lib.clang, lib.libomp, lib.archer, *others) if path]


def _shared() -> Journal | None:
    """What other processes of this user found out; None where that cannot be kept, or is another's."""
    try:
        folder = scratch.private("parallax-admission")
        return Journal(folder / "parts.sqlite") if folder else None
    except UserError:
        return None


def _passed(key: str) -> bool:
    if key not in PASSED and (shared := _shared()):
        row = shared.get("part", key)
        PASSED.update({key: (row["at"], row["id"])} if row else {})
    return key in PASSED and time.time() - PASSED[key][0] < FRESH_S


def _keep(key: str) -> None:
    PASSED[key] = (time.time(), uuid.uuid4().hex)
    if shared := _shared():
        shared.put_many("part", [(key, dict(zip(("at", "id"), PASSED[key], strict=True)))], replace=True)
