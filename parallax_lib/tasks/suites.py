"""Reads kernels: the bundled suite, forge programs, files of tasks or a HeCBench checkout through one interface.

Knows folders and indexes.  Knows nothing of models, compilers or verdicts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from parallax_lib.core.config import ROOT, resolve
from parallax_lib.core.errors import UserError, short
from parallax_lib.core.settings import Suite
from parallax_lib.core.tables import find
from parallax_lib.core.yaml_files import read_yaml
from parallax_lib.tasks import split_file, task_file
from parallax_lib.tasks.hecbench import checkout as hecbench
from parallax_lib.tasks.synthetic import composed_patterns, generator
from parallax_lib.tasks.task import APIS, FILE, VARIES, Kernel

MINIBENCH = ROOT / "data" / "minibench"
KEYS = {  # of a kernel in kernels.yaml
    "family": "a name that kernels of one kind share",
    "public": "a list of arguments that translations are shown to work with",
    "hidden": "a list of lists of arguments that they are judged with",
}


def load_suite(params: Suite, kinds: Sequence[str | Callable[[Suite], list[Kernel]]] = ()) -> list[Kernel]:
    """All kernels of the chosen kinds, in a fixed order.  Raises UserError for a suite that cannot be read.

    kinds: names of `SUITES` or functions settings -> kernels, instead of `params.kinds`.
    """
    kernels: list[Kernel] = []
    for load in [find(SUITES, kind, "suite.kinds") for kind in kinds or params.kinds]:
        kernels += load(params)
    kernels = as_stated(kernels, params.split) if params.split else kernels
    names = [k.name for k in kernels]
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise UserError(f"suite: two kernels are called {sorted(twice)[0]!r}; rename one")
    return kernels


def _minibench(params: Suite) -> list[Kernel]:
    return read_folder(MINIBENCH, "minibench")


def _forge(params: Suite) -> list[Kernel]:
    families = {
        "train": generator.TRAIN_FAMILIES,
        "heldout": generator.HELDOUT_FAMILIES,
        "all": generator.ALL_FAMILIES,
        "mostly_heldout": generator.TRAIN_FAMILIES + 3 * generator.HELDOUT_FAMILIES,
    }[params.forge_families]
    draws = [(families, params.forge_count), (composed_patterns.FAMILIES, params.forge_wide)]
    return [generator.as_kernel(generator.sample(params.forge_seed + k, some)) for some, count in draws for k in range(count)]


def _hecbench(params: Suite) -> list[Kernel]:
    if not params.root:
        raise UserError("suite.root: name the HeCBench checkout, e.g. suite: {kinds: [hecbench], root: ~/HeCBench}")
    return hecbench.kernels(Path(params.root), _right(params) if params.split else ())


def _right(params: Suite) -> tuple[str, ...]:
    """Names of the checkout of which the split file says that a direction is right: the others need not be read."""
    right = {row.name for row in split_file.rows(params.split).values() if row.suite == "hecbench" and row.right}
    listed = hecbench.listed(Path(params.root))
    names = tuple(name for name in listed if name in right)
    if not names:
        raise UserError(f"suite.split: {params.split}: names no kernel of {params.root} with a right direction")
    if len(names) < len(listed):
        left = f"{len(listed) - len(names)} of {len(listed)} HeCBench kernels are left out"
        _tell(f"{params.split}: {left}: not named there, or judged right in no direction")
    return names


def _tasks(params: Suite) -> list[Kernel]:
    if not params.file:
        raise UserError("suite.file: name the file of tasks, e.g. suite: {kinds: [tasks], file: ~/tasks.jsonl}; fields: docs/TASKS.md")
    return task_file.read([resolve(file) for file in params.file], Path(params.root) if params.root else None).kernels


SUITES = {"minibench": _minibench, "forge": _forge, "hecbench": _hecbench, "tasks": _tasks}


def as_stated(kernels: Sequence[Kernel], file: str) -> list[Kernel]:
    """The kernels as a split file has them: families are clusters, only directions that were judged right are asked for.

    Of suites that the file names, kernels that it does not name or of which nothing was judged right are left out, told in one line.
    A kernel of another suite with the name of a bundled one is called NAME-SUITE.
    """
    stated = split_file.rows(file)
    named, bundled = {suite for suite, _ in stated}, {name for suite, name in stated if suite == "minibench"}
    kept, left = [], []
    for kernel in kernels:
        row = stated.get((kernel.suite, kernel.name))
        if row and row.right:
            twice = kernel.suite != "minibench" and kernel.name in bundled
            name = f"{kernel.name}-{kernel.suite}" if twice else kernel.name
            kept.append(replace(kernel, name=name, family=row.cluster, asked=row.right))
        elif kernel.suite in named:
            left.append(kernel.name)
        else:
            kept.append(kernel)
    if left:
        _tell(f"{file}: {len(left)} kernels are left out, not named or not judged right there: {', '.join(sorted(left))}")
    return kept


@lru_cache
def _tell(line: str) -> None:
    """The line, once in this process."""
    print(line, file=sys.stderr)


def read_folder(folder: Path, suite: str) -> list[Kernel]:
    """Kernels of a folder with `kernels.yaml` and `src/NAME-{serial,omp,cuda}/`."""
    index = folder / "kernels.yaml"
    if not index.exists():
        raise UserError(f"{index}: not found; a suite folder holds kernels.yaml and src/NAME-API/")
    rows, _ = read_yaml(index)
    if not rows:
        raise UserError(f"{index}: names no kernel; each is 'NAME: {{family: ..., public: [...], hidden: [[...]]}}'")
    for name, row in rows.items():
        _check_row(f"{index}: kernel {name!r}", row)
    return [_read_kernel(folder / "src", name, row, suite) for name, row in sorted(rows.items())]


def families(folder: Path) -> dict[str, str]:
    """kernel -> family of a folder with kernels.yaml; nothing of its sources is read."""
    return {name: row["family"] for name, row in read_yaml(folder / "kernels.yaml")[0].items()}


def _check_row(where: str, row: Any) -> None:
    """UserError that names the first key of a kernel that is missing or of another form."""
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected the keys {', '.join(KEYS)}, got {short(row)}")
    for key, form in KEYS.items():
        if key not in row:
            raise UserError(f"{where}: key {key!r} is missing; it is {form}")
        value = row[key]
        listed = isinstance(value, str) if key == "family" else isinstance(value, list)
        if not listed or (key == "hidden" and not (value and all(isinstance(case, list) for case in value))):
            raise UserError(f"{where}: {key}: expected {form}, got {short(value)}")


def _read_source(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: not a text in UTF-8 ({e.reason} at byte {e.start}); save it as UTF-8") from None
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from None


def _read_kernel(src: Path, name: str, row: dict, suite: str) -> Kernel:
    sources = {}
    for api in APIS:
        path = src / f"{name}-{api}" / FILE[api]
        if path.exists():
            sources[api] = _read_source(path)
    if len(sources) < 2:
        raise UserError(f"{src}: kernel {name!r} needs sources in at least two APIs, found {sorted(sources) or 'none'}")
    hidden = tuple(tuple(map(str, case)) for case in row["hidden"])
    varies = tuple(row.get("varies", ()))
    if not set(varies) <= set(VARIES) or any(len(case) != len(varies) for case in hidden if varies):
        raise UserError(f"{src}: kernel {name!r}: varies: one of size, seed or '' for each argument of its hidden inputs, not {varies}")
    return Kernel(name, row["family"], suite, sources, tuple(map(str, row["public"])), hidden, varies=varies)
