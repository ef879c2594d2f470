"""One program judged against another, from two files: what `python -m parallax_lib judge` prints.

Knows files and arguments.  Knows no rule of a verdict; `validate` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from parallax_lib.core.errors import UserError, nearest
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks.task import APIS, Kernel, Task
from parallax_lib.verdict import toolchain, validate
from parallax_lib.verdict.result import Verdict

COMPARE = {"numbers": "shared", "lines": "own"}  # numbers with the words beside them, or every line


def judge_files(
    reference: str | Path,
    candidate: str | Path,
    source: str,
    target: str,
    args: str = "",
    hidden: Sequence[str] = (),
    *,
    flags: Sequence[str] = (),
    compare: str = "numbers",
    cpu_s: float = 10.0,
    memory_mb: int = 2048,
    races: str = "auto",
    timing: str = "off",
    cuda: str = "auto",
    unsafe: bool = False,
) -> Verdict:
    """The verdict on the file `candidate` (API `target`) as a translation of the file `reference` (API `source`).

    Both run on every input of `hidden` (command lines as one string each), or on `args` where none is given; their outputs are
    compared.  `cpu_s`, `memory_mb`: limits of each run.  Raises UserError where this machine cannot judge: a file that is not
    there, a reference that does not build or run, a missing compiler.
    """
    for name, api in (("source", source), ("target", target)):
        if api not in APIS:
            raise UserError(f"{name}: {api!r} is no API{nearest(api, APIS)}")
    if compare not in COMPARE:
        raise UserError(f"compare: {compare!r}{nearest(compare, COMPARE)}")
    text = {"reference": _read(reference), "candidate": _read(candidate)}
    inputs = tuple(tuple(line.split()) for line in hidden)
    given = {api: tuple(flags) for api in {source, target}}
    name = Path(reference).stem
    kernel = Kernel(name, name, "file", {source: text["reference"]}, tuple(args.split()), inputs, given, COMPARE[compare])
    limits = Limits(cpu_s=cpu_s, wall_s=10 * cpu_s, memory_mb=memory_mb)
    stages = {"races": races, "timing": timing}
    verdict = validate.judge(
        text["candidate"], Task(kernel, source, target), toolchain.detect(cuda), sandbox.probe(unsafe=unsafe), limits, **stages
    )
    if verdict.reason in ("infra_error", "not_checkable"):
        raise UserError(f"{candidate}: cannot be judged here: {' '.join(verdict.log.split())[:600]}")
    return verdict


def as_json(verdict: Verdict) -> dict:
    """The verdict as one JSON object."""
    return {
        "validated": verdict.validated,
        "level": verdict.level,
        "reason": verdict.reason,
        "parallel": verdict.parallel,
        "race_free": verdict.race_free,
        "faster": verdict.faster,
        "evidence": {"parallel": verdict.parallel_evidence, "races": verdict.race_evidence, "checked": verdict.checked},
        "sandbox": verdict.sandbox,
        "toolchain": verdict.toolchain,
        "cpu_s": verdict.cpu_s,
        "log": verdict.log,
    }


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig", errors="replace")
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from None
