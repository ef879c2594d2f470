"""PRMs on their way to the processes that score with them: told by the hashes of their files, sent and loaded once a process.

Knows the files of a PRM's folder.  Knows nothing of tasks, and trains nothing.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parallax_lib.core import parcels, tables
from parallax_lib.core.source import source_digest
from parallax_lib.core.storage import digest
from parallax_lib.prm import model as prm_model

SUFFIXES = (".json", ".safetensors", ".bin", ".yaml")  # of the files that a PRM is loaded from
_LOADED: dict[tuple[str, str], Any] = {}  # (hash of its files, device) -> model


def pack(folder: Path, shared_disk: bool = False) -> dict[str, Any]:
    """A PRM as plain data: name -> sha256 of its files, and parcels of them, or on a shared disk where they are."""
    files = {path.name: parcels.of(path) for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES}
    rest = {"folder": str(folder.resolve())} if shared_disk else {"files": files}
    return {"sha256": {name: parcel.sha256 for name, parcel in files.items()}} | rest


def pack_module(model, here: bool = False, shared_disk: bool = False) -> dict[str, Any]:
    """A PRM that is in memory, such as a module of one's own, known by its code and weights; as plain data unless it stays here."""
    model = prm_model.as_prm(model)
    data = model if here else tables.pack(model, "the PRM")
    return {"sha256": {"module": source_digest(model)}, "module": data if here or shared_disk else parcels.of(data)}


def unpack(packs: Sequence[dict], device) -> list:
    """The packed PRMs on `device`, ready to score.  This process keeps them until it is asked for others."""
    keys = [(digest(packed["sha256"]), str(device)) for packed in packs]
    for unwanted in set(_LOADED) - set(keys):
        del _LOADED[unwanted]
    for key, packed in zip(keys, packs, strict=True):
        if key not in _LOADED:
            _LOADED[key] = _load(packed, device)
    return [_LOADED[key] for key in keys]


def _load(packed: dict, device):
    if "module" in packed:
        model = packed["module"]
        model = parcels.bytes_of(model) if isinstance(model, parcels.Parcel) else model
        return (pickle.loads(model) if isinstance(model, bytes) else model).to(device).eval()
    if "folder" in packed:
        return prm_model.load(packed["folder"], device=device)
    with tempfile.TemporaryDirectory() as folder:
        for name, parcel in packed["files"].items():
            (Path(folder) / name).symlink_to(parcels.file_of(parcel).resolve())
        return prm_model.load(folder, device=device)
