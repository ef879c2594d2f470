"""Tensors of latents as other projects keep them: one `.pt` or `.pt.gz` [K, D] a trajectory, under a base folder.

Knows those files.  Knows no row.  Every tensor is untrusted: loaded with weights_only, then checked for type, shape and values.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from pathlib import Path

import numpy as np
import torch

from parallax_lib.core.errors import UserError, short
from parallax_lib.core.vector_format import FLOAT16_MOST

NAME = re.compile(r"^[A-Za-z0-9._-]+$")
SUFFIXES = ("", ".gz")


def unzipped(path: Path) -> bytes:
    """The bytes of a file, unpacked where its name ends in .gz.  UserError where it cannot be read."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as e:
        raise UserError(f"{path}: cannot be read ({e}); restore the file") from None


def place(bases: list[Path], name: str, where: str) -> Path | None:
    """The file of that name in the first base folder that has it, by its path there or by its last part; None for none.

    Nothing outside the folders is read.  UserError for a name that is no file's.
    """
    parts = name.split("/") if isinstance(name, str) else [""]
    if not NAME.match(parts[-1]):
        raise UserError(f"{where}: {short(name)} is not a plain file name")
    inside = all(NAME.match(part) and part != ".." for part in parts)
    tails = [Path(*parts)] if inside and len(parts) > 1 else []
    for tail in (*tails, Path(parts[-1])):
        for base in bases:
            for suffix in SUFFIXES:
                if (path := base / f"{tail}{suffix}").is_file():
                    return path
    return None


def read_tensor(path: Path) -> np.ndarray:
    """[K, D] as float16, or as float32 where the file holds bfloat16, whose range float16 lacks.

    UserError for anything else, for values that are not finite, and for float32 values that float16 cannot hold.
    """
    try:
        value = torch.load(io.BytesIO(unzipped(path)), map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as e:  # any: torch raises what its unpickler met
        raise UserError(f"{path}: cannot be read as a tensor ({type(e).__name__}); the file is damaged or not a plain tensor") from None
    if isinstance(value, torch.Tensor) and value.ndim == 3 and value.shape[0] == 1:
        value = value[0]
    if not isinstance(value, torch.Tensor) or value.ndim != 2 or not value.is_floating_point() or value.layout is not torch.strided:
        raise UserError(f"{path}: expected a dense float tensor [K, D], found {type(value).__name__} {list(getattr(value, 'shape', []))}")
    if not torch.isfinite(value).all():
        raise UserError(f"{path}: holds NaN or infinity")
    if value.dtype == torch.bfloat16:
        return value.float().numpy()
    most = float(value.abs().max()) if value.numel() else 0.0
    if most > FLOAT16_MOST:
        raise UserError(f"{path}: holds {most:g}, more than float16 can ({FLOAT16_MOST:g}); save it as bfloat16, which is kept")
    return value.to(torch.float16).numpy()


def write_tensor(path: Path, vectors: np.ndarray, bfloat16: bool) -> None:
    """One `.pt` [K, D], as bfloat16 or in the array's own type."""
    value = torch.from_numpy(np.ascontiguousarray(vectors))
    torch.save(value.to(torch.bfloat16) if bfloat16 else value, path)
