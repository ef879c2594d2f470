"""Import and export of the published file layout: `dataset.jsonl`, `<id>.pt`, `<id>_v{i}_r{j}.pt`, `.gz` accepted.

Knows those files only.  Every tensor is untrusted: loaded with weights_only, then checked for type, shape and values.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import write_atomic

NAME = re.compile(r"^[A-Za-z0-9._-]+$")


def export_layout(folder: Path, rollouts: pd.DataFrame, vectors: np.ndarray) -> Path:
    """Write one `.pt` [K, D] a rollout and `dataset.jsonl` whose rows name them; returns the JSONL's path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for row, path in zip(rollouts.to_dict("records"), vectors, strict=True):
        file = f"{row['capture_id']}.pt"
        torch.save(torch.from_numpy(np.ascontiguousarray(path)), folder / file)
        clean = {k: (None if isinstance(v, float) and np.isnan(v) else v) for k, v in row.items()}
        lines.append(json.dumps(clean | {"latents": file}))
    index = folder / "dataset.jsonl"
    write_atomic(index, ("\n".join(lines) + "\n").encode())
    return index


def import_layout(folder: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """(rollouts, latents float16 [n, K, D]) of a folder in the published layout.  Raises UserError naming the file."""
    index = next((folder / n for n in ("dataset.jsonl", "dataset.jsonl.gz") if (folder / n).exists()), None)
    if index is None:
        raise UserError(f"{folder}: no dataset.jsonl or dataset.jsonl.gz")
    rows, vectors = [], []
    for number, line in enumerate(_open(index).removesuffix(b"\n").split(b"\n"), 1):
        try:
            row = json.loads(line)
            file = row.pop("latents", None) or f"{row['capture_id']}.pt"
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise UserError(f"{index}: line {number}: not a row with a capture_id ({e})") from None
        if not isinstance(file, str) or not NAME.match(file):
            raise UserError(f"{index}: line {number}: {file!r} is not a plain file name")
        rows.append(row)
        vectors.append(_tensor(folder / file))
    shapes = {v.shape for v in vectors}
    if len(shapes) != 1:
        raise UserError(f"{folder}: latents have {len(shapes)} different shapes {sorted(shapes)[:3]}, expected one [K, D]")
    return pd.DataFrame(rows), np.stack(vectors)


def _open(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def _tensor(path: Path) -> np.ndarray:
    path = path if path.exists() else path.with_name(path.name + ".gz")
    if not path.exists():
        raise UserError(f"{path.with_suffix('')}: named in dataset.jsonl but missing")
    try:
        import io

        value = torch.load(io.BytesIO(_open(path)), map_location="cpu", weights_only=True)
    except Exception as e:
        raise UserError(f"{path}: cannot be read as a tensor ({type(e).__name__}); the file is damaged or not a plain tensor") from None
    if not isinstance(value, torch.Tensor) or value.ndim != 2 or not value.is_floating_point() or value.layout is not torch.strided:
        raise UserError(f"{path}: expected a dense float tensor [K, D], found {type(value).__name__} {list(getattr(value, 'shape', []))}")
    if not torch.isfinite(value).all():
        raise UserError(f"{path}: holds NaN or infinity")
    return value.to(torch.float16).numpy()
