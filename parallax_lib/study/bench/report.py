"""Rows of a bench: a measurement, the ceiling it is held against, their ratio, and what others take for the same.

Knows clocks, ratios and lines.  Knows nothing of what is measured.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from parallax_lib.core.errors import UserError

GIB = 2**30
OWN = ("what", "measured", "unit", "ceiling", "fraction")  # of a row; what else it has are others' measurements
TIMES = ("ms", "s")  # units of which less is better


def silent(line: str) -> None:
    """Says nothing: for all processes but one."""


@dataclass
class Report:
    """Rows in the order in which they were measured; each is told as soon as it is there."""

    say: Callable[[str], None] = silent
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, what: str, measured: float, unit: str, ceiling: float | None = None, **others: float) -> None:
        """others: measurements of the same by name, such as transformers=7.8.  `fraction` is 1 where the ceiling is reached."""
        row: dict[str, Any] = {"what": what, "measured": measured, "unit": unit}
        if ceiling is not None:
            row |= {"ceiling": ceiling, "fraction": ceiling / measured if unit in TIMES else measured / ceiling}
        self.take(row | others)

    def take(self, row: dict[str, Any]) -> None:
        """A row that is complete."""
        self.rows.append(row)
        self.say(line(row))

    def as_json(self, **about: Any) -> str:
        """One line: what is said of the whole bench, and the rows as `measurements`, numbers to four digits."""
        rows = [{name: _short(value) for name, value in row.items()} for row in self.rows]
        return json.dumps(about | {"measurements": rows})


def read(folder: Path) -> pd.DataFrame:
    """The measurements of all files that `bench --out` wrote there: machine, what, measured, unit, ceiling, fraction, beside.

    UserError for a file that holds none.
    """
    found = []
    for file in sorted(folder.glob("*.json")):
        try:
            told = json.loads(file.read_text())
            machine = f"{told.get('device', 'disk')}, {told['shape']}, {max(told.get('gpus', 1), told.get('processes', 1))}"
            found += [{"machine": machine, **row, "beside": beside(row)} for row in told["measurements"]]
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as e:
            raise UserError(f"{file}: not what `bench --out` writes ({type(e).__name__}: {e}); remove it or measure again") from None
    return pd.DataFrame(found, columns=["machine", "what", "measured", "unit", "ceiling", "fraction", "beside"])


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    parts = [f"{row['what']:58} {_text(row['measured']):>9} {row['unit']}"]
    if "ceiling" in row:
        parts.append(f"of {_text(row['ceiling'])} = {row['fraction']:.0%}")
    return "   ".join(filter(None, [*parts, beside(row)]))


def beside(row: dict[str, Any]) -> str:
    """What others take for the same, and how many times as fast this is."""
    others = {name: value for name, value in row.items() if name not in OWN}
    ratios = {name: value / row["measured"] if row["unit"] in TIMES else row["measured"] / value for name, value in others.items()}
    return ", ".join(f"{name.replace('_', ' ')} {_text(value)} ({ratios[name]:.2f} x)" for name, value in others.items())


def _text(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def clock() -> float:
    """Seconds, once the GPU has done all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def ms(work: Callable[[], object], times: int = 5, warm: int = 1) -> float:
    """Median of some calls after `warm` ones."""
    taken = []
    for _ in range(warm + times):
        start = clock()
        work()
        taken.append(1e3 * (clock() - start))
    return statistics.median(taken[warm:])


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def peak_gib() -> float | None:
    """GiB of this GPU's memory at most since the last call; None without one."""
    if not torch.cuda.is_available():
        return None
    most = torch.cuda.max_memory_allocated() / GIB
    torch.cuda.reset_peak_memory_stats()
    return most


@dataclass(frozen=True)
class Ceilings:
    """What this device does at most."""

    copy: float  # bytes a second that a copy reads and writes
    product: float  # operations a second of a matrix product

    def ms(self, read: float, operations: float = 0.0) -> float:
        """The least time in which so many bytes are read and so many operations done, beside each other."""
        return 1e3 * max(read / self.copy, operations / self.product)


def ceilings(report: Report, dtype: torch.dtype) -> Ceilings:
    """Measures a copy and a product of this device in that precision."""
    where = device()
    size, side = (2**30, 8192) if where.type == "cuda" else (2**27, 1024)
    source, target = (torch.zeros(size, dtype=torch.uint8, device=where) for _ in range(2))
    a = torch.randn(side, side, device=where).to(dtype)
    found = Ceilings(2e3 * size / ms(lambda: target.copy_(source)), 2e3 * side**3 / ms(lambda: a @ a))
    report.add("ceiling: a copy", found.copy / 1e12, "TB/s")
    report.add(f"ceiling: a product of matrices, {str(dtype).removeprefix('torch.')}", found.product / 1e12, "TFLOP/s")
    return found
