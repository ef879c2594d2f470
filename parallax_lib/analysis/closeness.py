"""How close a wrong output came to the reference, measured on what was printed or on what a verdict's log says of it.

Knows printed numbers.  Decides nothing: `verdict` does.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from parallax_lib.verdict.output_comparison import RELATIVE, read_lines

FOUND = re.compile(r"got (\S+), expected (\S+?)(?:$|[\s;])")
FAR = 10.0  # relative differences are told up to here


def of_log(log: object) -> float:
    """Relative difference of the first number outside its tolerance, 0 to 10; NaN where the log names none."""
    match = FOUND.search(log) if isinstance(log, str) else None
    try:
        return relative(float(match[1]), float(match[2])) if match else np.nan
    except ValueError:
        return np.nan


def relative(got: float, expected: float) -> float:
    if not (np.isfinite(got) and np.isfinite(expected)):
        return 0.0 if got == expected or (got != got and expected != expected) else FAR
    return min(abs(got - expected) / max(abs(expected), 1e-300), FAR)


def of_logs(logs: pd.Series) -> np.ndarray:
    """`of_log` of each [n]; equal logs are read once."""
    codes, texts = pd.factorize(logs)
    return np.array([*map(of_log, texts), np.nan])[codes]


def outputs(reference: str, text: str) -> dict:
    """Both outputs line by line: which differ, how many numbers agree, the largest relative difference of a pair of numbers.

    {"rows": [[reference line, line, differs]], "first": place of the first that differs or None, "numbers", "agree", "largest"}.
    Lines are compared in order and numbers within 1e-6; the verdict's own comparison also knows tolerances, times and added lines.
    """
    old, new = reference.splitlines(), text.splitlines()
    rows, gaps, paired = [], [], True
    for i in range(max(len(old), len(new))):
        a, b = (side[i] if i < len(side) else None for side in (old, new))
        here = _gaps(a, b)
        paired &= here is not None
        gaps += here or []
        rows.append([a, b, here is None or any(gap > RELATIVE for gap in here)])
    first = next((i for i, row in enumerate(rows) if row[2]), None)
    agree, largest = sum(gap <= RELATIVE for gap in gaps), max(gaps, default=None)
    return {"rows": rows, "first": first, "numbers": len(gaps), "agree": agree, "largest": largest, "same_shape": paired}


def _gaps(a: str | None, b: str | None) -> list[float] | None:
    """Relative differences of two lines' numbers; None where the lines have other words or another number of numbers."""
    if a is None or b is None:
        return None
    if a == b:
        return [0.0 for line in read_lines(a) for t in line.tokens if not isinstance(t, str)]
    pairs = [tuple(t for line in read_lines(side) for t in line.tokens) for side in (a, b)]
    if len(pairs[0]) != len(pairs[1]):
        return None
    found = []
    for x, y in zip(*pairs, strict=True):
        if isinstance(x, str) != isinstance(y, str) or (isinstance(x, str) and x != y):
            return None
        if not isinstance(x, str):
            found.append(relative(float(y), float(x)))
    return found
