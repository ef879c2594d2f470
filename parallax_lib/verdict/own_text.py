"""A program's own lines in preprocessed text, told from those of the files that it includes.

Knows line markers of g++ and clang.  Knows nothing of what stands in the lines.

Only markers that enter and leave a file count (flags 1 and 2): `#line` renames what follows and hides nothing.
"""

from __future__ import annotations

import re

MARKER = re.compile(r'^# (\d+) "([^"\n]*)"((?: \d)*)$')
ANY = re.compile(MARKER.pattern, re.M)
PRETENDED = re.compile(r'^[ \t]*(?:#|%:)[ \t]*\d+[ \t]*"', re.M)  # a marker in a program's own text


def own_lines(source: str) -> tuple[list[tuple[int, str]], set[str]]:
    """((line number, text) of the program's own lines, names of all files in the text)."""
    if not ANY.search(source):
        return list(enumerate(source.splitlines(), 1)), set()
    kept, files, depth, number = [], set(), 0, 0
    for line in source.split("\n"):
        marker = MARKER.match(line)
        if marker is None:
            if not depth:
                kept.append((number, line))
                number += 1
            continue
        flags = marker[3].split()
        files.add(marker[2])
        depth = max(0, depth + ("1" in flags) - ("2" in flags))
        number = int(marker[1])
    return kept, files


def again(source: str, name: str) -> str:
    """Text to compile once more: the own lines of `-E -dI` output (its #include lines stand in it), with their numbers in file `name`."""
    lines, after = [], None
    for number, line in own_lines(source)[0]:
        if not line.strip():
            continue
        if number != after:
            lines.append(f'#line {number} "{name}"')
        lines.append(line)
        after = number + 1
    return "\n".join([*lines, ""])
