"""Whether what a program's device gave back to its host agrees with what the reference's device gave back.

Knows buffers as `probes/results.cpp` tells them: bytes, what their words look like, and for each of 16 parts a digest, sums with random
signs and sums of squares.  Knows nothing of processes, compilers or verdict levels.

A program of a suite whose output is a verdict word is compared by this too.  How often, in which order and with which pieces a program
copies is its own affair, and so is what it copies beside: of each size as many results have to agree as both programs have.
"""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

PARTS = 16
RELATIVE = 4e-4  # of the norm of a part: four times what a part moves by if each value moves by 1e-4 at random
FLOOR = 1e-5  # of the norm of a part as the whole buffer would have it
SPREAD_FACTOR = 10.0
MOST = 0.9  # of the words that are not 0: what they look like
FIXED = 0.5  # of the parts that have to be the same in every run of the reference
VIEWS = {"floats": 0, "doubles": 1}
WIDTH = {"floats": 4, "doubles": 8, "integers": 4, "mixed": 1}
HALF = re.compile(r"\b(?:__half2?|half2?|_Float16|(?:__nv_)?bfloat162?)\b")
SUMMARY = re.compile(r"(\d+) of (\d+) result buffers compared(?: \(([^)]*)\))?")
LINE = 1 + 16 + 6 * 10 + PARTS * (8 + 2 * (4 + 16 + 16))


@dataclass(frozen=True)
class Part:
    """One of the parts of a buffer.  odd, sums, squares: as floats and as doubles; odd: how many are no ordinary numbers."""

    digest: str
    odd: tuple[int, int]
    sums: tuple[float, float]
    squares: tuple[float, float]


@dataclass(frozen=True)
class Buffer:
    """What lay in one range of host memory after a copy from the device.

    how: f at the program's end, e overwritten since, j ranges that touch each other as one, m memory that host and device share.
    kind: floats, doubles, integers (compared byte by byte) or mixed.  spread: of a reference, how far its own runs lie apart in each
    part, None where a part decides nothing.
    """

    how: str
    bytes: int
    kind: str
    parts: tuple[Part, ...]
    spread: tuple[float | None, ...] = (0.0,) * PARTS

    def __str__(self) -> str:
        return f"{self.bytes // WIDTH[self.kind]} {'bytes' if self.kind == 'mixed' else self.kind}"


@dataclass(frozen=True)
class Found:
    """What came of one comparison.  compared of total: results of the reference that were; sizes: of those; difference: in words."""

    compared: int = 0
    total: int = 0
    sizes: tuple[str, ...] = ()
    difference: str = ""


def read(text: str) -> tuple[Buffer, ...] | None:
    """The buffers of one run, () for none; None where they are too many or too large to be told."""
    lines = text.split("\n")
    if not lines[0].strip("0 "):
        return tuple(_buffer(line) for line in lines[1:] if len(line) == LINE)
    return None


def _buffer(line: str) -> Buffer:
    looks = [int(line[17 + 10 * i : 27 + 10 * i], 16) for i in range(6)]
    step = (LINE - 77) // PARTS
    return Buffer(line[0], int(line[1:17], 16), _kind(*looks), tuple(_part(line[77 + step * i :][:step]) for i in range(PARTS)))


def _part(text: str) -> Part:
    views = [text[8 + 36 * i : 44 + 36 * i] for i in range(2)]
    sums, squares = (tuple(struct.unpack(">d", bytes.fromhex(v[at : at + 16]))[0] for v in views) for at in (4, 20))
    return Part(text[:8], tuple(int(v[:4], 16) for v in views), sums, squares)


def _kind(floats: int, plain: int, wild: int, words: int, doubles: int, low: int) -> str:
    """What most words can be, of those that are not 0.  Ordinary floats are doubles only where every second one is 0, and what has small
    integers among them is neither.
    """
    if plain >= MOST * floats and floats and low < MOST * words:
        return "floats"
    if doubles >= MOST * words and words and floats - plain - wild <= (1 - MOST) * floats:
        return "doubles"
    if plain >= MOST * floats and floats:
        return "floats"
    return "mixed" if plain > (1 - MOST) * floats and wild <= (1 - MOST) * floats else "integers"


def learn(runs: list[tuple[Buffer, ...] | None]) -> tuple[Buffer, ...]:
    """A reference's results on one input, from its runs: each once, with how far the runs lie apart."""
    if any(run is None for run in runs):
        return ()
    finals = [[b for b in run if b.how == "f"] for run in runs]
    if any([b.bytes for b in one] != [b.bytes for b in finals[0]] for one in finals):
        return ()
    learned = [_learned(same) for same in zip(*finals, strict=True)]
    return _distinct(b for b in learned if b and sum(s is not None for s in b.spread) >= FIXED * PARTS)


def of_programs(programs: list[list[list[tuple[Buffer, ...] | None]]], texts: Iterable[str] = ()) -> tuple[tuple[Buffer, ...], ...]:
    """The results on each input, from what each run of each of the kernel's programs gave back: program -> input -> run.

    They are those of the first program whose device gives something back, as far as the others give them back too.  Where the
    programs' `texts` compute in half precision, what looks like integers may be that: other bytes of these are not called wrong.
    """
    halves = any(map(HALF.search, texts))
    found = []
    for runs in zip(*programs, strict=True):
        learned = [learn(of_one) for of_one in runs]
        first = next((i for i, results in enumerate(learned) if results), 0)
        results = learned[first]
        for other in runs[first + 1 :]:
            results = shared(results, other)
        found.append(tuple(replace(b, kind="mixed") if halves and b.kind == "integers" else b for b in results))
    return tuple(found)


def _distinct(buffers: Iterable[Buffer]) -> tuple[Buffer, ...]:
    kept = {(b.bytes, *(part.digest for part in b.parts)): b for b in buffers}
    return tuple(kept.values())


def _learned(same: tuple[Buffer, ...]) -> Buffer | None:
    """One result of every run as one, None where it is 0 throughout or where nothing says what it holds."""
    kinds = {b.kind for b in same}
    kinds = kinds if len(kinds) == 1 else kinds & VIEWS.keys()  # what nobody wrote looks otherwise in another run
    if len(kinds) != 1 or not any(part.squares[0] or part.odd[0] for part in same[0].parts):
        return None
    first = replace(same[0], kind=kinds.pop())
    return replace(first, spread=tuple(_spread(first, [b.parts[i] for b in same], i) for i in range(PARTS)))


def _spread(first: Buffer, parts: list[Part], i: int) -> float | None:
    """How far the runs lie apart in part `i`; None where that is more than what a difference may be."""
    own = first.parts[i]
    if all(part.digest == own.digest for part in parts):
        return 0.0
    if first.kind not in VIEWS or any(_apart(first, i, own, part, 0.0) for part in parts):
        return None
    view = VIEWS[first.kind]
    return max(abs(part.sums[view] - own.sums[view]) for part in parts)


def shared(results: tuple[Buffer, ...], others: list[tuple[Buffer, ...] | None]) -> tuple[Buffer, ...]:
    """Those of a program's results that another program of the kernel gives back too; all of them where it gives nothing back.

    `others`: what each run of the other program gave back.
    """
    given = [run for run in others if run and any(b.how != "m" for b in run)]
    return tuple(b for b in results if all(any(agree(b, other) for other in run) for run in given))


def steady(results: tuple[tuple[Buffer, ...], ...], rounded: list[tuple[Buffer, ...] | None]) -> tuple[tuple[Buffer, ...], ...]:
    """The results on each input without the parts that come out otherwise where a program is built to round otherwise.

    `rounded`: what such a build gives back on each input.
    """
    pairs = zip(results, rounded, strict=True) if rounded else ((case, ()) for case in results)
    kept = (tuple(_steady(b, [other for other in run or () if other.bytes == b.bytes]) for b in case) for case, run in pairs)
    return tuple(tuple(b for b in case if sum(spread is not None for spread in b.spread) >= FIXED * PARTS) for case in kept)


def _steady(b: Buffer, others: list[Buffer]) -> Buffer:
    """The buffer without the parts in which the nearest of `others` differs."""
    spreads = [
        tuple(None if s is None or _apart(b, i, b.parts[i], other.parts[i], s) else s for i, s in enumerate(b.spread)) for other in others
    ]
    return replace(b, spread=min(spreads, key=lambda spread: spread.count(None), default=b.spread))


def agree(expected: Buffer, got: Buffer) -> bool | None:
    """Whether two buffers of one size hold the same; None where the difference may be rounding among other data."""
    if expected.bytes != got.bytes:
        return False
    where = _first_apart(expected, got)
    return where < 0 or (None if expected.kind == "mixed" else False)


def _first_apart(expected: Buffer, got: Buffer) -> int:
    """The first part that differs, -1 for none."""
    pairs = zip(expected.parts, got.parts, expected.spread, strict=True)
    return next((i for i, (a, b, spread) in enumerate(pairs) if spread is not None and _apart(expected, i, a, b, spread)), -1)


def _apart(expected: Buffer, i: int, a: Part, b: Part, spread: float) -> bool:
    if a.digest == b.digest:
        return False
    if expected.kind not in VIEWS:
        return True
    view = VIEWS[expected.kind]
    norms = [math.sqrt(part.squares[view]) for part in (a, b)]
    fixed = [part.squares[view] for part, spread in zip(expected.parts, expected.spread, strict=True) if spread is not None]
    whole = math.sqrt(sum(fixed) / max(1, len(fixed)))
    bound = RELATIVE * norms[0] + FLOOR * whole + SPREAD_FACTOR * spread
    return a.odd[view] != b.odd[view] or not (abs(norms[0] - norms[1]) <= bound and abs(a.sums[view] - b.sums[view]) <= bound)


def compare(expected: tuple[Buffer, ...], got: tuple[Buffer, ...] | None) -> Found:
    """A run's buffers with the reference's results.

    Of each size as many of the reference's have to be among the run's as both have.  A size that the run does not have is not compared.
    """
    if not expected or got is None:
        return Found(total=len(expected))
    finals = Counter(b.bytes for b in _distinct(b for b in got if b.how == "f"))
    sizes, total = [], len(expected)
    for size in dict.fromkeys(b.bytes for b in expected):
        mine, theirs = [b for b in expected if b.bytes == size], [b for b in got if b.bytes == size]
        verdicts = [[agree(b, other) for other in theirs] for b in mine]
        right = [b for b, said in zip(mine, verdicts, strict=True) if True in said]
        unsure = sum(True not in said and None in said for said in verdicts)
        if len(right) + unsure < min(len(mine), finals[size]):
            wrong = next(b for b, said in zip(mine, verdicts, strict=True) if True not in said and None not in said)
            return Found(len(sizes), total, tuple(sizes), _difference(wrong, 1 + expected.index(wrong), theirs))
        sizes += map(str, right)
    return Found(len(sizes), total, tuple(sizes))


def summary(found: list[Found]) -> str:
    """What was compared, of the run in which least was."""
    least = min(found, key=lambda one: one.compared)
    sizes = ", ".join(f"{n} times {size}" if n > 1 else size for size, n in Counter(least.sizes).items())
    return f"{least.compared} of {least.total} result buffers compared" + (f" ({sizes})" if sizes else "")


def counted(checked: str) -> str:
    """ "2 of 3" from a verdict's `checked`, "" where nothing was compared."""
    found = SUMMARY.search(checked)
    return f"{found[1]} of {found[2]}" if found and found[1] != "0" else ""


def _difference(expected: Buffer, number: int, theirs: list[Buffer]) -> str:
    """Where the run's nearest buffer begins to differ from an expected one."""
    finals = [b for b in theirs if b.how == "f"]
    nearest = max(finals, key=lambda b: _first_apart(expected, b))
    i, many = _first_apart(expected, nearest), expected.bytes // WIDTH[expected.kind]
    words = [expected.bytes // 8 * k // PARTS * 8 // WIDTH[expected.kind] for k in (i, i + 1)]
    last = many if i == PARTS - 1 else words[1]
    return f"result buffer {number} ({expected}): elements {words[0]} to {last - 1} differ{_norms(expected, nearest, i)}"


def _norms(expected: Buffer, got: Buffer, i: int) -> str:
    if expected.kind not in VIEWS:
        return ""
    view = VIEWS[expected.kind]
    odd = got.parts[i].odd[view] - expected.parts[i].odd[view]
    if odd:
        return f", {abs(odd)} {'more' if odd > 0 else 'fewer'} of them no finite numbers"
    squares = (part.parts[i].squares[view] for part in (got, expected))
    return ": root of the sum of squares {:.6g}, expected {:.6g}".format(*map(math.sqrt, squares))


def restored(row: dict) -> Buffer:
    """A Buffer from what JSON makes of its fields."""
    parts = tuple(Part(p["digest"], *(tuple(p[name]) for name in ("odd", "sums", "squares"))) for p in row["parts"])
    return Buffer(row["how"], row["bytes"], row["kind"], parts, tuple(row["spread"]))
