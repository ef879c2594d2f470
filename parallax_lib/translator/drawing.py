"""How the tokens of many answers are drawn from logits: the likeliest, by numbers of their own, or as they are given.

Draws where the logits lie; nothing waits for them.  Knows logits.  Knows no cache and no drafts.

B rows, T tokens of an answer, V vocabulary, M places that are drawn at once.
"""

from __future__ import annotations

import torch

from parallax_lib.translator.language_model import Translator


def draw(logits: torch.Tensor, temperatures: torch.Tensor, uniform: torch.Tensor | None) -> torch.Tensor:
    """Token ids (M,) from logits (M, V): argmax where the temperature (M,), on the CPU, is 0, else the inverse CDF at `uniform` (M,)."""
    chosen = logits.argmax(-1)
    warm = temperatures.nonzero()[:, 0]
    if len(warm):
        heat, warm = (x.to(logits.device, non_blocking=True) for x in (temperatures[warm, None], warm))
        cumulative = (logits[warm].double() / heat).softmax(-1).cumsum(-1)
        at = torch.searchsorted(cumulative, uniform[warm, None].double(), right=True).squeeze(-1)  # u = 0: the first that can be
        chosen[warm] = at.clamp(max=logits.shape[-1] - 1)
    return chosen


def uniforms(seeds: list[int], temperatures: list[float], length: int) -> torch.Tensor:
    """(B, length) draws in [0, 1), row by row from its own seed; zeros where the temperature is 0 and nothing is drawn."""
    out = torch.zeros(len(seeds), length)
    for row, seed, heat in zip(out, seeds, temperatures, strict=True):
        if heat > 0:
            torch.rand(length, generator=torch.Generator().manual_seed(seed % (1 << 63)), out=row)
    return out


class Drawing:
    """How tokens are drawn: temperature of each answer, its own uniform numbers, tokens that are given."""

    def __init__(
        self, translator: Translator, temperatures: list[float], seeds: list[int] | None, length: int, given: list[list[int]] | None = None
    ):
        """length: tokens of an answer at most.  given: those that it begins with."""
        device = translator.device
        self.translator, self.heat = translator, torch.tensor(temperatures)
        warm = bool((self.heat > 0).any())
        self.noise = uniforms(seeds or [0] * len(temperatures), temperatures, length).to(device) if warm else None  # (B, T)
        self.given = None
        if given is not None:
            rest = [[*tokens[:length], *[-1] * (length - len(tokens))] for tokens in given]
            self.given = torch.tensor(rest, device=device)  # (B, T), -1: drawn

    def __call__(self, logits: torch.Tensor, index: torch.Tensor, written: torch.Tensor, live: torch.Tensor, Q: int) -> torch.Tensor:
        """Tokens (M,) for logits (M, V) of the places `live` (M,) of the flat (B, Q).

        index (B,), on the CPU as `live`: which answer each row is; written (B,): its tokens so far.
        """
        answer, place = index[live // Q], None
        heat = self.heat[answer]
        if self.noise is not None or self.given is not None:
            where, answer = (x.to(logits.device, non_blocking=True) for x in (live, answer))
            place = written[where // Q] + where % Q
        chosen = draw(logits, heat, None if self.noise is None else self.noise[answer, place])
        if self.given is not None:
            known = self.given[answer, place]
            chosen = torch.where(known >= 0, known, chosen)
        return self.translator.agreed(chosen)
