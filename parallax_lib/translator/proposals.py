"""Proposals: candidate states around a hidden state.

Knows states and seeds.  Knows nothing of who chooses among the candidates or of rewards.

B rows, N candidates, D translator width, V vocabulary, M directions.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from parallax_lib.core.config import Latent, resolve
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import read_vectors
from parallax_lib.translator.language_model import Translator


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
    head = None
    if params.proposal == "logits":
        head, scale = translator.model.get_output_embeddings().weight, translator.logit_scale
        head = head if scale == 1 else head * scale
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
