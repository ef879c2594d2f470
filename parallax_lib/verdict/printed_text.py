"""What a program printed, as tokens: every character of every line is a number, a word, a mark or white space.

Knows how C, C++ and Fortran programs print.  Knows nothing of references, tolerances, processes or verdicts.

A token is an int (compared exactly), a float (compared within a tolerance) or a string (compared as text).  Digits that are
no number in a known format, such as a hash, are text.  White space and the marks in LAYOUT separate tokens and are no data.
Work is linear in the text: no repeat gives back what it took, and where a form of FORMS fails, the one that is taken instead
takes as much.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import chain, starmap
from typing import NamedTuple

from parallax_lib.verdict import printed_times as times

READ_SECONDS = 30.0  # wall time; 1 MiB takes under one
TOO_SLOW = f"reading took over {READ_SECONDS:g} s"
MOST_PIECES = 2000  # of a line in which times are looked for; in a longer one every field is data
LONGEST = 300  # characters of a number; a longer one is text
CLAIM = re.compile(r"\b(pass|passed|fail|failed|failure)\b", re.I)
FAILED = re.compile(  # but not "0 failed", "fail(0)"
    r"(?<!no )(?<!without )(?<!\b0 )"
    r"(?:\b(?:fail|failed|failure|incorrect|wrong)\b(?!\W{0,3}0\b)|\b(?P<counted>mismatch(?:es|ed)?|error)\b)", re.I
)
SIGN = r"(?:(?<![\w.)\]}])[-+])?+"
POWER = r"(?:[eEdDqQ][-+]?+[0-9]++|[-+][0-9]{3}(?![\w.]))"  # Fortran leaves out the letter before three digits
GROUP = "[,'\u2019\u00a0\u202f\u2009]"  # thousands separators
FORMS = {  # kind -> (what it takes and never gives back, what has to follow)
    "space": (r"\s++", ""),
    "hex": (rf"{SIGN}0[xX](?:[0-9a-fA-F]++(?:\.[0-9a-fA-F]*+)?+|\.[0-9a-fA-F]++)(?:[pP][-+]?+[0-9]++)?+", r"(?!\w)"),
    "glued": (rf"{SIGN}[0-9]++\.[0-9]++\.[0-9][0-9.]*+", ""),
    "real": (
        rf"{SIGN}(?:[0-9]++(?:\.[0-9]++{POWER}?+|\.?+[eEdDqQ][-+][0-9]++|\.[eEdDqQ][0-9]++)|(?<![\w.])\.[0-9]++{POWER}?+)", ""
    ),
    "grouped": (
        rf"{SIGN}(?<![\w.,'\u2019\u00a0\u202f\u2009])[1-9][0-9]{{0,2}}+(?P<by>{GROUP})[0-9]{{3}}(?![0-9])"
        r"(?:(?P=by)[0-9]{3}(?![0-9]))*+(?:\.[0-9]++)?+", r"(?!(?P=by)[0-9])"
    ),
    "whole": (rf"{SIGN}[0-9]++", r"(?:(?!\w)|(?=[^\W\d_]++(?!\w)))"),
    "raw": (rf"{SIGN}[0-9]\w*+", ""),
    "special": (rf"{SIGN}(?<!\w)(?ai:nan|inf(?:inity)?+)", r"(?!\w)"),
    "label": (r"[^\W\d]++", r"(?=[0-9]++\.[0-9])"),
    "word": (r"\w++", ""),
    "mark": (r"(?P<same>.)(?P=same)*+", ""),
}  # fmt: skip
NAMED = {kind: f"(?P<{kind}>{body}{tail})" for kind, (body, tail) in FORMS.items()}
NUMERIC = "|".join(NAMED[kind] for kind in ("hex", "glued", "real", "grouped", "whole", "raw"))
STARTS = r"(?=[.0-9]|(?<![\w.)\]}])[-+])"  # where one of these can start
REST = "|".join(NAMED[kind] for kind in ("special", "label", "word", "mark"))
TOKEN = re.compile(f"{NAMED['space']}|{STARTS}(?:{NUMERIC})|{REST}", re.S)
ALONE = (  # marks between two tokens that are part of neither: a sign behind a number, a comma that separates no thousands
    r"(?<=[0-9)\]}])[-+](?![-+]|[0-9]{3}(?![\w.]))|(?<![,'\u2019])(?<![,'\u2019][0-9]{3})[,'\u2019](?![,'\u2019]|[0-9]{3}(?![0-9])"
    r"|[0-9]{1,3}[,'\u2019][0-9]{3}(?![0-9]))|(?<![)\]}])[)\]}](?![-+)\]}])"
)
STRETCH = re.compile(  # is cut alike wherever it stands
    rf"\s++|{ALONE}|(?:[\w.]++|(?!{ALONE})[-+,'\u2019)\]}}])++|[^\w\s.+\-,'\u2019)\]}}]++"
)
ODD_SPACE = re.compile("[\u00a0\u202f\u2009]")  # may separate thousands
SIMPLE = re.compile(r"-?+(?:0|[1-9][0-9]{0,17}+)(?:\.[0-9]{1,40}+(?:[eE][-+]?+[0-9]{1,2}+)?+)?+")
SAYS = re.compile(r"\w")
MINUS = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-") | {"\ufeff": " "})
LAYOUT = frozenset(":=,;\"'()[]{}.|`")
RULER = re.compile(r"[-=_~\u2500\u2501\u2550\s]{3,}+")
ESCAPE = re.compile(r"\x1b(?:\[[0-9;:]*+[mK]|\[\?[0-9]++[hl]|\(B|[=>])")  # colours, erased lines, a hidden cursor
PLAIN = re.compile(rf"(?:[ \t]*+{SIMPLE.pattern}(?=[ \t]|\Z))++[ \t]*+")  # only numbers between blanks: most of a long output
KNOWN = 1 << 14  # so many stretches are remembered
ADDRESS = re.compile(r"0x0{0,4}(?:7f|5[56])[0-9a-f]{10}", re.I)  # stack, shared objects and heap of Linux processes
BY = re.compile(r"[1-9][0-9]{0,17}(?:[xX][1-9][0-9]{0,17})++")
UNDERSCORED = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:_[0-9]{3})++")
Token = str | int | float
Said = Callable[[str, str], Iterable[Token]]


class Line(NamedTuple):
    """One printed line.  aside: it tells only a time, a rate or a device, or draws a rule; unread: why it cannot be read."""

    tokens: tuple[Token, ...]
    aside: bool = False
    unread: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(t for t in self.tokens if isinstance(t, str))

    @property
    def values(self) -> tuple[int | float, ...]:
        return tuple(t for t in self.tokens if not isinstance(t, str))


def read_lines(text: str) -> tuple[Line, ...]:
    """Every line of `text` that is not blank."""
    known: dict[str, Line] = {}
    said = lru_cache(KNOWN)(_tokens)
    tokens = lru_cache(KNOWN)(lambda stretch: _tokens_of(stretch, said))
    hinted = "\x1b" in text or bool(times.hints(text))
    lines, stop = [], time.monotonic() + READ_SECONDS
    for i, line in enumerate(shown_lines(text)):
        if line not in known:
            known[line] = _read(line, hinted, tokens, said)
        lines.append(known[line])
        if i % 256 == 0 and time.monotonic() > stop:
            return (*lines, Line((), unread=TOO_SLOW))
    return tuple(lines)


def read(text: str) -> tuple[Line, ...]:
    """As `read_lines`, but a line of words that says PASS is put aside: numbers decide."""
    return tuple(line._replace(aside=True) if _claims(line) else line for line in read_lines(text))


def own_check(text: str) -> str:
    """The first line in which a program says that its own check failed, "" when none does."""
    return next((line.strip() for line in text.splitlines() if fails(line)), "") if FAILED.search(text) else ""


def fails(line: str) -> bool:
    """Whether a line says that something failed; "error" and "mismatch" with a digit behind them tell a count or a size."""
    last_digit = max(line.rfind(d) for d in "0123456789")
    return any(m["counted"] is None or m.end() > last_digit for m in FAILED.finditer(line))


def _claims(line: Line) -> bool:
    said = " ".join(line.words)
    return not line.values and CLAIM.search(said) is not None and not fails(said)


def shown_lines(text: str) -> list[str]:
    """The lines that are not blank; of those that a carriage return overwrites, what is no earlier state of a progress display."""
    lines = []
    for line in text.split("\n"):
        parts = [p for p in line.split("\r") if p.strip()] if "\r" in line else [line]
        lines += _without_progress(parts) if len(parts) > 1 else parts
    return [line for line in lines if line.strip()]


def _without_progress(parts: list[str]) -> list[str]:
    """A part is dropped that shows progress, alone without words or as others with the same words do; so is all but the last of these."""
    labels = [" ".join(re.findall(r"[^\W\d_]+", ESCAPE.sub("", p))) for p in parts]
    last = {label: i for i, label in enumerate(labels)}
    several = {label for i, label in enumerate(labels) if last[label] != i}
    kept = []
    for i, (part, label) in enumerate(zip(parts, labels, strict=True)):
        progress = re.search(r"%|[0-9]/[0-9]|[#=>.]{3}", part) or not re.search(r"\w", part)
        if last[label] == i and not (progress and (label in several or not label)):
            kept.append(part)
    return kept


def _read(line: str, hinted: bool, tokens: Callable[[str], tuple[Token, ...]], said: Said) -> Line:
    """hinted: a field may be in it; tokens, said: `_tokens_of` and `_tokens`, which may remember."""
    if PLAIN.fullmatch(line):
        return Line(tuple(map(_simple, line.split())))
    text = ESCAPE.sub("", line) if "\x1b" in line else line
    if "\x1b" in text or "\b" in text:
        return Line((), unread="it moves the cursor")
    text = text if text.isascii() else text.translate(MINUS)
    if not SAYS.search(text):  # drawings: where the marks stand is what they say
        return Line((text.rstrip(),), aside=RULER.fullmatch(text) is not None)
    hints = times.hints(text) if hinted else ()
    text = times.mask_dates(text) if "date" in hints else text
    hints = hints if len(text) <= MOST_PIECES or len(_stretches(text)) <= MOST_PIECES else {"device", "memory"}.intersection(hints)
    if hints:
        return _with_fields(text, hints, said)
    return Line(tuple(chain.from_iterable(map(tokens, _stretches(text)))) or (text.strip(),))


def _stretches(text: str) -> list[str]:
    return [text] if ODD_SPACE.search(text) else STRETCH.findall(text)


def _with_fields(text: str, hints: set[str], said: Said) -> Line:
    pieces, only = _pieces(text), False
    timed = len(pieces) <= MOST_PIECES and times.may_tell(text)
    if timed:
        pieces, only = times.masked(pieces)
    found = tuple(chain.from_iterable(starmap(said, pieces)))
    aside = only or ("device" in hints and times.names_device(text, pieces)) or ("memory" in hints and times.tells_memory(text, pieces))
    return Line(found or (text.strip(),), aside=aside)


def _tokens_of(stretch: str, said: Said) -> tuple[Token, ...]:
    return (_simple(stretch),) if SIMPLE.fullmatch(stretch) else tuple(chain.from_iterable(starmap(said, _pieces(stretch))))


def _simple(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _pieces(text: str) -> list[times.Piece]:
    """What every character of `text` is part of: (kind, text)."""
    return [("word" if m.lastgroup == "label" else m.lastgroup, m.group()) for m in TOKEN.finditer(text)]


def _tokens(kind: str, text: str) -> Iterable[Token]:
    if kind == "space" or text in LAYOUT or (kind == "mark" and not text.strip(".")):
        return ()
    if kind == "whole" and text[0] in "123456789" and len(text) < 19:
        return (int(text),)
    if kind == "word":
        return (_folded(text),)
    if kind in ("mark", "field"):
        return (text,)
    if kind == "glued":
        return _fixed(text)
    if kind == "raw" and BY.fullmatch(text):
        return _by(text)
    value = _value(kind, text)
    return (_folded(text.lstrip("+")) if value is None else value,)


def _by(text: str) -> list[Token]:
    """The numbers of 64x32 with the x between them, as 64 x 32 has them."""
    tokens: list[Token] = []
    for part in text.lower().split("x"):
        tokens += [int(part), "x"]
    return tokens[:-1]


def _folded(word: str) -> str:
    """Sum, SUM and sum are one word; where case is mixed, as in a hash, it is data."""
    return word.lower() if word.islower() or word.isupper() or word.istitle() else word


def _value(kind: str, text: str) -> int | float | None:
    """The number that `text` is; None: no number, or one that no double holds."""
    if len(text) > LONGEST:
        return None
    if kind == "raw":
        return int(text) if UNDERSCORED.fullmatch(text) else None
    if kind == "special":
        return float(text)
    if kind == "hex":
        return _hex(text)
    if kind == "grouped":
        text = re.sub(GROUP, "", text)
    if "." not in text and text.lstrip("+-").isdigit():
        digits = text.lstrip("+-")
        return int(text) if digits == "0" or digits[0] != "0" else None  # 0011 is no 11
    return _finite(text)


def _finite(text: str) -> float | None:
    """Also with the exponents of Fortran: 1.5D+03, 0.1234-102."""
    plain = text.lower().replace("d", "e").replace("q", "e")
    if "e" not in plain:
        plain = re.sub(r"(?<=[0-9])(?=[-+][0-9]{3}$)", "e", plain)
    value = float(plain)
    lost = value == 0 and re.search("[1-9]", plain.split("e")[0])
    return None if math.isinf(value) or lost else value


def _hex(text: str) -> int | float | str | None:
    if ADDRESS.fullmatch(text):
        return times.ADDRESS
    if re.search("[.pP]", text.rstrip(".")):
        try:
            return float.fromhex(text)
        except OverflowError:
            return None
    return int(text.rstrip("."), 16)


def _fixed(text: str) -> list[Token]:
    """Numbers printed with equally many decimals, four at least, and nothing between them; else the text."""
    parts = text.split(".")
    decimals = len(parts[-1])
    if decimals < 4 or any(len(p) <= decimals for p in parts[1:-1]):
        return [text]
    ends = [parts[0], *(p[decimals:] for p in parts[1:-1])]
    starts = [*(p[:decimals] for p in parts[1:-1]), parts[-1]]
    if any(len(p) > LONGEST for p in ends + starts):
        return [text]
    return [float(f"{a}.{b}") for a, b in zip(ends, starts, strict=True)]
