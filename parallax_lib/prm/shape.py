"""What a PRM is: its description, and the width of what it reads.

Knows no weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from parallax_lib.core.errors import UserError

OWN = "own "  # before the class of a module of one's own, in `PRMConfig.backbone`


@dataclass(frozen=True)
class PRMConfig:
    backbone: str = "transformer"  # "transformer", "gru", "ridge", or a causal LM by id or folder
    latent_width: int = 0  # D; training fills it from the data
    width: int = 128  # H; a causal LM brings its own
    layers: int = 2
    heads: int = 4
    dropout: float = 0.0
    reads: str = "states"  # what a latent of width `latent_width` is: "states", "embeddings", "both" (alignment.reader)
    context: str = "none"  # "pooled": a prompt state [B, D] is read before the first latent
    loss: str = "mse"  # decides how a raw score becomes a probability; training sets it
    steps: int = 0  # K, one probe each (ridge only)
    lora_rank: int = 0  # causal LM only: its weights stay as they are, adapters of this rank are trained; 0: all of it, in float32
    base: str = ""  # fingerprint of the weights beneath the adapters; building fills it in
    activation: str = ""  # of a loss of one's own: "sigmoid" or "clip"; training sets it, so that the PRM is read without the loss

    @property
    def output(self) -> str:
        """What `to_probability` takes."""
        return self.activation or self.loss

    @property
    def state_width(self) -> int:
        """Width of the translator's states, and of a prompt's: half a latent's where that holds a token's embedding too."""
        return self.latent_width // (2 if self.reads == "both" else 1)


def check_width(config: PRMConfig, latents: Tensor) -> None:
    match_width(latents.shape[-1], config.latent_width, "this PRM")


def match_width(given: int, expected: int, owner: str) -> None:
    """UserError unless latents of that width are what a PRM takes."""
    if given != expected:
        hint = "use the translator it was trained with, or train a PRM for this one"
        raise UserError(f"latents are {given} wide, {owner} takes {expected}: {hint}")
