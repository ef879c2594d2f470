"""Which files and folders outside the system's a compiler needs, and which its programs need when they run.

Knows what g++ says of itself, and folders that hold more than a compiler.  Knows nothing of flags, sandboxes or programs.

A compiler may lie anywhere, or be a script beside private files: what it names is shown to the sandbox, never the folder that it
happens to lie in, and never a home folder.  A judged program sees the libraries of the language only.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")  # every sandbox shows these
PROGRAMS = ("cc1plus", "cc1", "collect2", "lto1", "lto-wrapper", "as", "ld", "nm", "objdump")
RUNTIMES = ("libstdc++.so.6", "libgcc_s.so.1", "libgomp.so.1")
PARTS = ("bin", "include", "lib", "lib64", "libexec", "nvvm", "targets", "extras")  # of an installation that lies in a home folder
SEARCHED = re.compile(r"^(?:install: |(?:programs|libraries): =)(.+)$", re.M)
INCLUDED = re.compile(r"^ (/\S.*)$", re.M)
ITSELF = re.compile(r"^COLLECT_GCC=(/.+)$", re.M)


@functools.cache
def needed(compiler: str) -> tuple[str, ...]:
    """Files and folders outside the system's that building with g++ takes, the outermost of nested ones only."""
    if _is_systems(compiler):
        return ()
    said = _said(compiler, "-print-search-dirs"), _said(compiler, "-v", "-E", "-x", "c++", "/dev/null")
    folders = [folder for line in SEARCHED.findall(said[0]) for folder in line.split(":")] + INCLUDED.findall(said[1])
    tools = [compiler, *ITSELF.findall(said[1]), *(_said(compiler, f"-print-prog-name={name}").strip() for name in PROGRAMS)]
    tools = [tool for tool in tools if tool.startswith("/")]
    found = [compiler, *map(os.path.normpath, tools), *map(os.path.realpath, tools), *map(os.path.normpath, folders)]
    found += [library for tool in map(os.path.realpath, tools) if _outside(tool) for library in _loaded(tool)]
    return _outermost([path for path in found if _outside(path) and os.path.exists(path) and not too_wide(Path(path))])


@functools.cache
def libraries(compiler: str) -> tuple[str, ...]:
    """Folders outside the system's with the language's own shared libraries."""
    if _is_systems(compiler):
        return ()
    files = (_said(compiler, f"-print-file-name={name}").strip() for name in RUNTIMES)
    folders = (os.path.dirname(os.path.normpath(file)) for file in files if file.startswith("/"))
    return tuple(dict.fromkeys(folder for folder in folders if _outside(folder) and not too_wide(Path(folder))))


def installation(home: Path) -> tuple[str, ...]:
    """A toolkit's folder where the system's do not hold it; its known parts where it is too wide to be shown."""
    if not _outside(str(home)):
        return ()
    if not too_wide(home):
        return (str(home),)
    return tuple(str(home / part) for part in PARTS if (home / part).is_dir())


def too_wide(path: Path) -> bool:
    """Whether a folder holds more than a compiler: the root, one right below it, a home folder or what holds one."""
    path = path.resolve()
    if not path.is_dir():
        return False
    homes = {Path.home().resolve(), Path("/root")}
    a_home = path.parent == Path("/home") or (path / ".ssh").exists()
    return len(path.parts) <= 2 or a_home or any(home.is_relative_to(path) for home in homes)


def _is_systems(compiler: str) -> bool:
    """Whether it is a program of the system's, not a script or a link that leads elsewhere."""
    with open(compiler, "rb") as f:
        return not _outside(compiler) and not _outside(os.path.realpath(compiler)) and f.read(4) == b"\x7fELF"


def _outside(path: str) -> bool:
    return not any(Path(path).is_relative_to(system) for system in SYSTEM)


def _outermost(paths: list[str]) -> tuple[str, ...]:
    distinct = sorted(set(paths))
    folders = [Path(path) for path in distinct if os.path.isdir(path)]
    return tuple(path for path in distinct if not any(folder in Path(path).parents for folder in folders))


def _loaded(program: str) -> list[str]:
    """Shared libraries outside the system's that a program loads."""
    ldd = shutil.which("ldd")
    said = _run([ldd, program]) if ldd else ""
    return [path for path in re.findall(r"=> (/\S+)", said) if _outside(path)]


def _said(compiler: str, *words: str) -> str:
    return _run([compiler, *words])


def _run(command: list[str]) -> str:
    """stdout and stderr of a command, "" when it cannot run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
