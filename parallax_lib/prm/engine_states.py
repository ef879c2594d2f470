"""A language model as PRM whose prefixes the translator's engine keeps: its steps are captured as CUDA graphs, as decoding's are.

Knows PRMs and the engine.  Knows no search.

Letters: M rows, D translator width, H PRM width.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from parallax_lib.prm.backbones import CausalBody
from parallax_lib.translator import engine, fused, joined
from parallax_lib.translator.slab import Slab


@dataclass
class Decoder:
    """A backbone as the engine sees a translator."""

    body: torch.nn.Module
    width: int
    device: torch.device
    blank: Slab | None = None  # one row with one column that nobody sees: a slab knows its layers from its first column


KNOWN: WeakKeyDictionary[torch.nn.Module, Decoder] = WeakKeyDictionary()  # captured forwards are kept for the next searches


def able(model) -> bool:
    """Whether the engine can keep this PRM's prefixes, and is faster: a language model's, on a GPU."""
    backbone = getattr(model, "backbone", None)
    return isinstance(backbone, CausalBody) and model.mean.is_cuda and engine.hands_on(backbone.body)


def fuse(model) -> None:
    """Compiles the layers of a PRM whose prefixes the engine keeps, its adapters merged in; of others nothing.  It only scores then."""
    if able(model) and not fused.fused(model.backbone.body):
        KNOWN.pop(model.backbone, None)  # forwards that were captured before read the adapters
        model.backbone.merge()
        joined.join(model.backbone.body)
        fused.fuse(model.backbone.body)


class EngineStates:
    """A PRM whose state is the engine's."""

    def __init__(self, model):
        self.model, self.config, self.mean = model, model.config, model.mean
        known = KNOWN.get(model.backbone)
        if known is None or known.device != model.mean.device:
            known = KNOWN[model.backbone] = Decoder(model.backbone.body, model.backbone.width, model.mean.device)
        self.decoder = known

    @torch.inference_mode()
    def begin(self, rows: int, context: Tensor | None = None) -> engine.State:
        if self.decoder.blank is None:
            empty = self.mean.new_zeros(1, 0)
            state = engine.State(Slab(), empty.bool(), empty.long(), empty.long().sum(1), empty)
            self._run(self.mean.new_zeros(1, self.decoder.width), state)
            self.decoder.blank = state.slab
        zeros = torch.zeros(rows, dtype=torch.long, device=self.mean.device)
        state = engine.State(self.decoder.blank.select(zeros), zeros[:, None].bool(), zeros[:, None], zeros, self.mean.new_zeros(rows, 0))
        if self.config.context == "pooled":
            self._run(self.model.embed_context(context), state)
        return state

    @torch.inference_mode()
    def step(self, latents: Tensor, state: engine.State) -> tuple[Tensor, engine.State]:
        """One latent each [M, D] after `state`, which grows in place -> raw scores [M] and the state."""
        return self.model.head(self._run(self.model.embed(latents), state))[:, 0], state

    def repeat(self, state: engine.State, times: int) -> engine.State:
        return engine.select(state, torch.arange(state.rows, device=self.mean.device).repeat_interleave(times))

    def select(self, state: engine.State, rows: Tensor) -> engine.State:
        return engine.select(state, rows)

    def _run(self, inputs: Tensor, state: engine.State) -> Tensor:
        """inputs [M, H] after `state` -> hidden [M, H]; the state grows."""
        live = torch.ones(len(inputs), 1, dtype=torch.bool, device=inputs.device)
        with self.model.backbone.computing():
            hidden = engine.forward(self.decoder, state, inputs[:, None].to(self.model.backbone.given), live)[:, 0]
        state.position = state.position + 1
        return hidden.to(inputs.dtype)
