"""How latents are held and stored: float16 where it is wide enough, bfloat16 where they came as such, packed where they ship.

Knows arrays of numbers.  Knows no file.
"""

from __future__ import annotations

import numpy as np

FLOAT16_MOST = float(np.finfo(np.float16).max)


def narrow(values: np.ndarray) -> np.ndarray:
    """float32 values as float16 where all of them fit, else as they are."""
    return values if np.abs(values).max(initial=0) > FLOAT16_MOST else values.astype(np.float16)


def is_bfloat16(vectors: np.ndarray) -> bool:
    """Whether float32 values are all those of bfloat16, which are their upper halves."""
    return vectors.dtype == np.float32 and not (vectors.view(np.uint32) & 0xFFFF).any()


def as_stored(vectors: np.ndarray) -> dict[str, np.ndarray]:
    """A shard's tensor under the name that says how it is read."""
    if is_bfloat16(vectors):
        return {"upper": (vectors.view(np.uint32) >> 16).astype(np.uint16)}
    return {"latents": vectors if vectors.dtype == np.float32 else vectors.astype(np.float16)}


def as_vectors(parts: dict[str, np.ndarray]) -> np.ndarray:
    """What `write_vectors` was given: float16, or float32 where that is too narrow."""
    if "upper" in parts:
        return (parts["upper"].astype(np.uint32) << 16).view(np.float32)
    if "whole" not in parts:
        return parts["latents"]
    return narrow(parts["whole"].transpose(2, 1, 0) * parts["step"])
