"""A module of one's own as a PRM.

Knows latents [B, K, D] and scores [B, K].  Knows nothing of what the module does with them.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from parallax_lib.core.errors import UserError, short
from parallax_lib.prm.shape import OWN, PRMConfig


class Own(nn.Module):
    """A module of one's own, forward(latents [B, K, D]) -> raw scores [B, K], as a PRM; it reads the whole prefix at every step.

    Trained here it gets standardised latents, else latents as they are.
    """

    def __init__(self, module: nn.Module, config: PRMConfig | None = None):
        super().__init__()
        given = PRMConfig(activation=getattr(module, "activation", "clip"), reads=getattr(module, "reads", "states"))
        self.config = replace(config or given, backbone=f"{OWN}{type(module).__qualname__}")
        self.module, self.backbone = copy.deepcopy(module), nn.Module()  # there is no backbone to freeze at first
        self.backbone.fixed = ()
        width = max(1, self.config.latent_width)
        like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(1))
        self.register_buffer("mean", torch.zeros(width, dtype=like.dtype, device=like.device))
        self.register_buffer("std", torch.ones(width, dtype=like.dtype, device=like.device))

    def forward(self, latents: Tensor, lengths: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        raw = self.module((latents.to(self.mean) - self.mean) / self.std)
        if raw.shape != latents.shape[:2]:
            given, shape = list(latents.shape), list(raw.shape)
            raise UserError(f"the PRM {self.config.backbone} gives {shape} for latents {given}; forward takes [B, K, D] and returns [B, K]")
        return raw

    def begin(self, rows: int, context: Tensor | None = None) -> None:
        return None

    def step(self, latents: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        prefix = latents[:, None] if state is None else torch.cat([state, latents[:, None]], 1)  # (M, t + 1, D)
        return self(prefix)[:, -1], prefix

    def repeat(self, state: Tensor | None, times: int) -> Tensor | None:
        return None if state is None else state.repeat_interleave(times, 0)

    def select(self, state: Tensor, rows: Tensor) -> Tensor:
        return state[rows]


def as_prm(model: nn.Module) -> nn.Module:
    """A PRM as it is, any other module as `Own`.  UserError for what is no module."""
    if not isinstance(model, nn.Module):
        raise UserError(f"{short(model)}: no PRM; give an nn.Module, forward(latents [B, K, D]) -> scores [B, K]")
    return model if hasattr(model, "config") and hasattr(model, "begin") else Own(model)
