"""Latent steps: propose candidate states, let the caller choose one, align it into the input space, feed it.

Knows states and the translator.  Knows nothing of rewards: who chooses is a function given by the caller.

B rows, N candidates, K latent steps, D translator width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from parallax_lib.core.settings import Latent
from parallax_lib.core.storage import derive_seed
from parallax_lib.core.tables import name_of
from parallax_lib.translator import engine
from parallax_lib.translator.alignment import Align
from parallax_lib.translator.language_model import Translator
from parallax_lib.translator.proposals import PROPOSALS, propose

# (step, candidates (B, N, D)[, states (B, N, D) that they lead to]) -> index (B,), or (parents (B,), index (B,)) where row
# b goes on with a candidate of row parents[b]
Choose = Callable[..., torch.Tensor | tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Trajectory:
    """K latent steps of B rows: the chosen states before alignment, which candidate each was, the nearest tokens."""

    latents: torch.Tensor  # (B, K, D)
    picks: torch.Tensor  # (B, K) long, 0 is the unperturbed state
    tokens: list[list[str]]  # B x K, argmax token of every chosen state: what the plan reads like
    state: engine.State


def always_original(step: int, candidates: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(candidates), dtype=torch.long, device=candidates.device)


@torch.inference_mode()
def think(
    translator: Translator,
    state: engine.State,
    align: Align,
    params: Latent,
    *,
    candidates: int,
    choose: Choose,
    row_seeds: list[int],
    sigmas: torch.Tensor | None = None,
    lookahead: bool = False,
    proposal: str | Callable | None = None,
) -> Trajectory:
    """K latent steps from a prefilled state.  The translator consumes K positions whatever N is.

    lookahead: before every step but the last, all N candidates are consumed and `choose` sees the states they lead to.
    sigmas (B,): noise of each row instead of `params.sigma`.
    proposal: a name or a function (`proposals.PROPOSALS`) instead of `params.proposal`.
    row_seeds: one a row; step t draws with a seed derived from it, so resuming and regrouping change no draw.
    """
    rows = torch.arange(state.rows, device=state.hidden.device)
    if proposal is not None:
        params = params.model_copy(update={"proposal": name_of(PROPOSALS, proposal, "latent.proposal")})
    latents, picks = [], []
    for t in range(params.steps):
        rivals = propose(state.hidden, candidates, params, [derive_seed(s, t) for s in row_seeds], sigmas, translator)
        ahead = engine.step_candidates(translator, state, align(rivals)) if lookahead and t + 1 < params.steps else None
        choice = choose(t, rivals) if ahead is None else choose(t, rivals, ahead)
        parents, pick = (translator.agreed(x) for x in choice) if isinstance(choice, tuple) else (None, translator.agreed(choice))
        if parents is not None:
            state, rivals = engine.select(state, parents), rivals[parents]
            latents, picks = [x[parents] for x in latents], [x[parents] for x in picks]
            ahead = None if ahead is None else ahead[parents]
        chosen = rivals[rows, pick]
        latents.append(chosen)
        picks.append(pick)
        state = engine.step(translator, state, align(chosen)) if ahead is None else engine.keep_candidate(state, ahead, pick)
    if not latents:
        empty = state.hidden.new_zeros(state.rows, 0, state.hidden.shape[-1])
        return Trajectory(empty, empty[..., 0].long(), [[] for _ in row_seeds], state)
    path = torch.stack(latents, dim=1)
    return Trajectory(path, torch.stack(picks, dim=1), read_plan(translator, path), state)


def take(trajectory: Trajectory, rows: list[int]) -> Trajectory:
    """Some rows of a trajectory, none twice; the others' cache is given up."""
    index = torch.tensor(rows, dtype=torch.long, device=trajectory.picks.device)
    return Trajectory(
        trajectory.latents[index], trajectory.picks[index], [trajectory.tokens[i] for i in rows], engine.drop(trajectory.state, index)
    )


@torch.inference_mode()
def nearest(translator: Translator, latents: torch.Tensor) -> list[list[int]]:
    """The id of the likeliest token of every latent (B, K, D): B lists of K."""
    return translator.logits(latents).argmax(-1).tolist() if latents.shape[1] else [[] for _ in latents]


def read_plan(translator: Translator, latents: torch.Tensor) -> list[list[str]]:
    """`nearest` as words, for people: B lists of K."""
    return [[translator.tokenizer.decode([t]).strip() or "·" for t in row] for row in nearest(translator, latents)]
