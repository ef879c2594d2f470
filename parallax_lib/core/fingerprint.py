"""What lies behind a path or a function, as a digest: so that a result is not taken for that of other weights, programs or code.

Knows files and compiled functions.  Knows nothing of what they hold or do.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import re
import sys
import sysconfig
import types
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

from parallax_lib.core.config import ROOT, Params, resolve
from parallax_lib.core.errors import UserError, short
from parallax_lib.core.storage import digest

CONFIGURATION = ("config.json", "adapter_config.json", "tokenizer.json")
# Of data/adapter as it wrote data/rollouts, whose rows are named without it.
BUNDLED = "87a0da31bdf356fd9197cbff2683f081188a18b8d382750d07fdf2af25f72e07"
BLOCK, BLOCKS = 1 << 20, 16  # of a larger file so many blocks are read, evenly spread
LIBRARY = Path(__file__).parents[1]
ASKED_AND_JUDGED = (  # folders that decide what is asked and how it is judged
    ROOT / "data" / "minibench",
    *(LIBRARY / name for name in ("tasks/synthetic/grammars", "tasks/hecbench", "verdict/probes", "cuda_emulation/include")),
)


def weights(params: Params) -> list[str]:
    """Content of the translator's model and adapter where they are folders: nothing for a name or for the bundled adapter."""
    given = [resolve(name) for name in (params.translator.model, params.translator.adapter) if name and resolve(name).is_dir()]
    return [mark for folder in given if (mark := _known(folder, listing(folder))) != BUNDLED]


@lru_cache
def _known(folder: Path, now: str) -> str:
    """`content`, read once while the folder's `listing` stays the same."""
    return content(folder)


def content(folder: Path) -> str:
    """Digest of a folder's weights and their configuration by name, size and bytes, the same on every machine.

    Of a file over 16 MiB only 16 blocks of 1 MiB are read: retraining changes nearly every weight.
    """
    files = [path for path in _files(folder) if path.suffix in (".safetensors", ".bin") or path.name in CONFIGURATION]
    return digest([[path.relative_to(folder).as_posix(), path.stat().st_size, _bytes(path)] for path in files])


def listing(*folders: Path) -> str:
    """Digest of all files in the folders by name, size and time of change; a folder that is missing is empty."""
    return digest([[path.as_posix(), (stat := path.stat()).st_size, stat.st_mtime_ns] for folder in folders for path in _files(folder)])


def inputs(params: Params) -> str:
    """Digest of all files that a run reads and its parameters only name: kernels, the harness's own sources, weights, rollouts."""
    named = (params.suite.root, params.translator.model, params.translator.adapter, params.collect.shipped, params.prm.checkpoint)
    pca = params.latent.pca if params.latent.proposal == "pca" else ""
    given = [resolve(name) for name in (*named, pca) if name and resolve(name).is_dir()]
    return listing(*ASKED_AND_JUDGED, *given)


def _files(folder: Path) -> list[Path]:
    found = ((path, path.relative_to(folder).parts) for path in folder.rglob("*") if path.is_file())
    return sorted(path for path, parts in found if not any(part.startswith(".") or part == "__pycache__" for part in parts))


def _bytes(path: Path) -> str:
    size, sha = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        for i in range(BLOCKS if size > BLOCK * BLOCKS else 1):
            file.seek(i * (size - BLOCK) // (BLOCKS - 1) if size > BLOCK * BLOCKS else 0)
            sha.update(file.read(BLOCK if size > BLOCK * BLOCKS else -1))
    return sha.hexdigest()


# What makes a thing: the code that a remembered result was made by


def source_digest(*parts: Any) -> str:
    """Digest of functions, classes or objects, with all code and constants that they reach by name.

    Code counts as what its source compiles to here and now: comments, docstrings and layout do not count, an edited, patched
    or redefined function does, and so do defaults and the values that a function closes over.  Code of Python and of installed
    packages counts by name.  Of a table of functions (a dict) the library's own count; one from elsewhere counts where it is
    chosen, so pass it.  An attribute `version` (text or number) is taken instead of the code beneath it.  Settings are not
    code.  Another minor version of Python gives another digest.  UserError where there is no code to read.
    """
    for part in parts:
        if isinstance(part, types.BuiltinFunctionType) and _version(part) is None:
            raise _unknown(part)
    reached, number = [], {}

    def refer(value: Any) -> str:
        if value is None or isinstance(value, bool | int | float | complex | str | bytes | type(...)):
            return repr(value)
        if id(value) not in number:
            number[id(value)] = len(reached)
            reached.append(value)  # kept, so that no id is given twice
        return f"#{number[id(value)]}"

    told = [[refer(part) for part in parts]]
    told += [_read(value, refer) for value in reached]  # `reached` grows meanwhile
    return digest(told)


def _read(value: Any, refer: Callable[[Any], str]) -> Any:
    """What counts of a value, as plain data; all that it holds or reaches is passed to `refer`."""
    if callable(value) and (version := _version(value)) is not None:
        return [_name(value), version]
    for kinds, read in READERS:
        if isinstance(value, kinds):
            return read(value, refer)
    if hasattr(value, "__wrapped__"):  # a cache around a function
        return [refer(value.__wrapped__)]
    if any(held is value for held in vars(sys.modules.get(type(value).__module__, types)).values()):  # an object that a package defines
        return _name(type(value))
    if hasattr(value, "dtype") and hasattr(value, "shape"):  # an array or a tensor
        return [str(value.dtype), list(value.shape), hashlib.sha256(_raw(value)).hexdigest()]
    if hasattr(value, "__dict__") and not hasattr(value, "__get__") and not hasattr(value, "__origin__"):  # an alias of types has one
        return [refer(type(value)), [[name, refer(held)] for name, held in sorted(vars(value).items()) if name != "training"]]
    if " at 0x" in repr(value):
        raise _unknown(value)
    return repr(value)


def _function(fn: types.FunctionType, refer) -> list:
    if not _own(fn.__code__.co_filename):
        return [_name(fn), *([refer(fn.__wrapped__)] if hasattr(fn, "__wrapped__") else [])]
    names: set[str] = set()
    code = _compiled(fn.__code__, names)
    names |= {word for note in fn.__annotations__.values() if isinstance(note, str) for word in re.findall(r"\w+", note)}
    closed = [refer(cell.cell_contents) for cell in fn.__closure__ or () if cell != types.CellType()]
    given = [refer(fn.__defaults__), refer(fn.__kwdefaults__)]
    return [code, closed, given, _members(fn.__globals__, names, refer, {fn.__module__})]


def _compiled(code: types.CodeType, names: set[str]) -> list:
    """Instructions and constants of code and of all code inside it; `names` gets every name that it looks up."""
    names.update(code.co_names)
    constants = list(code.co_consts)
    if not code.co_name.startswith("<") and constants and isinstance(constants[0], str):
        constants[0] = None  # the docstring
    inner = [_compiled(c, names) if isinstance(c, types.CodeType) else _constant(c) for c in constants]
    return [code.co_code.hex(), inner, list(code.co_names), list(code.co_varnames), list(code.co_freevars)]


def _constant(value: Any) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)  # a set's order is not the same in every process


def _members(space: dict[str, Any], names: set[str], refer, seen: set[str]) -> list:
    """The values that `names` have in a namespace, and in the modules that they lead to."""
    found = [(name, space[name]) for name in sorted(names) if name in space and not _is_state(name, space[name])]
    inside = (name for name in sorted(names) if name.startswith(f"{LIBRARY.name}."))  # imported where it is used
    found += [(name, importlib.import_module(name)) for name in inside]
    told = []
    for name, value in found:
        if not isinstance(value, types.ModuleType):
            told.append([name, refer(value)])
        elif value.__name__ not in seen and _own(getattr(value, "__file__", None) or "<frozen>"):
            told.append([name, _members(vars(value), names, refer, seen | {value.__name__})])
    return told


def _is_state(name: str, value: Any) -> bool:
    """A module's private container holds what the process has loaded so far: state, not code."""
    return name.startswith("__") or (name.startswith("_") and isinstance(value, dict | list | set))


def _class(cls: type, refer) -> list:
    module = sys.modules.get(cls.__module__)
    if not _own(getattr(module, "__file__", None) or ("<frozen>" if cls.__module__ in sys.stdlib_module_names else "")):
        return [_name(cls)]
    if hasattr(cls, "model_fields"):
        return [_name(cls)]  # a section of settings, whose values are keyed
    told = [[name, refer(held)] for name, held in sorted(vars(cls).items()) if _counts(cls, name, held)]
    notes = {word for note in vars(cls).get("__annotations__", {}).values() if isinstance(note, str) for word in re.findall(r"\w+", note)}
    return [_name(cls), [refer(base) for base in cls.__bases__], told, _members(vars(module) if module else {}, notes, refer, set())]


def _counts(cls: type, name: str, held: Any) -> bool:
    """Whether a class's member is someone's code or constant; what `dataclass` writes follows from the fields."""
    made = hasattr(cls, "__dataclass_fields__") and getattr(getattr(held, "__code__", None), "co_filename", "") == "<string>"
    hidden = name.startswith("__") and name.endswith("__") and not isinstance(held, types.FunctionType | classmethod | staticmethod)
    return not (made or hidden or name == "_abc_impl")


def _container(value: Any, refer) -> list:
    if not isinstance(value, dict):
        return [type(value).__name__, [refer(held) for held in (sorted(value, key=repr) if isinstance(value, set | frozenset) else value)]]
    table = any(callable(held) for held in value.values())
    return [[repr(key), refer(held)] for key, held in value.items() if not table or is_library(held)]


def is_library(value: Any) -> bool:
    """Whether a function or class is this library's, however it is wrapped."""
    value = getattr(value, "func", value)
    return (getattr(value, "__module__", None) or "").partition(".")[0] == LIBRARY.name


READERS: list[tuple[Any, Callable]] = [
    (types.FunctionType, _function),
    (type, _class),
    (types.ModuleType, lambda module, refer: module.__name__),
    (types.MethodType, lambda method, refer: [refer(method.__func__), refer(method.__self__)]),
    (functools.partial, lambda part, refer: [refer(part.func), refer(part.args), refer(part.keywords)]),
    (classmethod | staticmethod, lambda method, refer: [refer(method.__func__)]),
    (property, lambda made, refer: [refer(made.fget), refer(made.fset)]),
    (functools.cached_property, lambda made, refer: [refer(made.func)]),
    (types.BuiltinFunctionType, lambda fn, refer: _name(fn)),
    (PurePath, lambda path, refer: str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)),
    (dict | list | tuple | set | frozenset, _container),
]


@functools.cache
def _own(file: str) -> bool:
    """Whether code of that file is this library's or a user's: not Python's, and not an installed package's."""
    if Path(file).is_relative_to(LIBRARY):
        return True
    paths = sysconfig.get_paths()
    return not file.startswith("<frozen") and not any(Path(file).is_relative_to(paths[name]) for name in ("stdlib", "platlib", "purelib"))


def _version(value: Any) -> str | None:
    version = getattr(value, "version", None)
    return repr(version) if isinstance(version, str | int | float) else None


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def _unknown(value: Any) -> UserError:
    return UserError(f"{short(value)}: its code cannot be read, so nothing tells when it changes; wrap it in a function with a `version`")


def _raw(values: Any) -> bytes:
    """The bytes of an array or a tensor; numpy knows no bfloat16."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().contiguous().reshape(-1).view(sys.modules["torch"].uint8).numpy()
    return values.tobytes()
