"""Settings of a PRM's training.

Knows names, numbers and their bounds.  Knows no data and no model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from parallax_lib.core.errors import UserError
from parallax_lib.prm import checkpoints
from parallax_lib.prm.losses import LossOptions, find_loss
from parallax_lib.prm.optimizer import KAHAN


@dataclass(frozen=True)
class TrainConfig:
    loss: str | Callable = "mse"  # a name of losses.LOSSES or a function of one's own
    epochs: int = 20
    lr: float = 1e-3
    batch: int = 64  # rows of one update
    device_batch: int = 64  # rows of one forward; smaller ones accumulate to the same update
    unfreeze_step: int = 50  # updates of adapter and head alone before the backbone joins
    backbone_lr_factor: float = 0.3
    weight_decay: float = 0.01
    warmup: int = 10  # updates of linear warm-up, for either phase
    clip: float = 1.0  # gradient norm
    zeta: float = 4.0  # rank
    threshold: float = 0.5  # rank: targets at or above it are positive
    delta: float = LossOptions.delta
    tau: float = LossOptions.tau
    tau_target: float = LossOptions.tau_target
    weighting: str = "rollouts"  # see dataset.prepare
    precision: str = "fp32"  # bf16: compute in bfloat16; bf16-weights: a language model's weights are bfloat16, too
    recompute: bool = False  # a language model keeps no activations within its layers; the backward pass computes them again
    compile: bool = False  # a language model's layers through torch.compile, in one process on a GPU
    pack: int = 256  # latents that a language model reads in one row, beginnings that siblings share once; 0: one row each
    seed: int = 0
    init: str = ""  # folder of a trained PRM whose weights, kind and shape the training starts from
    eval_every: int = 0  # updates between evaluations; 0: at the end of every epoch
    patience: int = 5  # evaluations without a better valid loss before stopping; 0: never
    save_every: int = 0  # updates between checkpoints; 0: none, -1: one at the end of every epoch
    keep: int = checkpoints.KEPT  # newest checkpoints left on disk; 0: all


DEFAULTS = TrainConfig()


def check(config: TrainConfig) -> None:
    """UserError for a setting out of its bounds."""
    find_loss(config.loss)
    least: dict[str, Any] = {"epochs": 1, "batch": 1, "device_batch": 1, "unfreeze_step": 0, "patience": 0, "pack": 0}
    for name, low in least.items():
        if getattr(config, name) < low:
            raise UserError(f"TrainConfig.{name} is {getattr(config, name)}; it must be at least {low}")
    if config.lr <= 0:
        raise UserError(f"TrainConfig.lr is {config.lr}; it must be above 0")
    if config.precision not in ("fp32", "bf16", KAHAN):
        raise UserError(f"TrainConfig.precision {config.precision!r}: choose 'fp32', 'bf16' or {KAHAN!r}")
