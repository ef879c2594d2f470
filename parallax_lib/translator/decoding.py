"""Decode B rows to token lists, checking several copied tokens in one forward (prompt-lookup speculation, lossless).

A draft token is kept only if it is the token that plain decoding would have drawn, so drafts change the cost and
nothing else.  Knows tokens; knows no task, no PRM.   Source of the idea: prompt lookup decoding (Saxena, 2023).

B rows, Q columns of one forward (last token + drafts), T decoded tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from parallax_lib.translator import engine
from parallax_lib.translator.answer_rows import Answer, Host, Rows
from parallax_lib.translator.drawing import Drawing
from parallax_lib.translator.language_model import Translator
from parallax_lib.translator.stopping import stops_of

GPU_LOOKS = 8  # forwards of a GPU between two looks of the host
MOST_LOGITS = 1024  # columns whose logits are computed whether or not they are live; with more of them the host looks
CPU_OVERHEAD, GPU_OVERHEAD = 28, 110  # columns that cost what a forward costs besides its own (CPU: 135 M parameters)
GPU_LAUNCH = 3e10  # columns times parameters that a GPU computes while a layer's small kernels run: 0.11 ms on an H200


@torch.inference_mode()
def decode(
    translator: Translator,
    state: engine.State,
    prompts: list[list[int]],
    start: list[int],
    *,
    limits: list[int],
    temperatures: list[float] | None = None,
    seeds: list[int] | None = None,
    draft: int = 10,
    progress: Callable[[int, int, int], None] | None = None,
    opened: bool = True,
    given: list[list[int]] | None = None,
    thought: Sequence[list[int]] = (),
) -> list[Answer]:
    """Continue every row of `state` after feeding `start`, up to `limits[b]` tokens; without `start` each begins with its likeliest token.

    prompts: what each row has read, for the look-up only.  `draft` 0 is plain decoding.  `state` is used up.
    progress(tokens, most, ended) after every look of the host: tokens that stand, how many they become at most, rows that have ended.
    given: tokens that an answer begins with, whatever the model would draw; their log p is the model's.
    thought: tokens that an answer began with before, as latents: fences among them count for its end.
    """
    for token in start[:-1]:
        state = engine.step(translator, state, translator.embed(torch.full((state.rows,), token, device=translator.device)))
    texts, stops = [p + start for p in prompts], stops_of(translator, opened)
    begin, first = torch.tensor([len(text) for text in texts]), [] if start else _first(translator, state)
    texts = [text + [token] for text, (token, _) in zip(texts, first, strict=True)] if first else texts
    rows = Rows(translator, texts, begin, limits, draft + 2, stops)
    if first:
        rows.said[:, 0] = torch.tensor([logprob for _, logprob in first])
    drawing = Drawing(translator, temperatures or [0.0] * len(prompts), seeds, max(limits, default=0) + draft + 2, given)
    host = Host(rows, stops, limits, state, len(first) and 1, thought)
    return _write(translator, state, rows, host, drawing, draft, progress)


def _write(translator, state, rows: Rows, host: Host, drawing: Drawing, draft: int, progress) -> list[Answer]:
    """The answers, after as many forwards as it takes.  Between two looks the host waits for nothing, and the width stays."""
    fixed, forwards, due, since = overhead(translator), 0, 0, 1
    drafts, counts = rows.lookups.text[:, :0], torch.zeros_like(rows.limits)
    while True:
        if draft:
            drafts, counts = rows.draft(draft, host.longest(since))
        if forwards == due:
            drafted = host.look(counts)
            if progress and forwards:
                progress(*host.counted())
            if not rows.open.any():
                return host.answers
            state, drafts, counts, drafted = host.drop(translator, state, drafts, counts, drafted)
            width = best_width(drafted[rows.open], host.right, costs(translator, state.rows, draft, fixed))
            due, since = forwards + looks_apart(translator, state.rows * (1 + width)), 1
            known = np.minimum(drafted, width) if due == forwards + 1 else None
        chosen, logprobs = _check(translator, state, rows, drafts[:, :width], counts.clamp(max=width), known, drawing)
        _settle(state, rows.take(chosen, logprobs, drafts, counts), 1 + width)
        forwards, since = forwards + 1, since + 1 + width


def looks_apart(translator: Translator, columns: int) -> int:
    """Forwards, each of so many columns, between two looks of the host: a GPU goes on without it."""
    return GPU_LOOKS if translator.device.type == "cuda" and columns <= MOST_LOGITS else 1


def _first(translator: Translator, state: engine.State) -> list[tuple[int, float]]:
    """The likeliest first token of every row and its log p; a row that would end at once goes on."""
    said = translator.logits(state.hidden).float().log_softmax(-1)
    chosen = translator.agreed(said.argmax(-1))
    return list(zip(chosen.tolist(), said.gather(-1, chosen[:, None]).squeeze(-1).tolist(), strict=True))


def overhead(translator: Translator) -> int:
    """What one forward costs besides its columns, in columns."""
    if translator.device.type == "cpu":
        return CPU_OVERHEAD
    body, words = translator.body, translator.model.get_input_embeddings()
    size = sum(p.numel() for p in body.parameters()) - words.weight.numel()
    return GPU_OVERHEAD + int(GPU_LAUNCH * body.config.get_text_config().num_hidden_layers / size)


def costs(translator: Translator, rows: int, draft: int, fixed: int) -> np.ndarray:
    """(draft + 1,) what a forward costs that checks 0 to `draft` drafted tokens of each row, in columns; `fixed` besides its own."""
    return fixed + np.array([engine.computed(translator, rows, 1 + width) for width in range(draft + 1)])


def best_width(counts: np.ndarray, right: float, costs: np.ndarray) -> int:
    """The length to which drafts of `counts` (B,) tokens are cut: of those that promise most tokens for their cost, the longest.

    A drafted token is right with a chance of `right` if those before it are.  costs (W,) of widths 0 to W - 1: padding makes all rows pay.
    """
    width = np.arange(len(costs))
    promise = np.cumsum((counts[:, None] >= width).sum(0) * right**width) / costs
    return int(len(costs) - 1 - promise[::-1].argmax())


def _check(translator, state, rows: Rows, drafts, counts, known: np.ndarray | None, drawing: Drawing):
    """Feed each row its last token and its draft; what plain decoding draws at every position (B, Q), and its log p.

    drafts (B, Q - 1), of which each row has `counts` (B,).  Where the host knows them (`known`), padding costs no logits.
    """
    B, Q = len(counts), 1 + drafts.shape[1]
    tokens = torch.cat([rows.lookups.last()[:, None], drafts], 1)
    live = ~rows.done[:, None]
    if Q > 1:
        live = live & (torch.arange(Q, device=tokens.device) <= counts[:, None])
    hidden = engine.forward(translator, state, translator.embed(tokens), live).flatten(0, 1)
    asked = np.arange(B * Q) if known is None else np.flatnonzero((np.arange(Q) <= known[:, None]) & rows.open[:, None])
    here, every = torch.from_numpy(asked), len(asked) == B * Q
    at = None if every else here.to(tokens.device, non_blocking=True)  # else the host waits for all that the GPU was given
    logits = translator.logits(hidden if every else hidden[at]).float()  # (columns asked for, V)
    chosen = drawing(logits, torch.from_numpy(rows.index), rows.written, here, Q)
    logprobs = logits.gather(-1, chosen[:, None]).squeeze(-1) - logits.logsumexp(-1)
    return tuple((x if every else x.new_zeros(B * Q).index_copy_(0, at, x)).view(B, Q) for x in (chosen, logprobs))


def _settle(state: engine.State, taken: torch.Tensor, columns: int) -> None:
    """Hide the rejected ones of a forward's columns; the last taken token is not in the cache yet."""
    if columns > 1:  # else there was no draft
        state.visible[:, -columns:] &= torch.arange(columns, device=taken.device) < taken[:, None]
    state.position = state.position + taken
