"""Which candidate latent each row goes on with: its own, one by chance, or the PRM's choice.

Knows a scorer of candidates and, of a row, its `policy` and the seeds of its draws.  Knows no translator and no task.

Rows, G of them guided, W prefixes kept a guided row, N candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Search
from parallax_lib.core.storage import derive_seed


def whole_trajectories(rows: Sequence, scorer, search: Search, device) -> tuple[Callable, list[torch.Tensor]]:
    """As `by_steps`, for guided rows that occur N times in a row: the first trajectory is unperturbed, the others are drawn as
    the random method's; nothing is chosen while thinking.  The list takes each step's scores (G, N)."""
    guided = torch.tensor([r.policy == "guided" for r in rows], device=device)
    spots, scores = guided.nonzero()[:, 0], []  # (G * N,)
    slot = {at: i % search.branches for i, at in enumerate(spots.tolist())}

    def choose(step: int, candidates: torch.Tensor, ahead: torch.Tensor | None = None):
        N = candidates.shape[1]
        seeds = [r.slot_draw(slot[i], "trajectories") if i in slot else r.draw for i, r in enumerate(rows)]
        drawn = [r.policy == "random" or slot.get(i, 0) > 0 for i, r in enumerate(rows)]
        pick = torch.tensor([derive_seed(s, "pick", step) % N if d else 0 for s, d in zip(seeds, drawn, strict=True)], device=device)
        if len(spots):
            values = scorer.score_next(candidates[spots, pick[spots]][:, None])  # (G * N, 1)
            scorer.keep(torch.arange(len(spots), device=device))
            scores.append(values.to(device).view(-1, search.branches))
        return pick

    return choose, scores


def by_steps(rows: Sequence, scorer, search: Search, device, best: Callable | None = None) -> tuple[Callable, list[torch.Tensor]]:
    """(choose for `latents.think`, the list it fills with each step's winning scores (G,)).

    original: row 0.  random: uniform over the N candidates.  guided: best score; a gain under `margin` goes to row 0.
    A guided row occurs W = `beam` times in a row, once for each prefix that is kept, the best one first.  best: a function
    such as `ranked` that says which candidates of the scored ones the guided rows go on with, instead of it.
    """
    guided = torch.tensor([r.policy == "guided" for r in rows], device=device)
    spots, W = guided.nonzero()[:, 0], search.beam  # (G * W,)
    scores: list[torch.Tensor] = []

    def choose(step: int, candidates: torch.Tensor, ahead: torch.Tensor | None = None):
        N = candidates.shape[1]
        drawn = [derive_seed(r.draw, "pick", step) % N if r.policy == "random" else 0 for r in rows]
        pick = torch.tensor(drawn, device=device)
        if not len(spots):
            return pick
        values = scorer.score_next(candidates[spots])  # (G * W, N)
        values = (values if ahead is None else scorer.look_ahead(ahead[spots])).to(device).view(-1, W, N)
        kept = (best or ranked)(values[:, :1] if step == 0 else values, search.margin, W)  # (G, W); at first all prefixes are one
        scores.append(values.flatten(1).gather(1, kept)[:, 0])
        base = torch.arange(len(kept), device=device)[:, None] * W
        scorer.keep((base * N + kept).flatten())
        pick[spots] = (kept % N).flatten()
        if W == 1:
            return pick
        parents = torch.arange(len(rows), device=device)
        parents[spots] = spots[(base + kept // N).flatten()]
        return parents, pick

    return choose, scores


POLICIES = {"steps": by_steps, "trajectories": whole_trajectories}  # by `search.choose`; one of one's own: partial(by_steps, best=f)


def ranked(values: torch.Tensor, margin: float, width: int) -> torch.Tensor:
    """The `width` best of values (G, W, N), flat indices (G, width), best first; the unperturbed state has `margin` extra,
    and ties go to it.  UserError for a score that is not finite: NaN would win."""
    if not values.isfinite().all():
        raise UserError("the PRM gives a latent no finite score: it is damaged or its training diverged; train it anew (stage 02)")
    lifted = values.clone()
    lifted[..., 0] += margin
    return lifted.flatten(1).argsort(dim=1, descending=True, stable=True)[:, :width]


def select(values: torch.Tensor, margin: float) -> torch.Tensor:
    """Index (B,) of the best of values (B, N); ties and gains under `margin` go to row 0."""
    return ranked(values[:, None], margin, 1)[:, 0]
