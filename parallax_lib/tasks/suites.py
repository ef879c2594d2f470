"""Reads kernels: the bundled suite, forge programs or a HeCBench checkout through one interface.

Knows folders and indexes.  Knows nothing of models, compilers or verdicts.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from parallax_lib.core.config import ROOT, Suite
from parallax_lib.core.errors import UserError
from parallax_lib.tasks.hecbench import checkout as hecbench
from parallax_lib.tasks.synthetic import composed_patterns, generator
from parallax_lib.tasks.task import APIS, FILE, Kernel

MINIBENCH = ROOT / "data" / "minibench"


def load_suite(params: Suite) -> list[Kernel]:
    """All kernels of the chosen kinds, in a fixed order.  Raises UserError for a suite that cannot be read."""
    kernels: list[Kernel] = []
    for kind in params.kinds:
        kernels += LOADERS[kind](params)
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
    wanted = [(families, params.forge_count), (composed_patterns.FAMILIES, params.forge_wide)]
    return [generator.as_kernel(generator.sample(params.forge_seed + k, some)) for some, count in wanted for k in range(count)]


def _hecbench(params: Suite) -> list[Kernel]:
    if not params.root:
        raise UserError("suite.root: name the HeCBench checkout, e.g. suite: {kinds: [hecbench], root: ~/HeCBench}")
    return hecbench.kernels(Path(params.root))


LOADERS = {"minibench": _minibench, "forge": _forge, "hecbench": _hecbench}


def read_folder(folder: Path, suite: str) -> list[Kernel]:
    """Kernels of a folder with `kernels.yaml` and `src/NAME-{serial,omp,cuda}/`."""
    index = folder / "kernels.yaml"
    if not index.exists():
        raise UserError(f"{index}: not found; a suite folder holds kernels.yaml and src/NAME-API/")
    rows = yaml.safe_load(index.read_text(encoding="utf-8"))
    return [_read_kernel(folder / "src", name, row, suite) for name, row in sorted(rows.items())]


def _read_kernel(src: Path, name: str, row: dict, suite: str) -> Kernel:
    sources = {}
    for api in APIS:
        path = src / f"{name}-{api}" / FILE[api]
        if path.exists():
            sources[api] = path.read_text(encoding="utf-8")
    if len(sources) < 2:
        raise UserError(f"{src}: kernel {name!r} needs sources in at least two APIs, found {sorted(sources) or 'none'}")
    hidden = tuple(tuple(map(str, case)) for case in row["hidden"])
    return Kernel(name, row["family"], suite, sources, tuple(map(str, row["public"])), hidden)
