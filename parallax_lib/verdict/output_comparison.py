"""Whether what a program printed agrees with what is expected of it.

Knows tokens of printed lines and their tolerances.  Knows nothing of processes, compilers or verdict levels.

Lines that tell only a time may be worded otherwise or left out, and lines of information may be added.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from decimal import Decimal

from parallax_lib.verdict.expected_output import (
    OWN_RELATIVE,
    RELATIVE,
    Expected,
    agrees,
    data,
    informs,
    label,
    learn,
    of_machine,
    restored,
)
from parallax_lib.verdict.printed_text import CLAIM, TOO_SLOW, Line, Token, own_check, read, read_lines

__all__ = ["CLAIM", "OWN_RELATIVE", "READ", "RELATIVE", "TOO_SLOW", "Expected", "Line", "comparable", "difference", "differs", "learn",
           "mismatch", "nothing_to_compare", "other_text", "own_check", "read", "read_lines", "restored", "same", "strength",
           "with_labels"]  # fmt: skip
READ = {"shared": read, "own": read_lines}  # by Kernel.oracle
VERDICT = re.compile(
    r"\b(pass|passed|success|successful|succeeded|valid|match|matches|correct|ok)\b|\b(fail|error|mismatch|rmse|diff|deviation)\w*+", re.I
)
ROUNDED = 0.05  # as a part of it, what digits that are not printed may make out
STREAM = 6  # digits that C++ streams and %g print where nothing else is asked for
MOVING = 16  # lines whose words move from run to run that are looked at one by one


def strength(texts: list[str], given: tuple[str, ...]) -> str:
    """How much outputs say: "strong" numbers other than the arguments `given`, "weak" only a verdict word, "none" neither."""
    echoed = {line.values[0] for text in given for line in read_lines(text) if line.values}
    lines = [line for text in texts for line in data(read_lines(text)) if not VERDICT.search(" ".join(line.words))]
    values = [v for line in lines for v in line.values if v not in echoed]
    hashes = any(len(w) > 5 and sum(map(str.isdigit, w)) > 2 for line in lines for w in line.words)
    if hashes or any(isinstance(v, float) and not v.is_integer() for v in values):
        return "strong"
    if any(VERDICT.search(text) for text in texts) or (values and not any(values)):
        return "weak"  # a number that is 0 is an error measure under any name
    return "strong" if values else "none"


def nothing_to_compare(text: str, args: tuple[str, ...]) -> str:
    """Why a program's own output cannot decide anything, "" when it can."""
    failed = own_check(text)
    if failed:
        return f"fails its own check: {failed}"
    return "prints nothing but times and its arguments" if strength([text], args) == "none" else ""


def aligned(expected: Expected, lines: tuple[Line, ...]) -> tuple[Line, ...]:
    """The lines to be compared: without those that tell only a time and without added information.

    A line is added information when it `informs` and its words are those of no expected line.
    """
    known = set(expected.lines)
    labels = {label(tokens) for tokens in known}
    moving = [i for i, row in enumerate(expected.tolerances) if None in row and _moving_words(expected.lines[i], row)][:MOVING]

    def kept(line: Line) -> bool:
        if line.tokens in known or not informs(line):
            return True
        return label(line.tokens) in labels or any(_fits(expected, i, line) for i in moving)

    return tuple(line for line in data(lines) if kept(line))


def _moving_words(tokens: tuple[Token, ...], row: tuple[float | None, ...]) -> bool:
    return any(tolerance is None and isinstance(t, str) for t, tolerance in zip(tokens, row, strict=True))


def _fits(expected: Expected, i: int, line: Line) -> bool:
    """Whether a line has the words and the kinds of tokens of expected line `i`."""
    tokens, tolerances = expected.lines[i], expected.tolerances[i]
    if line.tokens == tokens:
        return True
    if line.unread or len(tokens) != len(line.tokens):
        return False
    return all(
        tolerance is None or (got == token if isinstance(token, str) else not isinstance(got, str))
        for token, tolerance, got in zip(tokens, tolerances, line.tokens, strict=True)
    )


def comparable(expected: Expected, lines: tuple[Line, ...]) -> bool:
    """Same lines, same words, numbers in the same places; as those of the reference or as those of a twin with other labels."""
    return any(_all_fit(case, aligned(case, lines)) for case in (expected, *expected.others))


def _all_fit(expected: Expected, kept: tuple[Line, ...]) -> bool:
    return len(kept) == len(expected.lines) and all(_fits(expected, i, line) for i, line in enumerate(kept))


def difference(expected: Expected, lines: tuple[Line, ...]) -> str:
    """The first number of comparable `lines` outside its tolerance, in words; "" when all agree."""
    return _difference(expected, aligned(expected, lines))


def _difference(expected: Expected, kept: tuple[Line, ...]) -> str:
    for i, (line, tokens, tolerances) in enumerate(zip(kept, expected.lines, expected.tolerances, strict=True)):
        if line.tokens == tokens:
            continue
        numbers = 0
        for got, token, tolerance in zip(line.tokens, tokens, tolerances, strict=True):
            numbers += not isinstance(token, str)
            if tolerance is not None and not isinstance(token, str) and not _within(got, token, tolerance):
                return f"line {i + 1} ({_said(tokens) or 'no label'}), number {numbers}: got {_text(got)}, expected {_text(token)}"
    return ""


def _within(got: float, value: float, tolerance: float) -> bool:
    """Without a tolerance the two are compared as they are: a difference would be rounded where only one is an integer."""
    return agrees(got, value) or (tolerance > 0 and (abs(got - value) <= tolerance or _in_six_digits(got, value)))


def _in_six_digits(got: float, value: float, units: float = 0.51) -> bool:
    """Whether `got`, printed with six digits as C++ streams and %g do, is what `value` has in six digits.

    units: how far they may be apart, in the sixth digit; a value between two of them is rounded either way.
    """
    if isinstance(value, int) or value == 0 or not math.isfinite(value) or not abs(got) < 1e300:
        return False
    digits = Decimal(repr(got)).normalize().as_tuple().digits
    return len(digits) <= STREAM and abs(got - value) <= units * 10.0 ** (math.floor(math.log10(abs(value))) + 1 - STREAM)


def _text(value: float) -> str:
    return str(value)[:60] if isinstance(value, int) else f"{value:.9g}"


def _said(tokens: tuple[Token, ...]) -> str:
    return " ".join(t for t in tokens if isinstance(t, str))[:80]


def mismatch(expected: Expected, lines: tuple[Line, ...]) -> str:
    """How the printed lines differ in shape from the reference's, in words."""
    return _mismatch(expected, aligned(expected, lines))


def _mismatch(expected: Expected, kept: tuple[Line, ...]) -> str:
    for i, line in enumerate(kept[: len(expected.lines)]):
        if line.unread:
            return f"line {i + 1} cannot be read: {line.unread}"
        if not _fits(expected, i, line):
            want = expected.lines[i]
            numbers = [sum(not isinstance(t, str) for t in tokens) for tokens in (want, line.tokens)]
            return f"line {i + 1}: expected '{_said(want)}' and {numbers[0]} numbers, got '{_said(line.tokens)}' and {numbers[1]}"
    return f"{len(kept)} lines to compare, expected {len(expected.lines)}"


def same(expected: Expected, first: tuple[Line, ...], second: tuple[Line, ...]) -> bool:
    """Two runs of one program on one input agree within the tolerances; other than `expected` they may be."""
    return _same(expected, aligned(expected, first), aligned(expected, second))


def _same(expected: Expected, first: tuple[Line, ...], second: tuple[Line, ...]) -> bool:
    if len(first) != len(second) or any(a.unread or b.unread for a, b in zip(first, second, strict=True)):
        return False
    if not _all_fit(expected, first):
        return all(_alike(a.tokens, b.tokens) for a, b in zip(first, second, strict=True))
    rows = zip(expected.tolerances, first, second, strict=True)
    return all(
        x.tokens == y.tokens or (len(x.tokens) == len(y.tokens) and all(map(_near, row, x.tokens, y.tokens))) for row, x, y in rows
    )


def _alike(first: tuple[Token, ...], second: tuple[Token, ...]) -> bool:
    return len(first) == len(second) and all(a == b or (a != a and b != b) for a, b in zip(first, second, strict=True))


def _near(tolerance: float | None, a: Token, b: Token) -> bool:
    if tolerance is None or agrees(a, b):
        return True
    if isinstance(a, str) or isinstance(b, str):
        return False
    if abs(a - b) <= max(tolerance, RELATIVE * abs(a)):
        return True
    return tolerance > 0 and _in_six_digits(a, b, 1.01) and _in_six_digits(b, a, 1.01)


def other_text(reference: str, text: str) -> bool:
    """Whether `text` says something else than `reference`, line by line."""
    case = learn([read_lines(reference)], relative=OWN_RELATIVE)
    return isinstance(case, str) or differs(case, [read_lines(text)])[0] != ""


def with_labels(case: Expected, other: Expected) -> Expected:
    """The case with another program's lines as right ones, where they hold the same values and outcomes in the same order."""
    return replace(case, others=(*case.others, other)) if case.lines != other.lines and _same_values(case, other) else case


def _same_values(case: Expected, other: Expected) -> bool:
    """Whether two programs print the same numbers and words of outcomes; what moves in either is passed over."""
    ours, theirs = _values(case), _values(other)
    return len(ours) == len(theirs) and any(ours) and all(
        a == b or (not isinstance(a, str) and not isinstance(b, str) and (_within(b, a, tolerance) or _rounded_alike(a, b)))
        for (a, tolerance), (b, _) in zip(ours, theirs, strict=True)
    )


def _rounded_alike(a: float, b: float) -> bool:
    """Whether two numbers are one, printed with other digits: 0.000017 and 1.715e-05."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return agrees(a, b)
    last = max(10.0 ** Decimal(repr(v)).as_tuple().exponent for v in (a, b))
    return abs(a - b) <= min(0.51 * last, ROUNDED * max(abs(a), abs(b)))


def _values(case: Expected) -> list[tuple[Token, float]]:
    """Every number and every word of an outcome, with its tolerance; not of lines that tell how many threads, teams or blocks there are."""
    rows = ((tokens, row) for tokens, row in zip(case.lines, case.tolerances, strict=True) if not of_machine(Line(tokens)))
    pairs = [pair for tokens, row in rows for pair in zip(tokens, row, strict=True)]
    return [(t, tolerance) for t, tolerance in pairs if tolerance is not None and not (isinstance(t, str) and not VERDICT.fullmatch(t))]


def differs(case: Expected, runs: list[tuple[Line, ...]]) -> tuple[str, str]:
    """(reason, in words) of the first difference among runs of one input or from the reference; ("", "") for none."""
    found = _differs(case, runs)
    if found[0] != "wrong_output" or not any(_differs(other, runs) == ("", "") for other in case.others):
        return found
    return "", ""


def _differs(case: Expected, runs: list[tuple[Line, ...]]) -> tuple[str, str]:
    if any(run and run[-1].unread == TOO_SLOW for run in runs):
        return "infra_error", TOO_SLOW
    kept = [aligned(case, lines) for lines in runs]
    if any(not _same(case, kept[0], other) for other in kept[1:]):
        return "nondeterministic", "the output changes from run to run or with the number of threads"
    for lines in kept:
        why = _difference(case, lines) if _all_fit(case, lines) else _mismatch(case, lines)
        if why:
            return "wrong_output", why
    return "", ""
