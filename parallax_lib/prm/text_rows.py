"""What a text PRM reads of a row, as token ids, and the places where it gives a score; batches by length.

Knows rows, tokenizers and the prompt form.  Knows no model and no loss.

n rows, K scores of a row, m distinct texts, B rows of a batch, T tokens of its longest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from parallax_lib.core.errors import UserError
from parallax_lib.tasks import prompts

READS = {"program": ("code",), "plan": ("plan",), "source": ()}  # what is read after direction and source -> columns that hold it
MULTIPLE = 16  # a batch is as wide as the next multiple of this


@dataclass(frozen=True)
class Texts:
    """ids: token ids of each row [n], none of a row that is not read.  ends: [n, K] the last token that a score has read, -1: no score.

    why: [n] why a row is not read, "" where it is.
    """

    ids: list[np.ndarray]
    ends: np.ndarray
    why: np.ndarray

    @property
    def tokens(self) -> np.ndarray:
        """[n] tokens read."""
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)

    def keys(self) -> list[bytes]:
        """What rows of one text share."""
        return [ids.tobytes() + ends.tobytes() for ids, ends in zip(self.ids, self.ends, strict=True)]

    def refusals(self) -> str:
        """Counts of the rows that are not read, for a user; "" where all are."""
        counts = pd.Series(self.why[self.why != ""], dtype=object).value_counts()
        return "; ".join(f"{count} rows not read: {why}" for why, count in counts.items())


def encode(tokenizer, rows: pd.DataFrame, reads: str, max_tokens: int) -> Texts:
    """Texts of rows with `direction`, `source_code` and what `reads` names: a program has one score, a plan one after each word.

    A row with no program or no plan is not read, nor is one of more than `max_tokens`.  UserError for missing columns.
    """
    missing = [name for name in ("direction", "source_code", *READS[reads]) if name not in rows]
    if missing:
        raise UserError(f"rows have no column {missing[0]!r}, which a text PRM that reads {reads} needs; theirs: {', '.join(rows)}")
    asks, parts = _asks(tokenizer, rows), _parts(tokenizer, rows, reads)
    width = max((len(part) for part in parts if part is not None), default=1) or 1
    ids, ends, why = [], np.full((len(rows), width), -1, dtype=np.int64), np.full(len(rows), "", dtype=object)
    for i, (ask, part) in enumerate(zip(asks, parts, strict=True)):
        whole = np.concatenate([ask, *(part or ())]).astype(np.int32) if ask is not None else ask
        why[i] = _refusal(whole, part, reads, max_tokens)
        ids.append(np.zeros(0, np.int32) if why[i] else whole)
        if not why[i]:
            places = len(ask) - 1 + np.cumsum([len(p) for p in part] or [0])
            ends[i, : len(places)] = places
    return Texts(ids, ends, why)


def some(texts: Texts, which: np.ndarray) -> Texts:
    """Those of a mask [n]."""
    return Texts([ids for ids, take in zip(texts.ids, which, strict=True) if take], texts.ends[which], texts.why[which])


def _refusal(whole: np.ndarray | None, part: list | None, reads: str, max_tokens: int) -> str:
    if whole is None:
        return "no source"
    if part is None:
        return f"no {reads}"
    return f"more than {max_tokens} tokens" if len(whole) > max_tokens else ""


def _asks(tokenizer, rows: pd.DataFrame) -> list[np.ndarray | None]:
    """The prompt of each row, as its translator read it; None without a source."""
    prompt_of: dict[tuple, np.ndarray | None] = {}
    pairs = list(zip(rows["direction"], rows["source_code"], strict=True))
    for direction, source in dict.fromkeys(pairs):
        complete = isinstance(source, str) and source.strip() and set(direction.split("-")) <= set(prompts.NAMES)
        prompt_of[direction, source] = np.array(prompts.prompt_tokens(tokenizer, *direction.split("-"), source)) if complete else None
    return [prompt_of[pair] for pair in pairs]


def _parts(tokenizer, rows: pd.DataFrame, reads: str) -> list[list[np.ndarray] | None]:
    """What follows the prompt of each row, cut where scores are given; None where the row has none."""
    if reads == "source":
        return [[]] * len(rows)
    given = [text if isinstance(text, str) and text.strip() else None for text in rows[READS[reads][0]]]
    cut = {text: [f" {word}" for word in text.split()] if reads == "plan" else [f"{prompts.OPENING}{text.strip()}{prompts.CLOSING}"]
           for text in given if text is not None}  # fmt: skip
    pieces = list(dict.fromkeys(piece for some in cut.values() for piece in some))
    ids = tokenizer(pieces, add_special_tokens=False, verbose=False)["input_ids"] if pieces else []
    of = {piece: np.array(found) for piece, found in zip(pieces, ids, strict=True)}
    return [None if text is None else [of[piece] for piece in cut[text]] for text in given]


# training data


@dataclass(frozen=True)
class TextData:
    """Distinct texts of a task, with the mean target of the rows that share one and how many those are.

    ids [m]; ends, targets, weights [m, K], weight 0: no label; groups [m] task of each; split [m].
    """

    ids: list[np.ndarray]
    ends: Tensor
    targets: Tensor
    weights: Tensor
    groups: np.ndarray
    split: np.ndarray

    def rows(self, name: str) -> np.ndarray:
        """Indices of a split's texts that have a label."""
        return np.flatnonzero((self.split == name) & (self.weights > 0).any(1).numpy())


def prepare(texts: Texts, targets: np.ndarray, counts: np.ndarray, tasks: Sequence[str], split: Sequence[str]) -> TextData:
    """Rows of one task, split and text become one; a loss that is linear in its targets is that of the single rows.

    targets, counts [n, K]: labels in 0..1, count 0: none.  UserError without a training row.
    """
    width = texts.ends.shape[1]
    live = (texts.ends >= 0) & (counts[:, :width] > 0) & np.isfinite(targets[:, :width])
    keys = [(task, part, key) for task, part, key in zip(tasks, split, texts.keys(), strict=True)]
    read = [i for i in range(len(keys)) if not texts.why[i]]
    place = {key: j for j, key in enumerate(dict.fromkeys(keys[i] for i in read))}
    at = np.array([place[keys[i]] for i in read], dtype=np.int64)
    if not len(at) or not any(part == "train" for _, part, _ in place):
        raise UserError(f"no row of split 'train' can be read, among {len(keys)} rows; {texts.refusals() or 'give more families'}")
    weights, sums = np.zeros((len(place), width)), np.zeros((len(place), width))
    np.add.at(weights, at, live[read])
    np.add.at(sums, at, np.where(live, targets[:, :width], 0)[read])
    _, first = np.unique(at, return_index=True)
    kept = [read[i] for i in first]
    groups = pd.Categorical([task for task, _, _ in place]).codes.astype(np.int64)
    mean = sums / np.maximum(weights, 1)
    named = np.array([part for _, part, _ in place], dtype=object)
    float32 = (torch.from_numpy(x).float() for x in (mean, weights))
    return TextData([texts.ids[i] for i in kept], torch.from_numpy(texts.ends[kept]), *float32, groups, named)


def updates(data: TextData, rows: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Some `size` texts each: the siblings of a task stay together, tasks come in random order; only a larger task is cut."""
    tasks, batches = data.groups[rows], []
    for task in rng.permutation(np.unique(tasks)):
        members = rng.permutation(rows[tasks == task])
        if batches and len(batches[-1]) + len(members) <= size:
            batches[-1] = np.concatenate([batches[-1], members])
        else:
            batches += [members[i : i + size] for i in range(0, len(members), size)]
    return batches


def chunks(lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Indices by falling length, cut where a batch, padded, would be of more than `tokens`; a longer text is alone."""
    order = np.argsort(-lengths, kind="stable")
    at = 0
    while at < len(order):
        count = max(1, tokens // padded(int(lengths[order[at]])))
        yield order[at : at + count]
        at += count


def padded(length: int) -> int:
    return -(-max(length, 1) // MULTIPLE) * MULTIPLE


def collate(ids: Sequence[np.ndarray]) -> Tensor:
    """[B, T] int64, padded on the right by 0."""
    out = np.zeros((len(ids), padded(max(map(len, ids)))), dtype=np.int64)
    for row, some in enumerate(ids):
        out[row, : len(some)] = some
    return torch.from_numpy(out)
