"""What a HeCBench checkout adds to programs that someone else published under its kernels' names: arguments, inputs, headers, units.

Knows the checkout's folders.  Knows nothing of files of tasks, compilers or verdicts; nothing of the checkout is copied here.

A header without API text is given beside a program: it is shown to a translator, and a candidate may include it.  A header that holds
OpenMP or CUDA is a part of its program and stands in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from parallax_lib.tasks import given
from parallax_lib.tasks.given import Given
from parallax_lib.tasks.hecbench import checkout
from parallax_lib.tasks.main_function import has_main

Texts = Mapping[str, Mapping[str, str]]  # API -> file name -> text


class Missing(Exception):
    """What a kernel needs and nobody holds, in words that say what to add."""


def lacks(texts: Texts, row: Mapping) -> bool:
    """Whether some program includes a header that its row does not hold."""
    held = row.get("headers", {})
    asked = ((name, files) for files in texts.values() for text in files.values() for name in given.included(text))
    return any(not given.named(name, {**files, **held}) for name, files in asked)


def entries(root: Path, names: tuple[str, ...]) -> dict[str, checkout.Entry]:
    """The checkout's entries of these names, as far as it has them."""
    have = {path.name.rsplit("-", 1)[0] for path in (root.expanduser() / "src").glob("*-*")}
    known = tuple(name for name in names if name in have)
    return {entry.name: entry for entry in checkout.entries(root, known)} if known else {}


def flags(entry: checkout.Entry | None, api: str) -> tuple[str, ...]:
    """The allowed flags of the checkout's Makefile for this API; those of its OpenMP program for a serial one."""
    program = entry.programs.get(api) if entry else None
    program = entry.programs.get("omp") if api == "serial" and entry else program
    return (*program.flags, *program.defines) if program else ()


def programs(name: str, texts: Texts, headers: Mapping[str, str], root: Path | None) -> dict[str, tuple[str, Given]]:
    """API -> (program as one text, what is given for it).  Missing where a header is nowhere."""
    whole, beside = {}, {}
    for api, files in texts.items():
        units = _units(name, api, files, root)
        own, free = _split({**headers}, _found(name, api, {**files, **units}, headers, root))
        own = {header: _guarded(header, text) for header, text in own.items()}
        whole[api] = given.one_text({**files, **own}), Given(after=given.in_place("\n".join(units.values()), own), beside=free)
        beside = {**free, **beside}
    parts = {api: (text, replace(own, beside=beside | own.beside)) for api, (text, own) in whole.items()}
    return parts | {api: ("", Given(beside=beside)) for api in ("serial", "omp", "cuda") if api not in whole}


def _units(name: str, api: str, files: Mapping[str, str], root: Path | None) -> dict[str, str]:
    """Units that a program of one file needs and its row does not hold: those that the checkout's Makefile compiles beside it."""
    home = "omp" if api == "serial" else api
    rules = checkout.read_makefile(_src(root), name, home) if root and (_src(root) / f"{name}-{home}").is_dir() else None
    if rules is None or len(files) != 1:
        return {}
    paths = [_src(root) / f"{name}-{home}" / unit for unit in checkout.units_of(_src(root), name, home, rules)]
    if Path(next(iter(files))).name not in {path.name for path in paths}:
        return {}
    texts = {path.name: checkout.hecbench_sources.text_of(path) for path in paths if path.name not in files and path.is_file()}
    if api == "serial":
        texts = {unit: checkout.hecbench_sources.strip_omp(text) for unit, text in texts.items()}
    alone = has_main(next(iter(files.values())))
    return {unit: text for unit, text in texts.items() if not (alone and has_main(text))}


def _guarded(name: str, text: str) -> str:
    """A header that two units of one text may include."""
    guard = "GIVEN_" + "".join(c if c.isalnum() else "_" for c in name)
    return f"#ifndef {guard}\n#define {guard}\n{text}\n#endif\n"


def _src(root: Path) -> Path:
    return root.expanduser() / "src"


def _split(headers: dict[str, str], found: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(headers that are a part of the program, headers that are given): one that includes an API's header is a part too."""
    every = {**headers, **found}
    parts = {name for name, text in every.items() if given.holds_api(given.in_place(text, every))}
    return {n: t for n, t in every.items() if n in parts}, {n: t for n, t in every.items() if n not in parts}


def _found(name: str, api: str, files: Mapping[str, str], headers: Mapping[str, str], root: Path | None) -> dict[str, str]:
    """Headers of the checkout that the program includes, and those that these include."""
    found: dict[str, str] = {}
    waiting = [(include, text) for text in (*files.values(), *headers.values()) for include in given.included(text)]
    while waiting:
        include, text = waiting.pop()
        if given.named(include, {**files, **headers, **found}):
            continue
        path = _path(name, api, include, root)
        if path is None and include in given.conditional(text):
            continue
        if path is None:
            raise Missing(f"its {api} program includes {include}, which neither the row nor a checkout holds: add it under `headers`")
        found[include] = checkout.hecbench_sources.text_of(path)
        waiting += [(inner, found[include]) for inner in given.included(found[include])]
    return found


def _path(name: str, api: str, include: str, root: Path | None) -> Path | None:
    """The file that an include line of the kernel's program names; only files of the checkout."""
    if root is None:
        return None
    src = (root.expanduser() / "src").resolve()
    order = [api, "cuda", "omp"] if api != "serial" else ["omp", "cuda"]
    for folder in (*(src / f"{name}-{one}" for one in order), *(src / f"{name}-{one}" / "src" for one in order), src / "include"):
        path = (folder / include).resolve()
        if path.is_file() and path.is_relative_to(src.parent):
            return path
    return None
