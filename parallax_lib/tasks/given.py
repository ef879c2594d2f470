"""What a suite gives beside a program: text before it, text after it, and headers that it may include; and the whole program of all that.

Knows #include lines and macro names as text.  Knows nothing of kernels, files on disk, compilers or verdicts.

The harness puts the parts together, for references and candidates alike.  A header is put in place where it is included first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from parallax_lib.core.cpp_text import without_comments, without_strings
from parallax_lib.tasks.main_function import has_main

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)".*$', re.M)
ONCE = re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+once\b.*$", re.M)
UNIT = (".cpp", ".cc", ".cxx", ".c", ".cu")
OMP_TEXT = r"#\s*pragma\s+omp\b|_Pragma\s*\(\s*\"\s*omp\b|\bomp_\w+\s*\(|<omp\.h>"
QUALIFIERS = r"\b__(?:device|host)__\b"  # before a function for both sides, which a C++ compiler is told to pass over
CUDA_TEXT = (
    r"<<<|\b__(?:global|shared|constant)__\b|\bcuda[A-Z]\w*|\b(?:threadIdx|blockIdx|blockDim)\b|<(?:cuda|cub/|thrust/|cooperative)"
)
API_TEXT = re.compile("|".join((OMP_TEXT, QUALIFIERS, CUDA_TEXT)))
OTHER_TEXT = {"omp": re.compile(CUDA_TEXT), "cuda": re.compile(OMP_TEXT)}
CONDITION = re.compile(r"^[ \t]*#[ \t]*(ifdef|if|ifndef|endif)\b")
DEFINED = re.compile(r"^[ \t]*#[ \t]*(?:define|undef)[ \t]+([A-Za-z_]\w*)", re.M)
DEFINITION = re.compile(r"^[ \t]*#[ \t]*(?:define|undef)\b[^\n]*", re.M)
PUSHED = re.compile(r"push_macro|pop_macro")
NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Given:
    """before, after: text around the program.  beside: name -> text of each header that it may include.

    function: the one to be written, where the rest is given.  context: what a translator reads of `before`, "" for all of it.
    """

    before: str = ""
    after: str = ""
    function: str = ""
    context: str = ""
    beside: dict[str, str] = field(default_factory=dict)


NOTHING = Given()


def whole(code: str, given: Given) -> str:
    """The program with what is given: before, the program, after; headers in place of the lines that include them."""
    if given == NOTHING:
        return code
    parts = [part for part in (given.before, code, given.after) if part]
    return in_place("\n".join(parts), given.beside)


def in_place(text: str, files: Mapping[str, str]) -> str:
    """`text` with each of the files where it is included first; a name counts with or without its folders."""
    placed: set[str] = set()

    def place(found: re.Match) -> str:
        name = named(found[1], files)
        if not name:
            return found[0]
        if name in placed:
            return ""
        placed.add(name)
        return INCLUDE.sub(place, ONCE.sub("", files[name]))

    return INCLUDE.sub(place, text)


def named(written: str, files: Mapping[str, str]) -> str:
    """The file that an include line names, "" for none of them."""
    plain = str(PurePosixPath(written))
    return next((name for name in files if name in (written, plain)), "") or next(
        (name for name in files if PurePosixPath(name).name == PurePosixPath(written).name), ""
    )


def included(text: str) -> list[str]:
    """Names in the #include "..." lines of a text, in their order."""
    return list(dict.fromkeys(INCLUDE.findall(text)))


def conditional(text: str) -> set[str]:
    """Names in #include lines inside #ifdef and #if: what is not compiled need not be there."""
    found, depth = set(), 0
    for line in text.splitlines():
        word = CONDITION.match(line)
        depth += 0 if not word else {"endif": -1, "ifndef": 0}.get(word[1], 1)
        if depth > 0 and (include := INCLUDE.match(line)):
            found.add(include[1])
    return found


def one_text(files: Mapping[str, str]) -> str:
    """A program of several files as one text: headers in place, the unit with `main` last.

    Of several units with a `main`, which are variants of one program, the one with the shortest name is taken.
    """
    units = [name for name in files if name.endswith(UNIT)]
    mains = sorted((name for name in units if has_main(files[name])), key=lambda name: (len(name), name))[:1]
    units = [name for name in units if not has_main(files[name])] + mains
    return in_place("\n".join(files[name] for name in units), files)


def holds_api(text: str) -> bool:
    """Whether a text holds OpenMP or CUDA: then it belongs to one API's program."""
    return API_TEXT.search(without_comments(text)) is not None


def holds_other_api(text: str, api: str) -> bool:
    """Whether a text tells how the program of another API than `api` ("omp" or "cuda") does its parallel work."""
    return OTHER_TEXT[api].search(without_comments(text)) is not None


def redefines(code: str, given: Given, source: str = "") -> str:
    """A macro of the program that would change the given text after it, "" for none.  Those that `source` defines alike change nothing."""
    if not given.after:
        return ""
    plain = without_comments(code.replace("\\\n", ""))
    if PUSHED.search(plain):
        return "push_macro"
    following = set(NAME.findall(without_strings("\n".join((given.after, *given.beside.values())))))
    known = {" ".join(line.split()) for line in DEFINITION.findall(without_comments(source.replace("\\\n", "")))}
    new = [line for line in DEFINITION.findall(plain) if " ".join(line.split()) not in known]
    return next((name for line in new for name in DEFINED.findall(line) if name in following), "")


def shown(code: str, given: Given) -> str:
    """What a translator reads of a program: given headers named above it, then what stands before it, and the program."""
    parts = [f"// {name} (given: keep its #include line)\n{text.strip()}\n" for name, text in given.beside.items()]
    above = (given.context or given.before).strip()
    parts += [f"// given above the program:\n{above}\n"] if above else []
    parts += [f"// write only the function {given.function}; what calls it is given"] if given.function else []
    return "\n".join([*parts, code]) if parts else code
