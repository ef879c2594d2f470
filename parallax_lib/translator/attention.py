"""Attention of a model's layers over a slab of cached keys and values, as the engine asks for it.

`forward` hands every layer one `Seen`, by an attribute of a tensor that stands in the attention mask's place: models of
transformers pass a mask of four dimensions on as it is.  A forward either has a mask, or reads prompts: then its tokens are
packed without padding, and attention is causal without a mask.  Knows tensors.  Knows no model by name, no decoding and no cache.

B rows, Q new columns, L cached columns with the new ones, n packed tokens, d width of a head's keys, e of its values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import torch
import torch.nn.functional as F

SCORES = 2**27  # attention scores that are held at once where SDPA cannot be used: 512 MiB in float32
FEW = 32  # rows times key heads, and columns, up to which products of matrices are faster than SDPA on a GPU
NARROW = 16  # queries of a key head up to which compiled products are, for any number of rows


@dataclass
class Packing:
    """Where the n tokens of one forward stand: the live ones of B rows and Q columns, row after row."""

    rows: torch.Tensor  # (n,)
    columns: torch.Tensor  # (n,)
    shape: tuple[int, int]  # B, Q

    def spread(self, x: torch.Tensor) -> torch.Tensor:
        """(1, heads, n, d) -> (B, heads, Q, d), zeros in the padding; without padding a view."""
        B, Q = self.shape
        tokens = x[0].transpose(0, 1)  # (n, heads, d)
        if len(tokens) == B * Q:
            return tokens.unflatten(0, self.shape).transpose(1, 2)
        room = tokens.new_zeros(B, Q, *tokens.shape[1:])
        room[self.rows, self.columns] = tokens
        return room.transpose(1, 2)

    def gathered(self, x: torch.Tensor) -> torch.Tensor:
        """(B, heads, Q, e) -> (1, n, heads, e)."""
        by_column = x.transpose(1, 2)
        whole = len(self.rows) == self.shape[0] * self.shape[1]
        return (by_column.flatten(0, 1) if whole else by_column[self.rows, self.columns])[None].contiguous()


@dataclass
class Seen:
    """What the new columns of one forward see, and the positions that sliding windows are counted in."""

    positions: torch.Tensor  # (B, Q)
    places: torch.Tensor  # (B, L), of every column
    mask: torch.Tensor | None = None  # (B, 1, Q, L), added to the scores
    compiled: bool = False  # what is small between products may be compiled
    packing: Packing | None = None  # then there is no mask: a token sees the columns of its row up to its own
    folded: dict[tuple[int, int | None], torch.Tensor] = field(default_factory=dict)  # kept for the next layer

    def handle(self, own: bool = False) -> torch.Tensor:
        """What goes in the mask's place; own: the mask itself, for layers that may add it themselves."""
        stands = self.mask.view(self.mask.shape) if own else self.places.new_zeros(1, 1, 1, 1)
        stands.seen = self
        return stands

    def added(self, groups: int, window: int | None, length: int, dtype: torch.dtype) -> torch.Tensor:
        """What is added to the scores (B or 1, 1, groups * Q, L), the query heads of a group one after another.

        With a window a query sees no key that is `window` or more positions behind it.
        """
        if (groups, window) not in self.folded:
            asking, asked, mask = self.positions, self.places, self.mask
            if self.packing is not None:  # prompts fill their rows from the left: a column's place is its position
                asked = torch.arange(length, device=self.places.device)[None]
                asking = asked[:, length - self.packing.shape[1] :]
                mask = torch.zeros((), dtype=dtype, device=asked.device).expand(1, 1, asking.shape[1], length)
                mask = mask.masked_fill((asking[:, :, None] < asked[:, None])[:, None], float("-inf"))
            if window is not None:
                mask = mask.masked_fill((asking[:, :, None] - asked[:, None] >= window)[:, None], float("-inf"))
            self.folded[groups, window] = _folded(mask, groups)
        return self.folded[groups, window]


def _folded(mask: torch.Tensor, groups: int) -> torch.Tensor:
    """(B, 1, Q, L) -> (B, 1, groups * Q, L)."""
    B, _, Q, L = mask.shape
    room = mask.new_empty(B, 1, groups, Q, aligned(L))
    room[..., :L] = mask[:, :, None]
    return room.view(B, 1, groups * Q, -1)[..., :L]


def aligned(columns: int) -> int:
    """Columns of a mask whose rows start at multiples of 8 values; else each layer would copy it to such addresses."""
    return -(-columns // 8) * 8


@cache
def attention_name() -> str:
    """The name by which a model's layers find `grouped_attention`.  transformers' models take seconds to import: not before a forward."""
    from transformers import AttentionInterface

    AttentionInterface.register("parallax_grouped", grouped_attention)
    return "parallax_grouped"


def grouped_attention(module, query, key, value, attention_mask, scaling=None, sliding_window=None, softcap=None, s_aux=None, **_):
    """What a model's layer calls: (B, Q, heads, e), or (1, n, heads, e) where tokens are packed.

    query (B, heads, Q, d) or (1, heads, n, d), key (B, kv_heads, L, d), value (B, kv_heads, L, e), attention_mask as `Seen.handle`
    makes it.  What a layer asks for besides: sliding_window, positions that a query sees including its own; softcap, the bound of
    scores; s_aux (heads,), the score of a key without a value (attention sinks).
    """
    seen: Seen = attention_mask.seen
    packing = seen.packing
    query = query if packing is None else packing.spread(query)
    window = None if packing is not None and sliding_window is not None and sliding_window >= key.shape[2] else sliding_window
    plain = packing is not None and window is softcap is s_aux is None and value.shape[-1] == query.shape[-1]
    out = causal(query, key, value, scaling) if plain else masked(query, key, value, seen, scaling, window, softcap, s_aux)
    return (out.transpose(1, 2).contiguous() if packing is None else packing.gathered(out)), None


def causal(query, key, value, scaling=None) -> torch.Tensor:
    """(B, heads, Q, d) whose last column sees all L columns, the one before it all but one, and so on: no mask is made."""
    from torch.nn.attention.bias import causal_lower_right

    Q, L = query.shape[2], key.shape[2]
    how = {"is_causal": True} if Q == L else {"attn_mask": causal_lower_right(Q, L)}
    return F.scaled_dot_product_attention(query, key, value, scale=scaling, enable_gqa=query.shape[1] > key.shape[1], **how)


def masked(query, key, value, seen: Seen, scaling=None, window=None, softcap=None, s_aux=None) -> torch.Tensor:
    """(B, heads, Q, e); the query heads of a group are folded into query rows, so shared keys are never copied."""
    B, heads, Q, d = query.shape
    groups = heads // key.shape[1]
    folded, mask = query.reshape(B, key.shape[1], groups * Q, d), seen.added(groups, window, key.shape[2], query.dtype)
    few = query.is_cuda and B * key.shape[1] <= FEW and Q <= FEW  # SDPA reads a long cache by one block for each of them
    few = few or (query.is_cuda and seen.compiled and groups * Q <= NARROW)
    if softcap is None and s_aux is None and not few:
        mask = mask.expand(B, -1, -1, -1)
        out = F.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling)
    elif softcap is None and s_aux is None and seen.compiled:
        out = compiled_products()(folded, key, value, mask, d**-0.5 if scaling is None else scaling)
    else:
        sinks = None if s_aux is None else s_aux.view(1, key.shape[1], groups, 1, 1).expand(B, -1, -1, Q, 1).reshape(B, -1, groups * Q, 1)
        out = capped_attention(folded, key, value, mask, d**-0.5 if scaling is None else scaling, softcap, sinks)
    return out.reshape(B, heads, Q, -1)


def products(query, key, value, mask, scaling):
    """Attention as two products of matrices, all scores at once."""
    scores = (query @ key.transpose(2, 3)).float() * scaling + mask
    return scores.softmax(-1).to(value.dtype) @ value


@cache
def compiled_products():
    return torch.compile(products, dynamic=True)


def capped_attention(query, key, value, mask, scaling, softcap=None, sinks=None):
    """What SDPA cannot do: scores bounded by `softcap`, and `sinks` (B, kv_heads, rows, 1), scores of a key without a value.

    query (B, kv_heads, rows, d), mask (B or 1, 1, rows, L); made for so many rows at a time that the scores stay in bounds.
    """
    many = max(1, SCORES // (query.shape[0] * query.shape[1] * key.shape[2]))
    parts = []
    for at in range(0, query.shape[2], many):
        here = slice(at, at + many)
        scores = (query[:, :, here] @ key.transpose(2, 3)).float() * scaling
        scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
        scores = scores + mask[:, :, here]
        if sinks is not None:
            scores = torch.cat([scores, sinks[:, :, here].float()], dim=-1)
        parts.append(scores.softmax(-1)[..., : key.shape[2]].to(value.dtype) @ value)
    return torch.cat(parts, dim=2)
