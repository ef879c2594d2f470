"""Where device code writes memory, as text: so that other threads can run between a thread's read and its write.

Knows assignments, compound assignments and increments of C++ as tokens.  Knows nothing of launches or compilers.

Threads that run one after another never lose an update: `total[0] += x` would be right without an atomic.  So a store
through [], * or -> first calls the library, which in the second schedule lets other threads read before it writes.
Stores inside larger expressions other than ++ and --, and those that macros hide, are left as they are.
"""

from __future__ import annotations

from parallax_lib.cuda_emulation.lexer import closing, opening, solid

COMPOUND = {"+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="}
BEFORE_STATEMENT = {";", "{", "}", "else", "do"}
HEADS = {"if", "for", "while", "switch"}


def delay_stores(tokens: list, out: list[str]) -> None:
    """Wrap the stores of every __global__ and __device__ function body in `out`, the tokens' texts."""
    done = 0
    for i, token in enumerate(tokens):
        if i >= done and token[0] == "name" and token[1] in ("__global__", "__device__"):
            start = _body(tokens, i)
            if start:
                done = closing(tokens, start)
                for at in range(start, min(done, len(tokens))):
                    _increment(tokens, out, at)
                    _statement(tokens, out, at)


def _body(tokens: list, at: int) -> int:
    """Index of the brace that opens the function declared at `at`, 0 for a variable or a mere declaration."""
    called = False
    while (at := solid(tokens, at, 1)) < len(tokens):
        text = tokens[at][1]
        if text == "(":
            called, at = True, closing(tokens, at)
        elif text == "{":
            return at if called else 0
        elif text in (";", "="):
            return 0
    return 0


def _statement(tokens: list, out: list[str], at: int) -> None:
    """The statement that begins at `at`, if it is an assignment to memory."""
    if tokens[at][0] == "skip" or not _begins(tokens, at):
        return
    words, i = [], at
    while i < len(tokens) and tokens[i][1] not in (";", "{", "}", ",", "=", "?", ":") and tokens[i][1] not in COMPOUND:
        words += [tokens[i]] if tokens[i][0] != "skip" else []
        if tokens[i][0] == "sign" and tokens[i][1] in ("(", "["):
            i = closing(tokens, i)
        i += 1
    if i >= len(tokens) or not _memory(words) or not (tokens[i][1] == "=" or tokens[i][1] in COMPOUND):
        return
    end = i
    while end < len(tokens) and tokens[end][1] != ";":
        end = closing(tokens, end) if tokens[end][0] == "sign" and tokens[end][1] in ("(", "[", "{") else end
        end += 1
    if end >= len(tokens):
        return
    if tokens[i][1] == "=":
        out[at], out[i] = "cudacpu::at(" + out[at], ") " + out[i]
    else:
        out[at], out[i] = "cudacpu::update(" + out[at], f", [&](auto &cudacpu_v) {{ cudacpu_v {tokens[i][1]}"
        out[end] = "; });"


def _begins(tokens: list, at: int) -> bool:
    before = solid(tokens, at, -1)
    if before < 0 or tokens[before][1] in BEFORE_STATEMENT:
        return True
    if tokens[before][1] == ")":
        head = solid(tokens, opening(tokens, before), -1)
        return head >= 0 and tokens[head][1] in HEADS
    return False


def _memory(words: list) -> bool:
    """Whether these tokens name memory that others may share: an element, a pointer's target; no declaration."""
    texts = [text for _, text in words]
    if not texts or any(a[0] == b[0] == "name" for a, b in zip(words, words[1:], strict=False)):
        return False
    if texts[0] == "*" or (texts[0] == "(" and len(texts) > 1):
        return True
    if words[0][0] != "name" or texts[0] in ("return", "case", "goto", "throw", "using", "typedef"):
        return False
    return ("[" in texts or "->" in texts) and texts[1] in ("[", ".", "->", "::")


def _increment(tokens: list, out: list[str], at: int) -> None:
    """a[i]++, (*p)-- and the like, wherever they stand; ++a[i] where it is a statement of its own."""
    if tokens[at][1] not in ("++", "--"):
        return
    step = "1" if tokens[at][1] == "++" else "-1"
    last = solid(tokens, at, -1)
    if last >= 0 and tokens[last][1] in ("]", ")"):
        start = _primary(tokens, last)
        if start is not None and (tokens[last][1] == "]" or tokens[solid(tokens, start, 1)][1] == "*"):
            out[start], out[at] = "cudacpu::bump(" + out[start], f", {step})"
    elif _begins(tokens, at):
        end = at
        while end < len(tokens) and tokens[end][1] != ";":
            end += 1
        words = [t for t in tokens[at + 1 : end] if t[0] != "skip"]
        if end < len(tokens) and (_memory(words) or (words and words[0][1] == "*")):
            out[at], out[end] = "cudacpu::bump(", f", {step});"


def _primary(tokens: list, last: int) -> int | None:
    """Index where the expression name[..][..] or (..) that ends at `last` begins."""
    i = last
    while i >= 0 and tokens[i][1] == "]":
        i = solid(tokens, opening(tokens, i), -1)
    if i >= 0 and tokens[i][1] == ")":
        start = opening(tokens, i)
        before = solid(tokens, start, -1)
        return None if before >= 0 and tokens[before][0] == "name" and tokens[before][1] not in ("return",) else start
    if i < 0 or tokens[i][0] != "name":
        return None
    while (before := solid(tokens, i, -1)) >= 0 and tokens[before][1] in (".", "->", "::"):
        left = solid(tokens, before, -1)
        if left < 0 or tokens[left][0] != "name":
            return None
        i = left
    return i
