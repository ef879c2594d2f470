"""What this user's processes found out about a compiler, or made with it, and need not make again: small files in a private folder.

Knows folders and names.  Knows nothing of what the files hold.  Where none can be kept, each process makes its own.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import write_atomic
from parallax_lib.sandbox import scratch

FOLDER, KEPT = "parallax-compiled", 200  # files


def stamp(tool: str) -> list:
    """What changes when the tool is replaced, or what it starts: a wrapper stays the same file and tells another version."""
    with suppress(OSError):
        stat = os.stat(tool)
        return [tool, stat.st_mtime_ns, stat.st_size, _version(tool)]
    return [tool]


@cache
def _version(tool: str) -> str:
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run([tool, "--version"], capture_output=True, text=True, errors="replace", timeout=20).stdout
    return ""


def read(key: str, names: tuple[str, ...]) -> dict[str, bytes]:
    """Files by name, {} where one is not there."""
    folder = scratch.private(FOLDER)
    with suppress(OSError):
        return {name: _path(folder, key, name).read_bytes() for name in names} if folder else {}
    return {}


def keep(key: str, files: dict[str, bytes]) -> None:
    """Keep all of them, where there is room; the oldest go."""
    with suppress(OSError, UserError):
        if folder := scratch.private(FOLDER):
            for name, data in files.items():
                write_atomic(_path(folder, key, name), data)
            for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT]:
                old.unlink()


def _path(folder: Path, key: str, name: str) -> Path:
    return folder / f"{key[:32]}-{name}"
