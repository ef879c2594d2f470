"""Rows that share beginnings, packed: each distinct beginning is read once, and several rows' tokens stand in one row of the model.

The tokens of a packed row are the nodes of trees: a token sees itself and those before it in its own row, at its own position.
So the states are those of the rows read one by one.  Knows keys of tokens.  Knows no model, no latents and no texts.

B rows of tokens, R packed rows of T places, M nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NONE = -1


@dataclass(frozen=True)
class Packing:
    """first (M, 2): row and place of a token that each node stands for; slot (M,): its place in the flat (R, T).

    positions, parents (R, T): of each place; a parent stands in the same packed row, NONE: a first token.
    spots: the flat places of each row's tokens.
    """

    first: np.ndarray
    slot: np.ndarray
    positions: np.ndarray
    parents: np.ndarray
    spots: list[np.ndarray]

    def mask(self) -> np.ndarray:
        """(R, 1, T, T) bool: which places each place sees; a place without a token sees itself."""
        R, T = self.parents.shape
        sees = np.zeros((R, T, T), dtype=bool)
        sees[:, np.arange(T), np.arange(T)] = True
        for place in range(1, T):  # parents stand before their children
            parent = self.parents[:, place]
            has = np.flatnonzero(parent >= 0)
            sees[has, place] |= sees[has, parent[has]]
        return sees[:, None]

    def spread(self, values: Tensor) -> Tensor:
        """Values (M, ...) of the nodes as (R, T, ...), zeros elsewhere."""
        R, T = self.positions.shape
        slots = torch.from_numpy(self.slot).to(values.device)
        return values.new_zeros(R * T, *values.shape[1:]).index_copy(0, slots, values).view(R, T, *values.shape[1:])


def keys_of(values: Tensor) -> np.ndarray:
    """A number for every vector of values (..., D): the same for equal ones only."""
    raw = values.contiguous().view(torch.uint8).numpy().reshape(-1, values.shape[-1] * values.element_size())
    known: dict[bytes, int] = {}
    return np.array([known.setdefault(row.tobytes(), len(known)) for row in raw], dtype=np.int64).reshape(values.shape[:-1])


def pack(rows: Sequence[Sequence[int]], width: int) -> Packing:
    """Rows in packed rows of at most `width` places, in the order of their keys, so that those of one beginning stand together.

    Equal keys after equal ones are one token.  A row of more than `width` tokens is in a packed row of its own.
    """
    rows = [row.tolist() if isinstance(row, np.ndarray) else list(row) for row in rows]
    trees: list[dict[tuple[int, int], int]] = []  # of each packed row (parent, key) -> place, in the order of places
    first, places = [], {}
    order, width = sorted(range(len(rows)), key=lambda b: rows[b]), _even(rows, width)
    for b in order:
        if not trees or len(trees[-1]) + _new(trees[-1], rows[b]) > width:
            trees.append({})
        tree, parent, here = trees[-1], NONE, []
        for t, key in enumerate(rows[b]):
            known = len(tree)
            parent = tree.setdefault((parent, key), known)
            if parent == known:
                first.append((b, t))
            here.append(parent)
        places[b] = len(trees) - 1, np.array(here, dtype=np.int64)
    return _laid_out(trees, np.array(first, dtype=np.int64).reshape(-1, 2), places)


def _laid_out(trees: list[dict[tuple[int, int], int]], first: np.ndarray, places: dict[int, tuple[int, np.ndarray]]) -> Packing:
    """The trees as arrays as wide as the largest of them."""
    T = max(map(len, trees), default=0)
    parents, slot = np.full((len(trees), T), NONE), []
    for r, tree in enumerate(trees):
        parents[r, : len(tree)] = [parent for parent, _ in tree]
        slot.append(r * T + np.arange(len(tree)))
    slots, positions = np.concatenate([*slot, first[:0, 0]]), np.zeros_like(parents)
    positions.flat[slots] = first[:, 1]
    return Packing(first, slots, positions, parents, [places[b][0] * T + places[b][1] for b in range(len(places))])


def _even(rows: list[list[int]], width: int) -> int:
    """The width at which so many packed rows as are needed are about as long as each other: what is left of the last one is padding."""
    tree: dict[tuple[int, int], int] = {}
    for row in rows:
        parent = NONE
        for key in row:
            parent = tree.setdefault((parent, key), len(tree))
    needed = max(1, -(-len(tree) // width))
    return min(width, -(-len(tree) // needed) + max(map(len, rows), default=0))


def _new(tree: dict[tuple[int, int], int], row: list[int]) -> int:
    """Tokens of a row that a tree does not have yet."""
    parent = NONE
    for t, key in enumerate(row):
        if (parent, key) not in tree:
            return len(row) - t
        parent = tree[parent, key]
    return 0
