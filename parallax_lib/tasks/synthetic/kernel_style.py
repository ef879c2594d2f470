"""Hot functions of a styled forge program: the grammar's text in an author's manner, computing the same.

Knows OpenMP's clauses, sums over a block, and how elements and extremes are written.  Knows nothing of main.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

from parallax_lib.tasks.synthetic.codegen import Array, Spec, Stage
from parallax_lib.tasks.synthetic.habits import Habits
from parallax_lib.tasks.synthetic.patterns import HEAD, patterns

FLOATS = "sqrt fabs exp log pow tanh cbrt atan fmin fmax".split()
TREE = re.compile(r"  __shared__ (\w+) (\w+)\[(\w+)\];\n  \2\[threadIdx\.x\] = (\w+);\n  __syncthreads\(\);\n"
                  r"  for \(int h = \3 / 2; h > 0; h /= 2\) \{\n    if .*\n    __syncthreads\(\);\n  \}\n")  # fmt: skip
WARP = """__device__ {1}{0} block_sum({0} v) {{
  __shared__ {0} warps[32];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int off = 16; off > 0; off /= 2) v += __shfl_down_sync(0xffffffff, v, off);
  __syncthreads();
  if (lane == 0) warps[warp] = v;
  __syncthreads();
  v = threadIdx.x < blockDim.x / 32 ? warps[lane] : 0;
  if (warp == 0)
    for (int off = 16; off > 0; off /= 2) v += __shfl_down_sync(0xffffffff, v, off);
  return v;
}}

"""
LOOP = re.compile(r"^( *)#pragma omp parallel for(.*)$", re.M)


def elements(spec: Spec, h: Habits, rng: random.Random) -> Spec:
    """The spec with its first expressions clipped and, for whole numbers, other expressions and values."""
    if h.element in ("int", "unsigned"):
        spec = replace(spec, stages=tuple(_whole(stage, h, rng) for stage in spec.stages))
    if h.element == "float":
        spec = replace(spec, stages=tuple(replace(s, arrays=tuple(_float(a) for a in s.arrays)) for s in spec.stages))
    return replace(spec, stages=tuple(_clipped(s, h, rng) if rng.random() < 0.25 else s for s in spec.stages))


def _float(array: Array) -> Array:
    return replace(array, ctype="float") if array.ctype == "double" else array


def _clipped(stage: Stage, h: Habits, rng: random.Random) -> Stage:
    """The stage with a smallest or largest value of its first expression."""
    rows = [row.split() for row in patterns()[stage.pattern].header.get("expr", ())]
    if not rows or rows[0][1] not in ("general", "positive", "heavy"):
        return stage
    key, text = rows[0][0], stage.holes[rows[0][0]]
    low, high = f"{rng.uniform(0.1, 0.4):.2f}", rng.choice(("1.0", "1.5", "2.0", "2.5", "4.0"))
    if h.element in ("int", "unsigned"):
        suffix = "u" if h.element == "unsigned" else ""
        low, high = f"{rng.randrange(1, 20)}{suffix}", f"{rng.randrange(100, 250)}{suffix}"
    form = rng.choice((f"MINOF({text}, {high})", f"MAXOF({text}, {low})", f"MINOF(MAXOF({text}, {low}), {high})"))
    return replace(stage, holes=stage.holes | {key: form})


def can_be_whole(spec: Spec) -> bool:
    """Whether every stage computes as well with whole numbers."""
    for stage in spec.stages:
        pattern = patterns()[stage.pattern]
        texts = [pattern.serial, *(o.text for options in pattern.options.values() for o in options.values())]
        if any(re.search(r"\d\.\d|\$(frac|cut|radius)|fm(in|ax)|fabs|sqrt|\(int\)|unsigned", text) for text in texts):
            return False
        if any(row.split()[1] in ("mix", "lean") for row in pattern.header.get("expr", ())):
            return False
        if any(a.ctype == "double" and a.init == "raw" for a in stage.specs()):
            return False
    return True


def _whole(stage: Stage, h: Habits, rng: random.Random) -> Stage:
    header = patterns()[stage.pattern].header
    holes = dict(stage.holes)
    for row in header.get("expr", ()):
        key, _, leaves = row.split()
        holes[key] = _whole_expression(rng, int(leaves), h.element)
    numbers = {name: str(rng.randrange(2, 9)) for name in ("c", *(row.split()[0] for row in header.get("const", ())))}
    for name, value in numbers.items():
        if re.fullmatch(r"\d*\.\d+", holes.get(name, "")):
            holes[name] = value
    params = tuple((_typed(d, h), str(rng.randrange(2, 9)) if d.startswith("double ") and "*" not in d else v) for d, v in stage.params)
    arrays = tuple(replace(a, ctype=_typed(a.ctype, h), init=_whole_init(a)) for a in stage.arrays)
    return replace(stage, holes=holes | {"sig": ", ".join(d for d, _ in params)}, params=params, arrays=arrays)


def _typed(declaration: str, h: Habits) -> str:
    return re.sub(r"\b(double|float)\b", h.element, declaration)


def _whole_init(array: Array) -> str:
    """Values below 100; the same array gives the same in every stage."""
    if array.ctype not in ("double", "float") or not array.init.startswith("value:"):
        return array.init
    return "value:(int)(rnd() * " + ("100)" if len(array.init) % 2 else "50)")


def _whole_expression(rng: random.Random, leaves: int, element: str) -> str:
    """Whole-number arithmetic below 300, so that no sum of forge's sizes overflows."""
    u = "u" if element == "unsigned" else ""
    c, d, mod = f"{rng.randrange(2, 9)}{u}", f"{rng.randrange(1, 30)}{u}", f"{rng.choice((97, 101, 127, 211, 256))}{u}"
    first, second = "{0}", "{1}" if leaves > 1 else "{0}"
    text = rng.choice((f"{first} * {c} + {second}", f"{c} * {first} + {d}", f"{first} * {second} + {d}", f"({first} ^ {second}) + {d}",
                       f"({first} >> 1) + {c} * {second}", f"({first} & 15) * {second}"))  # fmt: skip
    rest = "".join(f" + {{{k}}}" for k in range(2, leaves))
    return f"({text}{rest}) % {mod}"


def function(text: str, api: str, h: Habits) -> str:
    """A hot or helper function in the author's manner."""
    if h.element != "double":
        text = _retyped(text, h)
    text = re.sub(r"\bif \((\w+(?:\[\w+\])?) ([<>]) (\w+)\) \3 = \1;", lambda m: _extreme(m, h), text)
    text = re.sub(r"\bfm(in|ax)f?\(", lambda m: f"M{m[1].upper()}OF(", text)
    text = clip(text, api, h)
    if api == "cuda":
        text = _kernel(text, h)
    elif api == "omp":
        text = _directives(text, h)
    if h.restrict:
        head, brace, rest = text.partition("{")
        text = re.sub(r" \*(\w+)", r" *__restrict__ \1", head) + brace + rest
    return text


def _retyped(text: str, h: Habits) -> str:
    text = re.sub(r"\bdouble\b", h.element, text)
    if h.element == "float":
        text = re.sub(r"(?<![\w.])(\d+\.\d+)(?![\w.])", r"\1f", text)
        text = re.sub(rf"\b({'|'.join(FLOATS)})\(", r"\1f(", text)
    return text


def _extreme(match: re.Match, h: Habits) -> str:
    if h.index == "plain":  # as many authors compare as call a function
        return match[0]
    return f"{match[3]} = M{'IN' if match[2] == '<' else 'AX'}OF({match[3]}, {match[1]});"


def clip(text: str, api: str, h: Habits) -> str:
    """MINOF(a, b) and MAXOF(a, b) as the API and the author write them; a kernel cannot call std::min."""
    while match := re.search(r"\bM(IN|AX)OF\(", text):
        end = _closing(text, match.end())
        inside = text[match.end() : end]
        text = text[: match.start()] + _one_clip(match[1], *_split(inside), api, h) + text[end + 1 :]
    return text


def _one_clip(kind: str, a: str, b: str, api: str, h: Habits) -> str:
    whole = h.element in ("int", "unsigned")
    clip = "std" if h.clip == "fmin" and whole and h.language != "c" else ("macro" if h.clip == "fmin" and whole else h.clip)
    name = kind.lower().replace("in", "min").replace("ax", "max")
    if clip == "ternary" and len(a) + len(b) < 40:
        a, b = (x if re.fullmatch(r"[\w.\[\]]+", x) else f"({x})" for x in (a, b))
        return f"({a} {'<' if kind == 'IN' else '>'} {b} ? {a} : {b})"
    if clip == "macro" or (clip == "ternary" and h.language == "c"):
        return f"{name.upper()}({a}, {b})"
    if clip == "fmin":
        return f"f{name}{'f' if h.element == 'float' else ''}({a}, {b})"
    return f"{name}({a}, {b})" if api in ("cuda", "device") else f"std::{name}({a}, {b})"


def _closing(text: str, start: int) -> int:
    depth = 1
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at
    raise AssertionError(text)


def _split(inside: str) -> tuple[str, str]:
    """The two arguments."""
    depth = 0
    for at, char in enumerate(inside):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(char, 0)
        if char == "," and depth == 0:
            return inside[:at].strip(), inside[at + 1 :].strip()
    raise AssertionError(inside)


def macros(text: str) -> str:
    lines = {"MIN(": "#define MIN(a, b) ((a) < (b) ? (a) : (b))\n", "MAX(": "#define MAX(a, b) ((a) > (b) ? (a) : (b))\n"}
    found = "".join(line for name, line in lines.items() if re.search(rf"\b{re.escape(name)}", text))
    return found + "\n" if found else ""


def _kernel(text: str, h: Habits) -> str:
    if h.shuffle == "warp":
        text = _shuffled(text)
    elif h.shuffle == "shift":
        text = re.sub(r"for \(int h = (\w+) / 2; h > 0; h /= 2\)", "for (unsigned int h = blockDim.x / 2; h > 0; h >>= 1)", text)
    if h.strides:
        text = _strided(text)
    if h.index == "const":
        text = re.sub(rf"^  int (\w+) = {re.escape(HEAD)};", rf"  const int \1 = {HEAD};", text, flags=re.M)
    elif h.index == "turned":
        text = text.replace(HEAD, "threadIdx.x + blockIdx.x * blockDim.x")
    return text


def _shuffled(text: str) -> str:
    """Warp shuffles in place of a tree in shared memory, where only the first thread uses the sum."""
    sums = {m[2]: m[4] for m in TREE.finditer(text)}
    changed = TREE.sub(lambda m: f"  {m[4]} = block_sum({m[4]});\n", text)
    for shared, local in sums.items():
        uses = [line for line in changed.splitlines() if re.search(rf"\b{shared}\b", line)]
        if not all(line.startswith("  if (threadIdx.x == 0)") for line in uses):
            return text
        changed = re.sub(rf"\b{shared}\[0\]", local, changed)
    return changed


def _strided(text: str) -> str:
    """A grid-stride loop in place of `if (i < n)`, where nothing else follows from a thread's index."""
    if re.search(r"return|continue|break|__syncthreads|block_sum|blockIdx\.y", text):
        return text
    match = re.search(rf"  int (\w+) = {re.escape(HEAD)};\n  if \(\1 < ([\w *]+)\)", text)
    if match is None or re.search(r"^  [^ }]", text[match.end() :], re.M):
        return text
    i, end = match.groups()
    return f"{text[: match.start()]}  for (int {i} = {HEAD}; {i} < {end}; {i} += blockDim.x * gridDim.x){text[match.end() :]}"


def _directives(text: str, h: Habits) -> str:
    if h.pragma == "none" or re.search(r"inscan|ordered|omp_get|schedule|single|master", text):
        return text
    if h.pragma == "split":
        return _separate(text)
    if h.pragma == "default":
        return _listed(text)
    add = {"static": " schedule(static)", "dynamic": " schedule(dynamic, 64)", "guided": " schedule(guided)",
           "threads": " num_threads(4)"}[h.pragma]  # fmt: skip
    return LOOP.sub(lambda m: m[0] + add, text)


def _separate(text: str) -> str:
    """`parallel` and `for` apart, where the loop is the whole of its region and the function has one."""
    found = LOOP.findall(text)
    if len(found) != 1:
        return text
    lines = text.splitlines()
    at = next(k for k, line in enumerate(lines) if LOOP.match(line))
    pad = found[0][0]
    end = at + 2
    while end < len(lines) and lines[end].startswith(pad + " "):
        end += 1
    end += end < len(lines) and lines[end] == pad + "}"
    inner = [f"{pad}  #pragma omp for{found[0][1]}", *("  " + line for line in lines[at + 1 : end])]
    return "\n".join([*lines[:at], f"{pad}#pragma omp parallel", pad + "{", *inner, pad + "}", *lines[end:]]) + "\n"


def _listed(text: str) -> str:
    """default(none) with every variable named, where only parameters are in reach."""
    head, _, body = text.partition(") {\n")
    if len(LOOP.findall(text)) != 1 or not LOOP.match(body):
        return text
    names = re.findall(r"(\w+)(?:,|$)", head.partition("(")[2])
    clauses = re.sub(r"\[[^\]]*\]", "", LOOP.search(text)[2])
    used = [x for x in names if re.search(rf"\b{x}\b", body) and not re.search(rf"[(:, ]{x}\b", clauses)]
    return LOOP.sub(lambda m: f"{m[0]} default(none) shared({', '.join(used)})", text) if used else text
