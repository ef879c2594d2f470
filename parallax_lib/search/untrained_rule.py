"""A rule that nobody trained: which plan tokens suit a source, read from its text alone.

Knows C++ text and the translator's plan tokens.  Knows no verdict, no latent, no score and no target's text.

The rule: a function that accumulates into something that all iterations share wants `reduction`, `atomic` or `critical`;
any other wants a token that shares its loop out.  It was written down after the study's results were known.
"""

from __future__ import annotations

import re
from functools import lru_cache

import pandas as pd

from parallax_lib.tasks import plans

SAFE = frozenset({"reduction", "atomic", "critical"})
SHARED_OUT = frozenset({"parallel", "private", "collapse", "inner", "tile", "grid"})
HELPERS = ("main", "rnd", "report")  # of the generated programs: no plan has a token for them
NAME = re.compile(r"\b(\w++)\s*+\(")
LOOP = re.compile(r"for\s*\(\s*(?:int|long|size_t|unsigned)\s+(\w+)\s*=\s*(\w+)")
SAID = re.compile(r"atomic|reduction\(|critical")  # what OpenMP and CUDA sources say of it themselves
DECLARED = re.compile(r"\b(?:double|int|long|float|unsigned)\s++([^;]{0,500});")
UPDATED = re.compile(r"\b(\w++)((?:\[[^;=]{0,200}?\])?)\s*+(?:[-+*|&^]=(?!=)|=\s*\1\2\s*[-+*])")  # x += ..., x[i] = x[i] + ...


def suited(rows: pd.DataFrame) -> pd.Series:
    """[n] functions of each row's `source_code` whose token in its `plan` (one a function, in their order) is of the kind that
    they want; NaN for all where a column is missing."""
    if not {"plan", "source_code"} <= set(rows):
        return pd.Series(float("nan"), index=rows.index)
    counts = [suits(plan, source) for plan, source in zip(rows["plan"], rows["source_code"], strict=True)]
    return pd.Series(counts, index=rows.index, dtype=float)


def suits(plan: str, source: str) -> int:
    """How many of the source's functions the plan has a suitable token for."""
    suitable = (SAFE if shared else SHARED_OUT for shared in accumulating(source))
    return sum(word in kind for word, kind in zip(plan.split(), suitable, strict=False))


@lru_cache(maxsize=10_000)
def accumulating(source: str) -> tuple[bool, ...]:
    """Of each function before `main`, helpers left out, whether it `accumulates`."""
    found = ((NAME.search(head), head, body) for head, body in plans.functions(source.split("int main(")[0]))
    return tuple(accumulates(head, body) for name, head, body in found if name and name[1] not in HELPERS)


def accumulates(head: str, body: str) -> bool:
    """Does the function add to something that all iterations of its outermost loop share?

    It says so itself (a `reduction` clause, `atomic`, `critical`, `atomicAdd`), or, outside a CUDA kernel, it updates a
    scalar from before the loop, or an element whose index does not hold the loop's variable (that of the block's loop too,
    where the loop is cut into blocks).
    """
    loop = LOOP.search(body)
    if SAID.search(body) or "__global__" in head or not loop:
        return bool(SAID.search(body))
    inner = LOOP.search(body, loop.end())
    own = {loop[1], inner[1]} if inner and inner[2] == loop[1] and _starts_body(body, inner) else {loop[1]}
    before = ",".join(DECLARED.findall(body[: loop.start()]))
    scalars = set(re.findall(r"\b(\w+)\s*(?:=|,|$)", before))
    return any(_shared(name, index, scalars, own) for name, index in UPDATED.findall(body[loop.start() :]))


def _starts_body(body: str, loop: re.Match) -> bool:
    """`for (int i = b; ...`, not `for (int j = i + 1; ...`."""
    return body[loop.end() :].lstrip().startswith(";")


def _shared(name: str, index: str, scalars: set[str], own: set[str]) -> bool:
    """Whether an updated scalar (no index) or element is one for all iterations; an index read from an array tells nothing."""
    if not index:
        return name in scalars
    return name not in scalars and not own & set(re.findall(r"\w+", re.sub(r"\w+\[[^\]]*\]", "", index)))
