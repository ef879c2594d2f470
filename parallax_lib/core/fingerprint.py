"""What lies behind a path, as a digest: so that a result is not taken for that of other weights or other programs.

Knows files.  Knows nothing of what is in them.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from parallax_lib.core.config import ROOT, resolve
from parallax_lib.core.settings import Params
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
    named = (params.suite.root, params.suite.split, params.collect.shipped, params.prm.checkpoint)
    models = (params.translator.model, params.translator.adapter)
    pca = params.latent.pca if params.latent.proposal == "pca" else ""
    rows = (params.prm.train_jsonl, params.prm.valid_jsonl, params.prm.fields, params.prm.vectors, params.prm.init)
    given = [resolve(name) for name in (*named, *models, *rows, pca) if name and resolve(name).exists()]
    return listing(*ASKED_AND_JUDGED, *given)


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    found = ((path, path.relative_to(folder).parts) for path in folder.rglob("*") if path.is_file())
    return sorted(path for path, parts in found if not any(part.startswith(".") or part == "__pycache__" for part in parts))


def _bytes(path: Path) -> str:
    size, sha = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        for i in range(BLOCKS if size > BLOCK * BLOCKS else 1):
            file.seek(i * (size - BLOCK) // (BLOCKS - 1) if size > BLOCK * BLOCKS else 0)
            sha.update(file.read(BLOCK if size > BLOCK * BLOCKS else -1))
    return sha.hexdigest()
