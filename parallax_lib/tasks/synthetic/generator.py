"""Endless, seeded program triples (serial, OpenMP, CUDA) from kernel grammars, right and realistically wrong.

A program has one to three hot functions; a plan names one token for each, in source order.  Whether a plan is
right follows from the grammar's labels.  Knows nothing of tokenizers, models, compilers or verdicts.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from parallax_lib.core.errors import UserError
from parallax_lib.tasks.synthetic import composed_patterns, nest_patterns
from parallax_lib.tasks.synthetic.codegen import Array, Spec, Stage, program
from parallax_lib.tasks.synthetic.patterns import CONSTANTS, REAL, WHOLE, ArraySpec, Pattern, expand, expression, number, patterns
from parallax_lib.tasks.task import Kernel

TRAIN_FAMILIES = ("map", "stencil1d", "stencil2d", "gather", "transpose", "polynomial", "matvec", "matmul",
                  "time_steps", "sum_reduction", "dot_norm", "scatter_add", "histogram", "prefix_scan", "recurrence",
                  "inplace_sweep", "rowwise", "argmax", "monte_carlo", "red_black", *nest_patterns.TRAIN)
HELDOUT_FAMILIES = ("convolution", "spmv", "minmax", "compact_count", "pair_forces", "wavefront", "shared_temp",
                    "half_shift", "carry_columns", "row_balance", *nest_patterns.UNSEEN)
ALL_FAMILIES = TRAIN_FAMILIES + HELDOUT_FAMILIES
SEEN_FAMILIES = TRAIN_FAMILIES + composed_patterns.FAMILIES  # those the bundled translator was trained on
SCALES = {  # scale -> (default n choices, smallest and largest hidden n / 128, columns of a matrix)
    "line": ((500, 1000, 2000), 2400, 4000, ""),
    "race": ((500, 1000, 2000), 7000, 9000, ""),
    "sparse": ((300, 500, 800), 1800, 2400, ""),
    "pairs": ((64, 100, 200), 11, 12, ""),
    "plane": ((24, 40, 64), 4, 5, "2 * n + {}"),
    "plane_steps": ((24, 40, 64), 3, 4, "2 * n + {}"),
    "cube": ((16, 24, 32), 1, 1, ""),
}
MAX_CHARS = 3400  # of the longest right CUDA text


def sample(seed: int, families: tuple[str, ...] = TRAIN_FAMILIES) -> Spec:
    """The program of a seed; the same on every Python.  Raises UserError for an unknown family."""
    unknown = [f for f in families if f not in ALL_FAMILIES + composed_patterns.FAMILIES]
    if unknown or not families:
        raise UserError(f"forge: unknown family {unknown or '(none given)'}; known: {', '.join(ALL_FAMILIES)}")
    rng = random.Random(f"forge {seed} {' '.join(families)}")
    family = rng.choice(families)
    for attempt in range(8):
        spec = _draw(rng, seed, family, small=attempt > 2)
        if len(program(spec, "cuda", _longest_plan(spec))) <= MAX_CHARS:
            break
    return spec


def stream(seed: int, families: tuple[str, ...] = TRAIN_FAMILIES) -> Iterator[Spec]:
    """Programs of consecutive seeds, without end."""
    return (sample(k, families) for k in itertools.count(seed))


def _longest_plan(spec: Spec) -> tuple[str, ...]:
    """Per stage the right CUDA strategy with the longest text."""
    options = [patterns()[stage.pattern].options["cuda"] for stage in spec.stages]
    return tuple(max(right_words(stage, "cuda"), key=lambda word, o=o: len(o[word].text))
                 for stage, o in zip(spec.stages, options, strict=True))


def _draw(rng: random.Random, seed: int, family: str, small: bool) -> Spec:
    members = [p for p in patterns().values() if p.family == family]
    core = [rng.choice(members)]
    scale = core[0].scale
    mates = [p for p in members if p.scale == scale]
    if rng.random() < 0.35 and not small:
        core.append(rng.choice(mates))
    lonely = all(not _parallel_right(p) for p in core)
    if lonely or (rng.random() < 0.5 and not small and scale != "pairs"):
        aux = rng.choice([p for p in patterns().values() if p.family == "aux"])
        core.insert(rng.choice((0, len(core))), aux)
    return _assemble(rng, seed, family, scale, core)


def _parallel_right(pattern: Pattern) -> bool:
    return all(any(o.right and w != "serial" for w, o in options.items()) for options in pattern.options.values())


def _assemble(rng: random.Random, seed: int, family: str, scale: str, chosen: list[Pattern]) -> Spec:
    defaults, low, high, columns = SCALES[scale]
    block = rng.choice((128, 256))
    matrix = bool(columns) or scale == "cube"
    flat = ("n * n" if scale == "cube" else "n * m") if matrix else "n"
    names = _Names(rng, frozenset().union(*(p.words for p in chosen)))
    stages: list[Stage] = []
    for pattern in chosen:
        stages.append(_stage(rng, pattern, stages, names, flat, block))
    default = rng.choice(defaults)
    hidden = tuple((str(_hidden(rng, low, high, matrix)), str(rng.randrange(2, 1000))) for _ in range(2))
    return Spec(f"{family}_{seed}", family, seed, tuple(stages), default, columns.format(rng.choice((2, 4, 6))), block,
                rng.random() < 0.3, (str(default), "1"), hidden)


def _hidden(rng: random.Random, low: int, high: int, matrix: bool) -> int:
    """An odd size that fills its last block only in part, so that a missing guard shows."""
    whole = 128 * rng.randint(low, high)
    return whole + (rng.choice((1, 3)) + 16 * rng.randrange(4) if matrix else rng.randrange(1, 99, 2))


class _Names:
    """Hands out each name once; `taken` are identifiers of the grammar's own texts."""

    def __init__(self, rng: random.Random, taken: frozenset[str]):
        self.rng, self.taken = rng, set(taken) | {"v", "n", "m", "i", "state", "main", "len"}

    def draw(self, pool: tuple[str, ...]) -> str:
        free = [name for name in pool if name not in self.taken] or [f"{pool[0]}{len(self.taken)}"]
        name = self.rng.choice(free)
        self.taken.add(name)
        return name


def _stage(rng: random.Random, pattern: Pattern, before: list[Stage], names: _Names, flat: str, block: int) -> Stage:
    used = {stage.func for stage in before}
    func = rng.choice([f for f in pattern.header["func"][0].split(" | ") if f not in used])
    literal, header = _common(rng, block), pattern.header
    for row in header.get("pick", ()) + header.get("local", ()):
        key, _, choices = row.partition(" ")
        literal[key] = rng.choice(choices.split(" | "))
    for row in header.get("type", ()):
        key, *choices = row.split()
        literal[key] = rng.choice(choices)
    for row in header.get("expr", ()):
        key, kind, leaves = row.split()
        literal[key] = expression(rng, kind, int(leaves))
    shown, values, constants = _constants(rng, pattern, literal, names)
    literal |= values
    literal["len"] = flat
    arrays = _bind(rng, pattern, before, literal, names)
    named = {spec.key: array.name for spec, array in zip(pattern.arrays, arrays, strict=True)}
    sizes = [("n" if (s, flat) == ("len", "n") else s, flat if s == "len" else s) for s in header["sizes"][0].split()]
    params = _parameters(rng, pattern, arrays, [(f"int {name}", value) for name, value in sizes], constants)
    shown |= {"len": sizes[0][0], "f": func, "sig": ", ".join(p for p, _ in params)}
    return Stage(pattern.name, func, params, arrays, literal | named | shown, literal | named)


def _common(rng: random.Random, block: int) -> dict[str, str]:
    """Holes that any grammar may use without declaring them."""
    return {
        "B": str(block), "lo": str(rng.randrange(4)), "tile": rng.choice(("64", "128", "256", "512")),
        "cut": number(rng, 0.3, 0.7), "off": str(rng.randrange(1, 60)), "frac": number(rng, 0.1, 0.9),
        "h": str(rng.randrange(2, 5)), "few": str(rng.randrange(9, 21)), "mul": str(rng.randrange(3, 60)),
        "seed": f"{rng.randrange(1, 9999)}u", "radius": number(rng, 0.5, 0.95),
    }


def _constants(rng: random.Random, pattern: Pattern, literal: dict[str, str], names: _Names):
    """Declared constants: literals in place, or parameters with a name.  Fills a stray $c of an expression too."""
    shown, values, params = {}, {}, []
    text = pattern.serial + " ".join(literal.values())
    declared = dict(row.split(" ", 1) for row in pattern.header.get("const", ()))
    values["c"] = number(rng, 0.2, 1.8)
    for key, kind in declared.items():
        kind, *limits = kind.split()
        if kind == "int":
            values[key] = str(rng.randint(int(limits[0]), int(limits[1])))
        elif kind == "frac":
            values[key] = number(rng, 0.1, 0.6)
        values["lit_" + key] = values[key]
        if f"${key}" in text and rng.random() < 0.5:
            shown[key] = names.draw(CONSTANTS)
            params.append((f"{'int' if kind == 'int' else 'double'} {shown[key]}", values[key]))
    return shown, values, params


def _parameters(rng: random.Random, pattern: Pattern, arrays: tuple[Array, ...], sizes: list, constants: list):
    """The parameter list as (declaration, argument): sizes, constants and arrays in one of three orders."""
    pairs = zip(pattern.arrays, arrays, strict=True)
    rows = [(f"{'const ' if spec.use == 'in' else ''}{a.ctype} *{a.name}", a.name) for spec, a in pairs]
    if rng.random() < 0.3:
        rng.shuffle(rows)
    usual = (sizes, constants, rows)
    order = rng.choice((usual, usual, (rows, sizes, constants), (sizes, rows, constants)))
    return tuple(row for part in order for row in part)


def _bind(rng: random.Random, pattern: Pattern, before: list[Stage], literal: dict[str, str], names: _Names):
    """Arrays of a stage: inputs may be arrays of an earlier stage, outputs are always new."""
    known = tuple(dict.fromkeys(a for stage in before for a in stage.arrays))
    written = {a for stage in before for a in stage.written()}
    bound: list[Array] = []
    for spec in pattern.arrays:
        size = expand(spec.size, literal).replace("*", " * ").replace("+", " + ").replace("  ", " ")
        ctype, init = expand(spec.ctype, literal), expand(spec.init, literal)
        fits = [a for a in known if a not in bound and _may_share(spec, init, ctype, size, a, a in written)]
        if fits and rng.random() < (1.0 if pattern.family == "aux" else 0.6):
            bound.append(rng.choice(fits))
        else:
            pool = REAL if ctype in ("double", "float") else WHOLE
            bound.append(Array(names.draw(pool), ctype, size, _fresh(rng, init)))
    return tuple(bound)


def _may_share(spec: ArraySpec, init: str, ctype: str, size: str, array: Array, written: bool) -> bool:
    if (ctype, size) != (array.ctype, array.size) or init == "zero" or spec.use == "out":
        return False
    fresh = not written and array.init.startswith("value:")
    if spec.use == "io":
        return init == "any" and fresh and "n" in size
    if init == "any":
        return True
    return fresh and array.init == _exact(init)


def _exact(init: str) -> str:
    """The one filling of exact kinds: rnd() itself, or whole numbers below a bound."""
    kind, _, bound = init.partition(":")
    return {"raw": "value:rnd()", "unit": "value:rnd()", "index": "value:(int)(rnd() * n)",
            "int": f"value:(int)(rnd() * {bound})"}.get(kind, init)


def _fresh(rng: random.Random, init: str) -> str:
    if init in ("any", "unit"):
        low, size = number(rng, 0.1, 1.0), number(rng, 0.3, 2.0)
        return "value:" + rng.choice(("rnd()", "rnd()", f"rnd() + {low}", f"{size} * rnd()", f"{low} + {size} * rnd()"))
    return _exact(init)


def right_words(stage: Stage, api: str) -> list[str]:
    """Right strategies of a stage; the serial loop only where nothing else is right."""
    words = [w for w, o in patterns()[stage.pattern].options[api].items() if o.right and w != "serial"]
    return words or ["serial"]


def strategies(stage: Stage, api: str) -> dict[str, bool]:
    """Every plan token of a stage for an API, with its label."""
    return {word: option.right for word, option in patterns()[stage.pattern].options[api].items()}


def right_plans(spec: Spec, api: str) -> list[tuple[str, ...]]:
    """Every right plan: right strategies with at least one function parallel."""
    right = [[w for w, good in strategies(s, api).items() if good] for s in spec.stages]
    return [plan for plan in itertools.product(*right) if set(plan) != {"serial"}]


def is_right(spec: Spec, api: str, plan: tuple[str, ...]) -> bool:
    """Whether the labels say that this plan gives the right output, with at least one function parallel."""
    return set(plan) != {"serial"} and all(strategies(s, api).get(w) for s, w in zip(spec.stages, plan, strict=True))


def source_plan(spec: Spec, api: str, rng: random.Random) -> tuple[str, ...]:
    """A right plan, parallel wherever a right parallel strategy exists: for the API that is translated from."""
    return tuple(rng.choice(right_words(stage, api)) for stage in spec.stages)


def render(spec: Spec, api: str, plan: tuple[str, ...] | None = None) -> str:
    """The program's text.  Without a plan: the serial program, or the right plan that the spec's name fixes."""
    if plan is None and api == "serial":
        plan = ("serial",) * len(spec.stages)
    elif plan is None:
        plan = source_plan(spec, api, random.Random(f"{spec.name} {api}"))
    if len(plan) != len(spec.stages):
        raise UserError(f"forge: plan {plan} has {len(plan)} tokens, {spec.name} has {len(spec.stages)} functions")
    return program(spec, api, plan)


def as_kernel(spec: Spec) -> Kernel:
    """The spec as a suite kernel, with right programs in all three APIs."""
    sources = {api: render(spec, api) for api in ("serial", "omp", "cuda")}
    return Kernel(spec.name, spec.family, "forge", sources, spec.public_args, spec.hidden_args, varies=("size", "seed"))
