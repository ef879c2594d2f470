"""Kernel grammars: reads parallax_lib/tasks/synthetic/grammars/*.txt, where each pattern is C++ with $holes, and fills the holes.

A pattern is one hot function: its serial text, and for OpenMP and CUDA a text (or pragmas for the serial text) per
plan token, labelled right or wrong.  Knows nothing of whole programs, plans over several functions, or compilers.

    === NAME family=F scale=S      starts a pattern; header lines `key: value` follow
    --- serial                     lines `@1`, `@2` mark where a pragma may go
    --- omp WORD right: @1 parallel for | @2 atomic
    --- cuda WORD wrong: over n    launch: `over N`, `over N x M`, `blocks K`, `single` or `<<<G, B>>>`, and for a host
                                   loop `; loop FOR` with `; plus ARG` (one more argument) or `; args LIST`
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from parallax_lib.core.errors import UserError
from parallax_lib.tasks.synthetic import composed_patterns, nest_patterns

WORDS = ("parallel", "reduction", "atomic", "critical", "private", "collapse", "inner", "scan", "tile", "grid",
         "serial", "none")
# Names for arrays of real and of whole numbers, and for constants that are passed as parameters.
REAL = ("x", "y", "z", "q", "u", "w", "a", "b", "p", "data", "field", "vals", "signal", "rate", "mass", "cost", "speed",
        "depth", "heat", "price", "load", "wind", "force", "dose", "coef", "prob", "score", "phase", "pulse", "energy")
WHOLE = ("idx", "key", "tag", "group", "id", "pos", "node", "kind", "mark", "rank", "color", "cells", "ids", "order")
CONSTANTS = ("alpha", "beta", "scale", "shift", "gain", "rho", "factor", "limit", "width", "count", "reach", "span")
GRAMMARS = Path(__file__).parent / "grammars"
HEAD = "blockIdx.x * blockDim.x + threadIdx.x"
FORMS = {
    "I": f"int i = {HEAD};",
    "IJ": f"int i = blockIdx.y * blockDim.y + threadIdx.y, j = {HEAD};",
}
REDUCE = """__shared__ double {0}[$B];
  {0}[threadIdx.x] = {1};
  __syncthreads();
  for (int h = $B / 2; h > 0; h /= 2) {{
    if (threadIdx.x < h) {0}[threadIdx.x] += {0}[threadIdx.x + h];
    __syncthreads();
  }}"""
MACROS = {"G": f"for (int i = {HEAD}; i < {{0}}; i += gridDim.x * blockDim.x)", "R": REDUCE}


@dataclass(frozen=True)
class Option:
    """One strategy of one pattern for one API: pragmas for the serial text, or a text of its own."""

    word: str
    right: bool
    pragmas: dict[str, str] = field(default_factory=dict)
    text: str = ""
    launch: str = ""


@dataclass(frozen=True)
class ArraySpec:
    """An array argument: `use` is in, out (every element written) or io; `init` says how main fills it."""

    key: str
    ctype: str
    size: str
    init: str
    use: str


@dataclass(frozen=True)
class Pattern:
    """One hot function of a family, with every way it may be written in OpenMP and CUDA."""

    name: str
    family: str
    scale: str
    header: dict[str, tuple[str, ...]]
    arrays: tuple[ArraySpec, ...]
    serial: str
    options: dict[str, dict[str, Option]]  # api -> word -> Option
    words: frozenset[str]  # identifiers that its texts use, not to be taken as array names


@lru_cache(maxsize=1)
def patterns() -> dict[str, Pattern]:
    """Every pattern by name: those of the files in order, then the composed ones.  Raises UserError for a grammar that cannot be read."""
    found: dict[str, Pattern] = {}
    blocks = [(block, path) for path in sorted(GRAMMARS.glob("*.txt")) for block in path.read_text(encoding="utf-8").split("=== ")[1:]]
    if not blocks:
        raise UserError(f"{GRAMMARS}: no kernel grammar (*.txt) there; install the package again")
    composed = [(block, Path(module.__name__)) for module in (nest_patterns, composed_patterns) for block in module.blocks()]
    for block, path in [*blocks, *composed]:
        pattern = parse(block, path)
        found[pattern.name] = pattern
    return found


def parse(block: str, path: Path) -> Pattern:
    """One `=== NAME ...` block.  Raises UserError naming the file and the pattern."""
    head, *sections = block.split("--- ")
    title, *lines = head.strip().splitlines()
    name, *labels = title.split()
    labels = dict(x.split("=") for x in labels)
    header: dict[str, tuple[str, ...]] = {}
    for key, value in (line.split(": ", 1) for line in lines):
        header[key] = header.get(key, ()) + (value,)
    try:
        arrays = tuple(ArraySpec(*row.split()) for row in header.pop("array"))
        serial, options = _sections(sections)
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: pattern {name!r}: {error}; compare with its neighbours in that file") from error
    words = frozenset(re.findall(r"(?<![$\w])[A-Za-z_]\w*", block))
    return Pattern(name, labels["family"], labels["scale"], header, arrays, serial, options, words)


def _sections(sections: list[str]) -> tuple[str, dict[str, dict[str, Option]]]:
    serial, options = "", {"omp": {}, "cuda": {}}
    for section in sections:
        title, _, text = section.partition("\n")
        label, _, rest = title.partition(": ")
        api, *tag = label.split()
        if api == "serial":
            serial = text
            continue
        word, verdict = tag
        if word not in WORDS or verdict not in ("right", "wrong"):
            raise ValueError(f"cannot read section {title!r}")
        pragmas = dict(part.strip()[1:].split(" ", 1) for part in rest.split("|")) if rest.startswith("@") else {}
        options[api][word] = Option(word, verdict == "right", pragmas, text, "" if pragmas else rest)
    return serial, _implied(serial, options)


def _implied(serial: str, options: dict) -> dict[str, dict[str, Option]]:
    """Words every pattern has: the serial loop, and a CUDA translation that forgets to copy its result back."""
    base = next((o for o in options["cuda"].values() if o.right), options["cuda"]["parallel"])
    plain = _with_pragmas(serial, {})
    options["cuda"].setdefault("none", Option("none", False, {}, base.text, base.launch))
    options["omp"]["serial"] = Option("serial", True, {}, plain)
    options["cuda"]["serial"] = Option("serial", True, {}, "__global__ " + plain, "<<<1, 1>>>")
    return options


def body(pattern: Pattern, api: str, word: str) -> str:
    """The function's text, still with holes: pragma marks are resolved.  Raises UserError for a word it lacks."""
    if api == "serial":
        return _with_pragmas(pattern.serial, {})
    option = option_of(pattern, api, word)
    return option.text if option.text and not option.pragmas else _with_pragmas(pattern.serial, option.pragmas)


def option_of(pattern: Pattern, api: str, word: str) -> Option:
    if word not in pattern.options.get(api, {}):
        known = ", ".join(pattern.options.get(api, {}))
        raise UserError(f"forge: pattern {pattern.name!r} has no strategy {word!r} for {api}; it has: {known}")
    return pattern.options[api][word]


def _with_pragmas(text: str, pragmas: dict[str, str]) -> str:
    def line(match: re.Match) -> str:
        pragma = pragmas.get(match[2])
        return f"{match[1]}#pragma omp {pragma}\n" if pragma else ""

    return re.sub(r"( *)@(\d)\n", line, text)


def expand(text: str, holes: dict[str, str]) -> str:
    """Fills $hole and $hole<leaf; leaf> until none is left; a hole's value may hold holes itself."""
    def call(match: re.Match) -> str:
        form = MACROS.get(match[1]) or holes[match[1]]
        return form.format(*(leaf.strip() for leaf in match[2].split(";")))

    for _ in range(6):
        if "$" not in text:
            return text
        text = re.sub(r"\$(\w+)<([^<>]*)>", call, text)
        text = re.sub(r"\$([A-Za-z]\w*)(?![\w<])", lambda m: FORMS.get(m[1]) or holes[m[1]], text)
    raise UserError(f"forge: unfilled hole in {text!r}; every $name needs a header line or a common hole")


def number(rng: random.Random, low: float, high: float) -> str:
    """A short decimal literal between low and high."""
    digits = rng.choice((1, 2, 2, 3))
    text = f"{rng.uniform(low, high):.{digits}f}"
    return text if float(text) > 0 else f"{low:.2f}"


def expression(rng: random.Random, kind: str, leaves: int) -> str:
    """A random expression over {0}, {1}, ...: `general`, `positive` (no differences), `heavy`
    (positive and slow), `mix` or `lean` (weighted means)."""
    if kind in ("mix", "lean"):
        return _weighted(rng, leaves, lean=kind == "lean")
    if kind == "heavy":
        return _heavy(rng, leaves)
    parts = [_unary(rng, f"{{{k}}}") for k in range(leaves)]
    rng.shuffle(parts)
    text = parts[0]
    for part in parts[1:]:
        text = _binary(rng, text, part, kind == "general")
    return text if leaves > 1 or rng.random() < 0.5 else _binary(rng, text, number(rng, 0.2, 2.5), False)


def _heavy(rng: random.Random, leaves: int) -> str:
    """Tens of nanoseconds of smooth positive arithmetic, so that threads overlap long enough for a race to show."""
    inner = expression(rng, "positive", leaves)
    first, second = f"fabs({inner})", rng.choice([f"{{{k}}}" for k in range(leaves)])
    c = number(rng, 0.5, 2.0)
    return rng.choice((f"pow({c} + {first}, {number(rng, 1.1, 1.9)})",
                       f"tanh({inner}) + log({c} + 1.0 + fabs({second}))",
                       f"cbrt({c} + {first}) * (2.0 + tanh({second}))", f"log(1.5 + {first}) + exp(-fabs({second}))",
                       f"pow({c} + {first}, 0.5) + tanh({c} * {second}) + 1.5",
                       f"atan({inner}) + cbrt({c} + fabs({second}))"))


def _weighted(rng: random.Random, leaves: int, lean: bool) -> str:
    shares = [rng.uniform(1, 2) for _ in range(leaves)]
    if lean:
        shares[0] = sum(shares[1:]) * rng.uniform(1.5, 4)
    total = sum(shares) * rng.uniform(1.0, 1.05)
    terms = [f"{share / total:.3f} * {{{k}}}" for k, share in enumerate(shares)]
    if not lean and rng.random() < 0.4:
        return f"{number(rng, 0.2, 0.5)} * (" + " + ".join(f"{{{k}}}" for k in range(leaves)) + ")"
    return " + ".join(terms)


def _unary(rng: random.Random, leaf: str) -> str:
    c = number(rng, 0.2, 2.5)
    forms = (leaf, leaf, leaf, f"{c} * {leaf}", f"{leaf} * {leaf}", f"sqrt(fabs({leaf}) + {c})", f"({leaf} + {c})",
             f"{leaf} / ({c} + {leaf} * {leaf})", f"log({c} + 1.0 + fabs({leaf}))", f"1.0 / ({c} + fabs({leaf}))",
             "$c * " + leaf)
    return rng.choice(forms)


def _binary(rng: random.Random, a: str, b: str, differ: bool) -> str:
    c = rng.choice((number(rng, 0.05, 0.4), "$c"))
    grouped = b if re.fullmatch(r"[\w.{}$]+|\w+\(.*\)|\(.*\)", b) else f"({b})"
    forms = [f"{a} + {b}", f"{a} + {c} * {grouped}", f"({a}) * {grouped}", f"({a}) / (0.5 + fabs({b}))",
             f"0.5 * ({a} + {b})"]
    if differ:
        forms += [f"{a} - {number(rng, 0.05, 0.4)} * {grouped}", f"fabs({a} - {number(rng, 0.1, 0.4)} * {grouped})"]
    text = rng.choice(forms)
    return re.sub(r"^\((\{\d\})\)|^\((\d[\d.]* \* \{\d\})\)(?= [*/])", lambda m: m[1] or m[2], text)
