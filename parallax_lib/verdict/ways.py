"""In which ways a program's text may be built: which compiler, as which language, and where target regions then run.

Knows what OpenMP target regions and C look like as text, and which compiler takes which.  Knows nothing of sandboxes, links or proofs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from parallax_lib.core.cpp_text import logical_lines, without_strings
from parallax_lib.verdict.llvm import OFFLOAD
from parallax_lib.verdict.toolchain import LANGUAGE, Toolchain

OMP, TARGET = re.compile(r"\bomp\b"), re.compile(r"\btarget\b")
INSCAN = re.compile(r"\binscan\b")  # the one feature that LLVM's runtime refuses in programs that g++ built
HOST, DEVICE, GPU = (f"target regions: {where}" for where in ("host fallback", "x86_64 offload device", "GPU"))
REQUIRES, SHARED = "pragma +omp +requires", "(unified_shared_memory|self_maps)"
UNIFIED = f"{REQUIRES}.*{SHARED}"  # for grep
NOT_C = re.compile(r"::|^[ \t]*#[ \t]*include[ \t]*<[^.>\n]*>", re.M)
C_STANDARD, CXX_STANDARD = "-std=gnu17", "-std=c++"


class Way(NamedTuple):
    """Where target regions run, compiler, flags, and the language as which the text is read: c++, c or cuda."""

    regions: str
    compiler: str
    flags: tuple[str, ...]
    language: str = "c++"


def ways(code: str, toolchain: Toolchain) -> list[Way]:
    """All ways but C, in the order to try."""
    native = Way("", toolchain.compiler, toolchain.flags, "cuda" if LANGUAGE[toolchain.api] == "cu" else "c++")
    clang, targets = toolchain.llvm.clang, has_target(code)
    if toolchain.api != "omp" or not (targets or INSCAN.search(code)):
        return [native]
    flags = tuple(f for f in toolchain.flags if not f.startswith("-foffload"))
    if targets and toolchain.gpu:
        return [Way(GPU, clang, (*flags, *toolchain.llvm.gpu))]
    if targets and toolchain.llvm.offload:
        first = [Way(DEVICE, clang, (*flags, OFFLOAD))]
    else:
        first = [Way(HOST if targets else "", clang, flags)] if clang else []
    return [*first, Way(HOST, toolchain.compiler, (*toolchain.flags, "-foffload=disable")) if targets else native]


def may_be_c(code: str, toolchain: Toolchain) -> bool:
    """Whether a program that is no C++ may be C: not CUDA, without :: and without the C++ library's headers."""
    return LANGUAGE[toolchain.api] == "c++" and not NOT_C.search(without_strings(code))


def in_language(language: str, flags: Iterable[str]) -> list[str]:
    """The flags for this language: for C its own standard, in which POSIX's functions are declared."""
    return [C_STANDARD if language == "c" and flag.startswith(CXX_STANDARD) else flag for flag in flags]


def has_target(code: str) -> bool:
    """Whether some line, continued lines joined, names omp and after it target."""
    begun = ((line, OMP.search(line)) for line in logical_lines(code))
    return any(omp and TARGET.search(line, omp.end()) for line, omp in begun)


def shares_memory(preprocessed: str) -> bool:
    """Whether a program asks for memory shared between host and device; a comment does not."""
    begun = ((line, re.search(REQUIRES, line)) for line in preprocessed.split("\n"))
    return any(requires and re.search(SHARED, line[requires.end() :]) for line, requires in begun)
