"""A split that a file states: cluster, dependence class, side, fold and right directions of each hand-written kernel.

Knows the file.  Knows nothing of program texts, of how clusters are found, or of verdicts.  The file holds facts, no program text;
scripts/kernel_clusters.py makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from parallax_lib.core.config import resolve
from parallax_lib.core.errors import UserError, short
from parallax_lib.core.settings import DIRECTIONS
from parallax_lib.core.yaml_files import read_yaml

SIDES = ("train", "test")
KEYS = ("cluster", "class", "side", "fold")


@dataclass(frozen=True)
class Row:
    """What the file states of one kernel.  kind: its dependence class; right: directions in which its own program was judged right."""

    suite: str
    name: str
    cluster: str
    kind: str
    side: str
    fold: int
    right: tuple[str, ...] = ()


def rows(file: str) -> dict[tuple[str, str], Row]:
    """(suite, kernel) -> what the file states.  UserError where it cannot be read or puts one cluster on two sides."""
    path = resolve(file)
    try:
        return _rows(path, path.stat().st_mtime_ns)
    except OSError as e:
        raise UserError(f"suite.split: {path}: cannot be read ({e.strerror}); make it with scripts/kernel_clusters.py") from None


def side_of(family: str, file: str) -> str:
    """The side of a family that is a cluster of the file, "" for another one."""
    return _sides(file).get(family, "")


def twins(file: str) -> list[list[str]]:
    """Kernels that the file calls one algorithm: lists of SUITE/NAME."""
    return [group["kernels"] for group in read_yaml(resolve(file))[0].get("twins") or ()]


@lru_cache
def _rows(path: Path, changed: int) -> dict[tuple[str, str], Row]:
    named = read_yaml(path)[0].get("kernels")
    if not isinstance(named, dict) or not named:
        raise UserError(f"{path}: expected kernels: {{SUITE/NAME: {{{', '.join(KEYS)}}}}}, got {short(named)}")
    found = {tuple(key.split("/", 1)): _row(path, key, values) for key, values in named.items()}
    sides: dict[str, str] = {}
    for row in found.values():
        if sides.setdefault(row.cluster, row.side) != row.side:
            raise UserError(f"{path}: cluster {row.cluster} is on both sides; put all of its kernels on one")
    return found


def _row(path: Path, key: str, values: Any) -> Row:
    suite, _, name = key.partition("/")
    if not name or not isinstance(values, dict) or any(each not in values for each in KEYS):
        raise UserError(f"{path}: kernel {key}: expected SUITE/NAME with {', '.join(KEYS)}, got {short(values)}")
    right = tuple(values.get("right") or ())
    if values["side"] not in SIDES:
        raise UserError(f"{path}: kernel {key}: side is one of {', '.join(SIDES)}, not {short(values['side'])}")
    if unknown := [each for each in right if each not in DIRECTIONS]:
        raise UserError(f"{path}: kernel {key}: right: {short(unknown[0])} is not one of {', '.join(DIRECTIONS)}")
    return Row(suite, name, values["cluster"], values["class"], values["side"], int(values["fold"]), right)


def _sides(file: str) -> dict[str, str]:
    return {row.cluster: row.side for row in rows(file).values()}
