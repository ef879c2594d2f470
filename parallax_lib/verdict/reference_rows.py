"""A reference as a row of the journal, and the row as the fields of a reference.

Knows the fields and what JSON makes of them.  Knows nothing of how a reference is made.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from parallax_lib.verdict import output_comparison, result_buffers, work_share

if TYPE_CHECKING:
    from parallax_lib.verdict.reference import Reference

PLAIN = ("unable", "coverage", "region_us", "by", "strength")


def to_row(kernel: str, reference: Reference) -> dict:
    """What the journal keeps of a reference that did not fail."""
    row = {"kernel": kernel, "cases": [asdict(case) for case in reference.cases], "work": asdict(reference.work)}
    row["results"] = [[asdict(buffer) for buffer in case] for case in reference.results]
    return row | {name: getattr(reference, name) for name in PLAIN}


def from_row(known: dict) -> dict:
    """Field name -> value of a remembered reference."""
    work = {name: value if name == "why_not" else tuple(map(_tuple, value)) for name, value in known["work"].items()}
    fields = {name: known[name] for name in PLAIN} | {"work": work_share.Pair(**work)}
    fields["cases"] = tuple(map(output_comparison.restored, known["cases"]))
    return fields | {"results": tuple(tuple(map(result_buffers.restored, case)) for case in known["results"])}


def _tuple(value: list | dict) -> tuple | dict:
    return tuple(value) if isinstance(value, list) else value
