"""Parameters of a run: the defaults of `settings`, a YAML file, `--set`, and what must fit together.

Knows where values come from, and says in one line what is wrong with them.  Knows nothing of what the stages do with them.
A YAML file in `params/` holds only what differs from the defaults in `settings`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from parallax_lib.core import hardware, renamed
from parallax_lib.core.errors import UserError, nearest, short
from parallax_lib.core.settings import DIRECTIONS, SMALL_PRMS, Params
from parallax_lib.core.yaml_files import parse, read_yaml

ROOT = Path(__file__).resolve().parents[2]
PRM_FILES = ("train_jsonl", "valid_jsonl", "vectors", "fields", "checkpoint", "init")


def load(run: str = "demo", **overrides: Any) -> Params:
    """Parameters of a run: defaults, then `params/<run>.yaml` if there is one, then `overrides` (nested dicts).

    Raises UserError naming file, line, key and the nearest valid key.
    """
    file = ROOT / "params" / f"{run}.yaml"
    values, lines = read_yaml(file) if os.path.exists(file) else ({}, {})  # which takes a name of any length
    return check(merge(merge(values, overrides), {"run": run}), lines, file)


def load_file(path: str | Path, sets: tuple[str, ...] = ()) -> Params:
    """Parameters of a YAML file; `sets` are command-line overrides such as `search.branches=8`."""
    path = Path(path)
    if not os.path.exists(path):
        known = ", ".join(sorted(p.name for p in (ROOT / "params").glob("*.yaml")))
        raise UserError(f"{path}: no such parameter file; params/ holds {known}")
    values, lines = read_yaml(path)
    values.setdefault("run", path.stem)
    return _from_here(check(_with_sets(values, sets), lines, path))


def load_values(values: dict, sets: tuple[str, ...] = ()) -> Params:
    """Parameters of nested values and command-line overrides, without a file."""
    return _from_here(check(_with_sets(values, sets), {}, Path("--set")))


def _with_sets(values: dict, sets: tuple[str, ...]) -> dict:
    for item in sets:
        given = _parse_set(item)
        _fields(given, {}, f"--set {item}")
        values = merge(values, given)
    return values


def check(values: dict, lines: dict[tuple, int], file: Path) -> Params:
    """The parameters, if every value fits its field and the others.  Raises UserError that names `file` and the line."""
    params = _fields(values, lines, file.name)
    for name in params.suite.directions:
        if name not in DIRECTIONS:
            raise UserError(f"{file.name}: suite.directions: {name!r} is not one of {', '.join(DIRECTIONS)}{nearest(name, DIRECTIONS)}")
    for section in ("search", "report"):
        seeds = getattr(params, section).seeds
        if len(set(seeds)) < len(seeds):
            raise UserError(f"{file.name}: {section}.seeds: {list(seeds)} has one twice; each is a run of its own")
    if params.latent.proposal == "mc_dropout" and max(params.latent.sigma, *params.collect.sensitivity_sigmas, 0.0) >= 1:
        reason = "with mc_dropout sigma is the share of units that is dropped"
        raise UserError(f"{file.name}: latent.sigma, collect.sensitivity_sigmas: {reason}; keep all of them below 1")
    if params.search.choose == "trajectories" and (params.search.beam > 1 or params.search.lookahead):
        raise UserError(f"{file.name}: search.choose trajectories takes no beam and no lookahead; leave them out, or choose steps")
    for key, name in (("prm.kind", params.prm.kind), *(("prm.baselines", kind) for kind in params.prm.baselines)):
        plain = name not in SMALL_PRMS and "/" not in name and not os.path.exists(resolve(name))
        if plain and (close := difflib.get_close_matches(name, SMALL_PRMS, n=1, cutoff=0.75)):
            raise UserError(f"{file.name}: {key}: {name!r} is no kind of PRM; did you mean {close[0]!r}?")
    if not params.collect.limit and not params.collect.shipped:
        raise UserError(f"{file.name}: collect.limit: 0 collects nothing; raise it, or name rollouts as collect.shipped")
    if params.validation.max_parallel and not params.validation.gpus:
        raise UserError(f"{file.name}: validation.max_parallel: it counts for each of validation.gpus; name those, such as [0, 1]")
    hardware.gpus_asked(params.executor.gpu)
    if params.executor.kind == "dask" and not params.executor.address:
        raise UserError(f"{file.name}: executor.address: name the Dask scheduler, tcp://host:8786 or the file of its --scheduler-file")
    if params.search.beam > params.search.branches:
        raise UserError(f"{file.name}: search.beam {params.search.beam} is over search.branches {params.search.branches}; lower it")
    if not re.fullmatch(r"[^\s./\\\x00-\x1f\ud800-\udfff][^/\\\x00-\x1f\ud800-\udfff]*", params.run) or len(params.run.encode()) > 100:
        asked = "a plain name of 1 to 100 bytes, it becomes a folder under data/runs"
        raise UserError(f"{short(file.name)[1:-1]}: run: {short(params.run)} must be {asked}")
    return params


def _fields(values: dict, lines: dict[tuple, int], name: str) -> Params:
    """`values` as parameters, each looked at alone; `name` says in an error where they stand."""
    renamed.refuse(values, lines, name)
    try:
        return Params.model_validate(values)
    except ValidationError as e:
        raise UserError(_explain(e.errors()[0], lines, name)) from None


def resolve(path: str) -> Path:
    """A path as given, or relative to the repository."""
    given = Path(path).expanduser()
    return given if given.is_absolute() or os.path.exists(given) else ROOT / path


def _from_here(params: Params) -> Params:
    """The parameters with the PRM's files by their full paths where they lie outside the repository: notebooks run in another folder."""
    given = {name: Path(getattr(params.prm, name)).expanduser() for name in PRM_FILES if getattr(params.prm, name)}
    here = {name: str(path.resolve()) for name, path in given.items() if os.path.exists(path)}
    if params.prm.save_path and not Path.cwd().resolve().is_relative_to(ROOT):
        here["save_path"] = str(Path(params.prm.save_path).expanduser().resolve())
    outside = {name: path for name, path in here.items() if not Path(path).is_relative_to(ROOT)}
    return params.model_copy(update={"prm": params.prm.model_copy(update=outside)})


def id_or_folder(name: str) -> str:
    """A model's folder by its full path, wherever it is read from; a model-hub id as it is."""
    found = resolve(name)
    return str(found.resolve()) if os.path.isdir(found) else name


def merge(base: dict, over: dict) -> dict:
    """`base` with the values of `over` laid on top, sections merged key by key."""
    out = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merge(out[key], value) if both else value
    return out


def dump(params: Params) -> dict:
    """Every value, JSON-ready: what a run writes beside what it made."""
    return json.loads(params.model_dump_json())


def _parse_set(item: str) -> dict:
    key, eq, text = item.partition("=")
    if not eq or not all(key.split(".")):
        raise UserError(f"--set {item}: expected section.key=value")
    value = parse(text, f"--set {item}")
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _explain(error: dict, lines: dict[tuple, int], name: str) -> str:
    loc = tuple(str(p) for p in error["loc"])
    named = next((loc[:i] for i in range(len(loc), 0, -1) if loc[:i] in lines), loc)
    where = f"{name}: line {lines[named]}" if named in lines else name
    key, said, got = ".".join(loc), error["msg"].lower(), short(error["input"])
    if error["type"] == "extra_forbidden":
        model = Params
        for part in loc[:-1]:
            model = model.model_fields[part].annotation
        return f"{where}: unknown key {key!r}{nearest(loc[-1], model.model_fields)}"
    if error["type"] == "model_type":
        return f"{where}: {key} is a section of 'key: value' lines, got {got}"
    if error["type"] == "too_short":
        return f"{where}: {key}: name at least one, got {got}"
    if error["type"] == "literal_error" and isinstance(error["input"], str):
        close = difflib.get_close_matches(error["input"], re.findall("'(.*?)'", error["ctx"]["expected"]), n=1, cutoff=0.5)
        got += f"; did you mean {close[0]!r}?" if close else ""
    return f"{where}: {key}: {said}, got {got}"
