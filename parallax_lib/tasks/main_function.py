"""Does this text define a `main` function, or any function at all?  Read as tokens, not by letters.

Knows what a function definition looks like in C, C++ and CUDA, and the words by which other languages begin theirs.  Knows no preprocessor:
a `main` that only a macro's body holds is none, and a definition in a branch that is never compiled is one.
"""

from __future__ import annotations

import re

from parallax_lib.core.cpp_text import COMMENT, LINE_END, pieces

TYPES = frozenset("int void auto signed unsigned long short char bool float double const struct int32_t".split())
SPECIFIERS = TYPES | frozenset("static inline extern constexpr volatile register std __cdecl WINAPI __host__ :: \"C\"".split())
FOREIGN = frozenset("fn func function fun def sub proc program public private let".split())
NOT_TYPES = frozenset("return else do case goto new delete throw using namespace".split())
AFTER = frozenset("{ try noexcept throw -> [ __attribute__".split())
BEFORE = frozenset("; } { ] ) #".split())  # #: the end of a preprocessor line
MACRO = re.compile(r"[A-Z_][A-Z0-9_]+")
REACH = 80  # tokens of a head: arguments, and what stands between them and the body


def has_main(code: str) -> bool:
    """Whether `code` defines a function `main` outside classes and namespaces; one that is cut off before its body counts."""
    tokens = _solid(code)
    scopes, words = [], []  # whether each open brace is of a class or namespace; tokens since the last statement
    for i, (text, _) in enumerate(tokens):
        if text == "main" and not (scopes and scopes[-1]) and _declared(tokens, i) and _defined(tokens, i):
            return True
        if text == "{":
            scopes.append("namespace" in words or bool({"class", "struct", "union", "enum"} & set(words)) and "(" not in words)
        if text == "}" and scopes:
            scopes.pop()
        words = [] if text in ("{", "}", ";", "#") else words
        words.append(text)
    return False


def has_body(code: str) -> bool:
    """Whether `code` holds the body of some function: `)`, perhaps qualifiers, `{`."""
    tokens = [text for text, _ in _solid(code)]
    ends = (i for i, text in enumerate(tokens[:-1], 1) if text == ")" and tokens[i] in AFTER | {"const", "override"})
    return any(tokens[i] == "{" or "{" in tokens[i : i + REACH] for i in ends)


def _solid(code: str) -> list[tuple[str, bool]]:
    """(text, whether it is the first on its line) of all tokens but comments; each preprocessor line is one "#"."""
    found, fresh, directive = [], True, False
    for kind, text in pieces(code):
        if kind == "skip":
            ended = LINE_END.search(COMMENT.sub(" ", text)) is not None or (text.startswith("//") and text.endswith("\n"))
            fresh, directive = fresh or ended, directive and not ended
        elif directive:
            continue
        elif fresh and text in ("#", "%:", "%"):
            found.append(("#", True))
            directive = True
        else:
            found.append((text, fresh))
            fresh = False
    return found


def _declared(tokens: list[tuple[str, bool]], at: int) -> bool:
    """Whether what stands before the `main` at `at` is a return type that begins a declaration."""
    if at + 1 < len(tokens) and tokens[at - 1][0] == "(" and tokens[at + 1][0] == ")":
        at -= 1  # int (main)(void)
    start, typed = at, False
    while start > 0 and at - start < REACH and tokens[start - 1][0] in SPECIFIERS:
        start -= 1
        typed = typed or tokens[start][0] in TYPES
    if start > 0 and typed and MACRO.fullmatch(tokens[start - 1][0]):
        start -= 1
    if start > 0 and not typed and re.fullmatch(r"[A-Za-z_]\w*", tokens[start - 1][0]):
        start -= 1  # a type of the program's own
        if tokens[start][0] in FOREIGN | NOT_TYPES:
            return False
    return start == 0 or tokens[start][1] or (tokens[start - 1][0] in BEFORE and tokens[start - 1][0] != ")") or _attribute(tokens, start)


def _attribute(tokens: list[tuple[str, bool]], at: int) -> bool:
    return tokens[at - 1][0] == ")" and tokens[at - 2][0] in (")", "(")


def _defined(tokens: list[tuple[str, bool]], at: int) -> bool:
    """Whether arguments and a body follow the `main` at `at`."""
    at += 1 + (at + 1 < len(tokens) and tokens[at + 1][0] == ")")
    if at >= len(tokens) or tokens[at][0] != "(":
        return False
    depth = 0
    for i in range(at, min(len(tokens), at + REACH)):
        text = tokens[i][0]
        depth += (text == "(") - (text == ")")
        if text in ("String", "string", "Array"):  # of Java, C# and Kotlin
            return False
        if depth == 0:
            rest = [text for text, _ in tokens[i + 1 : i + 1 + REACH]]
            return not rest or (rest[0] == "{" or (rest[0] in AFTER | TYPES and "{" in rest))
    return len(tokens) < at + REACH
