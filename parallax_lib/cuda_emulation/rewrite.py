"""CUDA programs for the host compiler: what a header cannot express is rewritten, and a launch proof is read.

Knows CUDA's additions to C++ as text: <<<...>>>, __shared__ and __device__ variables.  Knows nothing of compilers,
sandboxes or verdicts.  The text is read as tokens, before preprocessing, so launches inside macros work; comments,
strings and raw strings are left alone and line numbers stay.

What emulation cannot see: host functions and host variables used in kernels (nvcc refuses them, where it is installed),
races that neither order of threads shows, time.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from functools import cache
from itertools import accumulate
from pathlib import Path

from parallax_lib.core import cpp_text
from parallax_lib.core.cpp_text import LINE_END, PAIRS, Token, pieces, tokenise
from parallax_lib.cuda_emulation.interleaving import delay_stores

HEADERS = Path(__file__).parent / "include"
UNSUPPORTED = re.compile(
    r'^[ \t]*#\s*include\s*[<"]((?:thrust|cub|cuda|nvtx3|mma|curand|cublas|cusparse|cusolver|cufft|cudnn|nccl|nvrtc|cuComplex'
    r'|texture|surface|cuda_bf16|cuda_fp8|cuda_pipeline|cuda_awbarrier|cooperative_groups/(?!reduce))[\w/.]*)[>"]|\basm\s*(?:volatile\s*)?\(',
    re.M,
)
DEVICE = ("__device__", "__constant__")
IN_PART = re.compile(r'^[ \t]*#\s*include\s*[<"]cub/', re.M)
PROVIDED = {p.relative_to(HEADERS).as_posix() for p in HEADERS.rglob("*.*h")}


SOURCES = (*sorted(Path(__file__).parent.glob("*.py")), Path(cpp_text.__file__))


@cache
def digest() -> str:
    """Twelve digits that change with the emulator's headers, library or rewriting."""
    files = sorted(p for p in HEADERS.rglob("*") if p.is_file())
    data = b"".join(p.name.encode() + p.read_bytes() for p in [*files, *SOURCES])
    return hashlib.sha256(data).hexdigest()[:12]


def unsupported(code: str) -> str:
    """What `code` needs that the emulator does not have, "" when nothing is known to be missing."""
    kept = (("\n" if "\n" in text else " ") if kind == "skip" else text for kind, text in pieces(code))
    for match in UNSUPPORTED.finditer("".join(kept)):
        if match[1] not in PROVIDED:
            return f"the emulator has no {match[1]}" if match[1] else "the emulator runs no inline PTX"
    return ""


def rewrite(code: str) -> str:
    """`code` as C++ that the host compiler accepts with parallax_lib/cuda_emulation/include/cuda_runtime.h included before it."""
    tokens = tokenise(code)
    kernels = _kernels(tokens)
    defined = Counter(name for name, _, end in kernels if end >= 0)
    by_call = {name for name, simple, _ in kernels if not simple or defined[name] > 1}
    out = _launches(tokens, by_call)
    delay_stores(tokens, out)
    for n, (name, _, end) in enumerate(kernels):
        if name not in by_call and 0 <= end < len(out):
            out[end] += f" static cudacpu::Register cudacpu_register_{n}(&{name});"
    return '#line 1 "main.cu"\n' + "".join(out)


def _kernels(tokens: list[Token]) -> list[tuple[str, bool, int]]:
    """(name, plain, index of its last brace or -1) of __global__ functions; plain: no template, no default argument."""
    found, templated = [], _templated(tokens)
    equals = [0, *accumulate(token[:2] == ("sign", "=") for token in tokens)]  # how many before each token
    for i, token in enumerate(tokens):
        if token[:2] != ("name", "__global__"):
            continue
        name, at = _name_and_arguments(tokens, i)
        if not name or at >= len(tokens) or tokens[at].text != "(":
            continue
        end = tokens[at].partner
        after = tokens[end].after if end < len(tokens) else end
        body = after < len(tokens) and tokens[after].text == "{"
        plain = equals[end] == equals[at] and not templated[i]
        found.append((name, plain, tokens[after].partner if body else -1))
    return found


def _name_and_arguments(tokens: list[Token], at: int) -> tuple[str, int]:
    """(name, index of the bracket before the arguments) of the function that the __global__ at `at` declares, up to the next one."""
    name = ""
    while (at := tokens[at].after) < len(tokens) and tokens[at].text not in ("{", ";", "__global__"):
        if tokens[at].text == "(":
            end = tokens[at].partner
            after = tokens[end].after if end < len(tokens) else end
            while after < len(tokens) and tokens[after].text not in ("(", "{", ";", "__global__"):
                after = tokens[after].after
            if after >= len(tokens) or tokens[after].text != "(":
                break
            at = end  # __launch_bounds__(...), or a macro of the program's own
        elif tokens[at].kind == "name":
            name = tokens[at].text
    return name, at


def _templated(tokens: list[Token]) -> list[bool]:
    """Of every token whether the declaration that it stands in begins with template<...>."""
    inside, found = False, []
    for kind, text, *_ in tokens:
        found.append(inside)
        inside = (inside or (kind, text) == ("name", "template")) and text not in (";", "}", "{")
    return found


def _launches(tokens: list[Token], by_call: set[str]) -> list[str]:
    """The tokens' texts with launches, __shared__ and device variables rewritten."""
    out = [token.text for token in tokens]
    scope, opened, shared = _Scope(), -1, -1  # the last <<< and the end of the last __shared__ declaration
    closes = _closes(tokens)
    for i, (kind, text, *_) in enumerate(tokens):
        scope.step(tokens, i)
        if kind == "open":
            _launch(tokens, out, i, closes[i], opened, by_call)
            opened = i
        elif text == "__shared__" and kind == "name" and i > shared:
            shared = _shared(tokens, out, i)
        elif text in DEVICE and kind == "name" and scope.outside and not scope.device and _variable(tokens, i, scope.directive):
            out[i] = "__CUDACPU_VARIABLE"
        elif text == "__noinline__" and kind == "name":
            out[i] = "__attribute__((noinline))"
        scope.device = scope.device or (kind == "name" and text in DEVICE)
    return out


def _closes(tokens: list[Token]) -> list[int]:
    """For every token the index of the next >>> before the next <<<, the count of tokens for none."""
    found, close = [], len(tokens)
    for i in range(len(tokens) - 1, -1, -1):
        found.append(close)
        close = i if tokens[i].kind == "close" else len(tokens) if tokens[i].kind == "open" else close
    return found[::-1]


class _Scope:
    """Where the tokens up to now leave off.

    outside: functions and classes, only namespaces and extern "C" blocks are open; device: a __device__ or __constant__ stands in this
    declaration; directive: the line begins with #.
    """

    def __init__(self):
        self.stack: list[bool] = []
        self.inside = 0  # braces of functions and classes
        self.device = self.directive = False

    @property
    def outside(self) -> bool:
        return not self.inside

    def step(self, tokens: list[Token], at: int) -> None:
        kind, text = tokens[at][:2]
        if text == "#" or (kind == "skip" and LINE_END.search(text)):
            self.directive = text == "#"
        if text in (";", "}", "{"):
            self.device = False
        if kind == "sign" and text == "}" and self.stack:
            self.inside -= not self.stack.pop()
        if kind == "sign" and text == "{":
            words, i = [], at
            while (i := tokens[i].before) >= 0 and tokens[i].text not in (";", "{", "}", ")", "="):
                words.append(tokens[i].text)
            self.stack.append("namespace" in words or ("extern" in words and '"C"' in words and len(words) == 2))
            self.inside += not self.stack[-1]


def _variable(tokens: list[Token], at: int, directive: bool) -> bool:
    """Whether the __device__ or __constant__ at `at`, the first of its declaration, declares a variable that kernels may change."""
    after = tokens[at].after
    if directive and tokens[at].text == "__device__" and after > at + 1 and LINE_END.search(tokens[at + 1].text):
        return False  # the last one of a macro's line: what it will stand before is not known
    words, i, angle = [], at, 0
    while (i := tokens[i].after) < len(tokens):
        text = tokens[i].text
        angle += {"<": 1, ">": -1}.get(text, 0)
        if text == "(" and words and words[-1] in ("__align__", "alignas", "__attribute__") and tokens[i].partner < len(tokens):
            i = tokens[i].partner
            continue
        if (angle <= 0 and text in ("(", "{", ";", "=", "[")) or text in ("}", "{", ";"):
            break
        words.append(text)
    before, j = [], at
    while (j := tokens[j].before) >= 0 and tokens[j].text not in (";", "}", "{"):
        before.append(tokens[j].text)
    if i >= len(tokens) or tokens[i].text not in (";", "=", "[", "{") or {"operator", "extern"} & {*words, *before}:
        return False
    return "*" in words or not {"const", "constexpr", "template", "struct", "class", "typedef", "using"} & {*words, *before}


def _launch(tokens: list[Token], out: list[str], at: int, end: int, earlier: int, by_call: set[str]) -> None:
    """name<<<config>>>(arguments): the name is wrapped where it stands, <<< and >>> become the call's brackets.

    end: index of the >>>; earlier: of the <<< before, which no launch reaches back over.
    """
    start = _name_start(tokens, at, earlier)
    if start is None or end >= len(tokens):
        return
    spelled = "".join(token.text for token in tokens[start:at] if token.kind != "skip")
    config = "".join(out[at + 1 : end])
    out[start : end + 1] = [""] * (end + 1 - start)
    base = spelled.partition("<")[0].split("::")[-1].strip()
    full = "".join(token.text for token in tokens[start:at]).strip()
    call = f"cudacpu::deduced(cudacpu::config({config}), [=](auto... cudacpu_a) {{ {full}(cudacpu_a...); }})"
    out[start] = call if base in by_call else f"cudacpu::on(cudacpu::config({config}), {full})"


def _name_start(tokens: list[Token], at: int, earlier: int) -> int | None:
    """Index of the first token of the kernel expression that ends before `at`; None where there is none after `earlier`."""
    i = tokens[at].before
    if i >= 0 and tokens[i].text in (">", ">>", ">>>"):
        depth = 0
        while i > earlier:
            text = tokens[i].text
            depth += text.count(">") if text in (">", ">>", ">>>") else 0
            i = tokens[i].partner if text in (")", "]") else i
            depth -= text == "<"
            if depth == 0:
                break
            i = tokens[i].before
        i = tokens[i].before if i > earlier else i
    elif i >= 0 and tokens[i].text in (")", "]"):
        i = tokens[i].partner
        before = tokens[i].before
        if tokens[i].text == "(" and not (before >= 0 and tokens[before].kind == "name"):
            return i if i > earlier else None
        i = before
    if i <= earlier or tokens[i].kind != "name":
        return None
    while (before := tokens[i].before) > earlier and tokens[before].text in ("::", ".", "->"):
        left = tokens[before].before
        if left <= earlier or tokens[left].kind != "name":
            return before
        i = left
    return i


def _shared(tokens: list[Token], out: list[str], at: int) -> int:
    """A __shared__ declaration: a type of each variable, and a reference to where the block's memory lies.  Index of its end."""
    start = at
    while (before := tokens[start].before) >= 0 and tokens[before].text in ("extern", "static", "volatile", "const", "__device__"):
        start = before
    end = at
    while end < len(tokens) and tokens[end].text != ";":
        end = tokens[end].partner if tokens[end].text in PAIRS and tokens[end].kind == "sign" else end
        end += 1
    names = _declared(tokens, at, end)
    unsized = any(tokens[i].text == "extern" for i in range(start, at))
    for i in range(start, min(end, len(tokens))):
        if tokens[i].text in ("extern", "static", "__shared__", "__device__") and tokens[i].kind == "name":
            out[i] = ""
    for i in names:
        out[i] = f"cudacpu_type_{tokens[i].text}"
    out[start] = "typedef " + out[start]
    how, storage = ("dynamic", "") if unsized else ("shared", "static ")
    rest = [f" {storage}{out[i]} &{tokens[i].text} = cudacpu::{how}_variable<{out[i]}>();" for i in names]
    if end < len(tokens):
        out[end] = "".join([";", *rest])
    return end


def _declared(tokens: list[Token], at: int, end: int) -> list[int]:
    """Token indices of the variables' names: the last name before [, a comma or the end, outside brackets."""
    found, last, i, angle = [], -1, at, 0  # the names' indices grow
    while i < end:
        kind, text = tokens[i][:2]
        ends = kind == "sign" and (text == "[" or (text == "," and angle == 0))
        if ends and last >= 0 and found[-1:] != [last]:
            found.append(last)
        if kind == "sign" and text in PAIRS:
            i = min(tokens[i].partner, end)
        elif kind == "sign" and text in "<>":
            angle += 1 if text == "<" else -1
        elif kind == "name" and angle == 0:
            last = i
        i += 1
    return found + ([last] if last >= 0 and found[-1:] != [last] else [])
