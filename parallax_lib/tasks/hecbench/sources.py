"""One benchmark program as one text: local includes put in place, OpenMP pragmas taken out, what it prints and reads.

Knows C++ source text.  Knows nothing of Makefiles, manifests, compilers or verdicts.

A program of several files becomes a single file, so that what a translator is shown, what a candidate replaces and
what a reference is built from are the same kind of thing.  Files of another folder are noted: such a text is for
references only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from parallax_lib.core.cpp_text import BOM, without_comments
from parallax_lib.tasks import given
from parallax_lib.tasks.hecbench import joined_units
from parallax_lib.tasks.main_function import has_main

MAX_TEXT = 1 << 20
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>).*$', re.M)
PRAGMA = re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+omp\b(?:[^\n\\]|\\\n|\\(?!\n))*(?:\n|\Z)", re.M)
OPERATOR = re.compile(r'_Pragma\s*\(\s*"\s*omp\b(?:[^"\\]|\\.)*"\s*\)')
RUNTIME = re.compile(r"\bomp_\w+(?=\s*\()")
OMP_HEADER = re.compile(r"^[ \t]*#[ \t]*include[ \t]*<omp\.h>.*\n", re.M)
CALL = r"\bomp_{}\s*\(\s*(?:void\s*)?\)"
WTIME = re.compile(CALL.format("get_wtime"))
ALONE = {  # what one thread is told
    WTIME: "((double)clock() / CLOCKS_PER_SEC)",
    re.compile(CALL.format("get_(?:max_threads|num_threads|num_teams|num_procs)")): "1",
    re.compile(CALL.format("(?:get_(?:thread_num|team_num|num_devices|default_device)|in_parallel)")): "0",
    re.compile(r"\bomp_set_num_threads\s*\([^();]*\)"): "((void)0)",
}
THREAD_ID = re.compile(r"\bomp_get_(?:thread_num|team_num)\s*\(")
TARGET = re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+omp\b.*\btarget\b", re.M)
READS = re.compile(
    r'\bfopen\s*\(\s*"([^"]+)"\s*,\s*"r|\bifstream\s+\w+\s*[({]\s*"([^"]+)"'
    r'|\bopen\s*\(\s*"([^"]+)"\s*,\s*(?!(?![^)]{0,200}::in\b)[^)]{0,200}::(?:out|app|trunc)\b)(?:std::)?(?:ios|ifstream|O_RDONLY)'
)
USAGE = re.compile(r"[Uu]sage")
ARGUMENTS = re.compile(r"(?:<[^<>\"]+>[^<>\"]*+)+")


@dataclass(frozen=True)
class Program:
    """text: the whole program, "" when it cannot be one file; foreign: files of other folders in it that hold another API's text; why:
    what is wrong.  short: the program with the #include lines of headers without API text, which are in `beside` by name.
    """

    text: str
    files: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    why: str = ""
    short: str = ""
    beside: dict[str, str] = field(default_factory=dict)


@dataclass
class _Reading:
    root: Path
    own: Path
    search: tuple[Path, ...]
    api: str = "omp"
    files: list[Path] = field(default_factory=list)
    beside: dict[str, str] | None = None
    names: dict[Path, dict[str, str]] = field(default_factory=dict)


def flatten(
    root: Path, folder: Path, units: tuple[str, ...], search: tuple[Path, ...], defines: tuple[str, ...], api: str = "omp"
) -> Program:
    """The program of `units` in `folder`, of `api`, as one text, the unit with main last; only files below `root` are read.

    A file is put in where it is first included and nowhere else; names of one unit alone stay its own.
    `defines` are -D flags, written at the top.
    """
    reading = _Reading(root.resolve(), folder.resolve(), tuple(p.resolve() for p in search), api)
    paths = [_inside(reading, folder / name) for name in units]
    if None in paths:
        return Program("", why=f"{units[paths.index(None)]} is not in the checkout")
    paths.sort(key=lambda p: has_main(text_of(p)))
    parts = [_parts(path, reading) for path in paths]
    own = ["\n".join(map(text_of, of_unit)) for of_unit in parts]
    names = joined_units.renames(own, [_inline(path, replace(reading, files=[])) for path in paths] if len(paths) > 1 else own)
    reading.names.update((part, renaming) for of_unit, renaming in zip(parts, names, strict=True) for part in of_unit)
    head = "".join(f"#define {d[2:].replace('=', ' ', 1)}{'' if '=' in d else ' 1'}\n" for d in defines)
    text = head + joined_units.joined([_inline(path, reading) for path in paths], own)
    files = tuple(str(p.relative_to(reading.root)) for p in reading.files)
    others = (p for p in reading.files if not p.is_relative_to(reading.own) and given.holds_other_api(text_of(p), reading.api))
    foreign = tuple(str(p.relative_to(reading.root)) for p in others)
    if len(text.encode()) > MAX_TEXT:
        return Program("", files, foreign, "over 1 MiB as one file")
    apart = replace(reading, files=[], beside={})
    short = head + joined_units.joined([_inline(path, apart) for path in paths], own)
    return Program(text, files, foreign, "", short, apart.beside)


def _parts(path: Path, reading: _Reading) -> list[Path]:
    """A unit, and the files of its own that are units by their names: what it includes as `kernels.cpp` is a part of it."""
    beside = (_inside(reading, path.parent / found[1]) for found in INCLUDE.finditer(text_of(path)) if found[1])
    return [path, *(part for part in dict.fromkeys(beside) if part and part != path and part.suffix in given.UNIT)]


def strip_omp(text: str, defined: bool = False) -> str:
    """The program without OpenMP pragmas (continued lines and _Pragma too), and with what its runtime tells one thread in place of calls;
    without omp.h when nothing needs it.  `defined`: with _OPENMP, as some programs declare types or print a warning by it.
    """
    text = OPERATOR.sub("", PRAGMA.sub("\n", text))
    timed = WTIME.search(without_comments(text))
    for call, value in ALONE.items():
        text = call.sub(value, text)
    if not re.search(r"\bomp_\w+", without_comments(text)):
        text = OMP_HEADER.sub("#include <time.h>\n" if timed else "", text)
    return f"#define _OPENMP 201511\n{text}" if defined else text


def simt(text: str) -> bool:
    """An offloading program that uses the thread or team number as CUDA uses threadIdx and blockIdx."""
    plain = without_comments(text)
    return bool(TARGET.search(plain) and THREAD_ID.search(plain))


def asks_for_threads(text: str) -> bool:
    """Whether a program asks for its thread's or team's number."""
    return THREAD_ID.search(without_comments(text)) is not None


def fixed_inputs(text: str) -> tuple[str, ...]:
    """Files that the program opens for reading under a name written in it."""
    return tuple(dict.fromkeys(next(filter(None, groups)) for groups in READS.findall(without_comments(text))))


def usage(text: str) -> tuple[str, ...]:
    """Names of the arguments in the program's own usage line, lower case."""
    for part in text.split('"'):
        if (found := USAGE.search(part)) and (named := ARGUMENTS.search(part, found.end())):
            return tuple(n.lower() for n in re.findall(r"<([^<>\"]+)>", named[0]))
    return ()


def _inside(reading: _Reading, path: Path) -> Path | None:
    path = path.resolve()
    return path if path.is_file() and path.is_relative_to(reading.root) else None


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n").removeprefix(BOM)


def _inline(path: Path, reading: _Reading) -> str:
    if path in reading.files:
        return ""
    reading.files.append(path)
    text = re.sub(r"^[ \t]*#[ \t]*pragma[ \t]+once\b.*$", "", text_of(path), flags=re.M)
    text = joined_units.renamed(text, reading.names.get(path, {}))

    def place(found: re.Match) -> str:
        for folder in ((path.parent,) if found[1] else ()) + reading.search:
            header = _inside(reading, folder / (found[1] or found[2]))
            if header and reading.beside is not None and _is_given(header, reading):
                return f'#include "{header.name}"'
            if header:
                return _inline(header, reading)
        return found[0]

    return INCLUDE.sub(place, text)


def _is_given(header: Path, reading: _Reading) -> bool:
    """Whether a header holds no API's text, nor do those that it includes; it is then kept beside the program."""
    whole = _inline(header, replace(reading, files=[], beside=None))
    if given.holds_api(whole) or reading.beside.setdefault(header.name, whole) != whole:
        return False
    return True
