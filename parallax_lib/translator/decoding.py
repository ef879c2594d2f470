"""Decode B rows to token lists, checking several copied tokens in one forward (prompt-lookup speculation, lossless).

A draft token is kept only if it is the token that plain decoding would have drawn, so drafts change the cost and
nothing else.  Knows tokens; knows no task, no PRM.   Source of the idea: prompt lookup decoding (Saxena, 2023).

B rows, Q columns of one forward (last token + drafts), T decoded tokens, V vocabulary.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from parallax_lib.translator import engine
from parallax_lib.translator.language_model import Translator

FENCE = re.compile(r"(?m)^[ \t]*```")
LINE = 64  # tokens in which the start of a fence's line is looked for
NGRAM = 3  # tokens that must agree before the continuation is copied
CPU_OVERHEAD, GPU_OVERHEAD = 28, 200  # columns that cost what a forward costs besides its own (CPU: 135 M parameters)
GPU_LAUNCH = 2.8e11  # columns times parameters that a GPU computes while the kernels of one layer are launched: 1 ms on an H200


@dataclass
class Answer:
    """One decoded row; mean_logprob is under temperature 1."""

    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0
    finished: bool = False

    @property
    def mean_logprob(self) -> float:
        return self.logprob / max(1, len(self.tokens))


class Lookup:
    """Every place of every n-gram of one row's text, to copy what followed it.

    A translation follows its source, so of several places the first one past the last copied token is taken, and a copy
    that was cut short is followed by a shorter one.
    """

    def __init__(self, tokens: list[int]):
        self.tokens: list[int] = []
        self.after: dict[tuple[int, ...], list[int]] = {}
        self.reach = 0  # place of the next token to copy, if copying goes on
        self.trust = 4  # tokens the next draft may have
        self.drawn: tuple[int, int] | None = None  # place and length of the draft in flight
        self.extend(tokens)

    def extend(self, tokens: list[int], fed: int | None = None) -> None:
        """Append tokens that stand; the last draft, of which `fed` tokens were tried, is judged by how many were right."""
        if self.drawn:
            at, length = self.drawn
            length = length if fed is None else fed
            copied = min(len(tokens) - 1, length)
            self.reach = at + copied
            self.trust = min(2 * self.trust, 32) if copied == length else max(2, min(self.trust, copied + 1))
            self.drawn = None
        for token in tokens:
            for n in range(2, NGRAM + 1):  # the gram that ends just before this token
                if len(self.tokens) >= n:
                    self.after.setdefault(tuple(self.tokens[-n:]), []).append(len(self.tokens))
            self.tokens.append(token)

    def draft(self, length: int) -> list[int]:
        """At most `length` tokens that followed the text's last n-gram before."""
        for n in range(NGRAM, 1, -1):
            places = self.after.get(tuple(self.tokens[-n:]))
            if places:
                ahead = bisect.bisect_left(places, self.reach)
                at = places[ahead] if ahead < len(places) else places[-1]
                found = self.tokens[at : at + min(length, self.trust)]
                self.drawn = (at, len(found))
                return found
        return []


def draw(logits: torch.Tensor, temperatures: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Token ids (M,) from logits (M, V): argmax where the temperature (M,) is 0, else the inverse CDF at `uniform` (M,)."""
    chosen = logits.argmax(-1)
    warm = temperatures > 0
    if warm.any():
        cumulative = (logits[warm].double() / temperatures[warm, None]).softmax(-1).cumsum(-1)
        at = torch.searchsorted(cumulative, uniform[warm, None].double(), right=True).squeeze(-1)  # u = 0: the first that can be
        chosen[warm] = at.clamp(max=logits.shape[-1] - 1)
    return chosen


def uniforms(seeds: list[int], temperatures: list[float], length: int) -> torch.Tensor:
    """(B, length) draws in [0, 1), row by row from its own seed; zeros where the temperature is 0 and nothing is drawn."""
    out = torch.zeros(len(seeds), length)
    for row, seed, heat in zip(out, seeds, temperatures, strict=True):
        if heat > 0:
            torch.rand(length, generator=torch.Generator().manual_seed(seed % (1 << 63)), out=row)
    return out


class Stops(NamedTuple):
    """What ends an answer: an end-of-text token, or a code fence that stands first on its line.  A fence in a string is the program's."""

    ends: frozenset[int]
    fences: frozenset[int]  # every token that contains one
    text: Callable[[list[int]], str]
    opened: bool = True  # the answer began inside a block; else the first fence opens one

    def __call__(self, tokens: list[int]) -> bool:
        """Whether the last of an answer's tokens ends it."""
        if tokens[-1] not in self.fences:
            return tokens[-1] in self.ends
        said = self.text(tokens[-LINE:])
        fence = said.rfind("```")
        first = not said[said.rfind("\n", 0, max(fence, 0)) + 1 : max(fence, 0)].strip()
        return first and (self.opened or len(FENCE.findall(self.text(tokens))) > 1)


def stops_of(translator: Translator, opened: bool = True) -> Stops:
    """The stops of a model and its tokenizer; opened: an answer begins inside a code block."""
    tokenizer = translator.tokenizer
    ends = translator.model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends]) | {tokenizer.eos_token_id}
    fences = (i for piece, i in tokenizer.get_vocab().items() if "```" in piece)
    return Stops(frozenset(e for e in ends if e is not None), frozenset(fences), tokenizer.decode, opened)


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
) -> list[Answer]:
    """Continue every row of `state` after feeding `start`, up to `limits[b]` tokens; without `start` each begins with its likeliest token.

    prompts: what each row has read, for the look-up only.  `draft` 0 is plain decoding.  `state` is used up.
    progress(tokens, most, ended) after every forward: tokens that stand, how many they become at most, rows that have ended.
    """
    answers = [Answer() for _ in prompts]
    for token in start[:-1]:
        state = engine.step(translator, state, translator.embed(torch.full((state.rows,), token, device=translator.device)))
    temperatures = temperatures or [0.0] * len(prompts)
    heat = torch.tensor(temperatures)
    noise = uniforms(seeds or [0] * len(prompts), temperatures, max(limits) + draft + 1)  # (B, T)
    lookups = [Lookup(p + start) for p in prompts]
    stops = stops_of(translator, opened)
    fixed = overhead(translator)
    alive = list(range(len(prompts)))
    last = [start[-1]] * len(alive) if start else _first(translator, state, answers)
    while alive:
        drafts = [lookups[b].draft(min(draft, limits[b] - len(answers[b].tokens) - 1)) if draft else [] for b in alive]
        drafts = trim(drafts, fixed)
        columns = torch.tensor([len(answers[b].tokens) for b in alive])[:, None] + torch.arange(1 + max(map(len, drafts)))
        uniform = noise[torch.tensor(alive)[:, None], columns]
        chosen, logprobs = _check(translator, state, last, drafts, heat[alive], uniform)
        taken = [_accept(answers[b], d, c, lp, limits[b], stops) for b, d, c, lp in zip(alive, drafts, chosen, logprobs, strict=True)]
        for b, new, d in zip(alive, taken, drafts, strict=True):
            lookups[b].extend(new, len(d))
        state = _settle(state, drafts, taken)
        stay = [i for i, b in enumerate(alive) if not answers[b].finished and len(answers[b].tokens) < limits[b]]
        state = _keep(state, stay)
        last, alive = [taken[i][-1] for i in stay], [alive[i] for i in stay]
        if progress:
            progress(*_counted(answers, alive, limits))
    return answers


def _first(translator: Translator, state: engine.State, answers: list[Answer]) -> list[int]:
    """The likeliest first token of every row, which its answer then holds; a row that would end at once goes on."""
    said = translator.logits(state.hidden).float().log_softmax(-1)
    chosen = translator.agreed(said.argmax(-1))
    logprobs = said.gather(-1, chosen[:, None]).squeeze(-1)
    for answer, token, logprob in zip(answers, chosen.tolist(), logprobs.tolist(), strict=True):
        answer.tokens.append(token)
        answer.logprob += logprob
    return chosen.tolist()


def _counted(answers: list[Answer], alive: list[int], limits: list[int]) -> tuple[int, int, int]:
    """(tokens that stand, how many they become at most, rows that have ended)."""
    lengths = [len(answer.tokens) for answer in answers]
    return sum(lengths), sum(lengths) + sum(limits[b] - lengths[b] for b in alive), len(answers) - len(alive)


def _keep(state: engine.State, rows: list[int]) -> engine.State:
    """Drop finished rows, and squeeze the cache once too many of its columns are seen by nobody."""
    if rows and len(rows) < state.rows:
        state = engine.drop(state, torch.tensor(rows, dtype=torch.long, device=state.visible.device))
    if rows and state.slab.length > int(state.visible.sum(1).max()) + engine.GROW:
        state = engine.compact(state)
    return state


def overhead(translator: Translator) -> int:
    """What one forward costs besides its columns, in columns."""
    if translator.device.type == "cpu":
        return CPU_OVERHEAD
    body, words = translator.body, translator.model.get_input_embeddings()
    size = sum(p.numel() for p in body.parameters()) - words.weight.numel()
    return GPU_OVERHEAD + int(GPU_LAUNCH * body.config.get_text_config().num_hidden_layers / size)


def trim(drafts: list[list[int]], overhead: int) -> list[list[int]]:
    """Drafts cut to the one length that promises most tokens for the columns that padding makes all rows pay.

    A forward costs as much as `overhead` columns plus its own B * Q, the longest draft deciding Q.
    """
    longest, tokens, promise = max(map(len, drafts)), 0, []
    lengths = Counter(map(len, drafts))
    reach = len(drafts)  # rows whose draft has at least q tokens
    for q in range(longest + 1):
        tokens += reach
        promise.append(tokens / (overhead + len(drafts) * (1 + q)))
        reach -= lengths[q]
    width = max(range(longest + 1), key=lambda q: (promise[q], q))
    return [d[:width] for d in drafts]


def _check(translator, state, last, drafts, temperatures, uniform):
    """Feed each row its last token and its draft; per row, what plain decoding draws at every position, with log p.

    temperatures (B,), uniform (B, Q): the draws in [0, 1) of those positions.
    """
    device, sizes = translator.device, [1 + len(d) for d in drafts]
    width = max(sizes)
    tokens = torch.tensor([[token, *d, *[0] * (width - 1 - len(d))] for token, d in zip(last, drafts, strict=True)])
    counts = torch.tensor(sizes)
    live = torch.arange(width)[None] < counts[:, None]
    heat, uniform, live = temperatures.repeat_interleave(counts).to(device), uniform[live].to(device), live.to(device)
    hidden = engine.forward(translator, state, translator.embed(tokens.to(device)), live)
    logits = translator.logits(hidden[live]).float()  # (live columns, V): padding costs no logits
    chosen = translator.agreed(draw(logits, heat, uniform))
    logprobs = logits.gather(-1, chosen[:, None]).squeeze(-1) - logits.logsumexp(-1)
    return _split(chosen.tolist(), sizes), _split(logprobs.tolist(), sizes)


def _split(values: list, sizes: list[int]) -> list[list]:
    rest = iter(values)
    return [list(itertools.islice(rest, size)) for size in sizes]


def _accept(answer: Answer, draft: list[int], chosen: list[int], logprobs: list[float], limit: int, stops: Stops) -> list[int]:
    """Tokens of this forward that stand: while the draft agrees with the draw, then the draw itself."""
    new: list[int] = []
    for i in range(len(draft) + 1):
        token = chosen[i]
        new.append(token)
        answer.tokens.append(token)
        answer.logprob += logprobs[i]
        if stops(answer.tokens):
            answer.finished = True
            break
        if len(answer.tokens) >= limit or i == len(draft) or draft[i] != token:
            break
    return new


def _settle(state: engine.State, drafts: list[list[int]], taken: list[list[int]]) -> engine.State:
    """Hide the rejected columns; the last taken token is not in the cache yet."""
    width = 1 + max(map(len, drafts))
    kept = torch.tensor([len(t) for t in taken], device=state.visible.device)
    columns = torch.arange(width, device=kept.device)
    state.visible[:, -width:] &= columns[None] < kept[:, None]
    state.position = state.position + kept
    return state
