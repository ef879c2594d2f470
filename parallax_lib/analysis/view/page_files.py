"""The page itself: one style sheet, one script made of the parts in `static/`, one HTML file.

Knows files of this package.  Knows no data.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"
PARTS = ("dom", "charts", "programs", "program", "tree", "scores", "compare", "desk", "app")  # of the script, in this order


@cache
def script() -> str:
    """The parts as one ES module; its default export is what anywidget calls."""
    return "\n".join((STATIC / f"{name}.js").read_text(encoding="utf-8") for name in PARTS)


@cache
def style() -> str:
    return (STATIC / "view.css").read_text(encoding="utf-8")


@cache
def page() -> str:
    return (STATIC / "index.html").read_text(encoding="utf-8")
