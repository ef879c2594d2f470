"""C and C++ source as tokens: comments, strings and raw strings whole, brackets paired, in time linear in the text.

Knows the shape of tokens and of preprocessor lines.  Knows nothing of what names mean, and does not preprocess.

Text that a model or a program wrote may hold anything.  So what is never closed (a comment, a raw string) ends with the
text, an unclosed string ends with its line, and no expression looks at a character again for each place it starts from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

TOKEN = re.compile(
    r"""(?P<skip>(?://(?:[^\\\n]|\\(?:[ \t]*\r?\n|.)?)*+|/\*.*?(?:\*/|\Z)|\s+|\\[ \t]*\r?\n)++)
    |(?P<raw>(?:u8|[uUL])?R"(?P<tag>[^\s()\\"]{0,16})\(.*?(?:\)(?P=tag)"|\Z))
    |(?P<text>(?:u8|[uUL])?(?:"(?:[^"\\\n]|\\(?:[ \t]*\r?\n|.)?)*+"?|'(?:[^'\\\n]|\\(?:[ \t]*\r?\n|.)?)*+'?))
    |(?P<number>\.?\d(?:[eEpP][+-]|'(?=\w)|[\w.])*+)
    |(?P<name>[A-Za-z_]\w*+)
    |(?P<open><<<)|(?P<close>>>>)|(?P<sign>::|->|<<=|>>=|<=|>=|==|!=|&&|\|\||\+\+|--|[-+*/%&|^]=|.)""",
    re.X | re.S,
)
COMMENT = re.compile(r"//(?:[^\\\n]|\\(?:[ \t]*\r?\n|.)?)*+|/\*.*?(?:\*/|\Z)", re.S)  # only inside a skip token
LINE_END = re.compile(r"(?<!\\)(?<!\\\r)\n")
QUOTED = re.compile(r'(?:u8|[uUL])?"')
PAIRS = {"(": ")", "[": "]", "{": "}"}
ENDS = frozenset(PAIRS.values())
BOM = "\ufeff"


class Token(NamedTuple):
    """kind: skip, raw, text, number, name, open (<<<), close (>>>) or sign.

    before, after: index of the nearest token that is no comment or space, -1 or the count of tokens at the ends.
    partner: index of the bracket that belongs to this one; without one the count of tokens for an opening, 0 for a closing bracket.
    """

    kind: str
    text: str
    before: int
    after: int
    partner: int


def pieces(code: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of every token, lazily; the texts together are `code`."""
    return ((match.lastgroup if match.lastgroup != "tag" else "raw", match[0]) for match in TOKEN.finditer(code))


def tokenise(code: str) -> list[Token]:
    """Every token with its neighbours and its bracket's partner; the brackets' kinds are not compared."""
    found = list(pieces(code))
    before, after = _neighbours(found), [len(found) - 1 - i for i in reversed(_neighbours(found[::-1]))]
    partner, opened = [0] * len(found), []
    for i, (kind, text) in enumerate(found):
        if kind == "sign" and text in PAIRS:
            opened.append(i)
            partner[i] = len(found)
        elif kind == "sign" and text in ENDS and opened:
            partner[i] = opened.pop()
            partner[partner[i]] = i
    return [Token(*token, *links) for token, *links in zip(found, before, after, partner, strict=True)]


def _neighbours(found: list[tuple[str, str]]) -> list[int]:
    """For each token the index of the last one before it that is no skip, -1 for none."""
    last, indices = -1, []
    for i, (kind, _) in enumerate(found):
        indices.append(last)
        last = last if kind == "skip" else i
    return indices


def without_comments(code: str) -> str:
    """`code` with a space for each comment; every other character stays."""
    return "".join(COMMENT.sub(" ", text) if kind == "skip" else text for kind, text in pieces(code))


def without_strings(code: str) -> str:
    """`code` with a space for each comment and an empty string for each string or character."""
    blank = {"text": '""', "raw": '""'}
    return "".join(COMMENT.sub(" ", text) if kind == "skip" else blank.get(kind, text) for kind, text in pieces(code))


def strings(code: str) -> list[str]:
    """What stands between the quotes of every string, escapes as written; adjacent strings are one.  No character constants."""
    found: list[list[str]] = []
    adjacent = False  # nothing but comments and space since the last string
    for kind, text in pieces(code):
        if kind == "skip":
            continue
        quoted = kind == "raw" or (kind == "text" and QUOTED.match(text) is not None)
        if quoted and not adjacent:
            found.append([])
        if quoted:
            found[-1].append(_content(kind, text))
        adjacent = quoted
    return ["".join(parts) for parts in found]


def _content(kind: str, text: str) -> str:
    content = text.partition('"')[2]
    if kind == "text":
        return content.removesuffix('"').replace("\\\r\n", "").replace("\\\n", "")
    tag, _, body = content.partition("(")
    return body.removesuffix(f'){tag}"')


def logical_lines(text: str) -> Iterator[str]:
    """The lines of `text` without their ends; a line that ends with a backslash goes on in the next one."""
    return iter(LINE_END.split(text))
