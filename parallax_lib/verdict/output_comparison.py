"""What a program printed, as data: read numbers, learn a tolerance from reference runs, compare.

Knows text and numbers.  Knows nothing of processes, compilers or verdicts.

The words PASS and FAIL mean nothing here: such lines are dropped, as are timing lines and lines without numbers.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

RELATIVE = 1e-6
OWN_RELATIVE = 1e-4  # line by line: fixed inputs, single precision sums printed with few digits
FLOOR = 1e-12  # absolute, for references that print 0.000
SPREAD_FACTOR = 10.0
EXACT_DIGITS = 300  # a longer integer is read as a float: a double would not hold it
UNRELIABLE = 1e-3  # a reference number that moves by more than this between its own runs decides nothing
NUMBER = re.compile(r"(?<![\w.])[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan|inf(?:inity)?)(?![\w.])", re.I)
WORD = re.compile(r"[A-Za-z_]\w*")
CLAIM = re.compile(r"\b(pass|passed|fail|failed|failure)\b", re.I)
VERDICT = re.compile(
    r"\b(pass|passed|success|successful|succeeded|valid|match|matches|correct|ok)\b|\b(fail|error|mismatch|rmse|diff|deviation)\w*", re.I
)
FAILED = re.compile(  # but not "0 failed", "fail(0)", "0 errors", "error rate: 1e-7"
    r"(?<!no )(?<!without )(?<!\b0 )(\b(fail|failed|failure|incorrect|wrong)\b(?!\W{0,3}0\b)|\b(mismatch(es|ed)?|error)\b(?!.*\d))", re.I
)
TIMING = re.compile(
    r"\b(time[sd]?|timing|elapsed|duration|seconds?|secs?|ms|msecs?|usecs?|us|ns|milliseconds?|microseconds?|throughput|bandwidth|speed-?up)\b"
    r"|\b\d[\d.]*(ms|us|ns|s)\b|[KMGT]i?B/s|[KMGT]?FLOPS?(/s)?\b|\b[KMGT]?FLOP/s|/sec\b",
    re.I,
)


@dataclass(frozen=True)
class Line:
    """One printed line: its words, its numbers (an integer as int, exact), and which of them are written as integers."""

    words: tuple[str, ...]
    values: tuple[float, ...]
    integers: tuple[bool, ...]


@dataclass(frozen=True)
class Expected:
    """Reference numbers of one input and the tolerance of each; a tolerance of None decides nothing."""

    words: tuple[tuple[str, ...], ...]
    values: tuple[tuple[float, ...], ...]
    tolerances: tuple[tuple[float | None, ...], ...]


def read(text: str) -> tuple[Line, ...]:
    """The lines of `text` that hold data."""
    kept = (line for line in text.splitlines() if not CLAIM.search(line) and not TIMING.search(line))
    return tuple(parsed for parsed in map(_parse, kept) if parsed.values)


def read_lines(text: str) -> tuple[Line, ...]:
    """Every line of `text` that is not blank, for a comparison with the source program's own output.

    A timing line keeps its words and loses its numbers; a line that says PASS or FAIL counts as words like any other.
    """
    parsed = ((_parse(line), TIMING.search(line)) for line in text.splitlines() if line.strip())
    return tuple(Line(line.words, (), ()) if timed else line for line, timed in parsed)


def own_check(text: str) -> str:
    """The first line in which a program says that its own check failed, "" when none does."""
    return next((line.strip() for line in text.splitlines() if FAILED.search(line)), "")


def strength(texts: list[str], given: tuple[str, ...]) -> str:
    """How much outputs say: "strong" numbers other than the arguments `given`, "weak" only a verdict word, "none" neither."""
    echoed = {line.values[0] for line in map(_parse, given) if line.values}
    lines = [line for text in texts for line in read_lines(text) if not VERDICT.search(" ".join(line.words))]
    values = [v for line in lines for v in line.values if v not in echoed]
    if any(not float(v).is_integer() for v in values):
        return "strong"
    if any(VERDICT.search(text) for text in texts) or (values and not any(values)):
        return "weak"  # a number that is 0 is an error measure under any name
    return "strong" if values else "none"


READ = {"shared": read, "own": read_lines}  # by Kernel.oracle


def _parse(line: str) -> Line:
    tokens = NUMBER.findall(line)
    words = tuple(word.lower() for word in WORD.findall(NUMBER.sub(" ", line)))
    integers = tuple(re.fullmatch(r"[-+]?\d+", t) is not None for t in tokens)
    values = (int(t) if whole and len(t) <= EXACT_DIGITS else float(t) for t, whole in zip(tokens, integers, strict=True))
    return Line(words, tuple(values), integers)


def learn(own: list[tuple[Line, ...]], other: list[tuple[Line, ...]] = (), relative: float = RELATIVE) -> Expected | str:
    """Expected numbers from the reference's `own` runs and `other` implementations, or why nothing can be checked.

    A number's tolerance is the larger of `relative` and SPREAD_FACTOR times its spread; an integer that never moved is
    exact.
    """
    base = own[0]
    if not base:
        return "the reference prints no numbers"
    if any(not math.isfinite(v) for line in base for v in line.values):
        return "the reference prints NaN or infinity"
    if any(shape(run) != shape(base) for run in own):
        return "the reference's own runs print different lines"
    if any(shape(run) != shape(base) for run in other):
        return "the kernel's own implementations print different lines"
    rows = []
    for i, line in enumerate(base):
        row = [
            _tolerance(line, j, [run[i].values[j] for run in own], [run[i].values[j] for run in other], relative)
            for j in range(len(line.values))
        ]
        if math.nan in row:
            return f"the kernel's own implementations disagree in line {i + 1}"
        rows.append(tuple(row))
    if any(rows) and all(t is None for row in rows for t in row):
        return "every number of the reference changes from run to run"
    return Expected(tuple(line.words for line in base), tuple(line.values for line in base), tuple(rows))


def _tolerance(line: Line, j: int, own: list[float], other: list[float], relative: float) -> float | None:
    """None: moves by itself too much to decide anything; math.nan: implementations disagree."""
    value = own[0]
    spread = max((abs(v - value) for v in own), default=0.0)
    if spread > max(UNRELIABLE * abs(value), FLOOR):
        return None
    apart = max((abs(v - value) for v in other), default=0.0)
    if not apart <= max(UNRELIABLE * abs(value), FLOOR):
        return math.nan
    learned = SPREAD_FACTOR * max(spread, apart)
    return learned if line.integers[j] else max(relative * abs(value), learned, FLOOR)


def shape(lines: tuple[Line, ...]) -> list[tuple[tuple[str, ...], int]]:
    return [(line.words, len(line.values)) for line in lines]


def comparable(expected: Expected, lines: tuple[Line, ...]) -> bool:
    """Same lines, same words, same count of numbers in each."""
    return shape(lines) == [(w, len(v)) for w, v in zip(expected.words, expected.values, strict=True)]


def difference(expected: Expected, lines: tuple[Line, ...]) -> str:
    """The first number of comparable `lines` outside its tolerance, in words; "" when all agree.  NaN never agrees."""
    for i, (values, tolerances) in enumerate(zip(expected.values, expected.tolerances, strict=True)):
        for j, (value, tolerance) in enumerate(zip(values, tolerances, strict=True)):
            got = lines[i].values[j]
            if tolerance is not None and not _within(got, value, tolerance):
                label = " ".join(expected.words[i]) or "no label"
                return f"line {i + 1} ({label}), number {j + 1}: got {_text(got)}, expected {_text(value)}"
    return ""


def _within(got: float, value: float, tolerance: float) -> bool:
    """Without a tolerance the two are compared as they are: a difference would be rounded where only one is an integer."""
    return abs(got - value) <= tolerance if tolerance else got == value


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9g}"


def mismatch(expected: Expected, lines: tuple[Line, ...]) -> str:
    """How the printed lines differ in shape from the reference's, in words."""
    wanted = [(w, len(v)) for w, v in zip(expected.words, expected.values, strict=True)]
    for i, (want, got) in enumerate(zip(wanted, shape(lines), strict=False)):
        if want != got:
            words = [" ".join(w)[:80] for w, _ in (want, got)]
            return f"line {i + 1}: expected '{words[0]}' and {want[1]} numbers, got '{words[1]}' and {got[1]}"
    return f"{len(lines)} lines of numbers, expected {len(wanted)}"


def same(expected: Expected, first: tuple[Line, ...], second: tuple[Line, ...]) -> bool:
    """Two runs of one program on one input agree within the tolerances; other than `expected` they may be."""
    if shape(first) != shape(second):
        return False
    if not comparable(expected, first):
        return [line.values for line in first] == [line.values for line in second]
    limits = zip(expected.values, expected.tolerances, strict=True)
    return all(
        t is None or a == b or abs(a - b) <= max(t, RELATIVE * abs(a)) or (math.isnan(a) and math.isnan(b))
        for (_, tolerances), x, y in zip(limits, first, second, strict=True)
        for t, a, b in zip(tolerances, x.values, y.values, strict=True)
    )


def differs(case: Expected, runs: list[tuple[Line, ...]]) -> tuple[str, str]:
    """(reason, in words) of the first difference among runs of one input or from the reference; ("", "") for none."""
    if any(not same(case, runs[0], other) for other in runs[1:]):
        return "nondeterministic", "the output changes from run to run or with the number of threads"
    for lines in runs:
        why = difference(case, lines) if comparable(case, lines) else mismatch(case, lines)
        if why:
            return "wrong_output", why
    return "", ""
