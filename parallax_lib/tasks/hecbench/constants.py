"""Smaller values for sizes that are written in a program, so that it ends on a CPU.

Knows numbers, definitions and assignments as C++ text.  Knows nothing of checkouts, manifests or compilers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

VALUE = r"(?>0[xX][\da-fA-F]+|[\d.]+(?:[eE][+-]?\d+)?)[uUlLfF]*+"
NUMBER = rf"(?=[(\s]*[\d.])(?:{VALUE}|[()*+<\t -])+?"  # 4096, 0x80, 1 << 20, (1024*1024), 2e7, 4UL


def with_values(text: str, values: Mapping[str, float]) -> tuple[str, str]:
    """(`text` with each size at its new value, the first one that it does not write or "").

    A size is a name, which `#define NAME number` or `NAME = number` set, or a number as it is written, wherever it stands.
    Numbers that are no larger than the new value stay: loops that begin at nought, limits that are small already.
    """
    absent = ""
    for size, value in values.items():
        text, count = _changed(text, str(size), value)
        absent = absent or ("" if count else str(size))
    return text, absent


def _changed(text: str, size: str, value: float) -> tuple[str, int]:
    """(`text` with one size changed, in how many places)."""
    if size[0].isdigit():
        return re.subn(rf"(?<![\w.]){re.escape(size)}(?![\w.])", str(value), text)
    count = 0

    def put(found: re.Match) -> str:
        nonlocal count
        if not _larger(found[2], value):
            return found[0]
        count += 1
        return f"{found[1]}{value}"

    places = rf"(^[ \t]*#[ \t]*define[ \t]+{size}[ \t]+|(?<!\w){size}[ \t]*=[ \t]*)({NUMBER})(?=[ \t]*(?:[;,]|$|//|/\*))"
    return re.sub(places, put, text, flags=re.M), count


def _larger(number: str, value: float) -> bool:
    """Whether a number as written is more than `value`; a calculation counts as more."""
    try:
        return float(re.sub(r"[uUlLfF]+$", "", number.strip())) > value
    except ValueError:
        return True
