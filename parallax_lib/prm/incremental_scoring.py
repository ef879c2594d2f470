"""Scores of latent prefixes that grow during search, every prefix kept as the PRM's state.

Knows prefixes and candidates.  Knows nothing of what proposes a candidate or which one is taken.

Letters: B rows, N candidates, D translator width, M rows in one step (B or B * N).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from parallax_lib.prm.engine_states import EngineStates, able
from parallax_lib.prm.losses import to_probability
from parallax_lib.prm.model import as_prm


class Scorer:
    """Scores prefix + candidate for B searches at once; every prefix is kept as backbone state, made by `start`."""

    def __init__(self, model, state, read: Callable[[Tensor], Tensor] = lambda h: h):
        self.model, self.state, self.read = model, state, read
        self.pending = None  # the states that the last candidates lead to
        self.positions = 0  # latents sent through the model so far

    @torch.no_grad()
    def score_next(self, candidates: Tensor) -> Tensor:
        """candidates [B, N, D] -> probabilities [B, N], as if each were the next latent; nothing is kept yet."""
        rows, branches, _ = candidates.shape
        state = self.model.repeat(self.state, branches)
        raw, self.pending = self.model.step(self._seen(candidates).flatten(0, 1), state)
        self.positions += rows * branches
        return to_probability(self.model.config.output, raw.float()).view(rows, branches)

    @torch.no_grad()
    def look_ahead(self, after: Tensor) -> Tensor:
        """after [B, N, D], the state that each candidate just scored leads to -> probabilities [B, N] of both together."""
        rows, branches, _ = after.shape
        state = self.model.repeat(self.pending, 1)  # a copy: a cache grows in place
        raw, _ = self.model.step(self._seen(after).flatten(0, 1), state)
        self.positions += rows * branches
        return to_probability(self.model.config.output, raw.float()).view(rows, branches)

    @torch.no_grad()
    def keep(self, rows: Tensor) -> None:
        """The prefixes become those that the last candidates made, by flat index into [B, N]; repeats fork."""
        self.state, self.pending = self.model.select(self.pending, rows.to(self.model.mean.device)), None

    def _seen(self, states: Tensor) -> Tensor:
        return self.read(states).to(self.model.mean)


class Together:
    """Several scorers as one: the mean of their probabilities."""

    def __init__(self, scorers: list[Scorer]):
        self.scorers = scorers

    def score_next(self, candidates: Tensor) -> Tensor:
        return torch.stack([s.score_next(candidates) for s in self.scorers]).mean(0)

    def look_ahead(self, after: Tensor) -> Tensor:
        return torch.stack([s.look_ahead(after) for s in self.scorers]).mean(0)

    def keep(self, rows: Tensor) -> None:
        for scorer in self.scorers:
            scorer.keep(rows)


class Recompute:
    """A model whose state is the whole prefix: for backbones whose cache cannot be forked, and as the scorer's twin."""

    def __init__(self, model):
        self.model, self.config, self.mean = model, model.config, model.mean

    def begin(self, rows: int, context: Tensor | None = None):
        return self.mean.new_zeros(rows, 0, len(self.mean)), context

    def step(self, latents: Tensor, state):
        prefix = torch.cat([state[0], latents[:, None]], 1)  # (M, t + 1, D)
        return self.model(prefix, context=state[1])[:, -1], (prefix, state[1])

    def repeat(self, state, times: int):
        return tuple(None if part is None else part.repeat_interleave(times, 0) for part in state)

    def select(self, state, rows: Tensor):
        return tuple(None if part is None else part[rows] for part in state)


@torch.no_grad()
def start(model, rows: int, context: Tensor | None = None, recompute: bool = False, read=lambda h: h) -> Scorer:
    """A scorer of `rows` empty prefixes; `context` [B, D] for a PRM with pooled context; `read`: see latents.reader."""
    model = as_prm(model).eval()
    model = Recompute(model) if recompute else EngineStates(model) if able(model) else model
    return Scorer(model, model.begin(rows, context), read)
