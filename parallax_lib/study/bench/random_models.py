"""Translators and PRMs of published shapes with random weights, made where they are used: no file, no download.

Knows shapes and weights.  Measures nothing.
"""

from __future__ import annotations

import tempfile
import zlib
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from parallax_lib.core import torchrun
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import sharded
from parallax_lib.study.bench.report import device
from parallax_lib.translator import models, shapes, tensor_parallel
from parallax_lib.translator.language_model import Translator

NAMES = {
    "7b": "Qwen/Qwen2.5-Coder-7B-Instruct", "14b": "Qwen/Qwen2.5-Coder-14B-Instruct", "32b": "Qwen/Qwen2.5-Coder-32B-Instruct",
    "70b": "meta-llama/Llama-3.3-70B-Instruct",
}  # fmt: skip
SMALL = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 512}
SHAPES = ("small", *NAMES)


def configuration(shape: str) -> Any:
    """The description of a model of that shape, in the precision of this device."""
    from transformers import AutoConfig

    known = shapes.QWEN2 | SMALL | {"vocab_size": 512} if shape == "small" else shapes.SHAPES[NAMES[shape]]
    dtype = "bfloat16" if device().type == "cuda" else "float32"
    rest = {name: value for name, value in known.items() if name != "model_type"}
    return AutoConfig.for_model(known["model_type"], tie_word_embeddings=False, eos_token_id=None, dtype=dtype, **rest)


def translator(shape: str, gpus: int = 1, tokenizer: str = "") -> Translator:
    """A translator; every rank draws the same numbers, so what is whole on each GPU is the same there.

    tokenizer: a folder; else one token is one byte.
    """
    config = configuration(shape)
    model = tensor_parallel.empty(config)
    size = tensor_parallel.held(model, 1)
    torch.manual_seed(0)
    model = tensor_parallel.split(model, gpus, device(), lambda *given: _drawn(*given, gpus))
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(model.device)
    words = models.read_tokenizer(tokenizer) if tokenizer else models.byte_tokenizer()
    return Translator(model.eval().requires_grad_(False), words, shape, gpus=gpus, whole=size)


def _drawn(value: Tensor, style: str, where: torch.device, count: int) -> Tensor:
    part = torch.empty_like(tensor_parallel.cut(value, style, 0, count), device=where)
    return part.normal_(0, 0.02) if part.dim() > 1 else part.fill_(1)


def prm(shape: str, lora: int, precision: str = "bf16") -> prm_model.PRM:
    """A PRM over latents of that shape's width, split over the processes where torchrun started several."""
    hollow, known = _described(shape, lora)
    several = torchrun.together() > 1
    model = sharded.split(hollow, device().type, precision) if several else hollow.to_empty(device=device())
    _fill(model, known)
    return model


def _described(shape: str, lora: int) -> tuple[prm_model.PRM, dict[str, Tensor]]:
    """The PRM of that shape on the meta device, and those of its buffers that follow from its configuration."""
    config = configuration(shape)
    with torch.device("meta"):
        model = prm_model.unfilled(prm_model.PRMConfig(backbone=_folder(shape).name, latent_width=config.hidden_size, lora_rank=lora))
    rotary = type(model.backbone.body.rotary_emb)(config)
    return model, {f"backbone.body.rotary_emb.{name}": value for name, value in rotary.named_buffers()}


@cache
def _folder(shape: str) -> tempfile.TemporaryDirectory:
    """Where a PRM of that shape finds its backbone described, until this process ends."""
    folder = tempfile.TemporaryDirectory()
    configuration(shape).save_pretrained(folder.name)
    return folder


@torch.no_grad()
def _fill(model: prm_model.PRM, known: dict[str, Tensor]) -> None:
    """Random weights, the same whatever the number of processes: each draws every one of them whole and keeps its part."""
    generator = torch.Generator(model.mean.device)
    for name, value in sharded.values(model).items():
        full = torch.zeros(value.shape, device=model.mean.device)
        if name in known:
            full = known[name].to(full)
        elif name == "std" or (value.ndim == 1 and name.endswith("weight")):
            full.fill_(1)
        elif value.ndim > 1 and "lora_B" not in name:
            full.normal_(0, 0.02, generator=generator.manual_seed(zlib.crc32(name.encode())))
        split = isinstance(value, DTensor)
        value.copy_(distribute_tensor(full.to(value.dtype), value.device_mesh, value.placements, src_data_rank=None) if split else full)
