"""Reads kernels: the bundled suite, forge programs or a HeCBench checkout through one interface.

Knows folders, Makefiles and indexes.  Knows nothing of models, compilers or verdicts.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from parallax_lib import forge
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
        "unplanned": forge.UNPLANNED_FAMILIES,
        "heldout": forge.HELDOUT_FAMILIES,
        "all": forge.ALL_FAMILIES,
    }[params.forge_families]
    seeds = range(params.forge_seed, params.forge_seed + params.forge_count)
    return [forge.as_kernel(forge.sample(seed, families)) for seed in seeds]


def _hecbench(params: Suite) -> list[Kernel]:
    if not params.root:
        raise UserError("suite.root: name the HeCBench checkout, e.g. suite: {kinds: [hecbench], root: ~/HeCBench}")
    return read_hecbench(Path(params.root).expanduser())


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


def read_hecbench(root: Path) -> list[Kernel]:
    """Single-file omp/cuda pairs of a HeCBench checkout; run arguments are read from the Makefile.

    HeCBench fixes its inputs, so the arguments that its own `run` target uses are the only case, and the oracle compares
    a translation with its own source's output.  The family is the kernel itself: no published families exist.
    """
    src = root / "src"
    if not src.is_dir():
        raise UserError(f"{root}: no src/ folder; suite.root must name a HeCBench checkout")
    kernels = []
    for cuda in sorted(src.glob("*-cuda")):
        name = cuda.name.removesuffix("-cuda")
        kernel = _hecbench_pair(name, cuda, src / f"{name}-omp")
        if kernel is not None:
            kernels.append(kernel)
    if not kernels:
        raise UserError(f"{src}: no single-file NAME-omp / NAME-cuda pair; suite.root must name a HeCBench checkout")
    return kernels


def _hecbench_pair(name: str, cuda: Path, omp: Path) -> Kernel | None:
    files = {"omp": _single_source(omp), "cuda": _single_source(cuda)}
    if not all(files.values()):
        return None
    args = _run_arguments(omp / "Makefile") or _run_arguments(omp / "Makefile.aomp")
    sources = {api: path.read_text(encoding="utf-8", errors="replace") for api, path in files.items()}
    return Kernel(name, name, "hecbench", sources, args, (args,))


def _single_source(folder: Path) -> Path | None:
    """The program's one file, or None when it has several or includes another folder's."""
    if not folder.is_dir():
        return None
    files = [p for p in folder.iterdir() if p.suffix in (".cpp", ".cu", ".c", ".h", ".hpp", ".cuh")]
    if len(files) != 1 or re.search(r'#include\s+"', files[0].read_text(errors="replace")):
        return None
    return files[0]


def _run_arguments(makefile: Path) -> tuple[str, ...]:
    if not makefile.exists():
        return ()
    found = re.search(r"^run:.*\n\t\s*(?:\S*LAUNCHER\S*\s+)?\./\S+[ \t]*(.*)$", makefile.read_text(errors="replace"), re.M)
    return tuple(found.group(1).split()) if found else ()
