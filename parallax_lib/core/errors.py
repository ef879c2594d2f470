"""What the user can mend, as one line, and the words that such lines share.

Knows nothing else: every other module may import it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class UserError(ValueError):
    """Something the user can mend; its text is one line that says what, where and how."""


def short(value: Any) -> str:
    """At most 80 characters of it, on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def nearest(word: str, names: Iterable[str]) -> str:
    """The end of an error: which of the names was meant, or all of them."""
    close = difflib.get_close_matches(word, list(names), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; it takes {', '.join(names)}"
