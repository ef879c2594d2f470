"""Tables as readers see them: today's names of columns, and a frame as aligned text.

Knows names and digits.  Knows no run and what no column means.
"""

from __future__ import annotations

import pandas as pd

HEADINGS = {"arm": "method"}  # column -> what readers see


def heading(column: object) -> str:
    """The name that readers see of a column."""
    return HEADINGS.get(str(column), str(column))


def as_text(table: pd.DataFrame | pd.Series, digits: int = 3) -> str:
    """The table as aligned text, floats rounded; an index is shown where it has a name."""
    named = any(name is not None for name in table.index.names)
    shown = table.rename(columns=HEADINGS) if isinstance(table, pd.DataFrame) else table
    return (shown.rename_axis(index=HEADINGS) if named else shown).round(digits).to_string(index=named)
