"""A program as the tokens that mutation works on: with their places, a preprocessor line as one.

Knows strings, comments, preprocessor lines and brackets.  Knows nothing of what a token means.  Linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

TOKEN = re.compile(
    r"(?P<comment>//[^\n]*|/\*.*?(?:\*/|\Z))|(?P<text>R\"\(.*?(?:\)\"|\Z)|\"(?:[^\"\\\n]|\\.)*+\"?|'(?:[^'\\\n]|\\.)*+'?)"
    r"|(?P<line>^[ \t]*\#(?:[^\\\n]|\\.)*+)|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<number>0[xX][\da-fA-F]+[uUlL]*|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?[uUlLfF]*)"
    r"|(?P<mark><<<|>>>|<<=|>>=|->|\+\+|--|&&|\|\||[-+*/%&|^<>=!]=|<<|>>|::|[-+*/%<>=!&|^~?:;,.(){}\[\]])",
    re.S | re.M,
)


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    start: int
    end: int


def tokens(code: str) -> list[Token]:
    """Everything but white space and comments, in order; a preprocessor line is one token."""
    found = TOKEN.finditer(code)
    return [Token(m.lastgroup, m.group(), m.start(), m.end()) for m in found if m.lastgroup != "comment"]


def partners_of(parsed: list[Token]) -> list[int]:
    """For every opening bracket the index of its partner, whatever its kind; the count of tokens without one and for other tokens."""
    found, opened = [len(parsed)] * len(parsed), []
    for i, token in enumerate(parsed):
        if token.kind == "mark" and token.text in "([{":
            opened.append(i)
        elif token.kind == "mark" and token.text in ")]}" and opened:
            found[opened.pop()] = i
    return found


def calls(parsed: list[Token], names: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """(index of the name, index of the closing bracket) of what looks like a call of one of `names`."""
    partners = partners_of(parsed)
    for i, (name, mark) in enumerate(zip(parsed, parsed[1:], strict=False)):
        if mark.text == "(" and name.text.startswith(names) and partners[i + 1] < len(parsed):
            yield i, partners[i + 1]
