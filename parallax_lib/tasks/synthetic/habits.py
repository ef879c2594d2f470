"""How one author writes: drawn once for a training pair, so that both texts keep it as far as their API allows.

Knows the choices and their shares.  Knows nothing of program text.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from typing import Any

CHECKS = ("CHECK", "CUDA_CHECK", "checkCuda", "gpuErrchk", "CUDA_CALL", "CHECK_CUDA")
RANDOMS = ("rnd", "frand", "uniform01", "rand01", "next_value", "random_value")
SUMMARIES = ("checksum", "digest", "array_checksum", "signature_of")
FINE = ("%.9e", "%.6e", "%.6f", "%.8f", "%.4f", "%f", "%.10g", "%.12g", "%.3f")
COARSE = ("%.4f", "%.3f", "%f", "%.5e", "%.2f", "%g")  # of float elements: a GPU rounds their last digits in another way
TIES = ("argmax", "minmax", "pair_forces")  # families whose answer may depend on equal values
# without families whose rows are summed: the order of a float sum would show
FLOAT = ("map", "stencil1d", "stencil2d", "gather", "transpose", "polynomial", "matmul", "n_assign", "w_free")
WHOLE = ("map", "gather", "transpose", "matvec", "sum_reduction", "scatter_add", "histogram", "n_assign", "n_total", "n_total_if",
         "n_cyclic", "n_deposit", "n_row_fold", "w_total", "w_shared")  # fmt: skip


@dataclass(frozen=True)
class Habits:
    """One author's choices; a pair's texts share all of them."""

    element: str  # of real arrays: double, float, int or unsigned
    language: str  # of host code: c, c++ or mixed (vectors and printf)
    storage: str  # of host arrays: vector, malloc or new
    scalars: bool  # a result of one element is a variable
    arguments: str  # how main reads its arguments: ternary, if, usage or strict
    reader: str  # of a number: atoi, strtol or stoi
    source: str  # of values: lcg, libc, mersenne or formula
    random: str  # its function's name
    grouped: bool  # arrays of one size are filled in one loop
    report: str  # what is printed of an array: three, sum, weighted, elements, ends or range
    summary: str  # the printing function's name
    label: str  # before the numbers of an array
    real: str  # format of real numbers
    clip: str  # how a smaller or larger value is taken: std, fmin, macro or ternary
    check: str  # name of the error check around CUDA calls, "" for none
    check_form: str  # macro, assert or function
    memory: str  # of CUDA: copy, managed or pinned
    after: str  # each launch: "", last, sync or both
    block: int
    sizes: str  # how a launch is configured: number, constant, variable, helper or dim3
    plane: tuple[int, int]  # x and y of a two-dimensional block
    stream: bool  # pinned memory is copied in a stream
    timer: str  # around the hot functions: "", host or events
    verified: bool  # results are compared with those of serial functions
    zeroed: bool  # cudaMemset instead of a copy of zeros
    shuffle: str  # sum of a block: tree, shift or warp
    strides: bool  # a loop over the grid where one thread per element would do
    index: str  # of a thread: plain, const or turned
    restrict: bool
    pragma: str  # "" or what is added to a worksharing loop: static, dynamic, guided, threads, default or split
    indent: str
    stars: bool  # `double* x`
    before: bool  # `++i`
    braces: bool  # a function's opening brace on a line of its own
    using: bool  # using namespace std
    comments: bool
    helpers: str  # before helper functions: "", inline or static inline


def draw(rng: random.Random, family: str) -> Habits:
    """Habits for a program of this family."""
    language = _share(rng, c=0.35, cpp=0.35, mixed=0.3).replace("cpp", "c++")
    memory = _share(rng, copy=0.68, managed=0.2, pinned=0.12)
    element = _element(rng, family)
    storage = _storage(rng, language, memory)
    host, device = _host_code(rng, language, element, family), _device_code(rng)
    return Habits(element=element, language=language, memory=memory, storage=storage, **host, **device, **_layout(rng, language))


def _share(rng: random.Random, **weights: float) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _host_code(rng: random.Random, language: str, element: str, family: str) -> dict[str, Any]:
    """Arguments, input, output and the macros and checks around them."""
    share = partial(_share, rng)
    return {
        "scalars": rng.random() < 0.5,
        "arguments": share(ternary=0.4, stepwise=0.25, usage=0.2, strict=0.15),
        "reader": share(atoi=0.6, strtol=0.25, stoi=0.15) if language == "c++" else share(atoi=0.8, strtol=0.2),
        "source": _source(rng, language, family),
        "random": rng.choice(RANDOMS),
        "grouped": rng.random() < 0.5,
        "report": share(three=0.2, sum=0.25, weighted=0.15, elements=0.2, ends=0.1, range=0.1),
        "summary": rng.choice(SUMMARIES),
        "label": rng.choice(("{}", "{}", "{}:", "{} =", "checksum {}:", "checksum({}) =", "result {}", "[{}]")),
        "real": rng.choice(COARSE if element == "float" else FINE),
        "clip": share(macro=0.5, fmin=0.3, ternary=0.2) if language == "c" else share(std=0.7, fmin=0.2, ternary=0.1),
        "check": rng.choice(CHECKS) if rng.random() < 0.45 else "",
        "check_form": share(macro=0.55, check=0.25, function=0.2),
    }


def _device_code(rng: random.Random) -> dict[str, Any]:
    """Launches, waits, streams, times and the way a block adds up."""
    share = partial(_share, rng)
    return {
        "after": share(none=0.5, last=0.2, sync=0.2, both=0.1),
        "block": rng.choice((64, 128, 128, 256, 256, 256, 512)),
        "sizes": share(number=0.3, constant=0.2, variable=0.25, helper=0.1, dim3=0.15),
        "plane": rng.choice(((16, 16), (16, 16), (32, 8), (8, 8), (32, 4))),
        "stream": rng.random() < 0.5,
        "timer": rng.choices(("", "host", "events"), (0.8, 0.12, 0.08))[0],
        "verified": rng.random() < 0.12,
        "zeroed": rng.random() < 0.6,
        "shuffle": share(tree=0.35, shift=0.25, warp=0.4),
        "strides": rng.random() < 0.15,
        "index": share(plain=0.5, const=0.2, turned=0.3),
        "restrict": rng.random() < 0.2,
    }


def _layout(rng: random.Random, language: str) -> dict[str, Any]:
    """Pragmas, indentation, braces, comments."""
    return {
        "pragma": _share(rng, none=0.5, static=0.12, dynamic=0.08, guided=0.04, threads=0.03, default=0.13, split=0.1),
        "indent": rng.choices(("  ", "    ", "\t"), (0.5, 0.45, 0.05))[0],
        "stars": rng.random() < 0.3,
        "before": rng.random() < 0.3,
        "braces": rng.random() < 0.2,
        "using": language == "c++" and rng.random() < 0.3,
        "comments": rng.random() < 0.35,
        "helpers": rng.choice(("", "", "inline ", "static inline ")),
    }


def _element(rng: random.Random, family: str) -> str:
    draw = rng.random()
    if draw < 0.3 and family in FLOAT:
        return "float"
    return rng.choice(("int", "int", "unsigned")) if 0.3 <= draw < 0.65 and family in WHOLE else "double"


def _storage(rng: random.Random, language: str, memory: str) -> str:
    if language == "c":
        return "malloc"
    if memory != "copy" or (language == "c++" and rng.random() < 0.3):
        return "new"
    return "vector"


def _source(rng: random.Random, language: str, family: str) -> str:
    kinds = {"lcg": 0.35, "libc": 0.35, "formula": 0.0 if family in TIES else 0.2, "mersenne": 0.4 if language == "c++" else 0.0}
    return rng.choices(list(kinds), list(kinds.values()))[0]
