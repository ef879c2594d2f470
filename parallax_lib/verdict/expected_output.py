"""What is right on one input, learned from runs of the reference: its lines as tokens, and a tolerance for each token.

Knows tokens of printed lines.  Knows nothing of translations, processes or verdict levels.

A number's tolerance comes from the reference's runs; a word has to be the same.  What moves between runs of the reference
itself decides nothing.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from parallax_lib.verdict.printed_text import CLAIM, Line, Token, fails
from parallax_lib.verdict.printed_times import FIELDS, OUTCOME, is_noun

RELATIVE = 1e-6
OWN_RELATIVE = 1e-4  # line by line: fixed inputs, single precision sums printed with few digits
FLOOR = 1e-12  # absolute, for references that print 0.000 and for rounding errors
SPREAD_FACTOR = 10.0
UNRELIABLE = 1e-3  # a reference number that moves by more than this between its own runs decides nothing
ROUNDING = re.compile(r"err(or)?s?|residuals?|norms?|diff\w*+|deviation|rmse|delta|eps(ilon)?|l1|l2|linf")
MACHINE = frozenset("thread threads team teams device devices gpu gpus cpu cpus core cores block blocks grid warp openmp omp cuda "
                    "processor processors rank ranks version items workitems workgroup workgroups".split())  # fmt: skip
SETTINGS = frozenset("size sizes n m nx ny nz length elements dimension dimensions dims problem input arguments iterations iters steps "
                     "repeat repetitions repeats seed launch launching configuration config matrix vector array grid".split())  # fmt: skip


@dataclass(frozen=True)
class Expected:
    """Tokens of the reference's lines on one input and the tolerance of each; 0 is "the same", None decides nothing.

    others: what another program of the kernel prints with the same values under other labels; it is as right.
    """

    lines: tuple[tuple[Token, ...], ...]
    tolerances: tuple[tuple[float | None, ...], ...]
    others: tuple[Expected, ...] = ()

    @property
    def has_numbers(self) -> bool:
        return any(not isinstance(t, str) for line in self.lines for t in line)


def restored(row: dict) -> Expected:
    """An Expected from what JSON makes of its fields."""
    return Expected(*(tuple(map(tuple, row[name])) for name in ("lines", "tolerances")), tuple(map(restored, row.get("others", ()))))


def learn(own: list[tuple[Line, ...]], other: list[tuple[Line, ...]] = (), relative: float = RELATIVE) -> Expected | str:
    """Expected lines from the reference's `own` runs and `other` implementations, or why nothing can be checked.

    A number's tolerance is the larger of `relative` and SPREAD_FACTOR times its spread; an integer that never moved is
    exact, and so is a word.  NaN and infinity are expected where all runs print them.
    """
    if not own[0]:
        return "the reference prints no numbers"
    runs = [data(run) for run in [*own, *other]]
    unread = next((f"line {i} cannot be read: {line.unread}" for run in runs for i, line in enumerate(run, 1) if line.unread), "")
    if unread:
        return f"the reference's {unread}"
    if not any(runs):
        return "the reference prints nothing but times"
    runs = _shared_lines(runs)
    base, own_runs, others = runs[0], runs[: len(own)], runs[len(own) :]
    if any(_lengths(run) != _lengths(base) for run in own_runs):
        return "the reference's own runs print different lines"
    if any(_lengths(run) != _lengths(base) for run in others):
        return "the kernel's own implementations print different lines"
    rows, still = [], {}
    for i, line in enumerate(base):
        here = [tuple(run[i].tokens for run in kind) for kind in (own_runs, others)]
        unmoved = all(tokens == line.tokens for kind in here for tokens in kind)
        row = still.get(line.tokens) if unmoved else None
        row = row or (_still(line, relative) if unmoved else _tolerances(line, *here, relative))
        if unmoved:
            still[line.tokens] = row
        if "words" in row:
            return f"the kernel's own implementations print different lines: line {i + 1}"
        if "numbers" in row:
            return f"the kernel's own implementations disagree in line {i + 1}"
        rows.append(row)
    return _unable(base, rows) or Expected(tuple(line.tokens for line in base), tuple(rows))


def _unable(base: tuple[Line, ...], rows: list[tuple]) -> str:
    """Why learned tolerances decide nothing."""
    pairs = [(t, row[j]) for line, row in zip(base, rows, strict=True) for j, t in enumerate(line.tokens)]
    numbers = [(t, tolerance) for t, tolerance in pairs if not isinstance(t, str)]
    reals = [t for t, _ in numbers if isinstance(t, float)]
    if numbers and not any(math.isfinite(t) for t, _ in numbers):
        return "the reference prints NaN or infinity and no other number"
    if any(map(math.isnan, reals)) and not any(map(math.isfinite, reals)):
        return "the reference prints NaN in place of every real number"
    if pairs and all(tolerance is None for _, tolerance in numbers or pairs):
        return "every number of the reference changes from run to run"
    return ""


def data(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    return tuple(line for line in lines if not line.aside)


def _lengths(lines: tuple[Line, ...]) -> list[int]:
    return [len(line.tokens) for line in lines]


def label(tokens: tuple[Token, ...]) -> tuple[str, ...]:
    """The words of a line without its data."""
    return tuple(t for t in tokens if isinstance(t, str) and t.isalpha() and t not in FIELDS)


def _shared_lines(runs: list[tuple[Line, ...]]) -> list[tuple[Line, ...]]:
    """Without the lines about the machine, and words alone, that only some of the programs print."""
    labels = [{label(line.tokens) for line in run} for run in runs]
    everywhere = set.intersection(*labels)

    def kept(line: Line) -> bool:
        words = label(line.tokens)
        return words in everywhere or not informs(line) or (bool(line.values) and MACHINE.isdisjoint(words))

    return [tuple(line for line in run if kept(line)) for run in runs]


def of_machine(line: Line) -> bool:
    """Whether a line only tells with how many threads, teams or blocks the program works."""
    return bool(line.values) and informs(line) and not MACHINE.isdisjoint(label(line.tokens))


def _floor(line: Line) -> float:
    """Below this, what an error measure prints is rounding."""
    return FLOOR if any(ROUNDING.fullmatch(w) for w in set(line.words)) else 0.0


def _still(line: Line, relative: float) -> tuple[float, ...]:
    """The tolerances of a line that is the same in every run."""
    floor = _floor(line)
    return tuple(_of_value(t, 0.0, relative, floor) if isinstance(t, float) and math.isfinite(t) else 0.0 for t in line.tokens)


def _of_value(value: float, learned: float, relative: float, floor: float) -> float:
    return max(relative * abs(value), learned, floor if value else FLOOR)


def _tolerances(line: Line, own: tuple[tuple[Token, ...], ...], other: tuple[tuple[Token, ...], ...], relative: float) -> tuple:
    """One for each token of a line, from the tokens of each run."""
    floor = _floor(line)
    columns = zip(zip(*own, strict=True), zip(*other, strict=True) if other else [()] * len(line.tokens), strict=True)
    return tuple(_tolerance(line.tokens, j, ours, others, relative, floor) for j, (ours, others) in enumerate(columns))


def _tolerance(
    line: tuple[Token, ...], j: int, own: tuple[Token, ...], other: tuple[Token, ...], relative: float, floor: float
) -> float | None | str:
    """None: moves by itself too much to decide anything; "words", "numbers": implementations disagree in it."""
    value = own[0]
    if any(isinstance(v, str) for v in own + other):
        moves = any(v != value for v in own)
        return None if moves else "words" if any(v != value for v in other) else 0.0
    if not math.isfinite(value):
        moves, apart = (any(not agrees(v, value) for v in kind) for kind in (own, other))
        return None if moves else "numbers" if apart else 0.0
    spread = max((abs(v - value) for v in own), default=0.0)
    timed = any(isinstance(t, str) and is_noun(t) for t in line[max(0, j - 2) : j])
    if not spread <= max(UNRELIABLE * abs(value), FLOOR) or (timed and spread):
        return None
    apart = max((abs(v - value) for v in other), default=0.0)
    if not apart <= max(UNRELIABLE * abs(value), FLOOR):
        return "numbers"
    learned = SPREAD_FACTOR * max(spread, apart)
    if all(isinstance(v, int) for v in own):
        return learned
    return _of_value(value, learned, relative, floor)


def informs(line: Line) -> bool:
    """Whether a line can be one of information: words alone, or integers with words for the machine or the problem's size.

    A line that tells an outcome is none.
    """
    words = label(line.tokens)
    if line.unread or not words or not all(isinstance(v, int) for v in line.values):
        return False
    if line.values and MACHINE.isdisjoint(words) and SETTINGS.isdisjoint(words):
        return False
    return not fails(" ".join(line.words)) and not any(OUTCOME.fullmatch(w) and not CLAIM.fullmatch(w) for w in words if len(w) > 3)


def agrees(a: float, b: float) -> bool:
    return a == b or (a != a and b != b)
