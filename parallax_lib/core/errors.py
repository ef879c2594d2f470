"""What the user can mend, as one line, and the words that such lines share.

Knows nothing else: every other module may import it.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from typing import Any


class UserError(ValueError):
    """Something the user can mend; its text is one line that says what, where and how."""


def one_line_in_cells() -> None:
    """In a notebook: a UserError, or a cell that was interrupted, shows one line instead of a traceback.  Nothing elsewhere."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if not hasattr(shell, "kernel"):
        return

    def told(shell, kind, error, trace, tb_offset=None) -> None:
        stopped = issubclass(kind, KeyboardInterrupt)
        line = "stopped; what was done is kept: run the cell again to go on" if stopped else str(error)
        shell._showtraceback(kind, error, [f"parallax: {line}"])  # it stays an error of the cell, for papermill and others

    shell.set_custom_exc((UserError, KeyboardInterrupt), told)


def short(value: Any) -> str:
    """At most 80 characters of it, on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def nearest(word: str, names: Iterable[str]) -> str:
    """The end of an error: which of the names was meant, or all of them."""
    close = difflib.get_close_matches(word, list(names), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; it takes {', '.join(names)}"
