"""Texts of HeCBench that do not ship: in their place a row holds a comment with the text's SHA-256, and a checkout has the sources.

Knows the comment and a checkout.  Knows no table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from parallax_lib.tasks.given import NOTHING, shown
from parallax_lib.tasks.hecbench import checkout
from parallax_lib.tasks.task import APIS

MARK = "// text of HeCBench, not shipped; sha256 "
TWIN = "-hecbench"  # ends the name of a kernel where another suite has one of the same name


def digest_of(text: object) -> str:
    """The SHA-256 that stands for a text which does not ship; "" of any other text."""
    return text.removeprefix(MARK).strip() if isinstance(text, str) and text.startswith(MARK) else ""


def sources(root: Path, kernels: Iterable[str]) -> dict[str, str]:
    """{SHA-256: source program as a translator reads it} of the named kernels that the checkout holds.  UserError: no checkout there."""
    known = set(checkout.listed(root))
    names = {name.removesuffix(TWIN) for name in kernels} & known
    found = {}
    for kernel in checkout.kernels(root, tuple(sorted(names))) if names else ():
        for text in kernel.sources.values():
            for target in APIS:
                told = shown(text, kernel.given.get(target, NOTHING))
                found[hashlib.sha256(told.encode()).hexdigest()] = told
    return found
