"""The code that makes a thing, as a digest: so that a changed method is run, not remembered.

Knows compiled functions, classes and what they reach.  Knows nothing of what they do.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import importlib.util
import re
import sys
import sysconfig
import types
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError, short
from parallax_lib.core.storage import digest

LIBRARY = Path(__file__).parents[1]
IMPORT = "import "  # before the name of a module that code imports where it runs


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

    contents = [[refer(part) for part in parts]]
    contents += [_read(value, refer) for value in reached]  # `reached` grows meanwhile
    return digest(contents)


source_digest.version = 1  # to be raised when the digest of the same code becomes another


def _read(value: Any, refer: Callable[[Any], str]) -> Any:
    """What counts of a value, as plain data; all that it holds or reaches is passed to `refer`."""
    if isinstance(value, types.FunctionType):  # what torch keeps out of compiled code counts as what it is
        value = getattr(value, "_torchdynamo_orig_callable", value)
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
    if callable(value) and hasattr(value, "__qualname__") and not _is_ours(getattr(value, "__module__", None) or "builtins"):
        return _name(value)
    if " at 0x" in repr(value):
        raise _unknown(value)
    return repr(value)


def _function(fn: types.FunctionType, refer) -> list:
    if not is_own(fn.__code__.co_filename):
        return [_name(fn), *([refer(fn.__wrapped__)] if hasattr(fn, "__wrapped__") else [])]
    code, looked_up = _compiled(fn.__code__)
    closed = [refer(cell.cell_contents) for cell in fn.__closure__ or () if cell != types.CellType()]
    given = [refer(fn.__defaults__), refer(fn.__kwdefaults__)]
    return [code, closed, given, _members(fn.__globals__, looked_up | _noted(fn.__annotations__), refer)]


def _noted(annotations: dict[str, Any]) -> set[tuple[str, ...]]:
    """The names in annotations: of classes whose methods the code may call."""
    return {tuple(name.split(".")) for note in annotations.values() if isinstance(note, str) for name in re.findall(r"\w[\w.]*", note)}


@functools.cache
def _compiled(code: types.CodeType) -> tuple[list, set[tuple[str, ...]]]:
    """Instructions and constants of code and of all code inside it, and every global name that they look up, `_loads`."""
    constants = list(code.co_consts)
    if not code.co_name.startswith("<") and constants and isinstance(constants[0], str):
        constants[0] = None  # the docstring
    inner = [_compiled(c) if isinstance(c, types.CodeType) else (_constant(c), set()) for c in constants]
    names = [list(code.co_names), list(code.co_varnames), list(code.co_freevars)]
    return [code.co_code.hex(), *names, [content for content, _ in inner]], set.union(_loads(code), *(found for _, found in inner))


def _loads(code: types.CodeType) -> set[tuple[str, ...]]:
    """(name,) of a global, (module, name) of what is imported in place, each with the attributes that are taken of it at once."""
    found: list[tuple[str, ...]] = []
    imported, follows = "", False
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "IMPORT_NAME"):
            name = f"{IMPORT}{step.argval}" if step.opname == "IMPORT_NAME" else step.argval
            imported = name if name.startswith(IMPORT) else imported
            found.append((name,))
        elif step.opname == "IMPORT_FROM":
            found = [chain for chain in found if chain != (imported,)] + [(imported, step.argval)]
        elif follows and step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            found[-1] += (step.argval,)
        elif step.opname != "EXTENDED_ARG":
            follows = False
            continue
        follows = True
    return set(found)


def _constant(value: Any) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)  # a set's order is not the same in every process


def _members(space: dict[str, Any], chains: set[tuple[str, ...]], refer) -> list:
    """What the names, `_loads`, stand for in a namespace; modules are passed through to what is taken of them."""
    members = []
    for first, *rest in sorted(chains):
        value = _imported(first.removeprefix(IMPORT)) if first.startswith(IMPORT) else space.get(first)
        if isinstance(value, types.ModuleType) and not _is_ours(value.__name__):
            members.append([value.__name__, *rest])
            continue
        while rest and isinstance(value, types.ModuleType) and rest[0] in vars(value):
            first, *rest = rest
            value = vars(value)[first]
        if value is not None and not _is_state(first, value):
            members.append([first, refer(value)])
    return members


@functools.cache
def _imported(name: str) -> types.ModuleType | None:
    """A module that code imports when it runs, if it is this library's or a user's."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # an optional package, a relative name
        return None
    return importlib.import_module(name) if spec and spec.origin and spec.has_location and is_own(spec.origin) else None


def _module(module: types.ModuleType, refer) -> list:
    """One that is handed on as a whole counts by its text."""
    return [module.__name__, hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest() if _is_ours(module.__name__) else ""]


def _is_state(name: str, value: Any) -> bool:
    """A module's private container holds what the process has loaded so far: state, not code."""
    return name.startswith("__") or (name.startswith("_") and isinstance(value, dict | list | set))


def _class(cls: type, refer) -> list:
    if not _is_ours(cls.__module__) or hasattr(cls, "model_fields"):  # a section of settings, whose values are keyed
        return [_name(cls)]
    members = [[name, refer(held)] for name, held in sorted(vars(cls).items()) if _counts(cls, name, held)]
    space = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
    annotations = _members(space, _noted(vars(cls).get("__annotations__", {})), refer)
    return [_name(cls), [refer(base) for base in cls.__bases__], members, annotations]


def _counts(cls: type, name: str, held: Any) -> bool:
    """Whether a class's member is someone's code or constant; what `dataclass` writes follows from the fields."""
    generated = hasattr(cls, "__dataclass_fields__") and getattr(getattr(held, "__code__", None), "co_filename", "") == "<string>"
    hidden = name.startswith("__") and name.endswith("__") and not isinstance(held, types.FunctionType | classmethod | staticmethod)
    return not (generated or hidden or name == "_abc_impl")


def _container(value: Any, refer) -> list:
    if not isinstance(value, dict):
        return [type(value).__name__, [refer(held) for held in (sorted(value, key=repr) if isinstance(value, set | frozenset) else value)]]
    table = any(callable(held) for held in value.values())
    return [[repr(key), refer(held)] for key, held in value.items() if not table or not callable(held) or is_library(held)]


def is_library(value: Any) -> bool:
    """Whether a function or class is one that a module of this library holds under its name; one that such a function made is not."""
    module, name = getattr(value, "__module__", None) or "", getattr(value, "__qualname__", "")
    return module.partition(".")[0] == LIBRARY.name and getattr(sys.modules.get(module), name, None) is value


READERS: list[tuple[Any, Callable]] = [
    (types.FunctionType, _function),
    (type, _class),
    (types.ModuleType, _module),
    (types.MethodType, lambda method, refer: [refer(method.__func__), refer(method.__self__)]),
    (functools.partial, lambda part, refer: [refer(part.func), refer(part.args), refer(part.keywords)]),
    (classmethod | staticmethod, lambda method, refer: [refer(method.__func__)]),
    (property, lambda held, refer: [refer(held.fget), refer(held.fset)]),
    (functools.cached_property, lambda held, refer: [refer(held.func)]),
    (types.BuiltinFunctionType, lambda fn, refer: _name(fn)),
    (PurePath, lambda path, refer: str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)),
    (dict | list | tuple | set | frozenset, _container),
]


@functools.cache
def is_own(file: str) -> bool:
    """Whether code of that file is this library's or a user's: not Python's, and not an installed package's."""
    if Path(file).is_relative_to(LIBRARY):
        return True
    paths = sysconfig.get_paths()
    return not file.startswith("<frozen") and not any(Path(file).is_relative_to(paths[name]) for name in ("stdlib", "platlib", "purelib"))


def _is_ours(module: str) -> bool:
    """Whether a module's code is this library's or a user's; a notebook's has no file."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return is_own(file) if file else module.partition(".")[0] not in sys.stdlib_module_names or module == "__main__"


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
