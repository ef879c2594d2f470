"""Latent steps: propose candidate states, let the caller choose one, align it into the input space, feed it.

Knows states and the translator.  Knows nothing of rewards: who chooses is a function given by the caller.

B rows, N candidates, K latent steps, D translator width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from parallax_lib import engine
from parallax_lib.models import Translator
from parallax_lib.params import Latent, UserError, resolve
from parallax_lib.store import derive_seed, read_vectors

Align = Callable[[torch.Tensor], torch.Tensor]
# (step, candidates (B, N, D)[, states (B, N, D) that they lead to]) -> index (B,), or (parents (B,), index (B,)) where row
# b goes on with a candidate of row parents[b]
Choose = Callable[..., torch.Tensor | tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Thought:
    """K latent steps of B rows: the chosen states before alignment, which candidate each was, the nearest words."""

    latents: torch.Tensor  # (B, K, D)
    picks: torch.Tensor  # (B, K) long, 0 is the unperturbed state
    words: list[list[str]]  # B x K, argmax token of every chosen state: what the plan reads like
    state: engine.State


def aligner(translator: Translator, params: Latent) -> Align:
    """State (..., D) -> input embedding (..., D).

    identity: Coconut (2412.06769).  ridge: W_a = (W_out' W_out + r I)^-1 W_out' W_in, rescaled to the mean embedding
    norm, as LatentMAS (2511.20639) does for frozen models.  soft: softmax(logits / tau) @ W_in.
    """
    w_in = translator.model.get_input_embeddings().weight  # (V, D)
    head = translator.model.get_output_embeddings()
    if params.align == "identity":
        return lambda h: h
    if params.align == "soft":
        return lambda h: (head(h).float() / params.tau).softmax(-1).to(w_in.dtype) @ w_in
    matrix = ridge_map(head.weight, w_in, params.ridge)
    norm = w_in.float().norm(dim=-1).mean()

    def ridge(h: torch.Tensor) -> torch.Tensor:
        z = h.float() @ matrix
        return (z * (norm / z.norm(dim=-1, keepdim=True).clamp(min=1e-6))).to(h.dtype)

    return ridge


def reader(align: Align, reads: str) -> Align:
    """State (..., D) -> what a PRM reads of it.

    states: the state.  words: the input embedding that it is aligned to, which the translator is fed.  both: (..., 2 D).
    """
    if reads == "states":
        return lambda h: h
    return align if reads == "words" else lambda h: torch.cat([h, align(h)], dim=-1)


def ridge_map(w_out: torch.Tensor, w_in: torch.Tensor, ridge: float) -> torch.Tensor:
    """(D, D) map from output space to input space; the identity, up to `ridge`, when the embeddings are tied."""
    out, inp = w_out.double(), w_in.double()
    gram = out.T @ out
    return torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device), out.T @ inp).float()


def propose(
    hidden: torch.Tensor,
    count: int,
    params: Latent,
    seeds: list[int],
    sigmas: torch.Tensor | None = None,
    head: torch.Tensor | None = None,
    basis: torch.Tensor | None = None,
) -> torch.Tensor:
    """Candidates (B, N, D) around states (B, D); row 0 is the state itself.

    gaussian: sigma is absolute (the published 1.42) or relative to rms(h).  mc_dropout: units of the state dropped with
    probability sigma, the rest rescaled.  logits: N(0, sigma^2) on the logits of the state's likeliest words, by the
    smallest change of the state that does it; `head` (V, D) gives the words' directions.  pca: N(0, sigma^2) along each
    row of `basis` (M, D).  sigmas (B,): one a row instead of `params.sigma`.  seeds: one a row, so a row's draws do not
    depend on its batch.
    """
    B, D = hidden.shape
    rivals = hidden[:, None].repeat(1, count, 1)
    if count == 1 or params.proposal == "none":
        return rivals
    sigma = torch.full((B,), params.sigma, device=hidden.device) if sigmas is None else sigmas.to(hidden.device)
    sigma = sigma[:, None, None]  # (B, 1, 1)
    h = hidden.float()[:, None]
    if params.proposal == "gaussian":
        noise = _normal(seeds, (count - 1, D)).to(hidden.device)
        scale = sigma * (h.pow(2).mean(-1, keepdim=True).sqrt() if params.unit == "rms" else 1.0)
        perturbed = h + scale * noise
    elif params.proposal == "logits":
        assert head is not None, "propose: proposal 'logits' needs the output embeddings"
        noise = sigma * _normal(seeds, (count - 1, params.words)).to(hidden.device)  # (B, N - 1, words)
        perturbed = h + noise @ word_directions(hidden, head, params.words)
    elif params.proposal == "pca":
        assert basis is not None, "propose: proposal 'pca' needs directions"
        perturbed = h + sigma * _normal(seeds, (count - 1, len(basis))).to(hidden.device) @ basis.to(hidden.device)
    else:
        keep = _uniform(seeds, (count - 1, D)).to(hidden.device) >= sigma
        perturbed = h * keep / (1 - sigma)
    rivals[:, 1:] = perturbed.to(hidden.dtype)
    return rivals


def directions(translator: Translator, params: Latent) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """What `propose` needs besides states: (`head`, `basis`), each where the proposal asks for it."""
    head = translator.model.get_output_embeddings().weight if params.proposal == "logits" else None
    basis = principal_directions(resolve(params.pca), params.words, translator.width) if params.proposal == "pca" else None
    return head, basis


def word_directions(hidden: torch.Tensor, head: torch.Tensor, words: int) -> torch.Tensor:
    """(B, words, D): adding the i-th adds 1 to the logit of the i-th likeliest word and 0 to those of the others."""
    likeliest = (hidden.to(head.dtype) @ head.T).float().topk(words, dim=-1).indices
    rows = head[likeliest].float()  # (B, words, D)
    gram = rows @ rows.transpose(1, 2)
    small = 1e-4 * gram.diagonal(dim1=1, dim2=2).mean(-1)[:, None, None]  # two words may have nearly one embedding
    return torch.linalg.solve(gram + small * torch.eye(words, device=head.device), rows)


@cache
def principal_directions(folder: Path, count: int, width: int) -> torch.Tensor:
    """(count, D): the first principal directions of all latents in the folder's shards, each as long as its deviation."""
    shards = sorted(p for p in folder.glob("*.safetensors*") if not p.name.startswith("."))  # not what a killed write left
    if not shards:
        raise UserError(f"latent.pca: {folder} holds no vector shards; name a folder that `collect` wrote")
    points = torch.cat([torch.from_numpy(read_vectors(p, width)).reshape(-1, width).double() for p in shards])
    values, vectors = torch.linalg.eigh(points.T.cov())  # ascending
    kept = min(count, width)
    return (values[-kept:].clamp(min=0).sqrt() * vectors[:, -kept:]).T.flip(0).float()


def _normal(seeds: list[int], shape: tuple[int, ...]) -> torch.Tensor:
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds])


def _uniform(seeds: list[int], shape: tuple[int, ...]) -> torch.Tensor:
    return torch.stack([torch.rand(shape, generator=torch.Generator().manual_seed(s)) for s in seeds])


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
) -> Thought:
    """K latent steps from a prefilled state.  The translator consumes K positions whatever N is.

    lookahead: before every step but the last, all N candidates are consumed and `choose` sees the states they lead to.
    sigmas (B,): noise of each row instead of `params.sigma`.
    row_seeds: one a row; step t draws with a seed derived from it, so resuming and regrouping change no draw.
    """
    rows = torch.arange(state.rows, device=state.hidden.device)
    head, basis = directions(translator, params)
    latents, picks = [], []
    for t in range(params.steps):
        rivals = propose(state.hidden, candidates, params, [derive_seed(s, t) for s in row_seeds], sigmas, head, basis)
        ahead = engine.step_candidates(translator, state, align(rivals)) if lookahead and t + 1 < params.steps else None
        made = choose(t, rivals) if ahead is None else choose(t, rivals, ahead)
        parents, pick = made if isinstance(made, tuple) else (None, made)
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
        return Thought(empty, empty[..., 0].long(), [[] for _ in row_seeds], state)
    path = torch.stack(latents, dim=1)
    return Thought(path, torch.stack(picks, dim=1), read_plan(translator, path), state)


def take(thought: Thought, rows: list[int]) -> Thought:
    """Some rows of a thought, none twice; the others' cache is given up."""
    index = torch.tensor(rows, dtype=torch.long, device=thought.picks.device)
    return Thought(thought.latents[index], thought.picks[index], [thought.words[i] for i in rows], engine.drop(thought.state, index))


@torch.inference_mode()
def read_plan(translator: Translator, latents: torch.Tensor) -> list[list[str]]:
    """The nearest word of every latent (B, K, D): B lists of K."""
    tokens = translator.model.get_output_embeddings()(latents).argmax(-1)
    return [[translator.tokenizer.decode([t]).strip() or "·" for t in row] for row in tokens.tolist()]
