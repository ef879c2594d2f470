"""Small wrong versions of what a reference printed, and how many of them the output comparison rejects.

Knows printed text and the comparison.  Knows nothing of programs' sources or of how verdicts fall.

A mutant changes one digit, sign, exponent, field or line of a right output.  Nothing is compiled for it: the changed text is
compared with the reference's own.  Numbers are found by a plain pattern of their own, not by the tokens of the comparison.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from parallax_lib.tasks.task import Kernel
from parallax_lib.verdict import output_comparison
from parallax_lib.verdict.build import build
from parallax_lib.verdict.printed_text import read_lines
from parallax_lib.verdict.reference import THREADS, Bench, inputs, make_reference, reference_apis, run_once

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE][-+]\d+)?(?![\w.])")
DIGITS = 3  # leading digits that a mutant may change: the others can lie within a tolerance
Edit = tuple[int, int, str]


@dataclass(frozen=True)
class Printing:
    """What became of the mutants of one kernel's outputs, and which printed lines are not compared."""

    killed: int = 0
    survived: list[str] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)
    why_not: str = ""  # why nothing was compared


def digit(text: str) -> Iterator[Edit]:
    """One of a number's leading digits is another one."""
    for m in NUMBER.finditer(text):
        mantissa = re.split("[eE]", m.group())[0]
        leading = [i for i, c in enumerate(mantissa) if c.isdigit()]
        while len(leading) > 1 and mantissa[leading[0]] == "0":
            leading.pop(0)
        for i in leading[:DIGITS]:
            yield (m.start() + i, m.start() + i + 1, str((int(mantissa[i]) + 1) % 10))


def sign(text: str) -> Iterator[Edit]:
    """A number other than 0 gains or loses its minus sign."""
    for m in NUMBER.finditer(text):
        if float(m.group()):
            yield (m.start(), m.start() + (m.group()[0] in "+-"), "" if m.group()[0] == "-" else "-")


def exponent(text: str) -> Iterator[Edit]:
    """The exponent's sign turns round, or its last digit is another one."""
    for m in NUMBER.finditer(text):
        power = re.search(r"(?<=[eE])[-+]\d+", m.group())
        if power and float(m.group()):
            at, end = m.start() + power.start(), m.start() + power.end()
            yield (end - 1, end, str((int(text[end - 1]) + 1) % 10))
            if int(power.group()):
                yield (at, at + 1, "-" if text[at] == "+" else "+")


def fields(text: str) -> Iterator[Edit]:
    """A field is left out, or changes places with the next one."""
    for line in re.finditer(r"[^\n]+", text):
        words = list(re.finditer(r"\S+", line.group()))
        for a in words:
            yield (line.start() + a.start(), line.start() + a.end(), "")
        for a, b in zip(words, words[1:], strict=False):
            if a.group() != b.group():
                yield (line.start() + a.start(), line.start() + b.end(), f"{b.group()} {a.group()}")


def lines(text: str) -> Iterator[Edit]:
    """A line is left out, printed twice, or changes places with the next one."""
    found = list(re.finditer(r"[^\n]*\n|[^\n]+\Z", text))
    for a in found:
        if a.group().strip():
            yield (a.start(), a.end(), "")
            yield (a.end(), a.end(), a.group() if a.group().endswith("\n") else "\n" + a.group())
    for a, b in zip(found, found[1:], strict=False):
        if a.group() != b.group():
            yield (a.start(), b.end(), b.group() + a.group())


OPERATORS = {"digit": digit, "sign": sign, "exponent": exponent, "field": fields, "line": lines}


def mutants(text: str, per_operator: int, seed: int = 0) -> list[tuple[str, str, str]]:
    """(operator, what became what, changed text) of at most `per_operator` mutants of each kind, the same for the same seed."""
    found = []
    for name, operator in OPERATORS.items():
        edits = list(dict.fromkeys(operator(text)))
        random.Random(f"{seed}:{name}:{text}").shuffle(edits)
        for start, end, new in edits[:per_operator]:
            near = text[max(0, start - 20) : end].split("\n")[-1]
            found.append((name, f"{near[-60:]!r} -> {new[:60]!r}", text[:start] + new + text[end:]))
    return found


def audit(kernel: Kernel, bench: Bench, per_operator: int) -> Printing:
    """Mutants of the lines that are compared, of what the kernel's reference prints on every hidden input; the others are named."""
    source = next(api for api in ("serial", "omp", "cuda") if api in kernel.sources)
    reference, api = make_reference(kernel, source, bench), reference_apis(kernel, source)[0]
    if reference.failure or reference.unable:
        return Printing(why_not=reference.failure or reference.unable)
    program = build(kernel.sources[api], bench.toolchains[api], kernel.flags.get(api, ()), bench.level).program
    read = output_comparison.READ[kernel.oracle]
    killed, survived, aside = 0, [], []
    for args, case in zip(inputs(kernel), reference.cases, strict=True):
        text = run_once(program, api, args, THREADS[api][0], bench, kernel.inputs).text
        aside += [" ".join(map(str, line.tokens))[:80] for line in read_lines(text) if line.aside]
        compared = "\n".join(x for x in text.split("\n") if not any(line.aside for line in read_lines(x)))
        for operator, says, changed in mutants(compared, per_operator):
            wrong = output_comparison.differs(case, [read(changed)])[0]
            killed += bool(wrong)
            survived += [] if wrong else [f"{' '.join(args)}: {operator}: {says}"]
    return Printing(killed, survived, sorted(set(aside)))


def line(name: str, printing: Printing) -> str:
    """One row of the table."""
    if printing.why_not:
        return f"{name:24} not_checkable: {printing.why_not}"
    total = printing.killed + len(printing.survived)
    aside = f"; not compared: {'; '.join(printing.not_compared)}" if printing.not_compared else ""
    survivors = "".join(f"\n  {s}" for s in printing.survived)
    return f"{name:24} {printing.killed} of {total} mutants of what it prints rejected{aside}{survivors}"
