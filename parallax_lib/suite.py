"""Kernels, tasks and family splits: the bundled suite, forge programs or a HeCBench checkout through one interface.

Knows sources, arguments and families.  Knows nothing of models, compilers or verdicts.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from parallax_lib.params import ROOT, Suite, UserError

APIS = ("serial", "omp", "cuda")
FILE = {"serial": "main.cpp", "omp": "main.cpp", "cuda": "main.cu"}
MINIBENCH = ROOT / "data" / "minibench"


@dataclass(frozen=True)
class Kernel:
    """One benchmark program in up to three APIs, each a single file, with the arguments its oracle uses."""

    name: str
    family: str
    suite: str
    sources: dict[str, str]
    public_args: tuple[str, ...]
    hidden_args: tuple[tuple[str, ...], ...]
    flags: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """Translate `kernel` from one API to another."""

    kernel: Kernel
    source: str
    target: str

    @property
    def direction(self) -> str:
        return f"{self.source}-{self.target}"

    @property
    def id(self) -> str:
        return f"{self.kernel.name}.{self.direction}"

    @property
    def source_code(self) -> str:
        return self.kernel.sources[self.source]


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
    from parallax_lib import forge  # a layer below: forge builds Kernel objects

    families = forge.TRAIN_FAMILIES if params.forge_families == "train" else forge.HELDOUT_FAMILIES
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


def tasks(kernels: list[Kernel], directions: tuple[str, ...]) -> list[Task]:
    """Every (kernel, direction) whose two APIs the kernel has; a suite with none is refused."""
    made = []
    for kernel in kernels:
        for direction in directions:
            source, target = direction.split("-")
            if source in kernel.sources and (target in kernel.sources or kernel.suite != "hecbench"):
                made.append(Task(kernel, source, target))
    if not made:
        raise UserError(f"suite: no kernel has the sources that {', '.join(directions)} need; check suite.root and suite.directions")
    return made


def split_families(kernels: list[Kernel], params: Suite) -> dict[str, str]:
    """family -> "train" | "valid" | "test"; whole families only, drawn with `split_seed`, sized by kernel count."""
    sizes: dict[str, int] = {}
    for kernel in kernels:
        sizes[kernel.family] = sizes.get(kernel.family, 0) + 1
    order = sorted(sizes)
    random.Random(params.split_seed).shuffle(order)
    total, split, taken = sum(sizes.values()), {}, {"test": 0, "valid": 0}
    for family in order:
        part = "train"
        for name, fraction in (("test", params.test_fraction), ("valid", params.valid_fraction)):
            if taken[name] < fraction * total:
                part = name
                taken[name] += sizes[family]
                break
        split[family] = part
    return split


def spread(chosen: list[Task], limit: int, seed: int = 0) -> list[Task]:
    """At most `limit` tasks, directions and kernels taken in turn, the same ones for the same seed."""
    by_direction: dict[str, list[Task]] = {}
    for task in chosen:
        by_direction.setdefault(task.direction, []).append(task)
    for direction, group in sorted(by_direction.items()):
        random.Random(f"{seed}:{direction}").shuffle(group)
    rounds = max((len(g) for g in by_direction.values()), default=0)
    turn = [g[i] for i in range(rounds) for _, g in sorted(by_direction.items()) if i < len(g)]
    return turn[:limit]
