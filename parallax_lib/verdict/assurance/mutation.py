"""Small wrong versions of a right program: the mistakes that translations make, one at a time.

Knows tokens of C++, OpenMP pragmas and CUDA calls.  Knows nothing of compilers or verdicts.

An operator gives edits of a source text; `mutants` picks a few of each by a seed.  Lines that only read arguments, print
or free are left alone.  Whether a mutant means the same as its original is not decided here.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from parallax_lib.verdict.assurance.program_tokens import Token, calls, partners_of, tokens

SKIP = re.compile(r"\barg[cv]\b|printf|\bputs\b|cout|rnd\(|static unsigned state|cudaFree|\bfree\(|\breport\(|template <class T> void")
TYPES = ("return", "double", "int", "float", "char", "unsigned", "const", "auto")
LONGEST = 1000  # tokens of an address that an atomic update takes
Edit = tuple[int, int, str]


@dataclass(frozen=True)
class Mutant:
    """One edit of a program.  `line` counts from 1; `says` shows what became what."""

    operator: str
    line: int
    says: str
    code: str


def mutants(code: str, per_operator: int = 3, seed: int = 0, lines: frozenset[int] | None = None) -> list[Mutant]:
    """At most `per_operator` mutants of each operator, the same ones for the same seed.

    `lines`: those alone, printing functions or not.
    """
    parsed, found, texts = tokens(code), [], {code}
    busy = _busy(code, parsed, lines)
    for name, operator in OPERATORS.items():
        edits = [edit for edit in dict.fromkeys(operator(parsed)) if busy(edit[0])]
        random.Random(f"{seed}:{name}:{code}").shuffle(edits)
        chosen = []
        for start, end, new in edits:
            if len(chosen) == per_operator:
                break
            changed = code[:start] + new + code[end:]
            if changed not in texts:
                texts.add(changed)
                line = code.count("\n", 0, start) + 1
                old = " ".join(code[start:end].split()) or code[:start].split()[-1][-20:]
                chosen.append(Mutant(name, line, f"{old[:60]} -> {new.strip()[:60] or 'nothing'}", changed))
        found += chosen
    return found


def _busy(code: str, parsed: list[Token], lines: frozenset[int] | None) -> Callable[[int], bool]:
    """Whether an edit at a place of the text may matter: in one of `lines`, outside functions that print, not in a line of SKIP."""
    printing = _printing(code, parsed) if lines is None else []
    begins, texts = [start for start, _ in printing], code.split("\n")
    starts = [0, *accumulate(len(text) + 1 for text in texts)]
    idle = [bool(SKIP.search(text)) or (lines is not None and n not in lines) for n, text in enumerate(texts, 1)]

    def busy(place: int) -> bool:
        span = bisect_right(begins, place) - 1
        return not (span >= 0 and place < printing[span][1]) and not idle[bisect_right(starts, place) - 1]

    return busy


def _printing(code: str, parsed: list[Token]) -> list[tuple[int, int]]:
    """Spans of the functions beside main that print: they are the measure, not the kernel."""
    spans, depth, start = [], 0, 0
    for t in parsed:
        depth += (t.text == "{") - (t.text == "}")
        if t.text == "{" and depth == 1:
            start = code.rfind("\n", 0, t.start) + 1
        if t.text == "}" and depth == 0:
            body = code[start : t.end]
            if "printf" in body and " main(" not in body:
                spans.append((start, t.end))
    return spans


def _loops(parsed: list[Token]) -> Iterator[list[list[Token]]]:
    """The three parts of every `for (a; b; c)` in whose head no other one stands."""
    found = [call for call in calls(parsed, ("for",)) if parsed[call[0]].text == "for"]
    for (i, end), (following, _) in zip(found, [*found[1:], (len(parsed), 0)], strict=False):
        parts, depth = [[]], 0
        for t in parsed[i + 2 : end] if following > end else ():
            depth += (t.text in "([{") - (t.text in ")]}") if t.kind == "mark" else 0
            if t.text == ";" and depth == 0:
                parts.append([])
            else:
                parts[-1].append(t)
        if len(parts) == 3 and all(parts[:2]):
            yield parts


def loop_end(parsed: list[Token]) -> Iterator[Edit]:
    """The last iteration is left out."""
    for _, condition, _ in _loops(parsed):
        marks = [t for t in condition if t.text in ("<", "<=", ">", ">=")]
        if marks and not any(t.text in ("&&", "||") for t in condition):
            end = condition[-1].end
            yield (end, end, " - 1" if marks[0].text[0] == "<" else " + 1")


def loop_start(parsed: list[Token]) -> Iterator[Edit]:
    """The first iteration is left out."""
    for first, _, step in _loops(parsed):
        if any(t.text == "=" for t in first) and step:
            down = any(t.text in ("--", "-=", "/=") for t in step)
            yield (first[-1].end, first[-1].end, " - 1" if down else " + 1")


def _clause(names: str) -> Callable:
    pattern = re.compile(rf"\b(?:{names})\s*\((?:[^()]|\([^()]*\))*\)")

    def edits(parsed: list[Token]) -> Iterator[Edit]:
        for t in parsed:
            if t.kind == "line" and "declare" not in t.text and "omp" in t.text:
                for m in pattern.finditer(t.text):
                    yield (t.start + m.start(), t.start + m.end(), "")

    return edits


def drop_guard(parsed: list[Token]) -> Iterator[Edit]:
    """atomic, critical or atomicAdd(&x, v) become plain updates."""
    for t in parsed:
        if t.kind == "line" and re.match(r"\s*#\s*pragma\s+omp\s+(atomic|critical)", t.text):
            yield (t.start, t.end, "")
    partners = partners_of(parsed)
    for i, end in calls(parsed, ("atomicAdd",)):
        comma = _comma(parsed, partners, i + 2, min(end, i + LONGEST)) if parsed[i].text == "atomicAdd" else 0
        if comma:
            yield (parsed[i].start, parsed[comma].end, "*(" + " ".join(u.text for u in parsed[i + 2 : comma]) + ") += (")


def _comma(parsed: list[Token], partners: list[int], at: int, end: int) -> int:
    """Index of the first comma between `at` and `end` outside brackets, 0 for none."""
    while at < end:
        if parsed[at].text == ",":
            return at
        at = (partners[at] if parsed[at].kind == "mark" and parsed[at].text in "([{" else at) + 1
    return 0


def drop_barrier(parsed: list[Token]) -> Iterator[Edit]:
    """__syncthreads() or an omp barrier is gone."""
    for i, t in enumerate(parsed):
        if t.text == "__syncthreads" and i + 2 < len(parsed):
            yield (t.start, parsed[i + 2].end, "")
        if t.kind == "line" and re.match(r"\s*#\s*pragma\s+omp\s+barrier", t.text):
            yield (t.start, t.end, "")


def drop_copy(parsed: list[Token]) -> Iterator[Edit]:
    """A copy between host and device, or a map clause's way back, is gone."""
    semicolons = [i for i, t in enumerate(parsed) if t.text == ";"]
    for i, _ in calls(parsed, ("cudaMemcpy", "cudaMemset")):
        after = bisect_right(semicolons, i)
        if after < len(semicolons):
            yield (parsed[i].start, parsed[semicolons[after]].start, "")
    for t in parsed:
        if t.kind == "line" and "omp" in t.text:
            for m in re.finditer(r"map\s*\(\s*(tofrom|from)\s*:", t.text):
                yield (t.start + m.start(1), t.start + m.end(1), "to" if m[1] == "tofrom" else "alloc")


def _binary(parsed: list[Token]) -> Iterator[tuple[Token, Token, Token]]:
    """(left, mark, right) of marks that stand between two operands."""
    for left, t, right in zip(parsed, parsed[1:], parsed[2:], strict=False):
        before = (left.kind in ("word", "number") or left.text in (")", "]")) and left.text not in TYPES
        if t.kind == "mark" and before and (right.kind in ("word", "number") or right.text == "("):
            yield left, t, right


def arithmetic(parsed: list[Token]) -> Iterator[Edit]:
    """+ and - exchanged, * and / exchanged, += and -= exchanged."""
    other = {"+": "-", "-": "+", "/": "*", "*": "+", "%": "/", "+=": "-=", "-=": "+=", "&": "|", "<<": ">>", ">>": "<<", "^": "|"}
    for _, t, _ in _binary(parsed):
        if t.text in other:
            yield (t.start, t.end, other[t.text])


def swap_operands(parsed: list[Token]) -> Iterator[Edit]:
    """a - b becomes b - a, a / b becomes b / a."""
    for left, t, right in _binary(parsed):
        simple = left.kind in ("word", "number") and right.kind in ("word", "number") and left.text != right.text
        if t.text in ("-", "/", "%") and simple:
            yield (left.start, right.end, f"{right.text} {t.text} {left.text}")


def _heads(parsed: list[Token]) -> set[int]:
    return {t.start for parts in _loops(parsed) for part in parts for t in part}


def comparison(parsed: list[Token]) -> Iterator[Edit]:
    """A comparison outside loop heads turns round; "and" and "or" are exchanged."""
    heads = _heads(parsed)
    other = {"<": ">=", ">": "<=", "<=": ">", ">=": "<", "==": "!=", "!=": "==", "&&": "||", "||": "&&"}
    for _, t, _ in _binary(parsed):
        if t.text in other and t.start not in heads:
            yield (t.start, t.end, other[t.text])


def border(parsed: list[Token]) -> Iterator[Edit]:
    """A comparison outside loop heads takes in its border or leaves it out."""
    heads = _heads(parsed)
    other = {"<": "<=", ">": ">=", "<=": "<", ">=": ">"}
    for _, t, _ in _binary(parsed):
        if t.text in other and t.start not in heads:
            yield (t.start, t.end, other[t.text])


def constant(parsed: list[Token]) -> Iterator[Edit]:
    """A number is one more, a factor five percent more."""
    for before, t in zip(parsed, parsed[1:], strict=False):
        if t.kind == "number" and before.text != "<":
            exact = re.fullmatch(r"\d+", t.text)
            yield (t.start, t.end, str(int(t.text) + 1) if exact else f"({t.text} * 1.05)" if "." in t.text else f"({t.text} + 1)")


def swap_index(parsed: list[Token]) -> Iterator[Edit]:
    """[i * n + j] becomes [j * n + i]; x and y of threads and blocks are exchanged."""
    for w in zip(parsed, parsed[1:], parsed[2:], parsed[3:], parsed[4:], strict=False):
        if [t.text for t in w[1::2]] == ["*", "+"] and all(t.kind == "word" for t in w[::2]) and w[0].text != w[4].text:
            yield (w[0].start, w[4].end, f"{w[4].text} * {w[2].text} + {w[0].text}")
        if w[0].text in ("threadIdx", "blockIdx") and w[2].text in "xy":
            yield (w[2].start, w[2].end, "y" if w[2].text == "x" else "x")


def shift_index(parsed: list[Token]) -> Iterator[Edit]:
    """[i] reads the element before."""
    for a, t, b in zip(parsed, parsed[1:], parsed[2:], strict=False):
        if a.text == "[" and b.text == "]" and t.kind == "word":
            yield (t.start, t.end, f"{t.text} - ({t.text} > 0)")


def drop_condition(parsed: list[Token]) -> Iterator[Edit]:
    """An if's condition is always true: a bounds guard is gone."""
    yield from ((parsed[i + 1].end, parsed[end].start, "true") for i, end in calls(parsed, ("if",)) if parsed[i].text == "if")


def delete_statement(parsed: list[Token]) -> Iterator[Edit]:
    """An assignment, increment or call that stands as a statement is gone."""
    start, heads, closed = None, [], False  # open brackets: whether each belongs to for, if or while
    for i, (before, t) in enumerate(zip(parsed, parsed[1:], strict=False)):
        if before.text in ("(", "["):
            heads.append(i > 0 and parsed[i - 1].text in ("for", "if", "while"))
        closed = before.text in (")", "]") and bool(heads) and heads.pop()
        if not heads and (closed or before.text in (";", "{", "}", "else") or before.kind == "line"):
            start = i + 1
        if t.text == ";" and not heads and start is not None and parsed[start].kind in ("word", "mark"):
            if _is_statement(parsed[start : i + 1]):
                yield (parsed[start].start, t.start, "")
            start = None
        if t.text in ("{", "}", "for", "if", "while", "return", "using", "do"):
            start = None


def _is_statement(body: list[Token]) -> bool:
    """No declaration (two words in a row) and something happens."""
    if len(body) < 2 or any(a.kind == b.kind == "word" for a, b in zip(body, body[1:], strict=False)):
        return False
    if re.match(r"(std|cuda|__|void|int|double|float|unsigned)\w*$", body[0].text):
        return False
    acts = any(re.fullmatch(r"[-+*/%&|^]?=|<<=|>>=|\+\+|--", t.text) for t in body)
    return acts or (body[0].kind == "word" and body[-1].text == ")")


RACES = ("drop_reduction", "drop_private", "drop_guard", "drop_barrier")  # wrong only when threads happen to meet
OPERATORS: dict[str, Callable[[list[Token]], Iterator[Edit]]] = {
    "loop_end": loop_end, "loop_start": loop_start, "arithmetic": arithmetic, "swap_operands": swap_operands,
    "comparison": comparison, "border": border, "constant": constant, "swap_index": swap_index, "shift_index": shift_index,
    "drop_condition": drop_condition, "delete_statement": delete_statement, "drop_copy": drop_copy,
    "drop_reduction": _clause("reduction"), "drop_private": _clause("private|firstprivate|lastprivate"),
    "drop_guard": drop_guard, "drop_barrier": drop_barrier,
}  # fmt: skip
