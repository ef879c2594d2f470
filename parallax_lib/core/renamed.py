"""Earlier names of settings: refused in YAML with today's name, understood in older tables.

Knows names.  Knows no setting's type or default.
"""

from __future__ import annotations

from parallax_lib.core.errors import UserError

VALUES = {  # setting -> its values' earlier names
    "search.arms": {"run_filter": "execution_filter"},
    "search.choose": {"thoughts": "trajectories"},
    "prm.reads": {"words": "embeddings"},
}
KEYS = {  # a section, or a key of one
    "card": "report",
    "collect.influence_sigmas": "collect.sensitivity_sigmas",
    "collect.influence_limit": "collect.sensitivity_limit",
    "collect.influence_branches": "collect.sensitivity_branches",
}


def refuse(values: dict, lines: dict[tuple, int], name: str) -> None:
    """UserError with today's name for a key or a value of a YAML file that has an earlier one; `name` is the file's."""
    for old, new in KEYS.items():
        if _found(values, old) is not None:
            raise UserError(f"{name}{_line(lines, old)}: {old!r} is called {new!r} now; write that")
    for setting, names in VALUES.items():
        given = _found(values, setting)
        for old in given if isinstance(given, (list, tuple)) else [given]:
            if isinstance(old, str) and old in names:
                raise UserError(f"{name}{_line(lines, setting)}: {setting}: {old!r} is called {names[old]!r} now; write that")


def _found(values: dict, key: str):
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _line(lines: dict[tuple, int], key: str) -> str:
    """Where a key, or else the section around it, stands."""
    parts = tuple(key.split("."))
    return next((f": line {lines[at]}" for at in (parts, parts[:1]) if at in lines), "")
