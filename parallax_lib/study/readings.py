"""What the run's PRM reads of its rollouts, kept in the run's folder: latents, what they are aligned to, states of prompts.

Knows the run's settings and files.  Loads no translator: where it is, `search.translator_readings` asks it.

n rollouts, K latent steps, D translator width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from parallax_lib.core import fingerprint
from parallax_lib.core.config import dump
from parallax_lib.core.source import source_digest
from parallax_lib.core.storage import digest, read_vectors, whole, write_vectors
from parallax_lib.search import methods, rollouts, translator_readings
from parallax_lib.study.run import Run

READINGS = "readings"  # folder of what a PRM reads


def readings(run: Run, vectors: np.ndarray) -> np.ndarray:
    """What the PRM reads of latents float16 [n, K, D]: with `prm.reads: both` [n, K, 2 D]; kept for later stages."""
    p = run.params
    if p.prm.reads == "states":
        return vectors
    settings = {name: dump(p)["latent"][name] for name in ("align", "tau", "ridge")} | {"reads": p.prm.reads}
    code = source_digest(translator_readings.aligned_item, *methods.members(p, "align"))
    made_of = [_sha256(vectors), dump(p)["translator"], fingerprint.weights(p), settings, code]
    return _kept(run, "latents", "", digest(made_of), lambda: translator_readings.aligned(p, vectors, run.progress))


def prompt_states(run: Run, rows: pd.DataFrame) -> np.ndarray | None:
    """What a PRM with `prm.context: pooled` reads besides latents, float32 [n, D]; None without.  Kept for later stages."""
    p = run.params
    if p.prm.context == "none":
        return None
    asked = digest(rows[["task", "direction", "source_code"]].to_numpy().tolist())
    of = digest([dump(p)["translator"], fingerprint.weights(p), source_digest(rollouts.prompt_states)])
    return _kept(run, "prompts", of, asked, lambda: translator_readings.prompt_states(p, rows, run.progress)[:, None])[:, 0]


def read_by(run: Run, vectors: np.ndarray) -> list:
    """Identity of what a PRM reads: the vectors by their bytes, prompts' states (where it is given them) by the model they are of."""
    of = [] if run.params.prm.context == "none" else [dump(run.params)["translator"], fingerprint.weights(run.params)]
    return [_sha256(vectors), *of]


def _sha256(vectors: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(vectors)).hexdigest()


def _kept(run: Run, kind: str, of: str, asked: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The vectors [n, ., .] of a file, made where it is not there; those of the same kind `of` something else are then outdated."""
    kept = run.folder / READINGS / f"{kind}-{of[:16]}-{asked[:16]}.safetensors"
    if not whole(kept):
        made = make()
        _forget(kept.parent, kind, of)
        write_vectors(kept, made)
    return read_vectors(kept)


def _forget(folder: Path, kind: str, of: str) -> None:
    for old in folder.glob(f"{kind}-*.safetensors"):
        if not of or not old.name.startswith(f"{kind}-{of[:16]}-"):
            old.unlink(missing_ok=True)
