"""Tasks of one's own or of a published data set as a file: JSON Lines, Parquet or CSV, a task or a program a row.

Knows the fields of a row, and what a HeCBench checkout adds by a kernel's name.  Knows nothing of models, compilers or verdicts.

docs/TASKS.md describes the fields.  Rows of one kernel are joined: their programs are twins of each other.
"""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from parallax_lib.core.errors import UserError, nearest, short
from parallax_lib.core.json_lines import read_objects
from parallax_lib.tasks import given
from parallax_lib.tasks.given import Given
from parallax_lib.tasks.hecbench import checkout, companions, constants
from parallax_lib.tasks.hecbench import sources as hecbench_sources
from parallax_lib.tasks.task import APIS, Kernel

APIS_NAMED = {"serial": "serial", "c++": "serial", "cpp": "serial", "omp": "omp", "openmp": "omp", "cuda": "cuda"}
OTHERS = ("hip", "sycl", "kokkos", "mpi", "mpi+omp")  # rows of these are passed over
FIELDS = ("kernel", "source_api", "target_api", "source", "target", "args", "hidden", "files", "headers", "flags", "expected", "family",
          "driver", "function", "context", "suite", "constants")  # fmt: skip
PROGRAM = {"kernel_name": "kernel", "parallel_api": "source_api", "kernel_api": "source_api", "code": "source"}  # a program a row
PLACE = "//@function"  # the line of a driver where the function stands
SHOWN = checkout.SHOWN


class Suite(NamedTuple):
    """Kernels of a file, and why the others were left out: name -> reason."""

    kernels: list[Kernel]
    left_out: dict[str, str]


@dataclass
class _Rows:
    """What the rows of one kernel say together.  texts: API -> file name -> text."""

    where: str
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    row: dict[str, Any] = field(default_factory=dict)


def read(files: Sequence[Path], root: Path | None = None) -> Suite:
    """The kernels of some files.  `root`: a HeCBench checkout for arguments, inputs and headers that the rows do not hold.

    Raises UserError, in one line with the row's number, for a file or a row that cannot be used.
    """
    found = {name: rows for name, rows in _joined(files).items() if rows.texts}
    names = tuple(name for name, rows in found.items() if "args" not in rows.row or companions.lacks(rows.texts, rows.row))
    known = companions.entries(root, names) if root else {}
    kernels, left_out = [], {}
    for name, rows in found.items():
        try:
            kernels.append(_kernel(name, rows, known.get(name), root))
        except companions.Missing as e:
            left_out[name] = str(e)
    if not kernels:
        first = next(iter(left_out.items()), ("no row", "the file holds no program in serial, omp or cuda"))
        raise UserError(f"{files[0]}: no kernel can be used; {first[0]}: {first[1]}")
    return Suite(kernels, left_out)


def _joined(files: Sequence[Path]) -> dict[str, _Rows]:
    """Rows of one kernel together, in the files' order.  A row without a program adds its fields to the kernel, in place of others'."""
    found: dict[str, _Rows] = {}
    for where, row in ((f"{file}: row {number}", row) for file in files for number, row in _rows(file.expanduser())):
        row = {PROGRAM.get(name, name): value for name, value in row.items() if value not in (None, "")}
        _checked(where, row)
        if str(row.get("source_api", "")).lower() in OTHERS:
            continue
        rows = found.setdefault(str(row["kernel"]), _Rows(where))
        if "source" in row:
            _add(rows, where, row)
        else:
            rows.row |= row
    return found


def _add(rows: _Rows, where: str, row: dict[str, Any]) -> None:
    source = _api(where, row["source_api"])
    texts = {source: row["source"]}
    if "target_api" in row:
        target = _api(where, row["target_api"])
        rows.asked.append(f"{source}-{target}")
        texts |= {target: row["target"]} if "target" in row else {}
    for api, text in texts.items():
        files = _files(where, api, text)
        if rows.texts.setdefault(api, files) != files:
            raise UserError(f"{where}: kernel {row['kernel']!r} has another {api} program in an earlier row; name one of them otherwise")
    rows.row = row | rows.row


def _checked(where: str, row: dict[str, Any]) -> None:
    for name in row:
        if name not in FIELDS:
            raise UserError(f"{where}: unknown field {name!r}{nearest(name, FIELDS)}")
    for name in ("kernel", "source_api") if "source" in row else ("kernel",):
        if name not in row:
            raise UserError(f"{where}: field {name!r} is missing")


def _api(where: str, name: Any) -> str:
    if str(name).lower() not in APIS_NAMED:
        raise UserError(f"{where}: {short(name)} is no API{nearest(str(name).lower(), APIS)}")
    return APIS_NAMED[str(name).lower()]


def _files(where: str, api: str, text: Any) -> dict[str, str]:
    """File name -> text of a program; a plain text is its one file."""
    if isinstance(text, str):
        return {"main.cu" if api == "cuda" else "main.cpp": text}
    if isinstance(text, Mapping) and text and all(isinstance(part, str) for part in text.values()):
        return dict(text)
    raise UserError(f"{where}: the {api} program is a text or a mapping file name -> text, not {short(text)}")


# ---- a kernel --------------------------------------------------------------------------------------------------------


def _kernel(name: str, rows: _Rows, entry: checkout.Entry | None, root: Path | None) -> Kernel:
    """The kernel of some rows; Missing where something it needs is nowhere."""
    row, where, rows = rows.row, rows.where, _smaller(rows)
    runs, inputs = _runs(where, row, entry)
    programs = _driven(rows) if "driver" in row else companions.programs(name, rows.texts, _mapping(where, row, "headers"), root)
    flags = tuple(shlex.split(row["flags"])) if isinstance(row.get("flags"), str) else tuple(map(str, row.get("flags", ())))
    own = {api: flags or companions.flags(entry, api) for api in APIS}
    asked = tuple(dict.fromkeys(rows.asked)) or _alone(rows.texts)
    return Kernel(
        name,
        str(row.get("family", name)),
        str(row.get("suite", "tasks")),
        {api: text for api, (text, _) in programs.items() if text},
        runs[0],
        runs[1:] or runs,
        {api: words for api, words in own.items() if words},
        oracle="own",
        strength="unknown",
        inputs=inputs,
        given={api: parts for api, (_, parts) in programs.items()},
        asked=asked,
        printed=_expected(where, row, len(runs[1:] or runs)),
        unreliable=tuple(api for api, (text, _) in programs.items() if unreliable(api, text)),
    )


def _smaller(rows: _Rows) -> _Rows:
    """The rows with other values of the sizes that are written in their programs; UserError where a program does not write one."""
    values = rows.row.get("constants", {})
    if not isinstance(values, Mapping) or not all(isinstance(value, (int, float)) for value in values.values()):
        raise UserError(f"{rows.where}: constants: a mapping from sizes to smaller numbers, not {short(values)}")
    for api, files in rows.texts.items():
        for name, value in values.items():
            if all(constants.with_values(text, {name: value})[1] for text in files.values()):
                raise UserError(f"{rows.where}: constants: the {api} program of {rows.row['kernel']!r} sets {name!r} to no larger number")
    texts = {api: {file: constants.with_values(text, values)[0] for file, text in files.items()} for api, files in rows.texts.items()}
    return replace(rows, texts=texts)


def _alone(texts: Mapping) -> tuple[str, ...]:
    """The directions of a kernel with one program: its source says what is right."""
    directions = {"cuda": ("cuda-omp",), "serial": ("serial-omp", "serial-cuda"), "omp": ("omp-cuda",)}
    return directions[next(iter(texts))] if len(texts) == 1 else ()


def unreliable(api: str, text: str) -> bool:
    """Whether a program says nothing of what is right: OpenMP whose thread numbers stand for CUDA's, or the serial rest of one."""
    if api == "omp":
        return hecbench_sources.simt(text)
    return api == "serial" and hecbench_sources.asks_for_threads(text)


def _driven(rows: _Rows) -> dict[str, tuple[str, Given]]:
    """Function-level programs: what stands around the function is given, for every API alike or for each."""
    driver, function = rows.row["driver"], str(rows.row.get("function", ""))
    parts = driver if isinstance(driver, Mapping) else dict.fromkeys(APIS, driver)
    headers = _mapping(rows.where, rows.row, "headers")
    programs = {}
    for api in {*rows.texts, *(direction.split("-")[1] for direction in rows.asked)}:
        if not isinstance(parts.get(api), str):
            raise UserError(f"{rows.where}: driver: a text, or one for each API ({api} is missing)")
        before, found, after = parts[api].partition(PLACE)
        before, after = (before, after.partition("\n")[2]) if found else ("", parts[api])
        context = str(rows.row.get("context", ""))
        programs[api] = (given.one_text(rows.texts.get(api, {})), Given(before, after, function, context, headers))
    return programs


def _runs(where: str, row: dict, entry: checkout.Entry | None) -> tuple[tuple[tuple[str, ...], ...], dict[str, bytes]]:
    """(the visible arguments, then the hidden ones; input files)."""
    inputs = {name: text.encode() for name, text in _mapping(where, row, "files").items()}
    if "args" not in row and "hidden" not in row and entry is not None:
        if entry.why:
            raise companions.Missing(entry.why)
        return entry.runs if len(entry.runs) == 1 else (entry.runs[0], *entry.runs), {**entry.inputs, **inputs}
    public, hidden = _words(where, row.get("args", [])), row.get("hidden", [])
    if not isinstance(hidden, (list, tuple)):
        raise UserError(f"{where}: hidden: a list of command lines, each a text or a list of words, not {short(hidden)}")
    runs = (public, *(_words(where, case) for case in hidden))
    return tuple(tuple(SHOWN + word if word in inputs else word for word in run) for run in runs), inputs


def _words(where: str, args: Any) -> tuple[str, ...]:
    if isinstance(args, str):
        return tuple(shlex.split(args))
    if isinstance(args, (list, tuple)) and not any(isinstance(word, (list, tuple, dict)) for word in args):
        return tuple(map(str, args))
    raise UserError(f"{where}: args: a command line as one text or a list of words, not {short(args)}")


def _mapping(where: str, row: dict, name: str) -> dict[str, str]:
    value = row.get(name, {})
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise UserError(f"{where}: {name}: a mapping file name -> text, not {short(value)}")
    return dict(value)


def _expected(where: str, row: dict, count: int) -> tuple[str, ...]:
    """What is right on each hidden input."""
    value = row.get("expected", ())
    texts = (value,) if isinstance(value, str) else tuple(value)
    if texts and (len(texts) != count or not all(isinstance(text, str) for text in texts)):
        raise UserError(f"{where}: expected: what is printed on each of {count} hidden inputs, got {short(value)}")
    return texts


# ---- files -----------------------------------------------------------------------------------------------------------


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number from 1, row) of a file; in Parquet and CSV a text that begins with { or [ is JSON."""
    readers = {".jsonl": _json_lines, ".parquet": _parquet, ".csv": _csv}
    if file.suffix.lower() not in readers:
        raise UserError(f"suite.file: {file}: expected .jsonl, .parquet or .csv")
    try:
        yield from enumerate(readers[file.suffix.lower()](file), 1)
    except OSError as e:
        raise UserError(f"suite.file: {file}: cannot be read ({e.strerror or e})") from None
    except UnicodeDecodeError as e:
        raise UserError(f"suite.file: {file}: not a text in UTF-8 ({e.reason} at byte {e.start})") from None


def _json_lines(file: Path) -> Iterator[dict]:
    expected = f"expected a JSON object with the fields {', '.join(FIELDS)}"
    return (row for _, row in read_objects(file.read_bytes(), file, expected, blank=True))


def _parquet(file: Path) -> Iterator[dict]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(file).to_pylist()
    except pyarrow.ArrowInvalid as e:
        raise UserError(f"suite.file: {file}: no Parquet file ({e})") from None
    yield from (_plain(row) for row in rows)


def _csv(file: Path) -> Iterator[dict]:
    csv.field_size_limit(1 << 30)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        yield from (_plain(row) for row in csv.DictReader(lines))


def _plain(row: dict) -> dict:
    """The row with JSON in place of texts that hold it; programs stay texts unless they are mappings."""
    values = {}
    for name, value in row.items():
        if isinstance(value, list) and value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            value = dict(value)  # Parquet's maps
        if isinstance(value, dict):
            value = {key: part for key, part in value.items() if part is not None}
        values[name] = _from_json(value) if isinstance(value, str) and value[:1] in "{[" else value
    return values


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
