"""What the validators said of every program, as text: `validators_results_<run>.txt`.

Knows verdict columns.  Knows no rule of a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from parallax_lib.analysis.validation_stats import LEVELS
from parallax_lib.core.storage import write_atomic
from parallax_lib.verdict.reasons import REASONS

NAMED = ("task", "arm", "seed", "sample", "attempt", "capture_id")
PARTS = ("parallel", "parallel_evidence", "race_free", "race_evidence", "faster", "checked", "sandbox", "toolchain", "cpu_s")


def write_logs(rows: pd.DataFrame, path: Path) -> Path:
    """One block a program, in the order of the rows."""
    blocks = [block(i, row) for i, row in enumerate(rows.to_dict("records"), 1)]
    write_atomic(path, "\n".join(blocks).encode("utf-8", errors="replace"))
    return path


def block(number: int, row: Mapping[str, Any]) -> str:
    """Which program, its verdict in words, what was checked, and the log."""
    who = "  ".join(f"{name} {row[name]}" for name in NAMED if name in row and not _absent(row[name]))
    level = int(row["level"])
    lines = [f"=== {number}  {who}", f"{'VALIDATED' if level == 5 else 'FAILED'}  level {level}, {LEVELS[level]}: {row['reason']}"]
    lines += [f"    {REASONS.get(row['reason'], '')}"]
    lines += [f"    {name:18}{row[name]}" for name in PARTS if name in row and not _absent(row[name])]
    log = row.get("log")
    lines += [f"    | {line}" for line in log.splitlines()] if isinstance(log, str) else []
    return "\n".join(lines) + "\n"


def _absent(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and value != value)
