"""Reads kernels: the bundled suite, forge programs or a HeCBench checkout through one interface.

Knows folders and indexes.  Knows nothing of models, compilers or verdicts.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from parallax_lib import forge, forge_wide, hecbench
from parallax_lib.kernels import APIS, FILE, Kernel
from parallax_lib.params import ROOT, Suite, UserError

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
        "train": forge.TRAIN_FAMILIES,
        "heldout": forge.HELDOUT_FAMILIES,
        "all": forge.ALL_FAMILIES,
        "mostly_heldout": forge.TRAIN_FAMILIES + 3 * forge.HELDOUT_FAMILIES,
    }[params.forge_families]
    wanted = [(families, params.forge_count), (forge_wide.FAMILIES, params.forge_wide)]
    return [forge.as_kernel(forge.sample(params.forge_seed + k, some)) for some, count in wanted for k in range(count)]


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
