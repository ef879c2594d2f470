"""YAML as plain values and the line of every key; whatever is wrong with a file is told in one line.

Knows YAML.  Knows no setting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from parallax_lib.core.errors import UserError


def parse(text: str, name: str) -> Any:
    """The value of a YAML text; `name` says in an error where it stands."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as e:  # ValueError: a date such as 2020-99-99
        raise UserError(f"{name}: not valid YAML: {' '.join(str(e).split())}") from None
    except RecursionError:
        raise UserError(f"{name}: not valid YAML: nested too deeply") from None


def read_yaml(path: Path) -> tuple[dict, dict[tuple, int]]:
    """Values of a YAML file and the line of every key; a duplicate key is refused."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise UserError(f"{path.name}: not valid YAML: not a text in UTF-8 ({e.reason} at byte {e.start})") from None
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from None
    values, lines = parse(text, path.name), {}
    if values is None:
        return {}, lines
    if not isinstance(values, dict):
        raise UserError(f"{path.name}: line 1: expected 'key: value' lines")
    _walk(yaml.compose(text, Loader=yaml.SafeLoader), (), lines, path, set())
    return values, lines


def _walk(node: yaml.Node, at: tuple, lines: dict[tuple, int], path: Path, visited: set[int]) -> None:
    """The line of every key below `node`; what stands there by an alias was seen where it is anchored."""
    if not isinstance(node, yaml.MappingNode) or id(node) in visited:
        return
    visited.add(id(node))
    for key, value in node.value:
        here, line = (*at, str(key.value)), key.start_mark.line + 1
        if key.tag != "tag:yaml.org,2002:str" and key.value != "<<":
            raise UserError(f"{path.name}: line {line}: a key must be a word, got {' '.join(str(key.value).split())[:80]!r}")
        if here in lines:
            raise UserError(f"{path.name}: line {line}: duplicate key {'.'.join(here)!r}, first given on line {lines[here]}")
        lines[here] = line
        _walk(value, here, lines, path, visited)
