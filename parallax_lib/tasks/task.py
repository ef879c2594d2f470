"""Kernels and tasks: what is translated, in which directions, on which side of the split.

Knows sources, arguments and families.  Knows nothing of files, models, compilers or verdicts.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Suite
from parallax_lib.tasks import given, split_file
from parallax_lib.tasks.given import NOTHING, Given
from parallax_lib.tasks.main_function import has_main

APIS = ("serial", "omp", "cuda")
VARIES = ("size", "seed", "")  # what an argument of the hidden inputs is; "" stays as it is written
SEEDS = range(2, 10000)
SIZE_STEPS = 64  # a size shrinks by at most a 64th
FILE = {"serial": "main.cpp", "omp": "main.cpp", "cuda": "main.cu"}


@dataclass(frozen=True)
class Kernel:
    """One benchmark program in up to three APIs, each a single file, with the arguments of its checked runs.

    oracle: how outputs are compared, "shared": numbers with the kernel's serial (else omp) program, "own": line by line with the task's own
    source.  strength: what comparing outputs can tell, where it is known.  unshown: APIs whose text is for references only and
    never a task's source.  inputs: files that a run sees read-only in ../job/inputs/.  varies: of each argument of the hidden inputs
    one of VARIES; () for a kernel whose inputs are fixed.  given: of each API what its programs are put together with.
    asked: the directions that a suite asks for, () for all between `sources`; a target then needs no program of its own.
    printed: what is right on each hidden input as a suite tells it, () where programs tell it.  unreliable: APIs whose program says
    nothing of what is right, such as OpenMP that stands for CUDA's indices; "own" oracles only.
    """

    name: str
    family: str
    suite: str
    sources: dict[str, str]
    public_args: tuple[str, ...]
    hidden_args: tuple[tuple[str, ...], ...]
    flags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    oracle: str = "shared"
    strength: str = ""
    unshown: tuple[str, ...] = ()
    inputs: dict[str, bytes] = field(default_factory=dict)
    varies: tuple[str, ...] = ()
    given: dict[str, Given] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    printed: tuple[str, ...] = ()
    unreliable: tuple[str, ...] = ()

    @property
    def gives_results(self) -> bool:
        """Whether its printed output says too little, so that what programs' devices give back is compared too."""
        return self.oracle == "own" and self.strength != "strong"


def drawn(kernel: Kernel, draw: int) -> Kernel:
    """The kernel with hidden inputs drawn by a seed, so that no table of answers by size and seed helps; 0: as they are written.

    Sizes shrink by an even number: an odd one stays odd, and fills its last block only in part.
    """
    if not draw or not kernel.varies:
        return kernel
    rng = random.Random(f"{draw}:{kernel.name}")

    def one(kind: str, word: str) -> str:
        if kind == "seed":
            return str(rng.choice(SEEDS))
        return str(int(word) - 2 * rng.randrange(int(word) // (2 * SIZE_STEPS) + 1)) if kind == "size" else word

    return replace(kernel, hidden_args=tuple(tuple(map(one, kernel.varies, args)) for args in kernel.hidden_args))


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
    def asks_function(self) -> bool:
        """Whether the `main` function is given, so that a translation has none."""
        return has_main(self.kernel.given.get(self.target, NOTHING).after)

    @property
    def source_code(self) -> str:
        """What a translator reads: the source program, and what is given for it."""
        return given.shown(self.kernel.sources[self.source], self.kernel.given.get(self.target, NOTHING))


def put_together(kernel: Kernel) -> Kernel:
    """The kernel with whole programs: each with what is given for its API."""
    sources = {api: given.whole(text, kernel.given.get(api, NOTHING)) for api, text in kernel.sources.items()}
    return replace(kernel, sources=sources, given={}) if kernel.given else kernel


def tasks(kernels: list[Kernel], directions: tuple[str, ...]) -> list[Task]:
    """Every (kernel, direction) whose two APIs the kernel has; a suite with none is refused."""
    found = []
    for kernel in kernels:
        for direction in directions:
            source, target = direction.split("-")
            able = direction in kernel.asked if kernel.asked else target in kernel.sources
            if able and source in kernel.sources and source not in kernel.unshown:
                found.append(Task(kernel, source, target))
    if not found:
        raise UserError(f"suite: no kernel has the sources that {', '.join(directions)} need; check suite.root and suite.directions")
    return found


def split_of(family: str, params: Suite, trained_on: Collection[str] = ()) -> str:
    """ "train", "valid" or "test" of a kernel family: a hash decides, so adding families moves none.

    `trained_on` families (those the translator itself was trained on) are always "train".  With `params.split` the clusters of that file
    are on the side that it states, and no other family is "test".
    """
    stated = split_file.side_of(family, params.split) if params.split else ""
    if stated:
        return stated
    if family in trained_on:
        return "train"
    text = f"{params.split_seed}:{family}".encode()
    place = int(hashlib.sha256(text).hexdigest()[:8], 16) / 16**8
    if place < params.test_fraction:
        return "train" if params.split else "test"
    return "valid" if place < params.test_fraction + params.valid_fraction else "train"


def spread(chosen: list[Task], limit: int, seed: int = 0, per_direction: int = 0) -> list[Task]:
    """At most `limit` tasks, directions and kernels taken in turn, the same ones for the same seed.

    per_direction: at most so many in one direction; 0: as many as come.
    """
    by_direction: dict[str, list[Task]] = {}
    for task in chosen:
        by_direction.setdefault(task.direction, []).append(task)
    for direction, group in sorted(by_direction.items()):
        random.Random(f"{seed}:{direction}").shuffle(group)
        del group[per_direction or len(group) :]
    rounds = max((len(g) for g in by_direction.values()), default=0)
    turn = [g[i] for i in range(rounds) for _, g in sorted(by_direction.items()) if i < len(g)]
    return turn[:limit]
