"""Forwards of a few columns over a slab whose addresses do not move, replayed as CUDA graphs.

A forward of a large model is hundreds of kernels; launching them one by one takes longer than they run.  A graph launches
them at once, but only for the shapes and addresses it was captured with.  So rows, new columns and cached columns come in
buckets, and what a bucket has too many is masked.  A bucket is captured when it is asked for a second time.  Knows slabs
and one forward of a decoder.  Knows no decoding, no candidates and no task.  `engine` without it is its naive twin.

B rows in a bucket of R, q new columns in a bucket of Q, L cached columns in a bucket of M, D width.
"""

from __future__ import annotations

import bisect
import warnings
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from parallax_lib.translator.attention import Seen
from parallax_lib.translator.slab import Slab

ROWS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
COLUMNS = (1, 2, 4, 8, 12, 16, 24, 32)
LENGTH = 128  # cached columns are read in multiples of this
ROOM = 1024  # columns that a new buffer has beyond those in use

Call = Callable[[Slab, torch.Tensor, Seen], torch.Tensor]


def bucket(size: int, sizes: tuple[int, ...]) -> int:
    """The least of `sizes` that is enough, or the next multiple of the largest."""
    at = bisect.bisect_left(sizes, size)
    return sizes[at] if at < len(sizes) else -(-size // sizes[-1]) * sizes[-1]


@dataclass
class Buffers:
    """Keys and values of all layers, (R, kv_heads, capacity, d) each, and the graphs that were captured over them.

    stack: keys and values of all layers as one tensor each, (layers, R, kv_heads, capacity, d), where the layers are of one shape.
    """

    layers: list[tuple[torch.Tensor, torch.Tensor]]
    stack: list[torch.Tensor] = field(default_factory=list)
    graphs: dict[tuple[int, int, int], Graph] = field(default_factory=dict)
    asked: Counter = field(default_factory=Counter)
    holder: weakref.ref | None = None

    @property
    def free(self) -> bool:
        return self.holder is None or self.holder() is None

    def fits(self, rows: int, length: int) -> bool:
        most, _, capacity, _ = self.layers[0][0].shape
        return most >= rows and capacity >= length


class FixedSlab(Slab):
    """A slab in buffers; the first `rows` rows and `length` columns of them are in use."""

    def __init__(self, buffers: Buffers, rows: int, length: int):
        super().__init__()
        self.buffers, self.layers, self.rows, self.length = buffers, buffers.layers, rows, length
        buffers.holder = weakref.ref(self)
        self.window: tuple[int, int] = (0, 0)  # rows and columns that the forward under way reads
        self.at = torch.empty(0, dtype=torch.long)  # (Q,) columns that it writes

    def update(self, key, value, layer_idx, *_, **__):
        """What HF attention calls: put Q columns where they belong, return all columns of the buckets."""
        rows, columns = self.window
        return tuple(
            x[:rows].index_copy_(2, self.at, new)[:, :, :columns] for x, new in zip(self.layers[layer_idx], (key, value), strict=True)
        )

    def used(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(k[: self.rows, :, : self.length], v[: self.rows, :, : self.length]) for k, v in self.layers]

    def select(self, rows: torch.Tensor) -> Slab:
        if not self.buffers.stack:
            return super().select(rows)
        out = Slab()
        out.stack = [x[:, : self.rows, :, : self.length].index_select(1, rows) for x in self.buffers.stack]
        out.layers, out.length = list(zip(*out.stack, strict=True)), self.length
        return out

    def keep(self, rows: torch.Tensor) -> None:
        for pair, kept in zip(self.layers, self.used(), strict=True):
            for whole, part in zip(pair, kept, strict=True):
                whole[: len(rows), :, : self.length] = part.index_select(0, rows)
        self.rows = len(rows)

    def gather(self, order: torch.Tensor, room: int) -> None:
        for pair, kept in zip(self.layers, self.used(), strict=True):
            for whole, part in zip(pair, kept, strict=True):
                whole[: self.rows, :, : order.shape[1]] = part.gather(
                    2, order[:, None, :, None].expand(-1, part.shape[1], -1, part.shape[3])
                )
        self.length = order.shape[1]


@dataclass
class Graph:
    """The inputs and the output of one captured forward, at addresses that stay."""

    embeds: torch.Tensor  # (R, Q, D)
    mask: torch.Tensor  # (R, 1, Q, M), added to the scores
    positions: torch.Tensor  # (R, Q)
    places: torch.Tensor  # (R, M)
    at: torch.Tensor  # (Q,)
    hidden: torch.Tensor | None = None  # (R, Q, D)
    graph: torch.cuda.CUDAGraph | None = None

    def fill(self, embeds: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, places: torch.Tensor, length: int) -> None:
        """What is asked of B rows and q columns; a padded query stands at position 0 and sees the first column: no empty softmax."""
        B, q = positions.shape
        self.embeds[:B, :q] = embeds
        self.mask.fill_(float("-inf"))
        if self.positions.shape != positions.shape:
            self.mask[B:, :, :, 0] = 0.0
            self.mask[:, :, q:, 0] = 0.0
            self.positions.zero_()
        self.mask[:B, :, :q, : mask.shape[-1]] = mask
        self.positions[:B, :q] = positions
        self.places[:B, : places.shape[1]] = places
        torch.arange(length, length + len(self.at), out=self.at)


def new_buffers(slab: Slab, rows: int, capacity: int) -> Buffers:
    """Buffers for so many rows and columns of a slab like this one."""
    sizes = {tuple((x.shape[1], x.shape[3]) for x in pair) for pair in slab.layers}
    if len(sizes) > 1:
        return Buffers([tuple(x.new_zeros(rows, x.shape[1], capacity, x.shape[3]) for x in pair) for pair in slab.layers])
    stack = [x.new_zeros(len(slab.layers), rows, x.shape[1], capacity, x.shape[3]) for x in slab.layers[0]]
    return Buffers(list(zip(*stack, strict=True)), stack)


class Captured:
    """Forwards of one decoder: its buffers, their graphs, and whether it can be captured at all."""

    def __init__(self, call: Call, width: int, graphs: bool = True):
        self.call, self.width, self.graphs = call, width, graphs
        self.buffers: list[Buffers] = []
        self.pool = None

    def fix(self, slab: Slab, rows: int, columns: int) -> FixedSlab:
        """The slab in buffers with room for so many more columns; itself where it is."""
        needed = -(-(slab.length + bucket(columns, COLUMNS)) // LENGTH) * LENGTH
        if isinstance(slab, FixedSlab) and slab.buffers.fits(bucket(rows, ROWS), needed):
            return slab
        buffers = self._take(slab, bucket(rows, ROWS), needed)
        if slab.stack and buffers.stack:  # two copies instead of two a layer
            for room, kept in zip(buffers.stack, slab.stack, strict=True):
                room[:, :rows, :, : slab.length] = kept[:, :, :, : slab.length]
        else:
            for (keys, values), (k, v) in zip(buffers.layers, slab.used(), strict=True):
                keys[:rows, :, : slab.length], values[:rows, :, : slab.length] = k, v
        return FixedSlab(buffers, rows, slab.length)

    def _take(self, slab: Slab, rows: int, needed: int) -> Buffers:
        """Free buffers that fit, or new ones with room to grow; free ones that do not fit are given up first."""
        found = next((b for b in self.buffers if b.free and b.fits(rows, needed)), None)
        if found is None:
            self.buffers = [b for b in self.buffers if not b.free]
            if not any(graph.graph for b in self.buffers for graph in b.graphs.values()):
                self.pool = None  # a pool of memory ends with its last graph, and the next one cannot be captured into it
            capacity = needed + max(ROOM, needed // 4 // LENGTH * LENGTH)
            found = new_buffers(slab, rows, capacity)
            self.buffers.append(found)
        return found

    def forward(self, slab: FixedSlab, embeds, mask, positions, places) -> torch.Tensor:
        """Hidden states (B, q, D) of q new columns; the slab's length stays what it was."""
        B, q = positions.shape
        R, Q = bucket(B, ROWS), bucket(q, COLUMNS)
        M = -(-(slab.length + Q) // LENGTH) * LENGTH
        known = slab.buffers
        known.asked[R, Q, M] += 1
        graph = known.graphs.get((R, Q, M))
        if graph is None:
            graph = known.graphs[R, Q, M] = self._inputs(R, Q, M, embeds, mask)
        graph.fill(embeds, mask, positions, places, slab.length)
        slab.window, slab.at = (R, M), graph.at
        if self.graphs and graph.graph is None and known.asked[R, Q, M] > 1:
            self._capture(slab, graph)
        if graph.graph is not None:
            graph.graph.replay()
            return graph.hidden[:B, :q].clone()
        return self._call(slab, graph)[:B, :q]

    def _inputs(self, R: int, Q: int, M: int, embeds: torch.Tensor, mask: torch.Tensor) -> Graph:
        zeros = {"device": embeds.device, "dtype": torch.long}
        return Graph(
            embeds.new_zeros(R, Q, self.width),
            mask.new_zeros(R, 1, Q, M),
            torch.zeros(R, Q, **zeros),
            torch.zeros(R, M, **zeros),
            torch.zeros(Q, **zeros),
        )

    def _call(self, slab: FixedSlab, graph: Graph) -> torch.Tensor:
        return self.call(slab, graph.embeds, Seen(graph.positions, graph.places, graph.mask))

    def _capture(self, slab: FixedSlab, graph: Graph) -> None:
        """Captures the forward, or learns that this decoder cannot be: one that asks the host for a value on its way."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(stream):
                self._call(slab, graph)
            torch.cuda.current_stream().wait_stream(stream)
            cuda_graph = torch.cuda.CUDAGraph()
            mode = "thread_local"  # a thread of NCCL asks for events meanwhile
            with torch.cuda.graph(cuda_graph, pool=self.pool, capture_error_mode=mode):
                graph.hidden = self._call(slab, graph)
        except RuntimeError as e:
            self.graphs = False
            torch.cuda.synchronize()
            warnings.warn(f"forwards are not captured as CUDA graphs and take longer: {str(e).splitlines()[0]}", stacklevel=2)
            return
        self.pool, graph.graph = cuda_graph.pool(), cuda_graph
