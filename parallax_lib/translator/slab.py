"""Cached keys and values of a batch, to which every forward appends columns.

Knows tensors.  Knows nothing of masks, positions or models.
"""

from __future__ import annotations

from operator import index

import torch
import torch.nn.functional as F

GROW = 256  # columns added when the slab is full


class Slab:
    """Keys (B, kv_heads, capacity, d) and values (B, kv_heads, capacity, e) of all layers; the first `length` columns are in use.

    In latent attention (DeepSeek-V2) they are the compressed keys and values, and the rotated part of the keys.
    """

    is_compileable = False

    def __init__(self):
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.stack: list[torch.Tensor] = []  # keys and values of all layers as one tensor each, of which `layers` are parts; or nothing
        self.length = 0

    def update(self, key, value, layer_idx, *_, **__):
        """What HF attention calls: append Q columns to one layer, return all columns of it."""
        end = self.length + key.shape[2]
        layer_idx = index(layer_idx)
        if layer_idx == len(self.layers):
            self.layers.append(tuple(x.new_zeros(*x.shape[:2], end + GROW, x.shape[3]) for x in (key, value)))
        keys, values = self.layers[layer_idx]
        if end > keys.shape[2]:
            extra = max(GROW, keys.shape[2] // 4)
            keys, values = (F.pad(x, (0, 0, 0, end - x.shape[2] + extra)) for x in (keys, values))
            self.layers[layer_idx], self.stack = (keys, values), []
        keys[:, :, self.length : end] = key
        values[:, :, self.length : end] = value
        return keys[:, :, :end], values[:, :, :end]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.length

    def used(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of all layers, the columns in use."""
        return [(k[:, :, : self.length], v[:, :, : self.length]) for k, v in self.layers]

    def select(self, rows: torch.Tensor) -> Slab:
        """Another slab with the given rows, repeats allowed."""
        out = Slab()
        out.layers = [(k.index_select(0, rows), v.index_select(0, rows)) for k, v in self.used()]
        out.length = self.length
        return out

    def keep(self, rows: torch.Tensor) -> None:
        """Only the given rows, layer by layer: never a second copy of the whole cache."""
        self.stack = []
        for i, (keys, values) in enumerate(self.layers):
            self.layers[i] = keys.index_select(0, rows), values.index_select(0, rows)

    def gather(self, order: torch.Tensor, room: int) -> None:
        """Of each row only the columns `order` (B, L), in that order, layer by layer; then `room` for more."""
        self.stack = []
        for i, pair in enumerate(self.layers):
            self.layers[i] = tuple(
                F.pad(x.gather(2, order[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3])), (0, 0, 0, room)) for x in pair
            )
        self.length = order.shape[1]


class Spread:
    """A slab as layers see it whose tokens are packed: they give keys (1, kv_heads, n, d) and get those of all rows and columns."""

    is_compileable = False

    def __init__(self, slab: Slab, packing):
        self.slab, self.packing = slab, packing

    def update(self, key, value, layer_idx, *rest, **named):
        return self.slab.update(self.packing.spread(key), self.packing.spread(value), layer_idx, *rest, **named)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.slab.get_seq_length(layer_idx)
