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
from functools import cache
from pathlib import Path

from parallax_lib.cuda_emulation.interleaving import delay_stores
from parallax_lib.cuda_emulation.lexer import PAIRS, closing, opening, solid, tokenise

HEADERS = Path(__file__).parent / "include"
UNSUPPORTED = re.compile(
    r'^\s*#\s*include\s*[<"]((?:thrust|cub|cuda|nvtx3|mma|curand|cublas|cusparse|cusolver|cufft|cudnn|nccl|nvrtc|cuComplex'
    r'|texture|surface|cuda_bf16|cuda_fp8|cuda_pipeline|cuda_awbarrier|cooperative_groups/(?!reduce))[\w/.]*)[>"]|\basm\s*(?:volatile\s*)?\(',
    re.M,
)
LINE_END = re.compile(r"(?<!\\)\n")
IN_PART = re.compile(r'^\s*#\s*include\s*[<"]cub/', re.M)
PROVIDED = {p.relative_to(HEADERS).as_posix() for p in HEADERS.rglob("*.*h")}


@cache
def digest() -> str:
    """Twelve digits that change with the emulator's headers, library or rewriting."""
    files = sorted(p for p in HEADERS.rglob("*") if p.is_file())
    data = b"".join(p.name.encode() + p.read_bytes() for p in [*files, *sorted(Path(__file__).parent.glob("*.py"))])
    return hashlib.sha256(data).hexdigest()[:12]


def unsupported(code: str) -> str:
    """What `code` needs that the emulator does not have, "" when nothing is known to be missing."""
    kept = (("\n" if "\n" in text else " ") if kind == "skip" else text for kind, text in tokenise(code))
    for match in UNSUPPORTED.finditer("".join(kept)):
        if match[1] not in PROVIDED:
            return f"the emulator has no {match[1]}" if match[1] else "the emulator runs no inline PTX"
    return ""


def rewrite(code: str) -> str:
    """`code` as C++ that the host compiler accepts with parallax_lib/cuda_emulation/include/cuda_runtime.h included before it."""
    tokens = tokenise(code)
    kernels = _kernels(tokens)
    defined = [name for name, _, end in kernels if end >= 0]
    by_call = {name for name, simple, _ in kernels if not simple or defined.count(name) > 1}
    out = _launches(tokens, by_call)
    delay_stores(tokens, out)
    for n, (name, _, end) in enumerate(kernels):
        if name not in by_call and 0 <= end < len(out):
            out[end] += f" static cudacpu::Register cudacpu_register_{n}(&{name});"
    return '#line 1 "main.cu"\n' + "".join(out)


def _kernels(tokens: list) -> list[tuple[str, bool, int]]:
    """(name, plain, index of its last brace or -1) of __global__ functions; plain: no template, no default argument."""
    found = []
    for i, token in enumerate(tokens):
        if token != ("name", "__global__"):
            continue
        at, name = i, ""
        while at < len(tokens) and tokens[at][1] not in ("{", ";"):
            at = solid(tokens, at, 1)
            if at < len(tokens) and tokens[at][1] == "(":
                end = closing(tokens, at)
                after = solid(tokens, end, 1)
                while after < len(tokens) and tokens[after][1] not in ("(", "{", ";"):
                    after = solid(tokens, after, 1)
                if after < len(tokens) and tokens[after][1] == "(":  # __launch_bounds__(...), or a macro of the program's own
                    at = end
                    continue
                break
            name = tokens[at][1] if at < len(tokens) and tokens[at][0] == "name" else name
        if not name or at >= len(tokens) or tokens[at][1] != "(":
            continue
        end = closing(tokens, at)
        after = solid(tokens, end, 1)
        body = after < len(tokens) and tokens[after][1] == "{"
        plain = ("sign", "=") not in tokens[at:end] and not _templated(tokens, i)
        found.append((name, plain, closing(tokens, after) if body else -1))
    return found


def _templated(tokens: list, at: int) -> bool:
    """Whether the declaration that `at` stands in begins with template<...>."""
    while (at := solid(tokens, at, -1)) >= 0 and tokens[at][1] not in (";", "}", "{"):
        if tokens[at] == ("name", "template"):
            return True
    return False


def _launches(tokens: list, by_call: set[str]) -> list[str]:
    """The tokens' texts with launches, __shared__ and device variables rewritten."""
    out = [text for _, text in tokens]
    scope = _Scope()
    for i, (kind, text) in enumerate(tokens):
        scope.step(kind, text, tokens, i)
        if kind == "open":
            _launch(tokens, out, i, by_call)
        elif text == "__shared__" and kind == "name":
            _shared(tokens, out, i)
        elif text in ("__device__", "__constant__") and kind == "name" and scope.outside and _variable(tokens, i):
            out[i] = "__CUDACPU_VARIABLE"
        elif text == "__noinline__" and kind == "name":
            out[i] = "__attribute__((noinline))"
    return out


class _Scope:
    """Whether the place is outside functions and classes: only namespaces and extern "C" blocks are open."""

    def __init__(self):
        self.stack: list[bool] = []

    @property
    def outside(self) -> bool:
        return all(self.stack)

    def step(self, kind: str, text: str, tokens: list, at: int) -> None:
        if kind == "sign" and text == "}" and self.stack:
            self.stack.pop()
        if kind == "sign" and text == "{":
            words, i = [], at
            while (i := solid(tokens, i, -1)) >= 0 and tokens[i][1] not in (";", "{", "}", ")", "="):
                words.append(tokens[i][1])
            self.stack.append("namespace" in words or ("extern" in words and '"C"' in words and len(words) == 2))


def _ends_directive(tokens: list, at: int) -> bool:
    """Whether the token is the last one of a line that begins with #: what a macro's __device__ stands before is not known."""
    begun = next((text == "#" for kind, text in reversed(tokens[:at]) if text == "#" or (kind == "skip" and LINE_END.search(text))), False)
    after = "".join(text for kind, text in tokens[at + 1 : solid(tokens, at, 1)])
    return begun and bool(LINE_END.search(after))


def _variable(tokens: list, at: int) -> bool:
    """Whether the __device__ or __constant__ at `at` declares a variable that kernels may change: the first one only."""
    if tokens[at][1] == "__device__" and _ends_directive(tokens, at):
        return False
    words, i, angle = [], at, 0
    while (i := solid(tokens, i, 1)) < len(tokens):
        text = tokens[i][1]
        angle += {"<": 1, ">": -1}.get(text, 0)
        if text == "(" and words and words[-1] in ("__align__", "alignas", "__attribute__"):
            i = closing(tokens, i)
            continue
        if angle <= 0 and text in ("(", "{", ";", "=", "["):
            break
        words.append(text)
    before = []
    j = at
    while (j := solid(tokens, j, -1)) >= 0 and tokens[j][1] not in (";", "}", "{"):
        before.append(tokens[j][1])
    if i >= len(tokens) or tokens[i][1] not in (";", "=", "[", "{"):
        return False
    if {"__device__", "__constant__"} & set(before) or {"operator", "extern"} & {*words, *before}:
        return False
    return "*" in words or not {"const", "constexpr", "template", "struct", "class", "typedef", "using"} & {*words, *before}


def _launch(tokens: list, out: list[str], at: int, by_call: set[str]) -> None:
    """name<<<config>>>(arguments): the name is wrapped where it stands, <<< and >>> become the call's brackets."""
    start = _name_start(tokens, at)
    end = next((i for i in range(at, len(tokens)) if tokens[i][0] == "close"), None)
    if start is None or end is None:
        return
    spelled = "".join(text for kind, text in tokens[start:at] if kind != "skip")
    config = "".join(out[at + 1 : end])
    for i in range(start, end + 1):
        out[i] = ""
    base = re.sub(r"<.*", "", spelled, flags=re.S).split("::")[-1].strip()
    full = "".join(text for _, text in tokens[start:at]).strip()
    call = f"cudacpu::deduced(cudacpu::config({config}), [=](auto... cudacpu_a) {{ {full}(cudacpu_a...); }})"
    out[start] = call if base in by_call else f"cudacpu::on(cudacpu::config({config}), {full})"


def _name_start(tokens: list, at: int) -> int | None:
    """Index of the first token of the kernel expression that ends before `at`."""
    i = solid(tokens, at, -1)
    if i >= 0 and tokens[i][1] in (">", ">>") or (i >= 0 and tokens[i][0] == "close"):
        depth = 0
        while i >= 0:
            text = tokens[i][1]
            depth += text.count(">") if tokens[i][0] in ("sign", "close") and text in (">", ">>", ">>>") else 0
            if text in (")", "]"):
                i = opening(tokens, i)
            depth -= text == "<"
            if depth == 0:
                break
            i = solid(tokens, i, -1)
        i = solid(tokens, i, -1)
    elif i >= 0 and tokens[i][1] in (")", "]"):
        i = opening(tokens, i)
        before = solid(tokens, i, -1)
        if tokens[i][1] == "(" and not (before >= 0 and tokens[before][0] == "name"):
            return i
        i = before
    if i < 0 or tokens[i][0] != "name":
        return None
    while True:
        before = solid(tokens, i, -1)
        if before < 0 or tokens[before][1] not in ("::", ".", "->"):
            return i
        left = solid(tokens, before, -1)
        if left < 0 or tokens[left][0] != "name":
            return before
        i = left


def _shared(tokens: list, out: list[str], at: int) -> None:
    """A __shared__ declaration: a type of each variable, and a reference to where the block's memory lies."""
    start = at
    while (before := solid(tokens, start, -1)) >= 0 and tokens[before][1] in ("extern", "static", "volatile", "const", "__device__"):
        start = before
    end = at
    while end < len(tokens) and tokens[end][1] != ";":
        end = closing(tokens, end) if tokens[end][1] in PAIRS and tokens[end][0] == "sign" else end
        end += 1
    names = _declared(tokens, at, end)
    unsized = any(tokens[i][1] == "extern" for i in range(start, at))
    for i in range(start, min(end, len(tokens))):
        if tokens[i][1] in ("extern", "static", "__shared__", "__device__") and tokens[i][0] == "name":
            out[i] = ""
    for i in names:
        out[i] = f"cudacpu_type_{tokens[i][1]}"
    out[start] = "typedef " + out[start]
    rest = ""
    for i in names:
        kind, name = out[i], tokens[i][1]
        how = "dynamic" if unsized else "shared"
        storage = "" if unsized else "static "
        rest += f" {storage}{kind} &{name} = cudacpu::{how}_variable<{kind}>();"
    if end < len(tokens):
        out[end] = ";" + rest


def _declared(tokens: list, at: int, end: int) -> list[int]:
    """Token indices of the variables' names: the last name before [, a comma or the end, outside brackets."""
    found, last, i, angle = [], None, at, 0
    while i < end:
        kind, text = tokens[i]
        if kind == "sign" and text in PAIRS:
            if text == "[" and last is not None and last not in found:
                found.append(last)
            i = min(closing(tokens, i), end)
        elif kind == "sign" and text in "<>":
            angle += 1 if text == "<" else -1
        elif kind == "sign" and text == "," and angle == 0:
            if last is not None and last not in found:
                found.append(last)
        elif kind == "name" and angle == 0:
            last = i
        i += 1
    if last is not None and last not in found:
        found.append(last)
    return found
