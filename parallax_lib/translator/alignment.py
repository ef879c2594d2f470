"""Alignments: from a hidden state back to an input embedding, and what a PRM reads of a state.

Knows the translator's two ends.  Knows nothing of candidates or rewards.

D translator width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from parallax_lib.core.settings import Latent
from parallax_lib.core.tables import find
from parallax_lib.tasks import plans, prompts
from parallax_lib.translator.language_model import Translator

Align = Callable[[torch.Tensor], torch.Tensor]


def aligner(translator: Translator, params: Latent) -> Align:
    """State (..., D) -> input embedding (..., D), as `ALIGNMENTS[params.align]` makes it for a translator."""
    return find(ALIGNMENTS, params.align, "latent.align")(translator, params)


def identity(translator: Translator, params: Latent) -> Align:
    """The state as it is: Coconut (2412.06769)."""
    return lambda h: h


def soft(translator: Translator, params: Latent) -> Align:
    """softmax(logits / tau) @ W_in."""
    w_in, scale = translator.model.get_input_embeddings().weight, translator.embedding_scale  # (V, D)
    return lambda h: (translator.logits(h).float() / params.tau).softmax(-1).to(w_in.dtype) @ w_in * scale


def ridge(translator: Translator, params: Latent) -> Align:
    """W_a = (W_out' W_out + r I)^-1 W_out' W_in, rescaled to the mean embedding norm, as LatentMAS (2511.20639) for frozen models."""
    w_in = translator.model.get_input_embeddings().weight  # (V, D)
    matrix = ridge_map(translator.model.get_output_embeddings().weight, w_in, params.ridge)
    norm = w_in.float().norm(dim=-1).mean() * translator.embedding_scale  # which is why the map itself needs no scale

    def align(h: torch.Tensor) -> torch.Tensor:
        z = h.float() @ matrix
        return (z * (norm / z.norm(dim=-1, keepdim=True).clamp(min=1e-6))).to(h.dtype)

    return align


def token(translator: Translator, params: Latent) -> Align:
    """The input embedding of the likeliest token: a plan that is written, not thought."""
    return lambda h: translator.embed(translator.logits(h).argmax(-1))


def pause(translator: Translator, params: Latent) -> Align:
    """The input embedding of one token that says nothing, whatever the state: pause tokens (2310.02226), a control."""
    blank = translator.embed(torch.tensor(prompts.tokens(translator.tokenizer, " " + plans.NONE)[:1], device=translator.device))
    return lambda h: blank.expand(*h.shape[:-1], -1)


ALIGNMENTS = {"soft": soft, "ridge": ridge, "identity": identity, "token": token, "pause": pause}


def reader(align: Align, reads: str) -> Align:
    """State (..., D) -> what a PRM reads of it.

    states: the state.  embeddings: the input embedding that it is aligned to, which the translator is fed.  both: (..., 2 D).
    """
    if reads == "states":
        return lambda h: h
    return align if reads == "embeddings" else lambda h: torch.cat([h, align(h)], dim=-1)


def ridge_map(w_out: torch.Tensor, w_in: torch.Tensor, ridge: float) -> torch.Tensor:
    """(D, D) map from output space to input space; the identity, up to `ridge`, when the embeddings are tied."""
    out, inp = w_out.double(), w_in.double()
    gram = out.T @ out
    return torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device), out.T @ inp).float()
