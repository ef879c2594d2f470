"""Wrong and right versions of a program that change where its data go or what they are, and leave its own check alone.

Knows tokens of C++, OpenMP maps and CUDA copies.  Knows nothing of compilers or verdicts.

A wrong version changes what parallel code stores: one element, one in a thousand, all by a little.  A right version copies otherwise: more
often, in two halves, into memory that is mapped both ways.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from parallax_lib.verdict.assurance.mutation import Mutant
from parallax_lib.verdict.assurance.program_tokens import Token, calls, partners_of, tokens

ONE = 37  # the element that alone is wrong
STEP = 1009
WRONG = {
    "one value": f"({{value}}) + (({{index}}) == {ONE})",
    "one in a thousand": f"(({{index}}) % {STEP} == 1 ? 3 : 1) * ({{value}})",
    "all by a little": "({value}) * 1.002f",
}
DEVICE_TO_HOST = "cudaMemcpyDeviceToHost"
BACK = re.compile(r"\bmap\s*\(\s*((?:always\s*,\s*)?)from\s*:")


def wrong(code: str, lines: frozenset[int], per_operator: int = 1) -> list[Mutant]:
    """At most `per_operator` versions by each of WRONG, each of one store in `lines`, by chance but the same ones each time."""
    parsed = tokens(code)
    stores = [store for store in _stores(code, parsed) if code.count("\n", 0, store[0]) + 1 in lines]
    found = []
    for name, change in WRONG.items():
        chosen = random.Random(f"{name}:{code}").sample(stores, min(per_operator, len(stores)))
        for start, end, index in chosen:
            changed = change.format(value=code[start:end].strip(), index=index)
            found.append(Mutant(name, code.count("\n", 0, start) + 1, changed[:100], f"{code[:start]} {changed}{code[end:]}"))
    return found


def _stores(code: str, parsed: list[Token]) -> Iterator[tuple[int, int, str]]:
    """(start and end of the value, the index) of every `x[index] = value;` whose index is no constant."""
    partners = partners_of(parsed)
    for i, token in enumerate(parsed[:-2]):
        end = partners[i] if token.text == "[" else len(parsed)
        if end + 1 >= len(parsed) or parsed[end + 1].text != "=" or parsed[i - 1].kind != "word":
            continue
        last = end + 2
        while last < len(parsed) and parsed[last].text not in (";", ",", "}"):
            last = partners[last] + 1 if parsed[last].text in ("(", "[", "{") else last + 1
        declared = i >= 2 and parsed[i - 2].kind == "word"  # float x[3] = ...
        varies = any(t.kind == "word" for t in parsed[i + 1 : end])
        if varies and last < len(parsed) and parsed[last].text == ";" and not declared and parsed[end + 2].text != "{":
            yield parsed[end + 1].end, parsed[last].start, " ".join(code[token.end : parsed[end].start].split())


def right(code: str, api: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What is done otherwise -> the program and further compiler flags; what does not apply to a program is absent."""
    found = {"-O3 -ffast-math": (code, ("-O3", "-ffast-math"))} if api != "cuda" else {}
    edits = {"copied twice": _twice, "copied in two halves": _halves} if api == "cuda" else {"mapped both ways": _both_ways}
    made = {name: edit(code) for name, edit in edits.items()}
    return found | {name: (text, ()) for name, text in made.items() if text != code}


def _both_ways(code: str) -> str:
    return BACK.sub(r"map(\1tofrom:", code)


def _twice(code: str) -> str:
    return _copies(code, lambda call, parts: f"{call}; {call}")


def _halves(code: str) -> str:
    def halves(call: str, parts: list[str]) -> str:
        to, source, size, *rest = parts
        low, high = f"(({size}) / 2 / 8 * 8)", f"(({size}) - ({size}) / 2 / 8 * 8)"
        after = (f"(char *)({to}) + {low}", f"(char *)({source}) + {low}", high)
        return "; ".join(f"cudaMemcpy({', '.join([*half, *rest])})" for half in (after, (to, source, low)))

    return _copies(code, halves)


def _copies(code: str, change) -> str:
    """The program with every copy to the host that stands as a statement changed."""
    parsed, edits = tokens(code), []
    for i, end in calls(parsed, ("cudaMemcpy",)):
        whole = code[parsed[i].start : parsed[end].end]
        alone = i > 0 and parsed[i - 1].text in (";", "{", "}") and end + 1 < len(parsed) and parsed[end + 1].text == ";"
        if parsed[i].text == "cudaMemcpy" and DEVICE_TO_HOST in whole and alone:
            edits.append((parsed[i].start, parsed[end].end, change(whole, _arguments(code, parsed, i + 1, end))))
    for start, stop, text in reversed(edits):
        code = f"{code[:start]}{text}{code[stop:]}"
    return code


def _arguments(code: str, parsed: list[Token], opening: int, closing: int) -> list[str]:
    """The arguments of a call, as text."""
    partners, starts, at = partners_of(parsed), [opening], opening + 1
    while at < closing:
        if parsed[at].text == ",":
            starts.append(at)
        at = partners[at] + 1 if parsed[at].text in ("(", "[", "{") else at + 1
    return [code[parsed[a].end : parsed[b].start].strip() for a, b in zip(starts, [*starts[1:], closing], strict=True)]
