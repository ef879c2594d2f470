"""Prefill, step, fork over any causal LM whose attention goes through the attention interface of transformers.

One idea carries everything: a slab of cached keys and values to which every forward appends columns, and per row a
mask of the columns it may see.  Padding, losing candidates and rejected drafts are columns nobody sees; `compact`
squeezes them out.  A column's place in the slab is not its position, so sliding windows are counted in positions, which
are kept beside the columns.  Knows no PRM, no task, no alignment and no architecture by name.

B rows, Q new columns, L cached columns, P prompt tokens, T decoded tokens, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from parallax_lib.translator.captured import COLUMNS, ROWS, Captured, bucket
from parallax_lib.translator.language_model import Translator
from parallax_lib.translator.slab import GROW, Slab

BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]  # cuDNN plans 40 ms for every new length
SCORES = 2**27  # attention scores that are held at once where SDPA cannot be used: 512 MiB in float32
FEW = 32  # rows times key heads, and columns, up to which a product of matrices is faster than SDPA on a GPU
PREFILL = 4096  # prompt columns read in one forward: its attention mask and activations grow with them


def grouped_attention(module, query, key, value, attention_mask, scaling=None, sliding_window=None, softcap=None, s_aux=None, **_):
    """Attention that folds the query heads of a group into query rows, so shared keys are never copied.

    query (B, heads, Q, d), key (B, kv_heads, L, d), value (B, kv_heads, L, e), attention_mask (B, 1, Q, L) as `forward` makes
    it.  What a layer asks for besides: sliding_window, positions that a query sees including its own; softcap, the bound of
    scores; s_aux (heads,), the score of a key without a value (attention sinks).
    """
    B, heads, Q, d = query.shape
    groups = heads // key.shape[1]
    folded = query.reshape(B, key.shape[1], groups * Q, d)
    mask = fold(attention_mask, groups, sliding_window)
    few = query.is_cuda and B * key.shape[1] <= FEW and Q <= FEW  # SDPA reads a long cache by one block for each of them
    if softcap is None and s_aux is None and not few:
        out = F.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling)
    else:
        sinks = None if s_aux is None else s_aux.view(1, key.shape[1], groups, 1, 1).expand(B, -1, -1, Q, 1).reshape(B, -1, groups * Q, 1)
        out = capped_attention(folded, key, value, mask, d**-0.5 if scaling is None else scaling, softcap, sinks)
    return out.reshape(B, heads, Q, -1).transpose(1, 2).contiguous(), None


def capped_attention(query, key, value, mask, scaling, softcap=None, sinks=None):
    """What SDPA cannot do: scores bounded by `softcap`, and `sinks` (B, kv_heads, rows, 1), scores of a key without a value.

    query (B, kv_heads, rows, d), mask (B, 1, rows, L); made for so many rows at a time that the scores stay in bounds.
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


def fold(mask: torch.Tensor, groups: int, window: int | None = None) -> torch.Tensor:
    """What is added to the scores (B, 1, groups * Q, L) where `mask` (B, 1, Q, L) says it for one head; kept with it for the next layer.

    With a window a query sees no key that is `window` or more positions behind it.
    """
    known = mask.__dict__.setdefault("folded", {})
    if (groups, window) not in known:
        B, _, Q, L = mask.shape
        masked = mask
        if window is not None:
            asking, asked = mask.positions
            masked = mask.masked_fill((asking[:, :, None] - asked[:, None] >= window)[:, None], float("-inf"))
        room = mask.new_empty(B, 1, groups, Q, aligned(L))
        room[..., :L] = masked[:, :, None]
        known[groups, window] = room.view(B, 1, groups * Q, -1)[..., :L]
    return known[groups, window]


def aligned(columns: int) -> int:
    """Columns of a mask whose rows start at multiples of 8 values; else each layer would copy it to such addresses."""
    return -(-columns // 8) * 8


@cache
def attention_name() -> str:
    """The name by which a model's layers find `grouped_attention`.  transformers' models take seconds to import: not before a forward."""
    from transformers import AttentionInterface

    AttentionInterface.register("parallax_grouped", grouped_attention)
    return "parallax_grouped"


@dataclass
class State:
    """Where B rows stand: cache, which columns each row sees and where they stand, its next position, its last hidden state."""

    slab: Slab
    visible: torch.Tensor  # (B, L) bool
    places: torch.Tensor  # (B, L) long, position of every column
    position: torch.Tensor  # (B,) long
    hidden: torch.Tensor  # (B, D), after the final norm
    pooled: torch.Tensor | None = None  # (B, D), mean state of the prompt

    @property
    def rows(self) -> int:
        return self.visible.shape[0]


def forward(translator: Translator, state: State, embeds: torch.Tensor, live: torch.Tensor, packed: bool = False) -> torch.Tensor:
    """Append Q columns, return their hidden states (B, Q, D); `state`'s slab, visible and places grow, nothing else moves.

    live (B, Q): False marks padding.  packed: the Q columns are rivals for one position, each sees the past and itself.
    """
    ahead = torch.zeros_like(live, dtype=torch.long) if packed else live.long().cumsum(1) - 1
    positions = state.position[:, None] + ahead.clamp(min=0)
    places = torch.cat([state.places, positions], dim=1)
    mask = added(visible_columns(state, live, packed), embeds.dtype)
    graphs = captured(translator)
    if graphs and state.slab.length and live.shape[1] <= COLUMNS[-1]:
        state.slab = graphs.fix(state.slab, *live.shape)
        hidden = graphs.forward(state.slab, embeds, mask, positions, places)
    else:
        hidden = run_body(translator.body, state.slab, embeds, mask, positions, places)
    state.slab.length += live.shape[1]
    state.visible, state.places = torch.cat([state.visible, live], dim=1), places
    return hidden


def run_body(body, slab: Slab, embeds: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Hidden states (B, Q, D) of the decoder; the slab's layers take the new columns."""
    mask.positions = positions, places
    was = body.config._attn_implementation
    body.config._attn_implementation = attention_name()
    try:
        with sdpa_kernel(BACKENDS):
            out = body(inputs_embeds=embeds, attention_mask=mask, position_ids=positions, past_key_values=slab, use_cache=True)
    finally:
        body.config._attn_implementation = was
    return out.last_hidden_state


def captured(translator: Translator) -> Captured | None:
    """Where a translator's forwards are captured: on a GPU; None elsewhere."""
    known = translator.__dict__
    if "captured" not in known:
        able = translator.device.type == "cuda"
        known["captured"] = Captured(partial(run_body, translator.body), translator.width) if able else None
    return known["captured"]


def smaller(translator: Translator, few: int, many: int) -> bool:
    """Whether forwards of `few` rows cost less than those of `many`: where they are captured, rows come in buckets."""
    return captured(translator) is None or bucket(few, ROWS) < bucket(many, ROWS)


def visible_columns(state: State, live: torch.Tensor, packed: bool) -> torch.Tensor:
    """Which columns, cached or new, each of the Q new ones sees: (B, Q, L + Q) bool."""
    B, Q = live.shape
    eye = torch.eye(Q, dtype=torch.bool, device=live.device)
    among = eye if packed else torch.ones_like(eye).tril()
    new = (among & live[:, None, :]) | eye  # a padded query sees itself: no empty softmax
    return torch.cat([state.visible[:, None, :].expand(B, Q, -1), new], dim=2)


def added(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(B, Q, L) bool -> (B, 1, Q, L): 0 where it sees, -inf elsewhere."""
    B, Q, L = visible.shape
    room = torch.full((B, 1, Q, aligned(L)), float("-inf"), dtype=dtype, device=visible.device)
    return room[..., :L].masked_fill_(visible[:, None], 0.0)


@torch.inference_mode()
def prefill(translator: Translator, ids: list[list[int]]) -> State:
    """Run B prompts; afterwards `hidden` is the last prompt token's state, `pooled` the mean over the prompt."""
    device = translator.device
    lengths = torch.tensor([len(row) for row in ids], device=device)
    tokens = torch.zeros(len(ids), int(lengths.max()), dtype=torch.long, device=device)
    for row, values in enumerate(ids):
        tokens[row, : len(values)] = torch.tensor(values, device=device)
    live = torch.arange(tokens.shape[1], device=device)[None] < lengths[:, None]
    state = State(Slab(), live[:, :0], tokens[:, :0], torch.zeros_like(lengths), torch.empty(0, device=device))
    total, rows = torch.zeros(len(ids), translator.width, device=device), torch.arange(len(ids), device=device)
    for at in range(0, tokens.shape[1], PREFILL):
        here = live[:, at : at + PREFILL]
        hidden = forward(translator, state, translator.embed(tokens[:, at : at + PREFILL]), here)
        total += (hidden * here[..., None]).sum(1, dtype=torch.float32)
        last = hidden[rows, (lengths - 1 - at).clamp(0, here.shape[1] - 1)]
        ends = (lengths > at) & (lengths <= at + here.shape[1])
        state.hidden = torch.where(ends[:, None], last, state.hidden) if at else last
        state.position = state.position + here.sum(1)
    state.pooled = total / lengths[:, None]
    return state


@torch.inference_mode()
def step(translator: Translator, state: State, embeds: torch.Tensor) -> State:
    """Feed one embedding (B, D) a row."""
    live = torch.ones(state.rows, 1, dtype=torch.bool, device=embeds.device)
    state.hidden = forward(translator, state, embeds[:, None].to(translator.body.dtype), live)[:, 0]
    state.position = state.position + 1
    return state


@torch.inference_mode()
def step_candidates(translator: Translator, state: State, embeds: torch.Tensor) -> torch.Tensor:
    """Hidden states (B, N, D) that N rival embeddings (B, N, D) would lead to, in one forward.

    The N columns stay in the cache unseen; `keep_candidate` shows each row its winner.
    """
    live = torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
    hidden = forward(translator, state, embeds.to(translator.body.dtype), live, packed=True)
    state.visible[:, -embeds.shape[1] :] = False
    return hidden


@torch.inference_mode()
def keep_candidate(state: State, hidden: torch.Tensor, winner: torch.Tensor) -> State:
    """After `step_candidates`: the winner (B,) of each row becomes its next position."""
    B, N, _ = hidden.shape
    rows = torch.arange(B, device=hidden.device)
    state.visible[rows, state.visible.shape[1] - N + winner] = True
    state.hidden = hidden[rows, winner]
    state.position = state.position + 1
    return state


@torch.inference_mode()
def select(state: State, rows: torch.Tensor) -> State:
    """The given rows (repeats allowed: that is a fork), in that order."""
    pooled = None if state.pooled is None else state.pooled[rows]
    return State(state.slab.select(rows), state.visible[rows], state.places[rows], state.position[rows], state.hidden[rows], pooled)


@torch.inference_mode()
def drop(state: State, rows: torch.Tensor) -> State:
    """Keep only the given rows, in place, layer by layer: never a second copy of the whole cache."""
    state.slab.keep(rows)
    for name in ("visible", "places", "position", "hidden"):
        setattr(state, name, getattr(state, name)[rows])
    state.pooled = None if state.pooled is None else state.pooled[rows]
    return state


@torch.inference_mode()
def compact(state: State, room: int = GROW) -> State:
    """Squeeze out the columns nobody sees, in place, layer by layer; every row's columns move to the front in order."""
    count = state.visible.sum(1)
    length = int(count.max())
    order = state.visible.long().argsort(dim=1, descending=True, stable=True)[:, :length]  # (B, length)

    state.slab.gather(order, room)
    state.visible, state.places = torch.arange(length, device=count.device)[None] < count[:, None], state.places.gather(1, order)
    return state
