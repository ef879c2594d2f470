"""Checkpoints of a Hugging Face trainer as PRMs: a causal language model's body, a scalar head, an adapter of latents.

Knows files, names of weights and their shapes.  Knows nothing of what the weights were trained on.  Code beside them is never run.

Which weight is which is told by shapes; `key_map.yaml` beside the weights says it where that does not suffice:

    backbone: pretrained_model.model.   # the prefix of the body's weights
    head: v_head.summary.               # Linear(H -> 1): weight, and bias where there is one
    adapter: latent_proj.               # Linear(D -> H); left out: latents enter the body as they are
    norm: latent_norm.                  # LayerNorm(H) after GELU
    mean: latent_mean                   # [D], where latents were standardised; with std
    std: latent_std
    activation: sigmoid                 # how a raw score becomes a probability: sigmoid or clip
    base: Qwen/Qwen2.5-Coder-7B-Instruct   # the body's configuration, where no config.json lies here
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from parallax_lib.core.config import id_or_folder
from parallax_lib.core.errors import UserError, nearest
from parallax_lib.core.yaml_files import read_yaml
from parallax_lib.prm.shape import PRMConfig
from parallax_lib.translator import weights

MAP = "key_map.yaml"
KEYS = ("backbone", "head", "adapter", "norm", "mean", "std", "activation", "base")
SINGLE, INDEXED = ("model.safetensors", "pytorch_model.bin"), ("model.safetensors.index.json", "pytorch_model.bin.index.json")
VOCABULARY = ("lm_head.", "embed_tokens.", "embed_out.", "wte.", "wpe.")  # a PRM has no words


def is_one(folder: Path) -> bool:
    """Whether a folder holds a trainer's weights and no PRM of ours."""
    return not (folder / "prm.json").exists() and any((folder / name).exists() for name in (*SINGLE, *INDEXED))


def read_shape(folder: Path) -> PRMConfig:
    """What kind of PRM lies there, from the names and shapes of its weights."""
    parts, found = _parts(folder)
    latent_width = found[f"{parts['adapter']}weight"].shape[1] if "adapter" in parts else found[f"{parts['head']}weight"].shape[1]
    adapter = "none" if "adapter" not in parts else "mlp" if "norm" in parts else "linear"
    width = found[f"{parts['head']}weight"].shape[1]
    base = parts.get("base") or str(folder.resolve())
    return PRMConfig(backbone=base, latent_width=latent_width, width=width, adapter=adapter, activation=parts.get("activation", "sigmoid"))


def read_state(folder: Path) -> dict[str, Tensor]:
    """The weights under our names, in float32."""
    parts, found = _parts(folder)
    ours = {parts["backbone"]: "backbone.body.", parts["head"]: "head."}
    ours |= {parts[name]: target for name, target in (("adapter", "adapter.0."), ("norm", "adapter.2.")) if name in parts}
    ours |= {parts[name]: name for name in ("mean", "std") if name in parts}
    state = {}
    for name, value in found.items():
        prefix = max((p for p in ours if name.startswith(p)), key=len, default=None)
        if prefix is not None and not _of_vocabulary(name):
            state[ours[prefix] + name[len(prefix) :]] = value.float()
    state.setdefault("head.bias", torch.zeros(1))
    weights.refuse_broken(str(folder), state.items())
    return state


def empty_body(folder: Path) -> torch.nn.Module:
    """The body that the configuration describes; its weights are still to be filled in."""
    from transformers import AutoModel

    return AutoModel.from_config(_configuration(folder), dtype=torch.float32)


def _configuration(folder: Path) -> Any:
    from transformers import AutoConfig

    base = _map(folder).get("base")
    if base is None and not (folder / "config.json").exists():
        raise UserError(f"{folder}: no config.json beside the weights; copy the base model's there, or name it: 'base: ID' in {MAP}")
    with weights.one_line(folder if base is None else base, "prm.kind"):
        return AutoConfig.from_pretrained(folder if base is None else id_or_folder(base), trust_remote_code=False)


def _map(folder: Path) -> dict[str, str]:
    """What `key_map.yaml` says.  UserError for a key that is none."""
    file = folder / MAP
    values, lines = read_yaml(file) if file.exists() else ({}, {})
    for key, value in values.items():
        if key not in KEYS:
            raise UserError(f"{file}: line {lines[(key,)]}: unknown key {key!r}{nearest(key, KEYS)}")
        if not isinstance(value, str):
            raise UserError(f"{file}: {key}: expected a text, the prefix of some names of weights, got {value!r}")
    return values


def _weights(folder: Path) -> dict[str, Tensor]:
    """Every weight by its name in the files, as stored; the last folder's are kept."""
    files = [folder / name for name in SINGLE if (folder / name).exists()][:1]
    if not files:
        index = next(folder / name for name in INDEXED if (folder / name).exists())
        with weights.one_line(folder, "prm.kind"):
            files = [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    key = tuple((str(file), file.stat().st_mtime_ns if file.exists() else 0) for file in files)
    return _together(key)


@functools.lru_cache(maxsize=1)  # no dict of the module: what that holds would count as code of a training
def _together(files: tuple[tuple[str, int], ...]) -> dict[str, Tensor]:
    return {name: value for file, _ in files for name, value in _read_file(Path(file)).items()}


def _read_file(file: Path) -> dict[str, Tensor]:
    if not file.exists():
        raise UserError(f"{file}: named in the index but missing; copy the whole folder")
    weights.refuse_pointers(file.parent, "prm.checkpoint")
    try:
        if file.suffix == ".bin":
            return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        with safe_open(file, "pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}
    except Exception as e:  # any: a foreign file reaches two libraries
        raise UserError(f"{file}: truncated, damaged or no plain weights ({' '.join(str(e).split())[:120]}); copy it again") from None


def _of_vocabulary(name: str) -> bool:
    return any(f".{word}" in f".{name}" for word in VOCABULARY)


def _parts(folder: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """(what each prefix of names is, by KEYS, as said or else by shapes; the weights)."""
    parts, found = dict(_map(folder)), _weights(folder)
    body = _body_names(folder)
    parts.setdefault("backbone", _prefix(folder, found, body))
    inside = {parts["backbone"] + name for name in body}
    if missing := sorted(name for name in inside - set(found) if not _of_vocabulary(name)):
        raise UserError(f"{folder}: {len(missing)} weights of the body are missing, {missing[0]!r} is one; correct 'backbone' in {MAP}")
    rest = {name: value for name, value in found.items() if name not in inside and not _of_vocabulary(name)}
    width = _configuration(folder).get_text_config().hidden_size
    heads = [n for n, v in rest.items() if v.ndim == 2 and v.shape[0] == 1 and v.shape[1] == width]
    adapters = [n for n, v in rest.items() if v.ndim == 2 and v.shape[0] == width and n not in heads]
    norms = [n for n, v in rest.items() if v.ndim == 1 and v.shape[0] == width and n.endswith("weight")]
    for key, names in (("head", heads), ("adapter", adapters), ("norm", norms)):
        if key not in parts and len(names) == 1 and names[0].endswith("weight"):
            parts[key] = names[0].removesuffix("weight")
    listed = ", ".join(sorted(rest)[:6]) or "none"
    if f"{parts.get('head', '?')}weight" not in found:
        raise UserError(f"{folder}: no scalar head [1, {width}] beside the body's weights ({listed}); name it: 'head: PREFIX' in {MAP}")
    used = [parts[key] for key in ("head", "adapter", "norm", "mean", "std") if key in parts]
    if over := sorted(name for name in rest if not name.startswith(tuple(used))):
        raise UserError(f"{folder}: {len(over)} weights fit nowhere, {over[0]!r} is one; say what they are in {MAP}: {', '.join(KEYS)}")
    return parts, found


@functools.lru_cache(maxsize=2)
def _body_names(folder: Path) -> tuple[str, ...]:
    from transformers import AutoModel

    with torch.device("meta"):
        return tuple(AutoModel.from_config(_configuration(folder)).state_dict())


def _prefix(folder: Path, found: dict[str, Tensor], body: tuple[str, ...]) -> str:
    """What stands before the names of the body's weights."""
    probe = next(name for name in body if not _of_vocabulary(name))
    prefixes = sorted({name[: -len(probe)] for name in found if f".{name}".endswith(f".{probe}")}, key=len)
    if not prefixes:
        shown = ", ".join(list(found)[:3])
        raise UserError(f"{folder}: no weight is the body's {probe!r} (there are {shown} ...); say its prefix: 'backbone: PREFIX' in {MAP}")
    return prefixes[0]
