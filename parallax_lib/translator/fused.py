"""A decoder's layers through torch.compile: norms, rotations, activations and sums between the products of matrices become few kernels.

Attention and the cache stay outside: what they do hangs on masks, packing and buckets, so a compiled layer serves them all.  Shapes
are symbols, so that a layer is compiled for one row and several, one column and several, and not for every bucket.  Knows modules.
Knows no decoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from parallax_lib.translator import attention
from parallax_lib.translator.captured import FixedSlab
from parallax_lib.translator.slab import Slab, Spread

BACKEND = "inductor"
SETTINGS = {"recompile_limit": 64, "fake_tensor_cache_enabled": False}  # with shapes as symbols that cache took 40 % of tracing


class LayerNumber:
    """A layer's place in the cache as compiled code sees it: an object, so that one code serves all layers.

    As an integer it would be a constant, and each layer compiled by itself; were all integers of modules symbols, so would be the
    width of a head, and code over its halves would hold for every width.
    """

    def __init__(self, place: int):
        self.place = place

    def __index__(self) -> int:
        return self.place

    def __eq__(self, other) -> bool:
        return self.place == other

    def __le__(self, other) -> bool:
        return self.place <= other

    def __ge__(self, other) -> bool:
        return self.place >= other

    def __hash__(self) -> int:
        return hash(self.place)


def fuse(body: torch.nn.Module) -> None:
    """From now on the decoder's layers run compiled; its first forwards compile them: half a minute at 7 B parameters on a GPU."""
    if fused(body):
        return
    keep_outside()
    for module in body.modules():
        if isinstance(getattr(module, "layer_idx", None), int):
            module.layer_idx = LayerNumber(module.layer_idx)
    for layer in layers(body):
        layer.compile(dynamic=True, backend=BACKEND)
    body.runs_fused = True


@cache
def keep_outside() -> None:
    """Attention and the cache are called by compiled code and never looked into."""
    from transformers import AttentionInterface

    AttentionInterface.register(attention.attention_name(), torch.compiler.disable(attention.grouped_attention))
    for kind in (Slab, Spread, FixedSlab):
        kind.update = torch.compiler.disable(kind.update)


def fused(body: torch.nn.Module) -> bool:
    return getattr(body, "runs_fused", False)


def layers(body: torch.nn.Module) -> list[torch.nn.Module]:
    """A decoder's layers, whatever adapters lie around them."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in body.modules() if isinstance(module, GradientCheckpointingLayer)]


@contextmanager
def compiling(body: torch.nn.Module) -> Iterator[None]:
    """Around a forward of it, which may compile."""
    if not fused(body):
        yield
        return
    from torch.fx.experimental import _config as symbols

    with torch._dynamo.config.patch(**SETTINGS), symbols.patch(use_duck_shape=False):
        yield
