"""Model answer -> program text: which fenced block, or which part of an answer without fences, is the program.

Knows how models write answers (fences, tags, drafts in <think>, prose) and what a `main` function looks like.
Knows no model, no prompt and no compiler: a program that is found here need not compile.

The answer is read line by line.  In a block of C or C++ each line is read as code, so that a fence in a string, a raw string or a
comment does not end the block.  The work is linear in the length of the answer.
"""

from __future__ import annotations

import html
import re
import textwrap
from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

from parallax_lib.core.cpp_text import BOM
from parallax_lib.tasks.main_function import has_body, has_main

OTHER_LANGUAGES = frozenset(
    "bash sh zsh fish shell console shell-session sh-session terminal cmd powershell bat make makefile mk cmake ninja dockerfile json "
    "yaml yml toml ini xml html css python py python3 ipython fortran f90 rust rs go java javascript js typescript ts kotlin swift csharp "
    "cs c# julia matlab perl ruby lua sql asm nasm ptx llvm diff patch output log csv tsv latex tex scala haskell".split()
)
TRANSPARENT = ("markdown", "md")  # such a block holds an answer, not a program
PREFIX = r"((?:[ \t]|>|[-*+](?=[ \t])|\d{1,9}[.)](?=[ \t]))*+)"  # of lists and quotations
FENCE = re.compile(PREFIX + r"(`{3,}|~{3,})(.*)")
LATE_FENCE = re.compile(r"(?<!`)(`{3,}+)([ \t]*+[\w+#.-]*+[ \t]*+)$")  # after text on its line
LANGUAGE = re.compile(r"[ \t]*\{?\.?([\w+#-]*)[^ \t]*[ \t]*")
CODE_ON_FENCE = re.compile(
    r"#[ \t]*(?:include|define|pragma|if|ifdef|ifndef)\b|//|/\*|using\s|template\s*<|extern\s|static\s|(?:int|void|auto)\s+\w"
)
STEP = re.compile(  # one line of code
    r"""(?P<line>//)|(?P<comment>/\*)|(?P<raw>(?:u8|[uUL])?R"(?P<tag>[^\s()\\"]{0,16})\()|"(?:[^"\\]|\\.)*+(?P<string>"|\\?)
    |'(?:[^'\\]|\\.)*+'?|(?P<fence>`{3,})|\d(?:[\w.]|'(?=\w))*+|\w++""",
    re.X,
)
STRING_END = re.compile(r'(?:[^"\\]|\\.)*+"')
RAW_END = re.compile(r'(?=\)([^\s()\\"]{0,16})")')
THOUGHT = r"(?:think|thinking|thoughts?|reasoning|analysis|scratchpad|reflection|draft)"
THINK = re.compile(rf"[ \t]*[<\[◁]{THOUGHT}[>\]▷]", re.I)
THINK_END = re.compile(rf"[<\[◁]/{THOUGHT}[>\]▷]", re.I)
TAG_NAME = r"(?:pre|code|program|solution|answer|source|response|result|translation|cpp|cuda)"
TAG = re.compile(
    rf"^[ \t]*(?:</?{TAG_NAME}\b[^<>\n]*>)+|(?:</{TAG_NAME}>)+[ \t]*$|^[ \t]*\[/?code[^\]\n]*\]|\[/code\][ \t]*$"
    r"|^[ \t]*\\(?:begin|end)\{(?:lstlisting|verbatim|minted|code)\}.*$",
    re.M | re.I,
)
DEEPEST = 8  # quotations within each other
SPECIAL = re.compile(r"<\|[^|<>\n]{1,40}\|>|</?s>")
DIRECTIVE = re.compile(r"#[ \t]*(?:include|define|undef|pragma|if|ifdef|ifndef|elif|else|endif|error|line)\b")
CODE_SIGN = re.compile(r'[;{}=<>#"&*|\[\]]')
CODE_WORD = re.compile(r"(?:int|void|auto|double|float|char|long|unsigned|static|const|struct|class|template|inline|extern|return)\b")
WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")


CODE, COMMENT, STRING, LINE, RAW = "code", "comment", "string", "line comment", "raw string "  # what a line begins in


class Program(NamedTuple):
    """One candidate: the text of a block or of a part without fences."""

    text: str
    fenced: bool


class _Fence(NamedTuple):
    """What begins a block: the text before it on its line, its indent, its marks, the rest of the line."""

    before: str
    prefix: str
    marks: str
    rest: str


@dataclass
class _Answer:
    """Lines; for each the next one that begins a block or ends a thought, and the one at or after it that ends a comment; lines that end
    raw strings, by tag.  A line that is read in part is replaced by its rest.
    """

    lines: list[str]
    breaks: list[int]
    comments: list[int]
    raws: dict[str, list[int]]


def extract(answer: str, needs_main: bool = True) -> str | None:
    """The program in an answer, None where there is none: the longest fenced block that holds a `main` function, else text without fences.

    What a model wrote while it was thinking is no candidate.  `needs_main` False: a function is enough.  Of two equally long ones the
    last is taken.
    """
    text = answer.replace("\r\n", "\n").replace(BOM, "")
    fits = has_main if needs_main else has_body
    found = [Program(program.text.strip(), program.fenced) for program in programs(text)]
    for fenced in (True, False):
        able = [p.text for p in found if p.fenced == fenced and p.text and fits(p.text)]
        if able:
            return max(reversed(able), key=len) + "\n"
    return None


def programs(text: str) -> list[Program]:
    """All candidates of an answer in their order; `text` has LF line ends."""
    answer, at = _read(text), 0
    found: list[Program] = []
    loose: list[str] = []  # lines outside blocks since the last one
    while at < len(answer.lines):
        line = answer.lines[at]
        if THINK.match(line):
            at = _after_thought(answer, at)
        elif THINK_END.search(line):  # the opening tag stood in the prompt
            found, loose = [], []
            at = _after_thought(answer, at)
        elif fence := _fence(line):
            loose.append(fence.before)
            closes = not found and not fence.rest.strip() and has_main("\n".join(loose))  # the opening fence stood in the prompt
            found += _loose(loose)
            loose = []
            block, at, thought = ([], at + 1, False) if closes else _block(answer, at, fence)
            found = [] if thought else found
            found += block
        else:
            loose.append(line)
            at += 1
    return found + _loose(loose)


def _read(text: str) -> _Answer:
    lines = text.split("\n")
    breaks, comments, next_break, next_comment = [0] * len(lines), [0] * len(lines), len(lines), len(lines)
    for i in range(len(lines) - 1, -1, -1):
        breaks[i] = next_break
        next_break = i if _informed(FENCE.fullmatch(lines[i])) or THINK_END.search(lines[i]) else next_break
        next_comment = i if "*/" in lines[i] else next_comment
        comments[i] = next_comment
    raws: dict[str, list[int]] = {}
    for i, line in enumerate(lines):
        for tag in dict.fromkeys(RAW_END.findall(line)):
            raws.setdefault(tag, []).append(i)
    return _Answer(lines, breaks, comments, raws)


def _informed(found: re.Match | None) -> bool:
    """Whether a line that looks like a fence names a language, which only an opening fence does."""
    return found is not None and bool(found[3].strip()) and "`" not in found[3]


def _after_thought(answer: _Answer, at: int) -> int:
    """Index of the line where the thought of line `at` ends; what follows its last end tag replaces that line."""
    for i in range(at, len(answer.lines)):
        if ends := list(THINK_END.finditer(answer.lines[i])):
            answer.lines[i] = answer.lines[i][ends[-1].end() :]
            return i
    return len(answer.lines)


def _fence(line: str) -> _Fence | None:
    """What begins a block in this line: neither a quotation within the line nor a block of Markdown, which is part of the answer."""
    if match := FENCE.fullmatch(line):
        fence = _Fence("", *match.groups())
    elif late := LATE_FENCE.search(line):
        fence = _Fence(line[: late.start()], "", late[1], late[2])
    else:
        return None
    quoted = "`" in fence.rest and not _code_after(fence)
    return None if quoted or LANGUAGE.match(fence.rest)[1].lower() in TRANSPARENT else fence


def _code_after(fence: _Fence) -> str:
    """The code that begins on the fence's own line, "" for none."""
    for code in (fence.rest.lstrip(), fence.rest[LANGUAGE.match(fence.rest).end() :]):
        if CODE_ON_FENCE.match(code):
            return code
    return ""


def _block(answer: _Answer, at: int, fence: _Fence) -> tuple[list[Program], int, bool]:
    """(the block that begins in line `at`, index of the line to go on with, whether it was part of a thought)."""
    if code := _code_after(fence):
        answer.lines[at] = f"{fence.prefix}{code}"
        return _code_block(answer, at, fence)
    if LANGUAGE.match(fence.rest)[1].lower() in OTHER_LANGUAGES:
        return [], _after_other(answer, at + 1, fence), False
    return _code_block(answer, at + 1, fence)


def _after_other(answer: _Answer, at: int, fence: _Fence) -> int:
    """Index after the block of another language: its closing fence, or the opening of the next block."""
    for i in range(at, len(answer.lines)):
        found = FENCE.fullmatch(answer.lines[i])
        if _informed(found):
            return i
        if found and found[2].startswith(fence.marks):
            return i + 1
    return len(answer.lines)


def _code_block(answer: _Answer, at: int, fence: _Fence) -> tuple[list[Program], int, bool]:
    """_block for C and C++, whose first line is `at`."""
    kept: list[str] = []
    mode, marks = CODE, len(fence.marks) if fence.marks[0] == "`" else 0
    for i in range(at, len(answer.lines)):
        line = _unquoted(answer.lines[i], fence.prefix)
        found = FENCE.fullmatch(line)
        if mode == CODE or not _ends_later(answer, i, mode):
            if _informed(found) or (found and found[2].startswith(fence.marks) and "`" not in found[3]):
                return _of_block(kept, fence), i + (not _informed(found)), False
            if THINK.match(line) or THINK_END.match(line.lstrip()):
                return [], i, True
        mode, cut = _read_line(line, mode, marks)
        if cut >= 0:
            kept.append(line[:cut])
            answer.lines[i] = line[cut:].lstrip("`")
            return _of_block(kept, fence), i + (not answer.lines[i].strip()), False
        kept.append(line)
    if kept:
        kept[-1] = kept[-1].rstrip("`") if kept[-1].endswith(fence.marks) else kept[-1]  # a fence at the end of a comment
    return _of_block(kept, fence), len(answer.lines), False


def _unquoted(line: str, prefix: str) -> str:
    """`line` without the > signs that a quotation puts before each line of a block."""
    for _ in range(min(prefix.count(">"), DEEPEST)):
        line = re.sub(r"^[ \t]*>[ \t]?", "", line)
    return line


def _of_block(kept: list[str], fence: _Fence) -> list[Program]:
    text = "\n".join(kept)
    return [Program(textwrap.dedent(text) if fence.prefix else text, True)]


def _ends_later(answer: _Answer, at: int, mode: str) -> bool:
    """Whether the comment or string that line `at` stands in ends after it and before the next block begins."""
    if mode == COMMENT:
        return answer.comments[at] < answer.breaks[at]
    if mode.startswith(RAW):
        ends = answer.raws.get(mode[len(RAW) :], [])
        later = bisect_left(ends, at)
        return later < len(ends) and ends[later] < answer.breaks[at]
    return True  # it ends with the next line


def _read_line(line: str, mode: str, marks: int) -> tuple[str, int]:
    """(what the next line begins in, where a fence of at least `marks` backticks stands in the code or -1); 0 marks: nowhere."""
    at = _resume(line, mode)
    if at < 0:
        return mode if mode == COMMENT or mode.startswith(RAW) or line.endswith("\\") else CODE, -1
    while step := STEP.search(line, at):
        if step["fence"] and marks and len(step["fence"]) >= marks:
            return CODE, step.start()
        if step["line"]:
            return LINE if line.endswith("\\") else CODE, -1
        if step["string"] == "\\":
            return STRING, -1
        inside = COMMENT if step["comment"] else RAW + step["tag"] if step["raw"] else CODE
        at = _resume(line, inside, step.end())
        if at < 0:
            return inside, -1
    return CODE, -1


def _resume(line: str, mode: str, at: int = 0) -> int:
    """Where the code goes on in a line that is in `mode` at `at`, -1 where it does not."""
    if mode == STRING:
        end = STRING_END.match(line)
        return end.end() if end else -1
    if mode in (CODE, LINE):
        return at if mode == CODE else -1
    mark = "*/" if mode == COMMENT else f'){mode[len(RAW) :]}"'
    found = line.find(mark, at)
    return found + len(mark) if found >= 0 else -1


def _loose(lines: list[str]) -> list[Program]:
    """What may be a program in text outside blocks: the parts between tags, without the prose before and after."""
    found = []
    for part in TAG.split(SPECIAL.sub("", "\n".join(lines))):
        kept = part.split("\n")
        first = next((i for i, line in enumerate(kept) if not _prose(line)), len(kept))
        last = next((i for i in range(len(kept), first, -1) if not _prose(kept[i - 1])), first)
        text = "\n".join(kept[first:last])
        found.append(Program(html.unescape(text) if "include &lt;" in text else text, False))
    return found


def _prose(line: str) -> bool:
    """Whether a line is blank or words for a reader, not code."""
    line = line.strip()
    if not line or line.startswith(("//", "/*", "*")) or DIRECTIVE.match(line):
        return not line
    words = len(WORD.findall(line))
    if line.endswith((".", "!", "?", ":")) and not line.endswith("::"):
        return words > (line[-1] == ":") and not re.search(r"[;{}]", line)
    return line.startswith("#") or (words >= 3 and not CODE_SIGN.search(line) and "(" not in line and not CODE_WORD.match(line))
