"""JSON Lines: one object a line; a line that holds none is told in one line.

Knows lines and objects.  Knows nothing of fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parallax_lib.core.errors import UserError, short


def read_objects(data: bytes, name: str | Path, expected: str, blank: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where it stands, the object) of every line of a JSON Lines file in UTF-8; a line ends at a newline only.

    name: the file in errors.  expected: what a line must be, for the error.  blank: empty lines are passed over.
    UserError for a line that is no object.
    """
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), 1):
        if blank and not line.strip():
            continue
        where = f"{name}: line {number}"
        try:
            row = json.loads(line)
        except ValueError as e:
            raise UserError(f"{where}: {expected} ({e})") from None
        if not isinstance(row, dict):
            raise UserError(f"{where}: {expected} (got {short(row)})")
        yield where, row
