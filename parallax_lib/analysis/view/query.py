"""The filter field: what was typed, as terms that each say which rows they keep.

Knows the grammar.  Knows no frame.

    atomic "omp parallel"      rows with both texts in source, translation, log, task or decoded latents
    -atomic                    rows without it
    reason:wrong_output        rows whose column holds the text;  reason=ok  is exactly it;  code:, source:, log: search one text
    score>0.8  seed=1          numbers:  =  >  >=  <  <=
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from parallax_lib.core.errors import UserError

TERM = re.compile(r'(-?)(?:([A-Za-z_]\w*)(:|>=|<=|=|>|<))?(?:"([^"]*)"?|(\S+))')
WORDS = {":": "has", "=": "is", ">": ">", "<": "<", ">=": ">=", "<=": "<="}
ALIASES = {"source": "source_code", "method": "arm", "translation": "code", "status": "reason"}


@dataclass(frozen=True)
class Term:
    """column "" is every searched text.  op is one of `WORDS`."""

    column: str
    op: str
    value: str
    negative: bool = False

    def words(self) -> str:
        what = f"{self.column or 'any text'} {WORDS[self.op]} {self.value!r}"
        return f"not ({what})" if self.negative else what


def parse(text: str, columns: Collection[str]) -> list[Term]:
    """The terms of a filter; a name before an operator that is no column is part of the text, as in `std::vector` or `i<n`."""
    terms = []
    for match in TERM.finditer(text):
        minus, name, op, quoted, plain = match.groups()
        column = ALIASES.get(name, name) if name else ""
        value = quoted if quoted is not None else plain
        if name and column not in columns:
            column, op, value = "", ":", match.group()[len(minus) :].replace('"', "")
        terms.append(Term(column, op or ":", value, bool(minus)))
    return [term for term in terms if term.value or term.op == "="]


def number(term: Term) -> float:
    try:
        return float(term.value)
    except ValueError:
        said = f"{term.column}{term.op}"
        raise UserError(f"filter: {said}{term.value}: {term.value!r} is no number; such as {said}0.5") from None
