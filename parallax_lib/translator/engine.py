"""Prefill, step, fork, decode over any HF causal LM whose logits are `lm_head(last hidden state)`.

One idea carries everything: a slab of cached keys and values to which every forward appends columns, and per row a
mask of the columns it may see.  Padding, losing candidates and rejected drafts are columns nobody sees; `compact`
squeezes them out.  Knows no PRM, no task and no alignment.

B rows, Q new columns, L cached columns, P prompt tokens, T decoded tokens, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface

from parallax_lib.translator.models import Translator

GROW = 256  # columns added when the slab is full
BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]  # cuDNN plans 40 ms for every new length
PREFILL = 4096  # prompt columns read in one forward: its attention mask and activations grow with them


def grouped_attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **_):
    """SDPA that folds the query heads of a group into query rows, so shared keys are never copied.

    query (B, heads, Q, d), key and value (B, kv_heads, L, d), attention_mask (B, 1, Q, L) bool.
    """
    B, heads, Q, d = query.shape
    groups = heads // key.shape[1]
    folded = query.reshape(B, key.shape[1], groups * Q, d)
    mask = fold(attention_mask, groups, query.dtype)
    out = F.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling)
    return out.reshape(B, heads, Q, d).transpose(1, 2).contiguous(), None


def fold(mask: torch.Tensor, groups: int, dtype: torch.dtype) -> torch.Tensor:
    """What SDPA adds to the scores, 0 or -inf (B, 1, groups * Q, L), for a mask (B, 1, Q, L); kept with it for the next layer.

    Its rows start at multiples of 8 values, else each layer would copy it to such addresses.
    """
    known = mask.__dict__.setdefault("folded", {})
    if groups not in known:
        B, _, Q, L = mask.shape
        room = torch.full((B, 1, groups, Q, -(-L // 8) * 8), float("-inf"), dtype=dtype, device=mask.device)
        room[..., :L].masked_fill_(mask[:, :, None], 0.0)
        known[groups] = room.view(B, 1, groups * Q, -1)[..., :L]
    return known[groups]


AttentionInterface.register("parallax_grouped", grouped_attention)


class Slab:
    """Keys and values of all layers, (B, kv_heads, capacity, d) each; the first `length` columns are in use."""

    is_compileable = False

    def __init__(self):
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.length = 0

    def update(self, key, value, layer_idx, *_, **__):
        """What HF attention calls: append Q columns to one layer, return all columns of it."""
        end = self.length + key.shape[2]
        if layer_idx == len(self.layers):
            shape = (*key.shape[:2], end + GROW, key.shape[3])
            self.layers.append((key.new_zeros(shape), value.new_zeros(shape)))
        keys, values = self.layers[layer_idx]
        if end > keys.shape[2]:
            extra = max(GROW, keys.shape[2] // 4)
            keys, values = (F.pad(x, (0, 0, 0, end - x.shape[2] + extra)) for x in (keys, values))
            self.layers[layer_idx] = keys, values
        keys[:, :, self.length : end] = key
        values[:, :, self.length : end] = value
        return keys[:, :, :end], values[:, :, :end]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.length

    def select(self, rows: torch.Tensor) -> Slab:
        out = Slab()
        out.layers = [(k.index_select(0, rows), v.index_select(0, rows)) for k, v in self.layers]
        out.length = self.length
        return out


@dataclass
class State:
    """Where B rows stand: cache, which columns each row sees, its next position, its last hidden state."""

    slab: Slab
    visible: torch.Tensor  # (B, L) bool
    position: torch.Tensor  # (B,) long
    hidden: torch.Tensor  # (B, D), after the final norm
    pooled: torch.Tensor | None = None  # (B, D), mean state of the prompt

    @property
    def rows(self) -> int:
        return self.visible.shape[0]


def forward(model, state: State, embeds: torch.Tensor, live: torch.Tensor, packed: bool = False) -> torch.Tensor:
    """Append Q columns, return their hidden states (B, Q, D); `state.slab` and `state.visible` grow, nothing else moves.

    live (B, Q): False marks padding.  packed: the Q columns are rivals for one position, each sees the past and itself.
    """
    B, Q, _ = embeds.shape
    eye = torch.eye(Q, dtype=torch.bool, device=embeds.device)
    among = eye if packed else torch.ones_like(eye).tril()
    new = (among & live[:, None, :]) | eye  # a padded query sees itself: no empty softmax
    past = state.visible[:, None, :].expand(B, Q, -1)
    mask = torch.cat([past, new], dim=2)[:, None]  # (B, 1, Q, L + Q)
    ahead = torch.zeros_like(live, dtype=torch.long) if packed else live.long().cumsum(1) - 1
    positions = state.position[:, None] + ahead.clamp(min=0)
    was = model.config._attn_implementation
    model.config._attn_implementation = "parallax_grouped"
    try:
        with sdpa_kernel(BACKENDS):
            out = model.base_model(
                inputs_embeds=embeds, attention_mask=mask, position_ids=positions, past_key_values=state.slab, use_cache=True
            )
    finally:
        model.config._attn_implementation = was
    state.slab.length += Q
    state.visible = torch.cat([state.visible, live], dim=1)
    return out.last_hidden_state


@torch.inference_mode()
def prefill(translator: Translator, ids: list[list[int]]) -> State:
    """Run B prompts; afterwards `hidden` is the last prompt token's state, `pooled` the mean over the prompt."""
    device, model = translator.device, translator.model
    lengths = torch.tensor([len(row) for row in ids], device=device)
    tokens = torch.zeros(len(ids), int(lengths.max()), dtype=torch.long, device=device)
    for row, values in enumerate(ids):
        tokens[row, : len(values)] = torch.tensor(values, device=device)
    live = torch.arange(tokens.shape[1], device=device)[None] < lengths[:, None]
    state = State(Slab(), live[:, :0], torch.zeros_like(lengths), torch.empty(0, device=device))
    total, rows = torch.zeros(len(ids), translator.width, device=device), torch.arange(len(ids), device=device)
    for at in range(0, tokens.shape[1], PREFILL):
        here = live[:, at : at + PREFILL]
        hidden = forward(model, state, model.get_input_embeddings()(tokens[:, at : at + PREFILL]), here)
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
    state.hidden = forward(translator.model, state, embeds[:, None].to(translator.model.dtype), live)[:, 0]
    state.position = state.position + 1
    return state


@torch.inference_mode()
def step_candidates(translator: Translator, state: State, embeds: torch.Tensor) -> torch.Tensor:
    """Hidden states (B, N, D) that N rival embeddings (B, N, D) would lead to, in one forward.

    The N columns stay in the cache unseen; `keep_candidate` shows each row its winner.
    """
    live = torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
    hidden = forward(translator.model, state, embeds.to(translator.model.dtype), live, packed=True)
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


def select(state: State, rows: torch.Tensor) -> State:
    """The given rows (repeats allowed: that is a fork), in that order."""
    pooled = None if state.pooled is None else state.pooled[rows]
    return State(state.slab.select(rows), state.visible[rows], state.position[rows], state.hidden[rows], pooled)


def drop(state: State, rows: torch.Tensor) -> State:
    """Keep only the given rows, in place, layer by layer: never a second copy of the whole cache."""
    for i, (keys, values) in enumerate(state.slab.layers):
        state.slab.layers[i] = keys.index_select(0, rows), values.index_select(0, rows)
    state.visible, state.position, state.hidden = state.visible[rows], state.position[rows], state.hidden[rows]
    state.pooled = None if state.pooled is None else state.pooled[rows]
    return state


def compact(state: State, room: int = GROW) -> State:
    """Squeeze out the columns nobody sees, in place, layer by layer; every row's columns move to the front in order."""
    count = state.visible.sum(1)
    length = int(count.max())
    order = state.visible.long().argsort(dim=1, descending=True, stable=True)[:, :length]  # (B, length)

    def gather(x: torch.Tensor) -> torch.Tensor:
        index = order[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3])
        return F.pad(x.gather(2, index), (0, 0, 0, room))

    for i, (keys, values) in enumerate(state.slab.layers):
        state.slab.layers[i] = gather(keys), gather(values)
    state.slab.length = length
    state.visible = torch.arange(length, device=count.device)[None] < count[:, None]
    return state
