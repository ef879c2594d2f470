"""Prefill, step, fork over any causal LM whose attention goes through the attention interface of transformers.

One idea carries everything: a slab of cached keys and values to which every forward appends columns, and per row a
mask of the columns it may see.  Padding, losing candidates and rejected drafts are columns nobody sees; `compact`
squeezes them out.  A column's place in the slab is not its position, so sliding windows are counted in positions, which
are kept beside the columns.  Knows no PRM, no task, no alignment and no architecture by name.

B rows, Q new columns, L cached columns, P prompt tokens, T decoded tokens, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from parallax_lib.translator import fused
from parallax_lib.translator.attention import Packing, Seen, aligned, attention_name
from parallax_lib.translator.captured import COLUMNS, ROWS, Captured, bucket
from parallax_lib.translator.language_model import Translator
from parallax_lib.translator.slab import GROW, Slab, Spread

BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]  # cuDNN plans 40 ms for every new length
PREFILL = 4096  # prompt columns read in one forward: its activations grow with them


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
    positions = state.position[:, None].expand(live.shape)
    if not packed and live.shape[1] > 1:
        positions = positions + (live.long().cumsum(1) - 1).clamp(min=0)
    places = torch.cat([state.places, positions], dim=1)
    mask = added(visible_columns(state, live, packed), embeds.dtype)
    graphs = captured(translator)
    if graphs and state.slab.length and live.shape[1] <= COLUMNS[-1]:
        state.slab = graphs.fix(state.slab, *live.shape)
        hidden = graphs.forward(state.slab, embeds, mask, positions, places)
    else:
        hidden = run_body(translator.body, state.slab, embeds, Seen(positions, places, mask))
    state.slab.length += live.shape[1]
    state.visible, state.places = torch.cat([state.visible, live], dim=1), places
    return hidden


def run_body(body, slab: Slab, embeds: torch.Tensor, seen: Seen) -> torch.Tensor:
    """Hidden states in the shape of `embeds`: (B, Q, D), or (1, n, D) where tokens are packed; the slab takes the columns."""
    cached = slab if seen.packing is None else Spread(slab, seen.packing)
    mask, seen.compiled = seen.handle(own=not hands_on(body)), fused.fused(body)
    was = body.config._attn_implementation
    body.config._attn_implementation = attention_name()
    try:
        with sdpa_kernel(BACKENDS), fused.compiling(body):
            out = body(
                inputs_embeds=embeds, attention_mask=mask, position_ids=seen.positions, past_key_values=cached, use_cache=True
            )
    finally:
        body.config._attn_implementation = was
    return out.last_hidden_state


def hands_on(body) -> bool:
    """Whether its layers are known to hand on what they are given as a mask; CodeGen, GPT-J and Falcon add it to the scores themselves."""
    return bool(body._supports_attention_backend)


def captured(translator: Translator) -> Captured | None:
    """Where a translator's forwards are captured: on a GPU; None elsewhere."""
    known = translator.__dict__
    if "captured" not in known:
        able = translator.device.type == "cuda"
        known["captured"] = Captured(partial(run_body, translator.body), translator.width) if able else None
    return known["captured"]


def computed(translator: Translator, rows: int, columns: int = 1) -> int:
    """Columns of all rows that a forward computes: where forwards are captured, rows and columns come in buckets."""
    return rows * columns if captured(translator) is None else bucket(rows, ROWS) * bucket(columns, COLUMNS)


def visible_columns(state: State, live: torch.Tensor, packed: bool) -> torch.Tensor:
    """Which columns, cached or new, each of the Q new ones sees: (B, Q, L + Q) bool."""
    B, Q = live.shape
    if Q == 1:
        new = torch.ones_like(live)[:, None]
    else:
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
    """Run B prompts; afterwards `hidden` is the last prompt token's state, `pooled` the mean over the prompt.

    Padding goes through no product of matrices: the prompts' tokens are packed one row after another.
    """
    device, sizes = translator.device, np.array([len(row) for row in ids])
    longest = int(sizes.max())
    tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in ids]).to(device)
    lengths, columns = torch.from_numpy(sizes).to(device), torch.arange(longest, device=device)
    live, hidden = columns[None] < lengths[:, None], torch.zeros(len(ids), translator.width, device=device, dtype=translator.body.dtype)
    total, slab = torch.zeros(len(ids), translator.width, device=device), Slab()
    for at in range(0, longest, PREFILL):
        width = min(PREFILL, longest - at)
        here, ended = (torch.from_numpy(x).to(device) for x in packed_places(sizes - at, width))
        rows, places = here
        if hands_on(translator.body):
            seen = Seen((at + places)[None], columns[None], packing=Packing(rows, places, (len(ids), width)))
            states = run_body(translator.body, slab, translator.embed(tokens[rows, at + places])[None], seen)[0]
        else:
            now, past = (columns[None, x].expand(len(ids), -1) for x in (slice(at, at + width), slice(at + width)))
            mask = added(past[:, None] <= now[:, :, None], translator.body.dtype)
            states = run_body(translator.body, slab, translator.embed(tokens[:, at : at + width]), Seen(now, past, mask))[rows, places]
        slab.length += width
        total.index_add_(0, rows, states.float())
        hidden[rows[ended]] = states[ended]
    return State(slab, live, columns.expand_as(live), lengths, hidden, total / lengths[:, None])


def packed_places(left: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Of rows with `left` (B,) tokens to be read the next `width` columns: (row and column of each live token (2, n), which of the n
    tokens end a row).  Known to the host, so that it waits for nothing that the GPU was given."""
    counts = left.clip(0, width)
    rows, after = np.repeat(np.arange(len(left)), counts), counts.cumsum()
    places = np.arange(len(rows)) - (after - counts)[rows]
    return np.stack([rows, places]), after[(left > 0) & (left <= width)] - 1


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
