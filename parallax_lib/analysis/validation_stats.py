"""Verdict rows -> counts per direction and in total, and the files that publish them.

Knows verdict columns.  Knows nothing of how verdicts fall or of which interval is drawn: the caller passes that in.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from parallax_lib.analysis.readable import heading
from parallax_lib.core.storage import write_atomic, write_json
from parallax_lib.verdict.reasons import UNKNOWN

LEVELS = ("nothing extracted", "extracted", "compiles", "runs", "comparable output", "validated")
HEADER = ("direction", "n", "judged", "validated", "rate", "interval", "timeouts", "nondeterministic")


def stats(rows, interval: Callable[[Any, Any], tuple[float, float]] | None = None) -> dict:
    """Counts of a frame with `direction`, `level` and `reason`: {direction or "total": counts}.

    `interval(validated, tasks)` of the judged rows gives the bounds of their rate; without it there are none.
    """
    groups = {d: rows[rows["direction"] == d] for d in sorted(rows["direction"].unique())}
    return {name: _count(group, interval) for name, group in {**groups, "total": rows}.items()}


def _count(rows, interval) -> dict:
    judged = rows[~rows["reason"].isin(UNKNOWN)]
    n, k = len(judged), int((judged["level"] == 5).sum())
    failed = judged[judged["level"] < 5]["reason"].value_counts()
    apart = rows[rows["reason"].isin(UNKNOWN)]["reason"].value_counts()
    return {
        "n": len(rows),
        "judged": n,
        "validated": k,
        "rate": k / n if n else None,
        "interval": list(interval(judged["level"] == 5, judged["task"])) if interval and n else None,
        "levels": {name: int((judged["level"] == i).sum()) for i, name in enumerate(LEVELS)},
        "first_failure": {reason: int(count) for reason, count in sorted(failed.items())},
        "timeouts": int((judged["reason"] == "timeout").sum()),
        "nondeterministic": int((judged["reason"] == "nondeterministic").sum()),
        "rules": {reason: int(count) for reason, count in sorted(rows["reason"].value_counts().items())},
        "parallel": _values(judged, "parallel"),
        "race_free": _values(judged, "race_free"),
        "unjudged": {reason: int(count) for reason, count in sorted(apart.items())},
    }


def _values(rows, column: str) -> dict:
    counts = rows[column].value_counts() if column in rows else {}
    return {str(name): int(count) for name, count in sorted(counts.items())}


def write_stats(counts: dict, folder: Path, run: str, at_k: list[dict] = ()) -> tuple[Path, Path]:
    """`validators_stats_<run>.json` and the same as an aligned `.txt`; `at_k`: rows of at_k.at_k_table."""
    paths = folder / f"validators_stats_{run}.json", folder / f"validators_stats_{run}.txt"
    write_json(paths[0], {"run": run, "stats": counts, "at_k": list(at_k)})
    write_atomic(paths[1], render(counts, run, at_k).encode())
    return paths


def render(counts: dict, run: str, at_k: list[dict] = ()) -> str:
    """The counts as aligned plain text."""
    lines = _aligned([HEADER, *(_row(name, c) for name, c in counts.items())])
    parts = (("ladder", "levels"), ("programs that each rule decided", "rules"), ("first failure", "first_failure"))
    for title, part in (*parts, ("not judged", "unjudged"), ("parallel", "parallel"), ("race-free", "race_free")):
        lines += ["", f"{title} (total)", *(f"  {name:<20}{count:>6}" for name, count in counts["total"][part].items())]
    if at_k:
        cells = [tuple(f"{v:.3f}" if isinstance(v, float) else "-" if v is None else str(v) for v in row.values()) for row in at_k]
        lines += ["", "at k (means over tasks; -: not checked)", *_aligned([tuple(map(heading, at_k[0])), *cells])]
    return "\n".join([f"run {run}", "", *lines]) + "\n"


def _aligned(table: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]


def _row(name: str, c: dict) -> tuple[str, ...]:
    rate = "-" if c["rate"] is None else f"{100 * c['rate']:.1f} %"
    bounds = "-" if c["interval"] is None else f"{100 * c['interval'][0]:.1f}-{100 * c['interval'][1]:.1f} %"
    counts = (str(c["n"]), str(c["judged"]), str(c["validated"]))
    return (name, *counts, rate, bounds, str(c["timeouts"]), str(c["nondeterministic"]))
