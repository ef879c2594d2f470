"""A loop nest times an update: the text of a pattern as the grammars would write it.

A nest says how elements are walked, an update what is done to one.  Right and wrong strategies follow from the update's
dependence.  Knows no pattern by name and no program.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

THREAD = "blockIdx.x * blockDim.x + threadIdx.x"


@dataclass(frozen=True)
class Nest:
    """How a kernel walks its elements: loops from the outside in, the element's index, and a CUDA thread's share."""

    name: str
    loops: tuple[str, ...]
    at: str  # the element's index in an array of all elements
    sizes: str = "n"
    size: str = "n"
    whole: bool = True  # whether every element is visited
    thread: str = ""  # a thread's outer index
    inside: str = ""  # whether that index is in range
    over: str = "n"  # launch: threads that are needed
    flat: str = ""  # condition of one thread per element (i, j), launched over n x m; "" where there is none
    inner: bool = False  # whether OpenMP accepts a pragma on the inner loop
    square: bool = False  # whether collapse(2) is allowed

    @property
    def plane(self) -> bool:
        return len(self.sizes.split()) == 2


BY_I, BY_J = f"int i = {THREAD};", f"int j = {THREAD};"
PLANE = {"at": "i * m + j", "sizes": "n m", "size": "n*m"}
LINES = (
    Nest("line", ("for (int i = $lo; i < n; i++)",), "i", whole=False, thread=BY_I, inside="i >= $lo && i < n"),
    Nest("back", ("for (int i = n - 1; i >= 0; i--)",), "i", thread=BY_I, inside="i < n"),
    Nest("even", ("for (int i = 0; i < n; i += 2)",), "i", whole=False, thread=f"int i = 2 * ({THREAD});", inside="i < n",
         over="(n + 1) / 2"),
    Nest("block", ("for (int b = 0; b < n; b += $tile)", "for (int i = b; i < n && i < b + $tile; i++)"), "i",
         thread=f"int b = ({THREAD}) * $tile;", inside="b < n", over="(n + $tile - 1) / $tile"),
)  # fmt: skip
ROWS = Nest("rows", ("for (int i = 0; i < n; i++)", "for (int j = 0; j < m; j++)"), **PLANE, thread=BY_I, inside="i < n",
            flat="i < n && j < m", inner=True, square=True)  # fmt: skip
COLUMNS = Nest("columns", ("for (int j = 0; j < m; j++)", "for (int i = 0; i < n; i++)"), **PLANE, thread=BY_J, inside="j < m", over="m",
               flat="i < n && j < m", inner=True, square=True)  # fmt: skip
TRIANGLE = Nest("triangle", ("for (int i = 0; i < n; i++)", "for (int j = 0; j <= i; j++)"), **PLANE, whole=False, thread=BY_I,
                inside="i < n", flat="i < n && j <= i", inner=True)  # fmt: skip
PLANES = (ROWS, COLUMNS, TRIANGLE)


@dataclass(frozen=True)
class Update:
    """What is done to element AT: header lines, statements, and the dependence between elements.

    kind: `free` (none), `total` (all add to locals, written as TOTAL += term), `shared` (some add to one place, each
    such statement written as ADD place; term).
    """

    family: str
    kind: str
    funcs: str
    header: tuple[str, ...]
    body: tuple[str, ...]
    nests: tuple[Nest, ...]
    reduction: str = ""  # the list of OpenMP's reduction clause


def block(update: Update, nest: Nest, name: str) -> str:
    """The text of the pattern `<name>_<nest>`."""
    scale = "plane" if nest.plane else ("line" if update.kind == "free" else "race")
    out = "out" if nest.whole else "io"
    lines = [f"{name}_{nest.name} family={update.family} scale={scale}", f"func: {update.funcs}", f"sizes: {nest.sizes}"]
    lines += [row.replace("SIZE", nest.size).replace("OUT", out) for row in update.header]
    options = {"free": _free, "total": _total, "shared": _shared}[update.kind](update, nest)
    sections = [("serial", _serial(update, nest)), *options]
    return "\n".join(lines) + "\n" + "".join(f"--- {title}\n{text}" for title, text in sections)


def _statements(update: Update, nest: Nest, add: str) -> list[str]:
    """The update's statements at one element; `add` is how a shared or total one is written, over {0} and {1}."""
    rows = []
    for row in update.body:
        row = row.replace("LAST", "n * m - 1" if nest.plane else "n - 1")
        row = row.replace("(AT)", f"({nest.at})" if len(nest.at) > 1 else nest.at).replace("AT", nest.at)
        if row.startswith("ADD "):
            place, term = row[4:].split("; ", 1)
            rows += add.format(place, term).split("\n")
        else:
            rows.append(row)
    return rows


def _nested(loops: tuple[str, ...], body: list[str], depth: int = 1, marks: bool = False) -> str:
    """Loops around a body, indented; with braces where the body is more than one statement; marks for pragmas."""
    text = ""
    for k, loop in enumerate(loops):
        pad = "  " * (depth + k)
        text += (f"{pad}@{k + 1}\n" if marks else "") + f"{pad}{loop}\n"
    pad = "  " * (depth + len(loops))
    plain = len([row for row in body if not row.lstrip().startswith("@")]) == 1
    inner = "".join(f"{pad}{row}\n" for row in body)
    if plain or not loops:
        return text + inner
    return text[:-1] + " {\n" + inner + "  " * (depth + len(loops) - 1) + "}\n"


def _function(body: str, cuda: bool = True) -> str:
    return ("__global__ " if cuda else "") + "void $f($sig) {\n" + body + "}\n"


def _serial(update: Update, nest: Nest) -> str:
    body = _statements(update, nest, "@3\n{0} += {1};")
    if update.kind != "total":
        return _function(_nested(nest.loops, body, marks=True), cuda=False)
    names = _totals(update)
    body = [line for row in body for line in _atomic_total(row)]
    start = f"  double {', '.join(f'{name} = 0' for name in names)};\n"
    end = "".join(f"  $r[{k}] = {name};\n" for k, name in enumerate(names))
    return _function(start + _nested(nest.loops, body, marks=True) + end, cuda=False)


def _totals(update: Update) -> list[str]:
    return [row.split("TOTAL ")[1].split(" += ")[0] for row in update.body if "TOTAL " in row]


def _atomic_total(row: str) -> list[str]:
    """A total's statement with a mark for OpenMP's atomic; a condition before it gets a line of its own."""
    if "TOTAL " not in row:
        return [row]
    before, after = row.split("TOTAL ")
    return [before.rstrip(), "  @3", "  " + after] if before else ["@3", after]


def _threads(nest: Nest, body: list[str], before: str = "", after: str = "") -> str:
    """A kernel with one thread for each turn of the outer loop."""
    if len(nest.loops) == 1:
        work = _nested((f"if ({nest.inside})",), body)
    else:
        work = f"  if ({nest.inside})\n" + _nested(nest.loops[1:], body, 2)
    return _function(before + f"  {nest.thread}\n" + work + after)


def _each(nest: Nest, body: list[str]) -> str:
    """A kernel with one thread for each element of a plane."""
    return _function("  $IJ\n" + _nested((f"if ({nest.flat})",), body))


def _free(update: Update, nest: Nest) -> Iterator[tuple[str, str]]:
    body = _statements(update, nest, "")
    yield "omp parallel right: @1 parallel for", ""
    if nest.inner:
        yield "omp inner right: @2 parallel for", ""
    if nest.square:
        yield "omp collapse right: @1 parallel for collapse(2)", ""
    if update.family == "n_inplace":
        yield "omp none wrong: @1 parallel", ""
    if not nest.inner:
        yield "omp tile right: @1 parallel for schedule(static, 16)", ""
    yield f"cuda parallel right: over {nest.over}", _threads(nest, body)
    if nest.flat:
        yield "cuda collapse right: over n x m", _each(nest, body)
    elif nest.at == "i" and nest.whole:
        yield "cuda grid right: blocks 64", _function(_nested(("$G<n>",), body))
    else:
        yield "cuda private right: single", _function(_strided(nest, body))


def _strided(nest: Nest, body: list[str]) -> str:
    """One block whose threads stride over the outer loop."""
    head = nest.loops[0]
    start, stop, step = head[len("for (int i = "): -1].split("; ")
    stride = f"{step[5:]} * " if step.startswith("i += ") else ""
    first = "threadIdx.x" if not stride else f"{stride}threadIdx.x"
    begin = first if start == "0" else f"{start} + {first}"
    return _nested((f"for (int i = {begin}; {stop}; i += {stride}blockDim.x)",), body)


def _total(update: Update, nest: Nest) -> Iterator[tuple[str, str]]:
    names = _totals(update)
    local = [row.replace("TOTAL ", "") for row in _statements(update, nest, "")]
    direct = [_to_result(row, names, "$r[{0}] += {1};") for row in _statements(update, nest, "")]
    atomic = [_to_result(row, names, "atomicAdd(&$r[{0}], {1});") for row in _statements(update, nest, "")]
    start = f"  double {', '.join(f'{name} = 0' for name in names)};\n"
    yield "omp parallel wrong: @1 parallel for", ""
    yield f"omp reduction right: @1 parallel for reduction({update.reduction})", ""
    yield "omp atomic right: @1 parallel for | @3 atomic", ""
    if nest.inner:
        yield f"omp inner right: @2 parallel for reduction({update.reduction})", ""
    if nest.square:
        yield "omp collapse wrong: @1 parallel for collapse(2)", ""
    else:
        yield f"omp private wrong: @1 parallel for private({', '.join(names)})", ""
    lead = "  if (threadIdx.x == 0) "
    blocks_end = "".join(f"  $R<part{k}; {name}>\n{lead}atomicAdd(&$r[{k}], part{k}[0]);\n" for k, name in enumerate(names))
    yield f"cuda parallel wrong: over {nest.over}", _threads(nest, direct)
    yield f"cuda atomic right: over {nest.over}", _threads(nest, atomic)
    yield f"cuda reduction right: over {nest.over}", _threads(nest, local, start, blocks_end)
    if nest.flat:
        yield "cuda collapse wrong: over n x m", _each(nest, direct)
        each = "".join(f"  atomicAdd(&$r[{k}], {name});\n" for k, name in enumerate(names))
        yield f"cuda inner right: over {nest.over}", _threads(nest, local, start, each)


def _to_result(row: str, names: list[str], form: str) -> str:
    if "TOTAL " not in row:
        return row
    before, after = row.split("TOTAL ")
    name, term = after.rstrip(";").split(" += ", 1)
    return before + form.format(names.index(name), term)


def _shared(update: Update, nest: Nest) -> Iterator[tuple[str, str]]:
    plain, atomic = _statements(update, nest, "{0} += {1};"), _statements(update, nest, "atomicAdd(&{0}, {1});")
    owner = {"n_row_fold": "i", "n_column_fold": "j"}.get(update.family, "")
    outer = bool(owner) and f"int {owner} =" in nest.loops[0]  # each turn of the outer loop has its own place
    inner = bool(owner) and not outer
    yield f"omp parallel {_label(outer)}: @1 parallel for", ""
    yield "omp atomic right: @1 parallel for | @3 atomic", ""
    yield f"omp reduction right: @1 parallel for reduction({update.reduction})", ""
    if nest.square:  # small chunks where a place belongs to one turn of the outer loop: else few turns ever meet
        yield f"omp collapse wrong: @1 parallel for collapse(2){' schedule(static, 16)' if outer else ''}", ""
    if nest.inner:
        yield f"omp inner {_label(inner)}: @2 parallel for", ""
    if not owner:
        yield "omp critical right: @1 parallel for | @3 critical", ""
    yield f"cuda parallel {_label(outer)}: over {nest.over}", _threads(nest, plain)
    if nest.flat:
        yield "cuda atomic right: over n x m", _each(nest, atomic)
        yield "cuda collapse wrong: over n x m", _each(nest, plain)
        if inner:
            turned = ROWS if owner == "i" else COLUMNS
            yield f"cuda inner right: over {turned.over}", _threads(turned, plain)
        elif not owner:
            yield f"cuda inner right: over {nest.over}", _threads(nest, atomic)
    else:
        yield f"cuda atomic right: over {nest.over}", _threads(nest, atomic)
        yield "cuda private wrong: single", _threads(nest, plain)


def _label(right: bool) -> str:
    return "right" if right else "wrong"
