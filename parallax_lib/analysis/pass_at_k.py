"""k of n samples: pass@k and its kin, as formulas of one task and as a table of means over tasks.

Knows outcomes and verdict columns.  Knows nothing of how samples were drawn.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from parallax_lib.analysis.metrics import NAN, judged
from parallax_lib.verdict.timing import ratio

AT_K = {"pass_at_k": "good", "build_at_k": "built", "parallel_at_k": "parallel_ok", "racefree_at_k": "race_ok", "speedup_at_k": "speed"}


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Probability that k of the samples, drawn without replacement, hold a correct one: 1 - C(n-c, k) / C(n, k)."""
    assert 0 <= correct <= samples, (correct, samples)
    return NAN if k > samples else 1 - math.comb(samples - correct, k) / math.comb(samples, k)


build_at_k = pass_at_k  # the same formula, with the samples that compile as `correct`


def speedup_at_k(speedups, k: int) -> float:
    """Expected best speed-up of k of the samples; failures (0 or NaN) count 0 (ParEval, arXiv 2401.12554)."""
    ascending = np.sort(np.nan_to_num(np.asarray(speedups, float), nan=0.0))
    n = len(ascending)
    if k > n:
        return NAN
    return sum(math.comb(j - 1, k - 1) / math.comb(n, k) * s for j, s in enumerate(ascending.tolist(), 1))


def efficiency_at_k(speedups, processors: int, k: int) -> float:
    """speedup_at_k for each processor."""
    return speedup_at_k(speedups, k) / processors


def at_k_table(results: pd.DataFrame, ks: tuple[int, ...] = (1,)) -> pd.DataFrame:
    """Per method and k: tasks with at least k judged samples, and over them the mean of each AT_K metric.

    build@k: level >= 2; pass@k: validated; parallel@k and racefree@k: validated and shown to be so, NaN where no row of
    the method was checked for it; speedup_n@k (ParEval): NaN where nothing was timed.  What was not checked counts as failed.
    """
    known, rows = judged(results), []
    for arm, part in known.groupby("arm", sort=False):
        frame = _outcomes(part)
        summed = {c: (c, "sum") for c in AT_K.values() if c != "speed"}
        counts = frame.groupby("task").agg(n=("good", "size"), **summed, speed=("speed", list))
        for k in ks:
            enough = counts[counts["n"] >= k]
            if not len(enough):
                continue
            row = {"arm": arm, "k": k, "tasks": len(enough)}
            for name, column in AT_K.items():
                each = [_at_k(n, value, k) for n, value in zip(enough["n"], enough[column], strict=True)]
                row[name] = NAN if frame[column].isna().all() else float(np.mean(each))
            rows.append(row)
    return pd.DataFrame(rows, columns=["arm", "k", "tasks", *AT_K])


def _outcomes(rows: pd.DataFrame) -> pd.DataFrame:
    """task; 1.0 or 0.0 in good, built, parallel_ok, race_ok and the ratio in speed; a column of NaN was never checked."""
    good = rows["validated"].astype(bool).astype(float)
    out = pd.DataFrame({"task": rows["task"], "good": good, "built": (rows["level"] >= 2).astype(float)})
    for name, column in (("parallel_ok", "parallel"), ("race_ok", "race_free")):
        answers = rows[column] if column in rows else pd.Series("", index=rows.index)
        out[name] = good * (answers == "yes") if answers.isin(["yes", "no"]).any() else NAN
    ratios = rows["faster"].map(ratio) if "faster" in rows else pd.Series(NAN, index=rows.index)
    out["speed"] = (good * ratios.fillna(0.0)) if ratios.notna().any() else NAN
    return out


def _at_k(n: int, value: float | list, k: int) -> float:
    return speedup_at_k(value, k) if isinstance(value, list) else pass_at_k(int(n), int(value), k)
