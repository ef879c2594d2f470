"""Large files on their way to other machines: a call carries their hashes, and a worker is sent each of them once.

Knows files, hashes and a process's folder of them.  Knows nothing of what is in them, or of how they travel.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

PIECE = 8 << 20  # bytes sent at once
_kept: dict[str, Path] = {}  # of this process: sha256 -> file


@dataclass(frozen=True)
class Parcel:
    """A file known by its content.  `source`: where this machine has it, which does not travel."""

    sha256: str
    size: int
    source: Path | bytes | None = field(default=None, compare=False, repr=False)

    def __reduce__(self):
        """A worker's own processes find the file where it has it."""
        return Parcel, (self.sha256, self.size, _kept.get(self.sha256))


class Lacking(NamedTuple):
    """A worker's answer to a call some of whose parcels it does not have: nothing was run."""

    worker: str
    hashes: frozenset[str]


def of(source: Path | bytes) -> Parcel:
    """The parcel of a file or of bytes."""
    if isinstance(source, bytes):
        return Parcel(hashlib.sha256(source).hexdigest(), len(source), source)
    with source.open("rb") as file:
        return Parcel(hashlib.file_digest(file, "sha256").hexdigest(), source.stat().st_size, source)


def inside(value: Any) -> list[Parcel]:
    """The parcels in dicts, lists and tuples, each once."""
    if isinstance(value, Parcel):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return list(dict.fromkeys(parcel for part in parts for parcel in inside(part)))


def lacking(hashes: Iterable[str]) -> frozenset[str]:
    """Those that this process has not been sent."""
    return frozenset(name for name in hashes if name not in _kept)


def pieces(parcel: Parcel) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of all that a parcel's source holds, never more of it in memory than one piece."""
    if isinstance(parcel.source, bytes):
        yield from ((at, parcel.source[at : at + PIECE]) for at in range(0, max(1, parcel.size), PIECE))
        return
    assert parcel.source is not None, "only who packed a parcel can send it"
    with parcel.source.open("rb") as file:
        for at in range(0, max(1, parcel.size), PIECE):
            yield at, file.read(PIECE)


def put(sha256: str, size: int, at: int, piece: bytes, folder: str | Path) -> None:
    """Take a piece of a parcel, in order; after the last one this process has it, in the folder.

    OSError where what came is not what was sent.
    """
    part, whole = Path(folder) / f"parcel-{os.getpid()}-{sha256}.part", Path(folder) / f"parcel-{os.getpid()}-{sha256}"
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("r+b" if at else "wb") as file:
        file.seek(at)
        file.write(piece)
    if at + len(piece) >= size:
        if of(part).sha256 != sha256:
            raise OSError(f"{part}: arrived damaged")
        part.replace(whole)
        _kept[sha256] = whole


def file_of(parcel: Parcel) -> Path:
    """Where this process has it."""
    return parcel.source if isinstance(parcel.source, Path) else _kept[parcel.sha256]


def bytes_of(parcel: Parcel) -> bytes:
    """What is in it, where this process has it."""
    return parcel.source if isinstance(parcel.source, bytes) else file_of(parcel).read_bytes()
