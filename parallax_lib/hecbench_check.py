"""Judges a HeCBench checkout's own programs as translations of each other, and shows what can be used here.

Knows kernels, verdicts and tables.  Knows nothing of models, Makefiles or how a verdict is made.
"""

from __future__ import annotations

import re

from parallax_lib import oracle

VERDICT_WORD = re.compile(r"\b(pass|passed|success|successful|succeeded|valid|match|matches|correct|ok)\b|\b(fail|error|mismatch)\w*", re.I)


def strength(texts: list[str], runs: tuple[tuple[str, ...], ...]) -> str:
    """ "strong": prints numbers that are not its arguments; "weak": only a verdict word; "none": neither.  By outputs alone."""
    given = {_value(a) for run in runs for a in run}
    lines = [line for text in texts for line in oracle.read_lines(text)]
    values = [v for line in lines if not VERDICT_WORD.search(" ".join(line.words)) for v in line.values]
    if any(v not in given and not float(v).is_integer() for v in values):
        return "strong"
    return "weak" if any(VERDICT_WORD.search(t) for t in texts) else "strong" if any(v not in given for v in values) else "none"


def _value(arg: str) -> float | None:
    try:
        return float(arg)
    except ValueError:
        return None
