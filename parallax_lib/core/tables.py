"""Tables of what a researcher may replace, plain dicts name -> function, and how functions of one's own reach other processes.

Knows names, functions and where the tables stand.  Knows nothing of what the functions do.
"""

from __future__ import annotations

import importlib
import pickle
import re
import sys
from collections.abc import Callable
from typing import Any

import cloudpickle

from parallax_lib.core.errors import UserError, nearest, short
from parallax_lib.core.source import is_library, is_own, source_digest

TABLES = {
    "SUITES": "parallax_lib.tasks.suites",
    "PROPOSALS": "parallax_lib.translator.proposals",
    "ALIGNMENTS": "parallax_lib.translator.alignment",
    "LOSSES": "parallax_lib.prm.losses",
    "REWARDS": "parallax_lib.prm.labels",
    "POLICIES": "parallax_lib.search.policies",
    "ARMS": "parallax_lib.search.arms",
}


def find(table: dict[str, Any], name: str | Callable, setting: str) -> Any:
    """The member that a setting names, or what was given instead of a name.  UserError says which name is nearest."""
    if callable(name):
        return name
    if name not in table:
        raise UserError(f"{setting}: there is no {name!r}{nearest(str(name), table)}")
    return table[name]


def name_of(table: dict[str, Any], given: str | Callable, setting: str) -> str:
    """What a setting holds of a member: its name.  A function that is in no table enters under its own name and digest."""
    if isinstance(given, str):
        find(table, given, setting)
        return given
    if not callable(given):
        raise UserError(f"{setting}: {short(given)} is neither a name nor a function; it takes a function or one of {', '.join(table)}")
    for name, held in table.items():
        if held is given:
            return name
    readable = re.sub(r"\W+", "", getattr(given, "__name__", type(given).__name__))
    name = f"{readable}-{source_digest(given)[:8]}"
    table[name] = given
    return name


def pack_own() -> bytes:
    """All members that are not the library's functions, for another process's `enter_own`; b"" where there are none."""
    loaded = {name: vars(sys.modules[home])[name] for name, home in TABLES.items() if home in sys.modules}
    own = [(name, key, held) for name, table in loaded.items() for key, held in table.items() if not is_library(held)]
    return pickle.dumps([(name, key, pack(held, f"{name}[{key!r}]")) for name, key, held in own]) if own else b""


def enter_own(packed: bytes) -> None:
    """Put what `pack_own` gave into this process's tables."""
    if packed:
        for name, key, held in pickle.loads(packed):
            vars(importlib.import_module(TABLES[name]))[name][key] = pickle.loads(held)


def pack(value: Any, what: str) -> bytes:
    """A value with functions and classes of one's own, by value: the other process need not have the notebook or module they are of."""
    modules = [m for name, m in list(sys.modules.items()) if name != "__main__" and not _is_installed(name, m)]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        return cloudpickle.dumps(value)
    except Exception as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{what} cannot be sent to another process ({why}); run with executor.kind local and executor.workers 1") from None
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _is_installed(name: str, module: Any) -> bool:
    """Whether every process can import a module: Python's own, an installed package's, or this library's."""
    file = getattr(module, "__file__", None)
    return not file or name.partition(".")[0] == "parallax_lib" or not is_own(file)
