"""Where device code writes memory, as text: so that other threads can run between a thread's read and its write.

Knows assignments, compound assignments and increments of C++ as tokens.  Knows nothing of launches or compilers.

Threads that run one after another never lose an update: `total[0] += x` would be right without an atomic.  So a store
through [], * or -> first calls the library, which in the second schedule lets other threads read before it writes.
Stores inside larger expressions other than ++ and --, and those that macros hide, are left as they are.
"""

from __future__ import annotations

from parallax_lib.core.cpp_text import Token

COMPOUND = {"+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="}
BEFORE_STATEMENT = {";", "{", "}", "else", "do"}
HEADS = {"if", "for", "while", "switch"}
ENDS = {")", "]", "}", "else", "do", *HEADS}  # no expression of a statement goes on over these, outside its own brackets


def delay_stores(tokens: list[Token], out: list[str]) -> None:
    """Wrap the stores of every __global__ and __device__ function body in `out`, the tokens' texts."""
    done = 0
    for i, token in enumerate(tokens):
        if i >= done and token.kind == "name" and token.text in ("__global__", "__device__"):
            start = _body(tokens, i)
            if start:
                done = tokens[start].partner
                for at in range(start, min(done, len(tokens))):
                    _increment(tokens, out, at)
                    _statement(tokens, out, at)


def _body(tokens: list[Token], at: int) -> int:
    """Index of the brace that opens the function declared at `at`, 0 for a variable and a mere declaration."""
    called = False
    while (at := tokens[at].after) < len(tokens):
        text = tokens[at].text
        if text == "(":
            called, at = True, tokens[at].partner
            if at >= len(tokens):
                return 0
        elif text == "{":
            return at if called else 0
        elif text in (";", "=", ")", "]", "}", "__global__", "__device__"):
            return 0
    return 0


def _statement(tokens: list[Token], out: list[str], at: int) -> None:
    """The statement that begins at `at`, if it is an assignment to memory."""
    if tokens[at].kind == "skip" or not _begins(tokens, at):
        return
    words, i = [], at
    while i < len(tokens) and tokens[i].text not in (";", "{", ",", "=", "?", ":") and tokens[i].text not in COMPOUND | ENDS:
        words += [tokens[i]] if tokens[i].kind != "skip" else []
        i = _over(tokens, i, ("(", "["))
    if i >= len(tokens) or not _memory(words) or not (tokens[i].text == "=" or tokens[i].text in COMPOUND):
        return
    end = _end(tokens, i)
    if end >= len(tokens):
        return
    if tokens[i].text == "=":
        out[at], out[i] = "cudacpu::at(" + out[at], ") " + out[i]
    else:
        out[at], out[i] = "cudacpu::update(" + out[at], f", [&](auto &cudacpu_v) {{ cudacpu_v {tokens[i].text}"
        out[end] = "; });"


def _over(tokens: list[Token], at: int, brackets: tuple[str, ...]) -> int:
    """Index of the token after `at`, or after the bracket that closes it."""
    return (tokens[at].partner if tokens[at].kind == "sign" and tokens[at].text in brackets else at) + 1


def _end(tokens: list[Token], at: int) -> int:
    """Index of the semicolon that ends the statement of `at`, the count of tokens where something else ends it."""
    while at < len(tokens) and tokens[at].text != ";":
        if tokens[at].text in ENDS:
            return len(tokens)
        at = _over(tokens, at, ("(", "[", "{"))
    return at


def _begins(tokens: list[Token], at: int) -> bool:
    before = tokens[at].before
    if before < 0 or tokens[before].text in BEFORE_STATEMENT:
        return True
    if tokens[before].text == ")":
        head = tokens[tokens[before].partner].before
        return head >= 0 and tokens[head].text in HEADS
    return False


def _memory(words: list[Token]) -> bool:
    """Whether these tokens name memory that others may share: an element, a pointer's target; no declaration."""
    texts = [word.text for word in words]
    if not texts or any(a.kind == b.kind == "name" for a, b in zip(words, words[1:], strict=False)):
        return False
    if texts[0] == "*" or (texts[0] == "(" and len(texts) > 1):
        return True
    if words[0].kind != "name" or texts[0] in ("return", "case", "goto", "throw", "using", "typedef"):
        return False
    return ("[" in texts or "->" in texts) and texts[1] in ("[", ".", "->", "::")


def _increment(tokens: list[Token], out: list[str], at: int) -> None:
    """a[i]++, (*p)-- and the like, wherever they stand; ++a[i] where it is a statement of its own."""
    if tokens[at].text not in ("++", "--"):
        return
    step = "1" if tokens[at].text == "++" else "-1"
    last = tokens[at].before
    if last >= 0 and tokens[last].text in ("]", ")"):
        start = _primary(tokens, last)
        if start is not None and (tokens[last].text == "]" or tokens[tokens[start].after].text == "*"):
            out[start], out[at] = "cudacpu::bump(" + out[start], f", {step})"
    elif _begins(tokens, at):
        end = _end(tokens, at)
        words = [token for token in tokens[at + 1 : end] if token.kind != "skip"] if end < len(tokens) else []
        if _memory(words) or (words and words[0].text == "*"):
            out[at], out[end] = "cudacpu::bump(", f", {step});"


def _primary(tokens: list[Token], last: int) -> int | None:
    """Index where the expression name[..][..] or (..) that ends at `last` begins."""
    i = last
    while i >= 0 and tokens[i].text == "]":
        i = tokens[tokens[i].partner].before
    if i >= 0 and tokens[i].text == ")":
        start = tokens[i].partner
        before = tokens[start].before
        return None if before >= 0 and tokens[before].kind == "name" and tokens[before].text not in ("return",) else start
    if i < 0 or tokens[i].kind != "name":
        return None
    while (before := tokens[i].before) >= 0 and tokens[before].text in (".", "->", "::"):
        left = tokens[before].before
        if left < 0 or tokens[left].kind != "name":
            return None
        i = left
    return i
