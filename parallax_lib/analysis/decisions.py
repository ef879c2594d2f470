"""What people said about programs, kept in one small JSON file that a reviewer can read and commit.

Knows programs by task and text, so a decision outlives a new run and never lands on another program.  Knows no widget
and no rate (`recheck.both_rates`).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import slug, write_json

CHOICES = ("accept", "reject", "unsure", "recheck")  # the last: somebody should look again
MAX_NOTE = 2000


def program_key(row: Mapping) -> str:
    """Identity of a program: its task and its text, whichever method wrote it."""
    code = row["code"] if isinstance(row.get("code"), str) else ""
    return slug(str(row["task"]), [str(row["task"]), code])


def read_decisions(path: str | Path) -> dict[str, dict[str, str]]:
    """{program key: {"choice", "note", "task"}}; a missing file is empty, a damaged one a UserError."""
    path = Path(path)
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        bad = [key for key, value in found.items() if value["choice"] not in CHOICES]
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise UserError(f"{path}: not a file of decisions ({e}); restore it or move it away to start afresh") from None
    for key in bad:
        raise UserError(f"{path}: {key}: choice is {found[key]['choice']!r}, must be one of {', '.join(CHOICES)}")
    return found


def decide(path: str | Path, row: Mapping, choice: str | None, note: str = "") -> None:
    """Write one decision, reading the file first so that a second notebook's are kept; None takes it back."""
    if choice is not None and choice not in CHOICES:
        raise UserError(f"decision {choice!r}: choose one of {', '.join(CHOICES)}")
    with _alone(Path(path)):
        found = read_decisions(path)
        found.pop(program_key(row), None)
        if choice is not None:
            found[program_key(row)] = {"choice": choice, "note": note[:MAX_NOTE], "task": str(row["task"])}
        write_json(Path(path), found)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """No other writer of `path` reads or writes meanwhile.  The lock is a file beside it, for each write replaces it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def rows_decided(rows: pd.DataFrame, path: str | Path) -> dict[int, str]:
    """{row: choice} of every row whose program was decided; a column `row` gives the numbers, else the index does."""
    found = read_decisions(path)
    numbers = rows["row"] if "row" in rows else rows.index
    keys = [program_key(row) for row in rows[["task", "code"]].to_dict("records")]
    return {int(n): found[key]["choice"] for n, key in zip(numbers, keys, strict=True) if key in found}
