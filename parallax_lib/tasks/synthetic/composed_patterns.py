"""More composed grammars, for training only: uneven loop bounds times bodies that a seed puts together.

The families of `forge` are few, and a translator that learned them writes their guards and index forms elsewhere too.
These patterns vary what those keep alike: where a loop starts and stops, how the element's index follows from it, how
many arrays, locals, conditions and inner loops a body has.  Their families are always of the train split, so nothing is
ever tested on them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from parallax_lib.tasks.synthetic.loop_nests import BY_I, BY_J, PLANE, THREAD, Nest, Update, block

BODIES = 14  # of each kind
NESTS = 4  # drawn for each body
LINES = (
    Nest("margin", ("for (int i = $lo; i < n - $h; i++)",), "i", whole=False, thread=BY_I, inside="i >= $lo && i < n - $h"),
    Nest("third", ("for (int i = 0; i < n / 3; i++)",), "i + n / 3", whole=False, thread=BY_I, inside="i < n / 3", over="n / 3"),
    Nest("upper", ("for (int i = n / 4; i < n; i++)",), "i", whole=False, thread=BY_I, inside="i >= n / 4 && i < n"),
    Nest("stride", ("for (int i = 1; i < n; i += 3)",), "i", whole=False, thread=f"int i = 1 + 3 * ({THREAD});", inside="i < n",
         over="(n + 1) / 3"),
    Nest("odd", ("for (int i = 0; i < n / 2; i++)",), "2 * i + 1", whole=False, thread=BY_I, inside="i < n / 2", over="n / 2"),
    Nest("shifted", ("for (int i = 0; i < n - $h; i++)",), "i + $h", whole=False, thread=BY_I, inside="i < n - $h", over="n - $h"),
)  # fmt: skip
PLANES = (
    Nest("inset", ("for (int i = 1; i < n - 1; i++)", "for (int j = 2; j < m - 2; j++)"), **PLANE, whole=False, thread=BY_I,
         inside="i >= 1 && i < n - 1", flat="i >= 1 && i < n - 1 && j >= 2 && j < m - 2", inner=True, square=True),
    Nest("upright", ("for (int i = 0; i < n; i++)", "for (int j = i; j < m; j++)"), **PLANE, whole=False, thread=BY_I, inside="i < n",
         flat="i < n && j >= i && j < m", inner=True),
    Nest("window", ("for (int i = 0; i < n - $h; i++)", "for (int j = 0; j < m - $h; j++)"), at="(i + $h) * m + j + $h", sizes="n m",
         size="n*m", whole=False, thread=BY_I, inside="i < n - $h", over="n - $h", flat="i < n - $h && j < m - $h", inner=True,
         square=True),
    Nest("cross", ("for (int j = 1; j < m; j++)", "for (int i = 0; i < n - 1; i++)"), **PLANE, whole=False, thread=BY_J, over="m",
         inside="j >= 1 && j < m", flat="i < n - 1 && j >= 1 && j < m", inner=True, square=True),
)  # fmt: skip
FUNCS = ("pass_over | work_on | visit | handle | treat", "apply_rule | rework | evolve | adjust | derive",
         "step_of | stage_two | process | compute | update_all")  # fmt: skip
FAMILIES = ("w_free", "w_total", "w_shared", "w_inner")


def updates() -> list[Update]:
    """BODIES bodies of each kind, the same on every machine."""
    makers = {"w_free": _free, "w_total": _total, "w_shared": _shared, "w_inner": _inner}
    return [make(random.Random(f"{family} {i}"), family, i) for family, make in makers.items() for i in range(BODIES)]


def blocks() -> Iterator[str]:
    """The text of every pattern, as `forge_nests.blocks`."""
    for i, update in enumerate(updates()):
        for nest in random.Random(f"nests {i}").sample(LINES + PLANES, NESTS):
            yield block(update, nest, f"{update.family}{i % BODIES}")


def _inputs(rng: random.Random) -> list[str]:
    return rng.sample(["x", "z", "w"], rng.choice((1, 2, 2, 3)))


def _call(rng: random.Random, name: str, leaves: list[str]) -> str:
    """`$name<...>` over so many leaves: elements of inputs, or locals."""
    return f"${name}<{'; '.join(leaf if leaf.startswith('$') else f'${leaf}[AT]' for leaf in leaves)}>"


def _update(family: str, i: int, kind: str, header: list[str], body: list[str], inputs: list[str], reduction: str = "") -> Update:
    arrays = [f"array: {name} double SIZE any in" for name in inputs]
    return Update(family, kind, FUNCS[i % len(FUNCS)], (*arrays, *header, "const: c real"), tuple(body), (), reduction)


def _free(rng: random.Random, family: str, i: int) -> Update:
    inputs, body, header, leaves = _inputs(rng), [], [], []
    outputs = ["y", "u"][: rng.choice((1, 1, 2))]
    for name in outputs:
        header.append(f"array: {name} double SIZE {rng.choice(('zero', 'unit'))} io")
    for name in ("t", "q")[: rng.choice((0, 1, 2))]:
        header += [f"local: {name} {'mid | v | part' if name == 't' else 'aux | b2 | other'}", f"expr: {name}e general {len(inputs)}"]
        body.append(f"double ${name} = {_call(rng, name + 'e', inputs)};")
        leaves.append(f"${name}")
        if rng.random() < 0.4:
            body.append(rng.choice((f"if (${name} < $cut) ${name} = $frac * ${name};", f"${name} = ${name} > $cut ? ${name} : $frac;")))
    for k, name in enumerate(outputs):
        used = rng.sample([*leaves, *inputs], min(2, len(leaves) + len(inputs)))
        header.append(f"expr: e{k} general {len(used)}")
        value = _call(rng, f"e{k}", used)
        form = rng.choice(("plain", "plain", "kept", "chosen"))
        if form == "kept":
            body.append(f"${name}[AT] = $frac * ${name}[AT] + {value};")
        elif form == "chosen":
            body.append(f"if (${inputs[0]}[AT] > $cut) ${name}[AT] = {value};")
        else:
            body.append(f"${name}[AT] = {value};")
    return _update(family, i, "free", header, body, inputs)


def _total(rng: random.Random, family: str, i: int) -> Update:
    inputs, body = _inputs(rng), []
    names = ["t", "q"][: rng.choice((1, 1, 2))]
    header = [f"array: r double {len(names)} zero io"]
    if rng.random() < 0.5:
        header += [f"expr: d positive {len(inputs)}", "local: s step_v | piece | item"]
        body.append(f"double $s = {_call(rng, 'd', inputs)};")
    leaf = ["$s"] if body else inputs
    for k, name in enumerate(names):
        header += [f"local: {name} {'sum | acc | total' if name == 't' else 'second | power | extra'}", f"expr: e{k} heavy {len(leaf)}"]
        condition = f"if (${inputs[-1]}[AT] > $cut) " if rng.random() < 0.3 else ""
        body.append(f"{condition}TOTAL ${name} += {_call(rng, f'e{k}', leaf)};")
    return _update(family, i, "total", header, body, inputs, "+:" + ", ".join(f"${name}" for name in names))


def _shared(rng: random.Random, family: str, i: int) -> Update:
    inputs = _inputs(rng)
    header = ["array: y double $k zero io", "const: k int 8 36", f"expr: e heavy {len(inputs)}"]
    place = rng.choice(("(AT) * $mul % $k", "((AT) + $off) % $k", "$p[AT]", "($p[AT] + $off) % $k"))
    if "$p" in place:
        header.append("array: p int SIZE int:$lit_k in")
    term, body = _call(rng, "e", inputs), []
    if rng.random() < 0.5:
        header.append("local: t part | weight | amount")
        body, term = [f"double $t = {term};"], "$t"
    body.append(f"ADD $y[{place}]; {term}")
    if rng.random() < 0.3:
        body.append(f"ADD $y[({place} + 1) % $k]; $frac * {term}")
    return _update(family, i, "shared", header, body, inputs, "+:$y[:$k]")


def _inner(rng: random.Random, family: str, i: int) -> Update:
    """A loop over a short table for every element: its bounds, what it folds, and what becomes of the fold."""
    inputs = _inputs(rng)[:2]
    header = [f"array: y double SIZE {rng.choice(('zero', 'unit'))} io", "array: g double $k any in", "const: k int 5 12",
              "local: s fold | level_of | run_value", "local: q q | t | step | l"]  # fmt: skip
    table = rng.choice(("$g[$q]", "$g[$q]", "$g[$k - 1 - $q]", "$g[(i + $q) % $k]"))
    other = rng.choice(("$x[AT]", "$x[AT]", "$x[(AT) * ($q + 1) % n]", "$x[((AT) + $off * $q) % n]")).replace("$x", f"${inputs[0]}")
    term = rng.choice((f"{table} * {other}", f"fabs({table} - {other})", f"$e<{table}; {other}>"))
    if term.startswith("$e"):
        header.append("expr: e general 2")
    head = rng.choice(("$q = 0; $q < $k; $q++", "$q = 1; $q < $k; $q++", "$q = 0; $q < $k; $q += 2", "$q = i % 3; $q < $k; $q++"))
    fold = rng.choice((f"$s += {term};", f"$s += {term};", f"$s = $frac * $s + {term};", f"$s = fmax($s, {term});",
                       f"if ({table} > $cut) $s += {term};"))  # fmt: skip
    start = rng.choice(("0", "0", "$frac", f"${inputs[-1]}[AT]"))
    header.append("expr: o general 2")
    out = rng.choice(("$y[AT] = $s;", "$y[AT] = $frac * $s;", "$y[AT] += $s;", f"$y[AT] = $o<$s; ${inputs[-1]}[AT]>;",
                      "if ($s > $cut) $y[AT] = $s;"))  # fmt: skip
    body = [f"double $s = {start};", f"for (int {head}) {fold}", out]
    return _update(family, i, "free", header, body, inputs)
