"""Answers that grow in many rows at once: as tensors where the model computes, and what the host has to know of them.

No loop over rows but over those that have ended or wrote a fence.  Knows tokens, limits and stops.  Knows no logits.

B rows, Q columns of one forward (last token + fed drafts), C drafted tokens at most, T decoded tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from parallax_lib.translator import engine
from parallax_lib.translator.language_model import Translator
from parallax_lib.translator.lookup import Lookups
from parallax_lib.translator.stopping import END, FENCED, Stops

RIGHT, KNOWN = 0.8, 64  # how often a drafted token is taken to be right at first, and the tokens tried that this counts for


@dataclass
class Answer:
    """One decoded row; mean_logprob is under temperature 1."""

    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0
    finished: bool = False

    @property
    def mean_logprob(self) -> float:
        return self.logprob / max(1, len(self.tokens))


class Rows:
    """Where B answers stand, as tensors on the translator's device, and what the host knows of them from its last look.

    An answer is the part of a row's text from `begin` on.  `done` rows take no more tokens, whatever is drawn for them.
    """

    def __init__(self, translator: Translator, texts: list[list[int]], begin: torch.Tensor, limits: list[int], room: int, stops: Stops):
        device = translator.device
        self.lookups = Lookups(texts, max(limits, default=0) + room, device)
        self.begin, self.limits = begin.to(device), torch.tensor(limits, device=device)  # (B,)
        self.said = torch.zeros(len(texts), max(limits, default=0) + room, device=device)  # (B, T) log p of an answer's tokens
        self.kinds = stops.kinds(translator.model.get_output_embeddings().weight.shape[0]).to(device)
        self.done = self.written >= self.limits
        self.fenced = torch.zeros_like(self.done)  # a fence was written since the host looked
        self.tried = self.right = torch.zeros_like(self.limits)  # drafted tokens up to each draft's first wrong one, and the right ones
        self.index = np.arange(len(texts))  # which answer each row is
        self.open = np.ones(len(texts), dtype=bool)  # rows that go on, as far as the host knows

    @property
    def written(self) -> torch.Tensor:
        """Tokens of every answer (B,)."""
        return self.lookups.size - self.begin

    def take(self, chosen: torch.Tensor, logprobs: torch.Tensor, drafts: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """How many tokens of this forward stand (B,): while the draft agrees with the draw, then the draw itself.

        chosen, logprobs (B, Q); drafts (B, C), of which each row has `counts` (B,) and Q - 1 at most were fed.
        """
        Q, written, kinds = chosen.shape[1], self.written, self.kinds[chosen]
        place, taken = torch.arange(Q, device=chosen.device), (self.limits - written).clamp(max=Q)
        if drafts.shape[1]:
            taken = torch.minimum(taken, 1 + self._agree(chosen, drafts, counts))
        ends = (kinds == END) & (place < taken[:, None])
        ended = ends.any(1)
        taken = torch.where(ended, ends.long().argmax(1) + 1, taken).masked_fill(self.done, 0)
        self.fenced = self.fenced | ((kinds == FENCED) & (place < taken[:, None])).any(1)
        self.said.scatter_(1, written[:, None] + place, logprobs)
        self.lookups.extend(chosen, taken, counts.clamp(max=Q - 1) if drafts.shape[1] else None)
        self.done = self.done | ended | (self.written >= self.limits)
        return taken

    def _agree(self, chosen: torch.Tensor, drafts: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Tokens of each draft that are what was drawn (B,), up to the first one that was not fed.

        That one is compared too, so that it is known how often drafts are right where none is fed.
        """
        Q = chosen.shape[1]
        seen = counts.clamp(max=Q)
        here = torch.arange(min(Q, drafts.shape[1]), device=chosen.device)
        right = ((chosen[:, : len(here)] == drafts[:, :Q]) & (here < seen[:, None])).long().cumprod(1).sum(1)
        self.tried, self.right = self.tried + torch.minimum(right + 1, seen), self.right + right
        return right

    def draft(self, most: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Drafts (B, most) and their counts (B,); the last token of an answer is always drawn."""
        room = (self.limits - self.written - 1).clamp(0, most).masked_fill(self.done, 0)
        return self.lookups.draft(room, most, width)

    def keep(self, rows: np.ndarray) -> torch.Tensor:
        """Only these rows; they as a tensor."""
        at = torch.from_numpy(rows).to(self.done.device)
        self.lookups.keep(at)
        for name in ("begin", "limits", "said", "done", "fenced", "tried", "right"):
            setattr(self, name, getattr(self, name)[at])
        self.index, self.open = self.index[rows], self.open[rows]
        return at


class Host:
    """What the host sees of the rows: one transfer a look, and the tokens of rows that have ended or wrote a fence."""

    def __init__(self, rows: Rows, stops: Stops, limits: list[int], state: engine.State, first: int, thought: Sequence[list[int]] = ()):
        self.rows, self.stops, self.limits, self.first = rows, stops, np.array(limits), first
        self.thought = thought or [[] for _ in limits]  # words before each answer's own that belong to it
        self.answers = [Answer() for _ in limits]
        self.sizes = np.zeros(len(limits), dtype=np.int64)  # tokens of each answer
        self.right = RIGHT  # chance that a drafted token is right
        self.checked = np.full(len(limits), first)  # of which it is known that they end no answer
        self.seen = state.visible.sum(1).cpu().numpy()  # columns that each answer's row saw at first
        self.begin = rows.begin.cpu().numpy()

    def longest(self, since: int) -> int:
        """No row's text is longer, if at most `since` tokens came to each after the last look."""
        return int((self.begin + self.sizes)[self.rows.index].max(initial=0)) + since

    def look(self, counts: torch.Tensor) -> np.ndarray:
        """Learn how far the rows are and how often drafts are right, finish ended rows; the tokens that each row drafts (B,)."""
        rows = self.rows
        seen = [rows.written, rows.done.long(), rows.fenced.long(), counts, rows.tried, rows.right]
        written, done, fenced, drafted, tried, right = torch.stack(seen).cpu().numpy()
        self.right = (KNOWN * RIGHT + right.sum()) / (KNOWN + tried.sum())
        open_ = rows.open
        self.sizes[rows.index[open_]] = written[open_]
        asked = np.flatnonzero(open_ & ((done | fenced) > 0))
        if len(asked):
            self._ended(asked, done > 0)
            rows.fenced = torch.zeros_like(rows.fenced)
        return drafted

    def _ended(self, asked: np.ndarray, done: np.ndarray) -> None:
        """Which of these rows have ended, and their answers."""
        rows, at = self.rows, torch.from_numpy(asked).to(self.rows.done.device)
        texts, said, closed = rows.lookups.text[at].cpu().numpy(), rows.said[at].cpu().numpy(), []
        for row, text, logprobs in zip(asked, texts, said, strict=True):
            b = rows.index[row]
            tokens = text[self.begin[b] : self.begin[b] + self.sizes[b]].tolist()
            length = self._length(tokens, self.checked[b], self.thought[b])
            finished, self.checked[b] = length is not None, len(tokens)
            if finished or done[row]:
                tokens = tokens[:length]
                self.sizes[b], rows.open[row] = len(tokens), False
                self.answers[b] = Answer(tokens, math.fsum(logprobs[: len(tokens)].tolist()), finished)
                closed.append(row)
        rows.done[torch.tensor(closed, dtype=torch.long, device=at.device)] = True

    def _length(self, tokens: list[int], checked: int, thought: list[int]) -> int | None:
        """Tokens up to the first unchecked one that ends the answer; None where none does."""
        ends = (i for i in range(checked, len(tokens)) if self.stops.may(tokens[i]) and self.stops([*thought, *tokens[: i + 1]]))
        return next((i + 1 for i in ends), None)

    def counted(self) -> tuple[int, int, int]:
        """(tokens that stand, how many they become at most, rows that have ended)."""
        going = self.rows.index[self.rows.open]
        total = int(self.sizes.sum())
        return total, total + int((self.limits - self.sizes)[going].sum()), len(self.answers) - len(going)

    def drop(self, translator: Translator, state: engine.State, drafts: torch.Tensor, counts: torch.Tensor, drafted: np.ndarray):
        """Drop ended rows where that makes forwards smaller, and squeeze the cache once too many of its columns are seen by nobody."""
        rows, stay = self.rows, np.flatnonzero(self.rows.open)
        if len(stay) < state.rows and engine.computed(translator, len(stay)) < engine.computed(translator, state.rows):
            at = rows.keep(stay)
            state, drafts, counts, drafted = engine.drop(state, at), drafts[at], counts[at], drafted[stay]
        if state.slab.length > int((self.seen + self.sizes)[rows.index].max()) - self.first + engine.GROW:
            state = engine.compact(state)
        return state, drafts, counts, drafted
