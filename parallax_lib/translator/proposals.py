"""Proposals: candidate states around a hidden state.

Knows states and seeds.  Knows nothing of who chooses among the candidates or of rewards.

B rows, N candidates, D translator width, V vocabulary, M directions.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from parallax_lib.core.config import resolve
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Latent
from parallax_lib.core.storage import read_vectors
from parallax_lib.core.tables import find
from parallax_lib.translator.language_model import Translator


def propose(
    hidden: torch.Tensor,
    count: int,
    params: Latent,
    seeds: list[int],
    sigmas: torch.Tensor | None = None,
    translator: Translator | None = None,
) -> torch.Tensor:
    """Candidates (B, N, D) around states (B, D); row 0 is the state itself, `PROPOSALS[params.proposal]` makes the others.

    sigmas (B,): one a row instead of `params.sigma`.  seeds: one a row, so a row's draws do not depend on its batch.
    translator: for proposals that ask it.  UserError for an unknown name, or a proposal that gives another shape.
    """
    rivals = hidden[:, None].repeat(1, count, 1)
    if count == 1:
        return rivals
    sigma = torch.full((len(hidden),), params.sigma) if sigmas is None else sigmas
    sigma = sigma.to(hidden.device)[:, None, None]  # (B, 1, 1)
    proposed = find(PROPOSALS, params.proposal, "latent.proposal")(hidden.float()[:, None], count - 1, sigma, seeds, params, translator)
    if proposed.shape != rivals[:, 1:].shape:
        problem = f"latent.proposal: {params.proposal!r} gives {list(proposed.shape)} where {list(rivals[:, 1:].shape)} is asked for"
        raise UserError(f"{problem}; return (B, count, D)")
    rivals[:, 1:] = proposed.to(hidden.dtype)
    return rivals


# A proposal: h (B, 1, D) in float32, count, sigma (B, 1, 1), seeds (one a row), settings, translator -> (B, count, D)


def none(h, count, sigma, seeds, params, translator):
    """The state itself."""
    return h.expand(-1, count, -1)


def gaussian(h, count, sigma, seeds, params, translator):
    """Gaussian noise; sigma is absolute (the published 1.42) or relative to rms(h)."""
    scale = sigma * (h.pow(2).mean(-1, keepdim=True).sqrt() if params.unit == "rms" else 1.0)
    return h + scale * sent(normal(seeds, (count, h.shape[-1])), h.device)


def mc_dropout(h, count, sigma, seeds, params, translator):
    """Units of the state dropped with probability sigma, the rest rescaled."""
    keep = sent(uniform(seeds, (count, h.shape[-1])), h.device) >= sigma
    return h * keep / (1 - sigma)


def logits(h, count, sigma, seeds, params, translator):
    """N(0, sigma^2) on the logits of the state's likeliest tokens, by the smallest change of the state that does it."""
    head = translator.model.get_output_embeddings().weight
    noise = sigma * sent(normal(seeds, (count, params.words)), h.device)  # (B, count, tokens)
    return h + noise @ token_directions(h[:, 0], head, params.words) / translator.logit_scale


def pca(h, count, sigma, seeds, params, translator):
    """N(0, sigma^2) along each principal direction of the latents in `params.pca`."""
    basis = principal_directions(resolve(params.pca), params.words, h.shape[-1]).to(h.device)  # (M, D)
    return h + sigma * sent(normal(seeds, (count, len(basis))), h.device) @ basis


PROPOSALS = {"gaussian": gaussian, "logits": logits, "pca": pca, "mc_dropout": mc_dropout, "none": none}


def token_directions(hidden: torch.Tensor, head: torch.Tensor, tokens: int) -> torch.Tensor:
    """(B, tokens, D): adding the i-th adds 1 to the logit of the i-th likeliest token and 0 to those of the others."""
    likeliest = (hidden.to(head.dtype) @ head.T).float().topk(tokens, dim=-1).indices
    rows = head[likeliest].float()  # (B, tokens, D)
    gram = rows @ rows.transpose(1, 2)
    small = 1e-4 * gram.diagonal(dim1=1, dim2=2).mean(-1)[:, None, None]  # two tokens may have nearly one embedding
    return torch.linalg.solve(gram + small * torch.eye(tokens, device=head.device), rows)


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


def normal(seeds: list[int], shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal draws (B, *shape), each row's from its own seed."""
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds])


def uniform(seeds: list[int], shape: tuple[int, ...]) -> torch.Tensor:
    """Draws in [0, 1) (B, *shape), each row's from its own seed."""
    return torch.stack([torch.rand(shape, generator=torch.Generator().manual_seed(s)) for s in seeds])


def sent(draws: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Draws of the host on `device`; a GPU takes them when it comes to them, and the host does not wait for that."""
    return draws.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else draws
