"""A program's parallel plan, read from its own text: a few words for each hot loop or kernel, in the program's order.

Knows OpenMP directives and CUDA kernels as text.  Knows no generator, no tokenizer and no model.

The words are those of `WORDS`.  An OpenMP construct says how its work is shared out and what protects its updates; a function with
loops and no construct is `serial`; a CUDA kernel says how its threads are mapped and how they work together.
"""

from __future__ import annotations

import re

from parallax_lib.core import cpp_text

WORDS = (
    *("parallel", "reduction", "collapse", "simd", "scan", "ordered", "task", "sections", "single", "target", "atomic", "critical"),
    *("serial", "map", "grid", "stride", "shared", "warp", "block", "loop"),
)
NONE = "none"  # what fills a plan up
FIRST = ((r"\bscan\b", "scan"), (r"\breduction\s*\(", "reduction"), (r"\bordered\b", "ordered"), (r"\bsections\b", "sections"))
LATER = ((r"\b(?:task|taskloop)\b", "task"), (r"\bcollapse\s*\(", "collapse"), (r"\b(?:for|distribute|parallel|teams|loop)\b", "parallel"))
LAST = ((r"\bsimd\b", "simd"), (r"\bsingle\b", "single"))
SHARING = FIRST + LATER + LAST
DIRECTIVE = re.compile(r"\s*#\s*pragma\s+omp\s+(.*)", re.S)
DATA = re.compile(r"(?:target\s+(?:enter|exit|update|data)|end\s+declare|declare|threadprivate|barrier|taskwait|flush|requires)\b")
KERNEL = re.compile(r"\b__global__\b")
LOOP = re.compile(r"\b(?:for|while)\s*\(")
PRINTS = re.compile(r"\b(?:printf|cout|puts|fprintf)\b")


def plan_of(program: str, api: str) -> tuple[str, ...]:
    """The plan of a program in `api` (omp or cuda); () where it has no loop and no kernel.  Linear in the text."""
    text = cpp_text.without_strings(program)
    return tuple(_of_cuda(text) if api == "cuda" else _of_openmp(text))


def _of_openmp(text: str) -> list[str]:
    words: list[str] = []
    for head, body in functions(text):
        own = [word for line in cpp_text.logical_lines(body) if (found := DIRECTIVE.match(line)) for word in _construct(found[1])]
        plain = LOOP.search(body) and not PRINTS.search(body) and not re.search(r"\bmain\s*\(", head)
        words += own or (["serial"] if plain else [])
    return words


def _construct(directive: str) -> list[str]:
    """The words of one directive: none for a directive that shares no work out."""
    name = directive.split("(")[0]
    if re.match(r"atomic\b|critical\b", name):
        return [name.split()[0]]
    if DATA.match(name):
        return []
    shared = next((word for pattern, word in SHARING if re.search(pattern, directive)), "")
    return [word for word in ("target" if re.match(r"target\b", name) else "", shared) if word]


def _of_cuda(text: str) -> list[str]:
    return [word for head, body in functions(text) if KERNEL.search(head) for word in _kernel(body)]


def _kernel(body: str) -> list[str]:
    """One or two words: how its threads are mapped or work together, and `atomic`."""
    if re.search(r"\b(?:cub|cg|cooperative_groups)\s*::", body):
        first = "block"
    elif re.search(r"\b__shfl\w*", body):
        first = "warp"
    elif re.search(r"\b__shared__\b", body):
        first = "shared"
    elif re.search(r"\+=\s*(?:stride\b|gridDim|blockDim\s*\.\s*x\s*\*\s*gridDim)", body):
        first = "stride"
    elif re.search(r"\b(?:blockIdx|threadIdx)\s*\.\s*y\b", body):
        first = "grid"
    elif not re.search(r"\b(?:blockIdx|threadIdx)\b", body):
        first = "single"
    else:
        first = "loop" if LOOP.search(body) else "map"
    return [first, "atomic"] if re.search(r"\batomic[A-Z]\w*\s*\(", body) else [first]


def functions(text: str) -> list[tuple[str, str]]:
    """(what stands before it, body) of every outermost pair of braces that is no namespace; braces in strings must be gone."""
    found, depth, start, opened = [], 0, 0, 0
    for brace in re.finditer(r"[{}]", text):
        at = brace.start()
        if brace[0] == "{":
            if depth == 0 and re.search(r"\b(?:namespace\s*\w*|extern\s*\"\")\s*$", text[max(start, at - 200) : at]):
                start = at + 1
                continue
            opened = at if depth == 0 else opened
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0:
                found.append((text[start:opened].rpartition(";")[2], text[opened + 1 : at]))
                start = at + 1
    return found
