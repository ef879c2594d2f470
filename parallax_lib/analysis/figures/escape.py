"""Text nobody vouches for (programs, plans, logs, names of kernels) as HTML that shows it and obeys none of it.

Knows how to escape, number, compare and lay out text.  Knows no widgets, no figures and no meaning of a verdict.
"""

from __future__ import annotations

import difflib
import html
import math
import numbers
import re
import unicodedata
from collections.abc import Iterable, Mapping

from parallax_lib.analysis.readable import heading
from parallax_lib.analysis.validation_stats import LEVELS

MAX_CHARS = 20_000  # of one text: a page stays readable, a browser stays alive
MAX_CELL = 200
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # control, bidi, zero-width, lone surrogates ...
VERDICT_PARTS = ("validated", "level", "reason", "parallel", "parallel_evidence", "race_free", "faster", "checked",
                 "reward", "sandbox", "toolchain")  # fmt: skip
STYLE = """<style>
.px { font: 13px/1.45 system-ui, sans-serif; color: #1b1f24; }
.px-title { font-size: 15px; margin: 4px 0; }
.px-code { background: #fff; color: #1b1f24; border: 1px solid #d0d7de; border-radius: 4px; overflow: auto;
  max-height: 460px; font: 12px/1.4 ui-monospace, Menlo, Consolas, monospace; counter-reset: px; margin: 0; }
.px-line { white-space: pre; display: block; min-width: max-content; padding-right: 8px; min-height: 1.4em; }
.px-line::before { counter-increment: px; content: counter(px); display: inline-block; width: 2.6em; margin-right: 8px;
  padding-right: 6px; text-align: right; color: #6e7781; background: #f6f8fa; user-select: none; }
.px-diff .px-line::before { content: ""; width: 0; padding: 0; }
.px-add { background: #dbeafe; } .px-del { background: #ffe3cc; } .px-hunk { background: #f0f0f0; color: #57606a; }
.px-pair { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 8px; }
.px-head { font-weight: 600; margin: 4px 0; }
.px-table { border-collapse: collapse; font: 13px/1.4 system-ui, sans-serif; color: #1b1f24; background: #fff; }
.px-table th, .px-table td { border: 1px solid #d0d7de; padding: 3px 9px; text-align: left; vertical-align: top; }
.px-table th { background: #f6f8fa; } .px-table td.px-number { text-align: right; font-variant-numeric: tabular-nums; }
</style>"""


class Html(str):
    """A string that is already safe HTML: the result of a function of this module."""


def visible_text(value: object, limit: int = MAX_CHARS) -> str:
    """Plain text of at most `limit` characters; hidden ones become ⟨U+202E⟩, None and NaN become nothing."""
    if value is None or (not isinstance(value, str) and str(value) in ("nan", "<NA>", "NaT")):
        return ""
    text = str(value).replace("\r\n", "\n")
    more = f"… [{len(text) - limit:,} more characters]" if len(text) > limit else ""
    return re.sub(r"[^\n\t -~]", _reveal, text[:limit]) + more


def _reveal(match: re.Match) -> str:
    char = match.group()
    return f"⟨U+{ord(char):04X}⟩" if unicodedata.category(char) in HIDDEN else char


def safe_text(value: object, limit: int = MAX_CHARS) -> Html:
    """`value` escaped for HTML text, attributes and plotly labels (which know numeric entities, not &quot;)."""
    return Html(html.escape(visible_text(value, limit)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"))


def label(value: object, limit: int = 60) -> Html:
    """`value` as one short line for an axis, a legend or a hover box."""
    return safe_text(" ".join(str(value).split()), limit)


def code_html(text: object, title: str = "") -> Html:
    """A numbered listing; the numbers are no part of what a reader copies."""
    lines = "".join(_line(line) for line in safe_text(text).split("\n"))
    head = f'<div class="px-head">{safe_text(title)}</div>'
    return Html(f'<div class="px">{head}<div class="px-code">{lines}</div></div>')


def _line(escaped: str, css: str = "") -> str:
    return f'<span class="px-line {css}">{escaped}</span>'


def pair_html(source: object, translation: object) -> Html:
    """Source and translation side by side."""
    left, right = code_html(source, "source"), code_html(translation, "translation")
    return Html(f'<div class="px-pair">{left}{right}</div>')


def diff_html(before: object, after: object, context: int = 3) -> Html:
    """Unified diff, added and removed lines coloured (and marked + and -, so colour is never needed)."""
    old, new = visible_text(before).splitlines(), visible_text(after).splitlines()
    css = {"+": "px-add", "-": "px-del", "@": "px-hunk"}
    diff = difflib.unified_diff(old, new, "source", "translation", n=context, lineterm="")
    lines = "".join(_line(safe_text(line), css.get(line[:1], "")) for line in diff)
    return Html(f'<div class="px px-diff"><div class="px-code">{lines or _line("no difference")}</div></div>')


def table_html(rows: Iterable[Mapping], digits: int = 3) -> Html:
    """Rows of one table, columns as in the first row; every cell and heading escaped and capped."""
    rows = [dict(row) for row in rows]
    if not rows:
        return Html('<p class="px">No rows.</p>')
    head = "".join(f"<th>{safe_text(heading(name), MAX_CELL)}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(_cell(row.get(name), digits) for name in rows[0]) + "</tr>" for row in rows)
    return Html(f'<table class="px-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def _cell(value: object, digits: int) -> str:
    if isinstance(value, Html):
        return f"<td>{value}</td>"
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or math.isnan(value):
        return f"<td>{safe_text(value, MAX_CELL)}</td>"
    whole = math.isfinite(value) and float(value).is_integer() and abs(value) < 1e15
    return f'<td class="px-number">{f"{int(value):,}" if whole else f"{float(value):.{digits}f}"}</td>'


def verdict_html(row: Mapping) -> Html:
    """The parts of a verdict that `row` holds, a line each."""
    parts = {name: row[name] for name in VERDICT_PARTS if name in row and visible_text(row[name]) != ""}
    if "level" in parts:
        level = int(parts["level"])
        parts["level"] = f"{level} of 5: {LEVELS[level]}" if 0 <= level <= 5 else level
    return table_html([{"part": name.replace("_", " "), "value": _plain(value)} for name, value in parts.items()])


def _plain(value: object) -> object:
    return {"True": "yes", "False": "no"}.get(str(value), value)
