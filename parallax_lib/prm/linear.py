"""The linear baseline as a model: one probe of the latent for each position.

Knows latent vectors.  Knows nothing of how its weights are found: `ridge_probe` does that.

Letters: B rows, K latent steps, D translator width, M rows in one step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from parallax_lib.prm.shape import PRMConfig, check_width


class RidgeProbe(nn.Module):
    """Linear baseline: for each position one probe of the latent there; the last one serves beyond K."""

    def __init__(self, config: PRMConfig):
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.latent_width))
        self.register_buffer("std", torch.ones(config.latent_width))
        self.register_buffer("weight", torch.zeros(config.steps, config.latent_width))
        self.register_buffer("bias", torch.zeros(config.steps))

    def forward(self, latents: Tensor, lengths: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        steps = torch.arange(latents.shape[1], device=self.mean.device)
        raw = self.probe(latents, steps)
        return raw if lengths is None else raw.masked_fill(steps >= lengths.to(steps)[:, None], 0)

    def probe(self, latents: Tensor, steps: Tensor) -> Tensor:
        check_width(self.config, latents)
        steps = steps.clamp_max(self.config.steps - 1)
        return (((latents.to(self.mean) - self.mean) / self.std) * self.weight[steps]).sum(-1) + self.bias[steps]

    def begin(self, rows: int, context: Tensor | None = None) -> int:
        return 0

    def step(self, latents: Tensor, state: int):
        return self.probe(latents, torch.tensor(state, device=self.mean.device)), state + 1

    def repeat(self, state: int, times: int) -> int:
        return state

    def select(self, state: int, rows: Tensor) -> int:
        return state
