"""Process reward model: a latent prefix in, a score at every position out; beside it the GRU and ridge baselines.

Knows latent vectors.  Knows nothing of labels, training or the translator.

All three kinds share `forward(latents, lengths, context) -> raw scores [B, K]`, `scores(model, latents)` in 0..1, and,
for `scoring`, `begin`, `step`, `repeat`, `select` of a prefix that grows.

Letters: B rows, K latent steps, D translator width, H PRM width, M rows in one step.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import SMALL_PRMS
from parallax_lib.prm import trainer_checkpoint
from parallax_lib.prm.backbones import CausalBody, Recurrent, described, from_saved_config, pretrained, small_llama
from parallax_lib.prm.linear import RidgeProbe
from parallax_lib.prm.losses import find_loss, to_probability
from parallax_lib.prm.own_module import Own, as_prm
from parallax_lib.prm.prefix_trees import Packing
from parallax_lib.prm.shape import OWN, PRMConfig, check_width, match_width, read_description
from parallax_lib.translator import weights

LEFT_OUT = {"lora_rank": 0, "base": "", "activation": "", "adapter": "mlp"}  # values that prm.json leaves out


class PRM(nn.Module):
    """Standardise, adapter, causal backbone, scalar head at every position."""

    def __init__(self, config: PRMConfig, backbone: nn.Module):
        super().__init__()
        self.config = replace(config, width=backbone.width)
        self.backbone = backbone
        self.adapter = _adapter(config.latent_width, self.config.width, config.adapter)
        self.head = nn.Linear(self.config.width, 1)
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("mean", torch.zeros(config.latent_width))
        self.register_buffer("std", torch.ones(config.latent_width))
        if config.context == "pooled":
            self.register_buffer("context_mean", torch.zeros(config.state_width))
            self.register_buffer("context_std", torch.ones(config.state_width))
            self.context_adapter = _adapter(config.state_width, self.config.width)

    def forward(
        self, latents: Tensor, lengths: Tensor | None = None, context: Tensor | None = None, packing: Packing | None = None
    ) -> Tensor:
        """latents [B, K, D] -> raw scores [B, K]; positions at or past `lengths` [B] are not read and score 0.

        packing: of the rows' tokens, a pooled context before the latents; the scores are the same.
        """
        if packing is not None:
            return self._packed(latents, context, packing)
        inputs = self.embed(latents)  # (B, K, H)
        past_end = None
        if lengths is not None:
            past_end = torch.arange(latents.shape[1], device=inputs.device) >= lengths.to(inputs.device)[:, None]
            inputs = inputs.masked_fill(past_end[..., None], 0)
        if self.config.context == "pooled":
            inputs = torch.cat([self.embed_context(context)[:, None], inputs], 1)
        hidden, _ = self.backbone.run(inputs)
        raw = self.head(hidden[:, -latents.shape[1] :])[..., 0]
        return raw.clone() if past_end is None else raw.masked_fill(past_end, 0)  # no view: FSDP2 hangs its backward on it

    def _packed(self, latents: Tensor, context: Tensor | None, packing: Packing) -> Tensor:
        """`forward` of the distinct beginnings of rows, several rows in one row of the backbone."""
        where, lead = latents.device, int(self.config.context == "pooled")
        row, place = torch.from_numpy(packing.first).to(where).unbind(1)
        own = (place >= lead).nonzero()[:, 0]
        nodes = self.embed(latents[row[own], place[own] - lead])  # (M, H)
        if lead:
            roots = (place < lead).nonzero()[:, 0]
            order = torch.cat([roots, own]).argsort()
            nodes = torch.cat([self.embed_context(context[row[roots]]), nodes])[order]
        given = (torch.from_numpy(x).to(where) for x in (packing.positions, packing.mask()))
        hidden, _ = self.backbone.run(packing.spread(nodes), None, *given)
        spots = torch.from_numpy(np.stack(packing.spots)[:, lead:]).to(where)  # (B, K)
        return self.head(hidden.flatten(0, 1)[spots])[..., 0].clone()

    def embed(self, latents: Tensor) -> Tensor:
        check_width(self.config, latents)
        return self.dropout(self.adapter((latents.to(self.mean) - self.mean) / self.std))

    def embed_context(self, context: Tensor | None) -> Tensor:
        if context is None:
            raise UserError("this PRM reads a pooled prompt state: pass context [B, D], or train without it")
        match_width(context.shape[-1], self.config.state_width, "this PRM's prompt state")
        return self.dropout(self.context_adapter((context.to(self.mean) - self.context_mean) / self.context_std))

    def begin(self, rows: int, context: Tensor | None = None):
        state = self.backbone.begin(rows)
        if self.config.context == "pooled":
            _, state = self.backbone.run(self.embed_context(context)[:, None], state)
        return state

    def step(self, latents: Tensor, state):
        """One latent each [M, D] after `state` -> raw scores [M] and the new state."""
        hidden, state = self.backbone.run(self.embed(latents)[:, None], state)
        return self.head(hidden[:, 0])[:, 0], state

    def repeat(self, state, times: int):
        return self.backbone.repeat(state, times)

    def select(self, state, rows: Tensor):
        return self.backbone.select(state, rows)


def build(config: PRMConfig) -> PRM | RidgeProbe:
    """A fresh model of that configuration.  UserError for an impossible one."""
    model = _build(config, pretrained)
    if config.lora_rank:
        model.config = replace(model.config, base=model.backbone.fingerprint())
    return model


def unfilled(config: PRMConfig) -> PRM | RidgeProbe:
    """`build` without reading a language model's weights; for the meta device."""
    return _build(config, described)


def _build(config: PRMConfig, language_model: Callable[[str, int], CausalBody]) -> PRM | RidgeProbe:
    config.activation or find_loss(config.loss)
    if config.latent_width < 1:
        raise UserError("PRMConfig.latent_width is 0: give the width D of the translator's hidden states")
    if config.context not in ("none", "pooled"):
        raise UserError(f"PRMConfig.context {config.context!r}: choose 'none' or 'pooled'")
    if config.lora_rank and config.backbone in SMALL_PRMS:
        problem = f"PRMConfig.lora_rank {config.lora_rank}: a {config.backbone}"
        raise UserError(f"{problem} has no weights to adapt; name a causal LM, or set it to 0")
    if config.backbone == "ridge":
        return RidgeProbe(config)
    if config.backbone == "gru":
        return PRM(config, Recurrent(config.width, config.layers, config.dropout))
    if config.backbone == "transformer":
        return PRM(config, small_llama(config.width, config.layers, config.heads, config.dropout))
    return PRM(config, language_model(config.backbone, config.lora_rank))


@torch.no_grad()
def scores(model, latents, contexts=None, batch: int = 1024) -> Tensor:
    """Scores in 0..1 of every prefix: latents [n, K, D], array or tensor -> float32 [n, K] on the CPU."""
    model = as_prm(model).eval()
    latents, out = _tensor(latents), []
    for i in range(0, len(latents), batch):
        context = None if contexts is None else _tensor(contexts[i : i + batch])
        raw = model(latents[i : i + batch].to(model.mean.device), context=context)
        out.append(to_probability(model.config.output, raw.float()).cpu())
    return torch.cat(out) if out else torch.zeros(latents.shape[:2])


def size(model) -> int:
    """Values that a call reads, a ridge probe's weights and what lies beneath adapters included."""
    return sum(v.numel() for v in model.state_dict().values())


def learned(model) -> dict[str, Tensor]:
    """Its state without the weights that lie beneath LoRA adapters: training does not touch them, `config.backbone` names them."""
    fixed = _fixed(model)
    return {name: value for name, value in model.state_dict().items() if name not in fixed}


def to_masters(model: PRM) -> None:
    """What is learned becomes float32: a bfloat16 weight does not move at a learning rate of 1e-6, the step is below its resolution."""
    fixed = _fixed(model)
    for name, value in itertools.chain(model.named_parameters(), model.named_buffers()):
        if name not in fixed and value.dtype != torch.float32:
            value.data = value.data.float()


def restore(model, state: dict[str, Tensor]) -> None:
    """Fill in what `learned` gave.  RuntimeError where names or shapes differ."""
    found = model.load_state_dict(state, strict=False)
    wrong = sorted({*found.unexpected_keys, *found.missing_keys} - _fixed(model))
    if wrong:
        raise RuntimeError(f"{len(wrong)} names differ, {wrong[0]!r} is one")


def _fixed(model) -> set[str]:
    return {f"backbone.{name}" for name in getattr(getattr(model, "backbone", None), "fixed", ())}


def save(model, folder: str | Path, extra: Callable[[Path], None] | None = None, values: dict[str, Tensor] | None = None) -> Path:
    """Write prm.json, model.safetensors (`learned`), the backbone's config.json; the folder appears whole or not at all.

    `extra(part)` may add files to the folder before it gets its name.  values: instead of the model's own.
    """
    folder = Path(folder)
    part = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    description = {name: value for name, value in asdict(model.config).items() if value != LEFT_OUT.get(name, object)}
    (part / "prm.json").write_text(json.dumps(description, indent=1) + "\n")
    save_file({k: v.detach().cpu().contiguous() for k, v in (values or learned(model)).items()}, part / "model.safetensors")
    if isinstance(getattr(model, "backbone", None), CausalBody):
        model.backbone.body.config.save_pretrained(part)
    if extra is not None:
        extra(part)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
    return folder


def load(folder: str | Path, latent_width: int | None = None, device: str = "cpu", module: nn.Module | None = None):
    """A saved model in eval mode.  `latent_width`: the translator's, checked before anything large is read.  `module`: of a
    PRM of one's own, a module of that class; its weights are replaced.

    A Hugging Face trainer's checkpoint is read by `trainer_checkpoint`.  UserError for a missing path, a folder of checkpoints,
    another width, damaged or foreign files.
    """
    folder = Path(folder)
    if trainer_checkpoint.is_one(folder):
        return _of_trainer(folder, latent_width).to(device).eval()
    config = read_config(folder, latent_width)
    weights.refuse_pointers(folder, "prm.checkpoint")
    try:
        if config.backbone.startswith(OWN) and module is None:
            raise UserError(f"{folder}: this PRM is a module of one's own ({config.backbone}); give a new one: load(folder, module=...)")
        whole = config.backbone not in ("ridge", "gru") and not config.lora_rank  # else its own files suffice, or `backbone` lies beneath
        if module is not None:
            model = Own(module, config)
        else:
            model = PRM(config, from_saved_config(folder)) if whole else build(config)
        if model.config.base != config.base:
            problem = f"{folder}: {config.backbone} has other weights than this PRM was trained on"
            raise UserError(f"{problem}; put those back, or train a PRM on these")
        given = load_file(folder / "model.safetensors")
        weights.refuse_broken(str(folder), given.items())
        restore(model, given)
    except FileNotFoundError:
        raise UserError(f"{folder}: model.safetensors is missing; copy the whole folder") from None
    except SafetensorError as e:
        raise UserError(f"{folder / 'model.safetensors'}: truncated or damaged ({e}); copy it again") from None
    except UserError:
        raise
    except (OSError, RuntimeError, ValueError) as e:
        raise UserError(f"{folder}: its files do not fit together: {' '.join(str(e).split())[:160]}") from None
    return model.to(device).eval()


def read_config(folder: Path, latent_width: int | None = None) -> PRMConfig:
    """A saved model's description alone.  UserError for a missing or foreign one, or one of another width."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; a PRM is a folder with prm.json and model.safetensors")
    file = folder / "prm.json"
    if trainer_checkpoint.is_one(folder):
        config = trainer_checkpoint.read_shape(folder)
    elif not file.exists():
        inside = (p for p in folder.iterdir() if p.is_dir() and ((p / "prm.json").exists() or trainer_checkpoint.is_one(p)))
        found = sorted(inside, key=lambda p: (len(p.name), p.name))
        hint = f"it holds {', '.join(p.name for p in found)}: give one of these" if found else "is it the right folder?"
        raise UserError(f"{folder}: no prm.json here; {hint}")
    else:
        config = read_description(file)
    if latent_width is not None:
        match_width(latent_width, config.state_width, f"the PRM in {folder}")
    return config


def _of_trainer(folder: Path, latent_width: int | None) -> PRM:
    """A PRM of a Hugging Face trainer's checkpoint; what its weights lack (the statistics of latents) stays 0 and 1."""
    config, state = read_config(folder, latent_width), trainer_checkpoint.read_state(folder)
    model = PRM(config, CausalBody(trainer_checkpoint.empty_body(folder)))
    try:
        model.load_state_dict(model.state_dict() | state)
    except RuntimeError as e:
        raise UserError(f"{folder}: its weights do not fit together: {' '.join(str(e).split())[:160]}") from None
    return model


def _adapter(width: int, out: int, kind: str = "mlp") -> nn.Sequential:
    if kind == "none":
        match_width(width, out, "a PRM without an adapter")
        return nn.Sequential()
    return nn.Sequential(nn.Linear(width, out), *((nn.GELU(), nn.LayerNorm(out)) if kind == "mlp" else ()))


def _tensor(values) -> Tensor:
    return values if torch.is_tensor(values) else torch.from_numpy(np.asarray(values))
