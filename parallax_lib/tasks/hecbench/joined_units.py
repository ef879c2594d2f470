"""What keeps units apart that are compiled one by one, and has to be kept where they become one text.

Knows C++ and CUDA text: names of one unit alone, system headers, macros.  Knows nothing of files, Makefiles or compilers.

A name with internal linkage may stand in several units with another meaning in each; the later ones are renamed.  A macro such as
`max` reaches the system headers of later units; these headers come first then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from parallax_lib.core.cpp_text import without_comments, without_strings

PRIVATE = r"static|inline|const|constexpr|__device__|__global__|__constant__|__forceinline__|__host__"
NEVER = r"extern|typedef|using|operator"
DEFINED = re.compile(rf"^[ \t]*(?=(?:[\w:<>,*&]+\s+)*?(?:{PRIVATE})\b)(?!.*\b(?:{NEVER})\b)[\w:<>,*&\s]+?[\s*&](\w+)\s*(?=[(=\[])", re.M)
BLOCK, BODY = re.compile(r"\{[^{}]*\}"), "\x01"  # what stands for a function's
SYSTEM = re.compile(r"^[ \t]*#[ \t]*include[ \t]*<[a-z_]+>", re.M)  # of C++; those of C stand such macros
LOWER = re.compile(r"^[ \t]*#[ \t]*define[ \t]+([a-z][a-z0-9]{0,4})\(", re.M)  # max, u, strx
MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+([A-Za-z_]\w*)", re.M)
GUARD = re.compile(r"^[ \t]*#[ \t]*ifndef[ \t]+(\w+)[ \t]*\n(?:[ \t]*\n)*[ \t]*#[ \t]*define[ \t]+\1\b", re.M)
CONDITION = re.compile(r"^[ \t]*#[ \t]*(if|endif)", re.M)


def renames(units: Sequence[str], whole: Sequence[str]) -> list[dict[str, str]]:
    """For each unit's own text: a name of its own that an earlier unit has too -> another one.  whole: each with what it includes."""
    own = [_private(text) for text in units] if len(units) > 1 else [set() for _ in units]
    earlier, found = set(), []
    for number, (names, text) in enumerate(zip(own, whole, strict=True)):
        found.append({name: f"{name}_{number}" for name in sorted(names & earlier)})
        earlier |= _private(text) if len(units) > 1 else names
    return found


def renamed(text: str, names: dict[str, str]) -> str:
    """`text` with other names, members and include lines aside."""
    if not names:
        return text
    words = re.compile(rf"(?<![\w.])(?<!->)({'|'.join(map(re.escape, names))})\b")
    lines = (line if line.lstrip().startswith("#include") else words.sub(lambda m: names[m[1]], line) for line in text.split("\n"))
    return "\n".join(lines)


def joined(units: Sequence[str], own: Sequence[str]) -> str:
    """The units as one text, `own` without what they include.

    A macro in small letters ends with its unit, as does one whose name a later unit gives to a variable.  The system headers of later
    units, which a macro of a header would reach, come first.
    """
    macros = [_ending(text, "\n".join(units[number:])) for number, text in enumerate(own[:-1], 1)]
    ends = ["".join(f"\n#undef {name}" for name in names) for names in macros]
    begun = next((number + 1 for number, text in enumerate(units) if LOWER.search(text)), len(units))
    places = [found for text in units[begun:] for found in SYSTEM.finditer(text) if not _conditional(text, found.start())]
    there = {found[0].strip() for text in units[:begun] for found in SYSTEM.finditer(text)}
    headers = [header for header in dict.fromkeys(found[0].strip() for found in places) if header not in there]
    return "\n".join([*headers, *map("".join, zip(units, [*ends, ""], strict=True))])


def _ending(unit: str, later: str) -> list[str]:
    """Macros of a unit that would change what is after it."""
    small = [found[1] for found in LOWER.finditer(unit)]
    given = [found[1] for found in MACRO.finditer(unit) if re.search(rf"\w\s+{found[1]}\s*=[^=]", later)]
    return [*dict.fromkeys(small + given)]


def _conditional(text: str, place: int) -> bool:
    """Whether a place is inside #if, guards of headers aside."""
    guards = {found.start() for found in GUARD.finditer(text)}
    open_: list[bool] = []
    for found in CONDITION.finditer(text, 0, place):
        if found[1] == "if":
            open_.append(found.start() not in guards)
        elif open_:
            open_.pop()
    return any(open_)


def _private(text: str) -> set[str]:
    """Names outside all braces that are defined for this unit alone."""
    plain = re.sub(r"^[ \t]*#[^\n]*", "", without_strings(without_comments(text)).replace("\\\n", ""), flags=re.M)
    while (shorter := BLOCK.sub(f"{BODY};\n", plain)) != plain:
        plain = shorter
    return {found[1] for found in DEFINED.finditer(plain) if not _declared(plain, found.end())}


def _declared(plain: str, place: int) -> bool:
    """Whether parentheses begin here whose function has no body: a prototype defines nothing."""
    if plain[place] != "(":
        return False
    end = next((found.start() for found in re.compile(rf"[;{BODY}]").finditer(plain, place)), len(plain) - 1)
    return plain[end] != BODY
