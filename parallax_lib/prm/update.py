"""One update of a PRM's training and one evaluation: exact accumulation over forwards of a few rows, fewer where memory runs out.

Knows a model, its data, an optimiser.  Knows no schedule, no phase and no file.

Letters: n rollouts, K latent steps, D translator width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from parallax_lib.core import torchrun
from parallax_lib.core.errors import UserError
from parallax_lib.core.halving import Shrinking
from parallax_lib.core.settings import SMALL_PRMS
from parallax_lib.core.storage import derive_seed
from parallax_lib.prm import sharded
from parallax_lib.prm.backbones import CausalBody
from parallax_lib.prm.dataset import Dataset
from parallax_lib.prm.losses import find_loss
from parallax_lib.prm.model import PRM
from parallax_lib.prm.prefix_trees import pack
from parallax_lib.prm.train_config import TrainConfig


def update(model: PRM, optimizer, data: Dataset, rows: Tensor, config: TrainConfig, step: int, forward: Shrinking) -> float:
    """One optimiser step on the rows, `forward.most` of them in one forward at most, as if they were one batch; the loss before it.

    Where memory runs out the gradients are made again with half as many in one forward.
    """

    def work() -> tuple[float, float]:
        optimizer.zero_grad(set_to_none=True)
        return accumulate(model, data, _parts(data, rows, forward, config), config, step)

    total, count = forward.tried(work, torch.cuda.empty_cache, able=torchrun.together() == 1)
    if not math.isfinite(total):
        raise UserError(f"the {config.loss} loss is {total} at update {step}: lower lr, now {config.lr}")
    gradients = [sharded.local(p.grad) for p in model.parameters() if p.grad is not None]
    torch._foreach_div_(gradients, max(count, 1e-12) / torchrun.together())  # over processes they come averaged
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    optimizer.step()
    return total / max(count, 1e-12)


def accumulate(model: PRM, data: Dataset, micros: list[Tensor], config: TrainConfig, step: int) -> tuple[float, float]:
    """Gradients of the sum over all micro-batches; that sum, and the count by which it is divided, of all processes."""
    model.train()
    device = model.mean.device
    total = count = 0.0
    others = [torchrun.rank()] if torchrun.together() > 1 else []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(config.seed, "dropout", step, *others))  # no state to save: resuming draws the same
        for rows, once in torchrun.dealt(micros):
            part, weight = _terms(model, data, rows, config)
            (once * part).backward()
            total, count = total + once * part.item(), count + once * weight.item()
    return torchrun.added(total, count)


@torch.no_grad()
def evaluate(model: PRM, data: Dataset, rows: Tensor, config: TrainConfig, forward: Shrinking) -> float:
    """The loss over those rows, sibling groups uncut."""
    model.eval()

    def work() -> tuple[float, float]:
        total = count = 0.0
        for part, once in torchrun.dealt(_parts(data, rows, forward, config)):
            loss, weight = _terms(model, data, part, config)
            total, count = total + once * loss.item(), count + once * weight.item()
        return torchrun.added(total, count)

    total, count = forward.tried(work, torch.cuda.empty_cache, able=torchrun.together() == 1)
    return total / max(count, 1e-12)


def _parts(data: Dataset, rows: Tensor, forward: Shrinking, config: TrainConfig) -> list[Tensor]:
    """The rows of each forward."""
    return data.pack(rows, torchrun.evenly(len(rows), forward.most), whole_groups(config))


def whole_groups(config: TrainConfig) -> bool:
    """Whether the loss compares siblings, so that none of a group may be missing from its batch."""
    return getattr(find_loss(config.loss), "whole_groups", False)


def _terms(model: PRM, data: Dataset, rows: Tensor, config: TrainConfig) -> tuple[Tensor, Tensor]:
    device = model.mean.device
    context = None if data.contexts is None else data.contexts[rows].to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision != "fp32"):
        packed = {"packing": pack(data.keys[rows], config.pack)} if packs(model, config) else {}
        raw = model(data.latents[rows].to(device), context=context, **packed)
    given = (x[rows].to(device) for x in (data.targets, data.weights, data.groups))
    options = {k: getattr(config, k) for k in ("threshold", "zeta", "delta", "tau", "tau_target")}
    return find_loss(config.loss).terms(raw.float(), *given, **options)


def packs(model: PRM, config: TrainConfig) -> bool:
    """Whether several rows stand in one row of the backbone: a language model's, whose rows of a few latents would be short."""
    return bool(config.pack) and isinstance(model.backbone, CausalBody) and model.config.backbone not in SMALL_PRMS
