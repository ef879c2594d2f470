"""A decoder's layers through torch.compile: norms, rotations, activations and sums between the products of matrices become few kernels.

Attention and the cache stay outside: what they do hangs on masks, packing and buckets, so a compiled layer serves them all.  Shapes
are symbols, so that a layer is compiled for one row and several, one column and several, and not for every bucket.  Knows modules.
Knows nothing of attention, caches or decoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SETTINGS = {"allow_unspec_int_on_nn_module": True, "recompile_limit": 64}  # a layer's number is no constant of its code


def fuse(layers: torch.nn.ModuleList) -> None:
    """From now on the layers run compiled; the first forwards compile them."""
    for layer in layers:
        layer.compile(dynamic=True)


def fused(layers: torch.nn.ModuleList) -> bool:
    return layers[0]._compiled_call_impl is not None


def opened(layers: torch.nn.ModuleList) -> None:
    """As they were before `fuse`."""
    for layer in layers:
        layer._compiled_call_impl = None


def outside(work):
    """`work` as something that compiled code calls and never looks into."""
    return torch.compiler.disable(work)


@contextmanager
def compiling() -> Iterator[None]:
    """While layers may be compiled."""
    from torch.fx.experimental import _config as symbols

    with torch._dynamo.config.patch(**SETTINGS), symbols.patch(use_duck_shape=False):
        yield
