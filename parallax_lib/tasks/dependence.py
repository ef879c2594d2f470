"""The dependence class of a kernel: what its parallel work has to take care of, read from the text of its CUDA kernels.

Knows CUDA C++ as text.  Knows nothing of suites or splits.  A rule of thumb: a person's word goes before it.
"""

from __future__ import annotations

import re

from parallax_lib.core.cpp_text import without_strings

CLASSES = (
    *("map", "stencil", "reduction", "scan", "scatter_atomic", "irregular"),
    *("dynamic_programming", "dense_linear_algebra", "sort", "other"),
)
KERNEL = re.compile(r"__global__[^;{]*\{")
SORT = re.compile(r"\b\w*sort\w*\b", re.I)
SCAN = re.compile(r"\b\w*(?:prefix_?sum|cumsum|\bscan\b|InclusiveSum|ExclusiveSum|BlockScan)\w*", re.I)
PRODUCT = re.compile(r"\+=[^;=]*\[[^;\]]*[*\]][^;]*\]\s*\*[^;]*\[[^;]*\]\s*;")
ATOMIC = re.compile(r"\batomic\w+\s*\(\s*(?:&\s*\w+\s*\[\s*(?!0\s*\])|\w+\s*\+)")
REDUCES = re.compile(r"\batomic\w+\s*\(|BlockReduce|WarpReduce|__shfl|\bwarpReduce\w*|\bblockReduce\w*")
HALVES = re.compile(r"(?:>>=\s*1|/=\s*2|=\s*\w+\s*/\s*2|=\s*\w+\s*>>\s*1)\s*\)")
NESTED = re.compile(r"\b\w+\s*\[[^\[\];]*\b\w+\s*\[[^\[\];]*\b[a-zA-Z_]\w*[^\[\];]*\][^\[\];]*\]")
NEIGHBOUR = re.compile(r"\b(\w+)\s*\[[^\[\];]*?([+-])\s*(?:1|2|\w*(?:width|[Nn][xyz]?|pitch|dim|stride)\w*)\s*\]")


def dependence_class(cuda: str) -> str:
    """One of `CLASSES` of a CUDA program's text; "map" where no rule speaks, never "dynamic_programming" or "other"."""
    text = "\n".join(_kernels(without_strings(cuda)))
    rules = {
        "sort": SORT.search(text),
        "scan": SCAN.search(text),
        "scatter_atomic": ATOMIC.search(text),
        "irregular": NESTED.search(text),
        "dense_linear_algebra": PRODUCT.search(text),
        "stencil": _neighbours(text),
        "reduction": REDUCES.search(text) or HALVES.search(text),
    }
    return next((name for name, holds in rules.items() if holds), "map")


def _neighbours(text: str) -> bool:
    """Whether one array is read on both sides of an element."""
    found = {(match[1], match[2]) for match in NEIGHBOUR.finditer(text)}
    return any((array, "+") in found and (array, "-") in found for array, _ in found)


def _kernels(text: str) -> list[str]:
    """Head and body of each function that starts on the GPU."""
    found = []
    for match in KERNEL.finditer(text):
        depth, end = 1, match.end()
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        found.append(text[match.start() : end])
    return found
