"""C++ as tokens: comments, strings and raw strings kept whole, matching brackets found.

Knows the shape of tokens.  Knows nothing of what they mean.
"""

from __future__ import annotations

import re

TOKEN = re.compile(
    r"""(?P<skip>(?://(?:[^\\\n]|\\.)*|/\*.*?\*/|\s+|\\\n)+)
    |(?P<raw>(?:u8|[uUL])?R"(?P<tag>[^\s()\\]{0,16})\(.*?\)(?P=tag)")
    |(?P<text>(?:u8|[uUL])?"(?:\\.|[^"\\\n])*"|(?:u8|[uUL])?'(?:\\.|[^'\\\n])*')
    |(?P<number>\.?\d(?:[eEpP][+-]|'(?=\w)|[\w.])*)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<open><<<)|(?P<close>>>>)|(?P<sign>::|->|<<=|>>=|<=|>=|==|!=|&&|\|\||\+\+|--|[-+*/%&|^]=|.)""",
    re.X | re.S,
)
PAIRS = {"(": ")", "[": "]", "{": "}"}


def tokenise(code: str) -> list[tuple[str, str]]:
    """(kind, text) of every token; kinds: skip, raw, text, number, name, open (<<<), close (>>>), sign."""
    return [(m.lastgroup if m.lastgroup != "tag" else "raw", m[0]) for m in TOKEN.finditer(code)]


def solid(tokens: list, at: int, step: int) -> int:
    """Index of the next token after (before) `at` that is no comment or space; -1 or len(tokens) at the ends."""
    at += step
    while 0 <= at < len(tokens) and tokens[at][0] == "skip":
        at += step
    return at


def closing(tokens: list, at: int) -> int:
    """Index of the bracket that closes the one at `at`, len(tokens) when there is none."""
    depth = 0
    for i in range(at, len(tokens)):
        kind, text = tokens[i]
        if kind == "sign":
            depth += (text in PAIRS) - (text in PAIRS.values())
            if depth == 0:
                return i
    return len(tokens)


def opening(tokens: list, at: int) -> int:
    depth = 0
    for i in range(at, -1, -1):
        if tokens[i][0] == "sign":
            depth += (tokens[i][1] in PAIRS.values()) - (tokens[i][1] in PAIRS)
            if depth == 0:
                return i
    return 0
