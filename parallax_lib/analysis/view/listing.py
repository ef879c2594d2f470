"""Two programs side by side: lines paired, words that differ marked, syntax coloured, equal stretches folded.

Knows texts and HTML.  Knows no verdict.  Every text is escaped; hidden characters are shown as ⟨U+202E⟩ (`escape`).
"""

from __future__ import annotations

import difflib
import re
from functools import lru_cache

from pygments.lexers import CppLexer
from pygments.token import Comment, Keyword, Literal, Name

from parallax_lib.analysis.figures.escape import safe_text, visible_text

WORD = re.compile(r"\w+|\s+|[^\w\s]")
FOLD, CONTEXT = 4, 3  # equal lines in a row that are folded, but for so many beside a difference within a function
USAGE = re.compile(r"\bargc\b|\bargv\b|\busage\b|\bato(?:i|l|ll|f)\(|\bstrto\w+\(", re.IGNORECASE)  # how a program reads its arguments
PAIRED = 60  # lines of a changed block that are paired by likeness; longer blocks are paired in order
ALIKE = 0.4  # likeness of two lines that are shown as one changed line
CALLED = re.compile(r"(\w+)\s*\([^;{]*\{")  # a function's name before its parameters and body
COLOURS = ((Comment.Preproc, "p"), (Comment.PreprocFile, "s"), (Comment, "c"), (Keyword.Type, "t"), (Keyword, "k"), (Literal.String, "s"),
           (Literal.Number, "n"), (Name.Function, "f"))  # fmt: skip
Spans = list[tuple[int, int]]


def aligned(left: str, right: str) -> dict:
    """{"rows": [[left number, left HTML, right number, right HTML, kind]], "folds": [[first, last, what]], "changed": n}.

    Numbers start at 1 and are None where a side has no line.  kind: "=" equal, "~" changed, "-" left only, "+" right only.
    `folds`: stretches of equal rows, by their places, that a page may hide; what: the parts that stand in it whole, by name.
    """
    old, new = (visible_text(text, 1 << 21).splitlines() for text in (left, right))
    colour = coloured(left), coloured(right)
    rows = []
    for i, j, kind in pairs(tuple(old), tuple(new)):
        marks = word_marks(old[i], new[j]) if kind == "~" else ([], [])
        sides = [_side(colour[s], at, marks[s]) for s, at in ((0, i), (1, j))]
        rows.append([*sides[0], *sides[1], kind])
    kinds, lines = [row[4] for row in rows], [colour[1][row[2] - 1] if row[2] else [] for row in rows]
    return {"rows": rows, "folds": folds(kinds, lines), "changed": sum(kind != "=" for kind in kinds)}


def _side(lines: list[list[tuple[str, str]]], at: int | None, marks: Spans) -> list:
    return [None, ""] if at is None else [at + 1, line_html(lines[at], marks)]


@lru_cache(maxsize=64)
def pairs(old: tuple[str, ...], new: tuple[str, ...]) -> list[tuple[int | None, int | None, str]]:
    """Lines that stand beside each other, as (place on the left, place on the right, kind)."""
    rows = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            rows += [(i1 + k, j1 + k, "=") for k in range(i2 - i1)]
        else:
            rows += _changed(old, new, range(i1, i2), range(j1, j2))
    return rows


def _changed(old: tuple[str, ...], new: tuple[str, ...], left: range, right: range) -> list[tuple[int | None, int | None, str]]:
    """The lines of one changed block in order, those alike beside each other."""
    rows, i, j = [], left.start, right.start
    for a, b in [*_alike(old, new, left, right), (left.stop, right.stop)]:
        rows += [(k, None, "-") for k in range(i, a)] + [(None, k, "+") for k in range(j, b)]
        if a < left.stop and b < right.stop:
            rows.append((a, b, "~"))
        i, j = a + 1, b + 1
    return rows


def _alike(old: tuple[str, ...], new: tuple[str, ...], left: range, right: range) -> list[tuple[int, int]]:
    """The pairs of lines, in order on both sides, whose likenesses add up to the most."""
    if not len(left) or not len(right):
        return []
    if len(left) * len(right) > PAIRED * PAIRED:
        return list(zip(left, right, strict=False))
    like = [[_likeness(old[a], new[b]) for b in right] for a in left]
    best = [[0.0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for x in range(len(left) - 1, -1, -1):
        for y in range(len(right) - 1, -1, -1):
            taken = best[x + 1][y + 1] + like[x][y] if like[x][y] >= ALIKE else 0
            best[x][y] = max(best[x + 1][y], best[x][y + 1], taken)
    found, x, y = [], 0, 0
    while x < len(left) and y < len(right):
        if like[x][y] >= ALIKE and best[x][y] == best[x + 1][y + 1] + like[x][y]:
            found.append((left[x], right[y]))
            x, y = x + 1, y + 1
        elif best[x][y] == best[x + 1][y]:
            x += 1
        else:
            y += 1
    return found


@lru_cache(maxsize=20_000)
def _likeness(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, WORD.findall(a.strip()), WORD.findall(b.strip()), autojunk=False).ratio()


def word_marks(old: str, new: str) -> tuple[Spans, Spans]:
    """Which characters of two lines differ, whole words at a time; white space alone is no difference."""
    a, b = WORD.findall(old), WORD.findall(new)
    ends = [_ends(words) for words in (a, b)]
    marks: tuple[Spans, Spans] = ([], [])
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag != "equal":
            for side, (first, last) in enumerate(((i1, i2), (j1, j2))):
                if "".join((a, b)[side][first:last]).strip():
                    marks[side].append((ends[side][first], ends[side][last]))
    return marks


def _ends(words: list[str]) -> list[int]:
    at = [0]
    for word in words:
        at.append(at[-1] + len(word))
    return at


def folds(kinds: list[str], lines: list[list[tuple[str, str]]]) -> list[list]:
    """[first, last, what] of every stretch of rows that is the same on both sides and worth folding.

    A part of the file that is equal as a whole (includes, a helper function) is folded without context, and so are lines that read
    arguments; other equal lines but for CONTEXT beside a difference.  lines: each row's text on the right, coloured.
    """
    units = [part for part in parts(lines) if all(kind == "=" for kind in kinds[part[0] : part[1] + 1])]
    whole = [False] * len(kinds)
    for first, last, _ in units:
        whole[first : last + 1] = [True] * (last - first + 1)
    equal = [kind == "=" for kind in kinds]
    hidden = [whole[i] or (equal[i] and (_far(kinds, i) or _reads_arguments(lines[i]))) for i in range(len(kinds))]
    found = []
    for first, last in _runs(hidden):
        inside = dict.fromkeys(what for a, b, what in units if what and first <= a and b <= last)
        if any(not within and _reads_arguments(lines[i]) for i, within in enumerate(whole[first : last + 1], first)):
            inside["reading of arguments"] = None
        if last - first + 1 >= FOLD:
            found.append([first, last, ", ".join(inside)])
    return found


def _far(kinds: list[str], i: int) -> bool:
    return all(kind == "=" for kind in kinds[max(0, i - CONTEXT) : i + CONTEXT + 1])


def _reads_arguments(line: list[tuple[str, str]]) -> bool:
    return bool(USAGE.search("".join(text for _, text in line)))


def _runs(hidden: list[bool]) -> list[tuple[int, int]]:
    """(first, last) of every stretch of true values."""
    starts = [i for i, value in enumerate(hidden) if value and not (i and hidden[i - 1])]
    return [(i, next((j for j in range(i, len(hidden)) if not hidden[j]), len(hidden)) - 1) for i in starts]


def parts(lines: list[list[tuple[str, str]]]) -> list[tuple[int, int, str]]:
    """(first, last, what) of every part of a file that stands outside of all braces: directives, a declaration, a whole function."""
    found, depth, first = [], 0, 0
    for i, line in enumerate(lines):
        text = "".join(part for _, part in line).strip()
        depth += sum(part.count("{") - part.count("}") for css, part in line if not css)
        whole = not text or text.startswith(("#", "//")) or text.endswith((";", "}", "*/"))
        if depth <= 0 and whole:
            found.append((first, i, _named(lines[first : i + 1])))
            depth, first = 0, i + 1
    return [*found, (first, len(lines) - 1, "")] if first < len(lines) else found


def _named(unit: list[list[tuple[str, str]]]) -> str:
    """What a part is called: a function by its name, directives that include as such, anything else not at all."""
    texts = ["".join(part for _, part in line).strip() for line in unit]
    if any(text.startswith("#include") for text in texts):
        return "includes"
    called = CALLED.search(" ".join(texts))
    return called[1] if called and "{" in " ".join(texts) else ""


@lru_cache(maxsize=256)
def coloured(text: str) -> list[list[tuple[str, str]]]:
    """Lines of a C++ or CUDA program as (colour class, text); their texts put together are the visible text."""
    lines: list[list[tuple[str, str]]] = [[]]
    text = visible_text(text, 1 << 21)
    for kind, value in CppLexer(stripnl=False, ensurenl=False).get_tokens(text):
        css = next((name for of, name in COLOURS if kind in of), "")
        for i, part in enumerate(value.split("\n")):
            if i:
                lines.append([])
            if part:
                lines[-1].append((css, part))
    return lines


def line_html(tokens: list[tuple[str, str]], marks: Spans = ()) -> str:
    """One line: <span class="s-k"> for colours, <mark> for what differs."""
    out, at = [], 0
    for css, text in tokens:
        for part, marked in _cut(text, at, marks):
            shown = safe_text(part, 1 << 21)
            shown = f'<span class="s-{css}">{shown}</span>' if css else shown
            out.append(f"<mark>{shown}</mark>" if marked else shown)
        at += len(text)
    return "".join(out).replace("</mark><mark>", "")


def _cut(text: str, at: int, marks: Spans) -> list[tuple[str, bool]]:
    """A token that starts at a place of its line, cut where marks start and end."""
    edges = sorted({0, len(text), *(min(max(edge - at, 0), len(text)) for span in marks for edge in span)})
    return [(text[a:b], any(s <= at + a and at + b <= e for s, e in marks)) for a, b in zip(edges, edges[1:], strict=False) if a < b]
