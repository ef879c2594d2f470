"""Samples that a translator is fine-tuned on: a prompt, what it thinks before it writes, and the program.

Knows forge, files of pairs, plans and the prompt form.  Knows no model, no optimiser and no reward.

What it thinks (`THINKS`): `plan`, K plan tokens, one a latent step at inference; `pause`, K times one token that says nothing;
`text`, the plan as text that it writes itself; `none`, nothing.  A plan is read from the target's text (`tasks.plans`), or with
`read` 0 it is the one that forge drew.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from parallax_lib.core.errors import UserError
from parallax_lib.core.json_lines import read_objects
from parallax_lib.core.settings import DIRECTIONS
from parallax_lib.core.source import source_digest
from parallax_lib.core.storage import derive_seed, digest
from parallax_lib.tasks import plans, prompts
from parallax_lib.tasks.synthetic import composed_patterns, finetuning_pairs, generator, house_style
from parallax_lib.translator import models

SAMPLES = "samples.pt"  # beside the adapter
THINKS = ("plan", "pause", "text", "none")
IGNORE = -100
Sample = tuple[list[int], list[int]]  # token ids, labels; IGNORE where nothing is learnt


def forge_sample(tokenizer, seed: int, config) -> Sample:
    """One sample of a forge program, which the seed and the settings (`finetune.AdaptConfig`) decide."""
    rng = random.Random(seed)
    source, target = rng.choice(DIRECTIONS).split("-")
    dress = _share(f"guise {seed}", config.dressed)
    families = composed_patterns.FAMILIES if _share(f"wide {seed}", config.wide) else generator.TRAIN_FAMILIES
    spec = generator.sample(seed, families)
    pair = finetuning_pairs.training_pair(
        spec,
        source,
        target,
        rng,
        config.label_noise,
        dress,
        styled=_share(f"style {seed}", config.styled),
        right_share=config.right_share,
    )
    words = plans.plan_of(pair.target, target) if config.read else pair.plan
    return sample_ids(tokenizer, (source, target, pair.source, pair.target), words, config, rng)


def _share(name: str, share: float) -> bool:
    return random.Random(name).random() < share


def file_pairs(paths: Sequence[str | Path]) -> list[tuple[str, str, str, str]]:
    """(source API, target API, source, target) of every line of JSON Lines files with direction, source_code and target_code."""
    found = []
    expected = "expected a JSON object with direction, source_code and target_code"
    for path in paths:
        for where, row in read_objects(_bytes(Path(path)), f"adapt: --pairs: {path}", expected):
            try:
                source, target = row["direction"].split("-")
                found.append((source, target, row["source_code"], row["target_code"]))
            except (ValueError, KeyError, AttributeError):
                raise UserError(f"{where}: {expected}") from None
    return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise UserError(f"adapt: --pairs: {path} cannot be read ({e.strerror})") from None


def pair_sample(tokenizer, pair: tuple[str, str, str, str], seed: int, config) -> Sample:
    """One sample of a pair from a file; the seed decides how long its plan is."""
    return sample_ids(tokenizer, pair, plans.plan_of(pair[3], pair[1]), config, random.Random(f"pair {seed}"))


def sample_ids(tokenizer, pair: tuple[str, str, str, str], words: Sequence[str], config, rng: random.Random) -> Sample:
    """Ids and labels of (source API, target API, source, target) with a plan of these words."""
    ask = prompts.prompt_tokens(tokenizer, *pair[:3])
    thoughts, learnt = _thoughts(tokenizer, words, config.thinks, rng.choice(lengths(config)))
    fence = prompts.tokens(tokenizer, prompts.OPENING) if config.thinks != "text" else []
    code = prompts.tokens(tokenizer, pair[3].strip() + prompts.CLOSING) + [tokenizer.eos_token_id]
    ids = ask + thoughts + fence + code
    labels = [IGNORE] * len(ask) + (thoughts if learnt else [IGNORE] * len(thoughts)) + [IGNORE] * len(fence) + code
    return ids, labels


def _thoughts(tokenizer, words: Sequence[str], thinks: str, length: int) -> tuple[list[int], bool]:
    """(ids between the prompt and the opening fence, whether they are learnt); `length` tokens for plan and pause."""
    if thinks == "text":
        return prompts.tokens(tokenizer, f"{prompts.PLAN} {' '.join(words) or plans.NONE}\n{prompts.OPENING}"), True
    if thinks == "pause":
        return [plan_token(tokenizer, plans.NONE)] * length, False
    filled = (*words, *[plans.NONE] * length)[: length if thinks == "plan" else 0]
    return [plan_token(tokenizer, word) for word in filled], True


def lengths(config) -> list[int]:
    """The plan lengths that a sample draws from: "4,4,3" -> [4, 4, 3]."""
    try:
        return [int(length) for length in config.plan_lengths.split(",")]
    except ValueError:
        asked = "expected whole numbers with commas between them, such as 6,6,4,0"
        raise UserError(f"adapt: --plan-lengths: {asked}; got {config.plan_lengths!r}") from None


def plan_token(tokenizer, word: str) -> int:
    """A plan token is one token, with its leading space.  UserError where the tokenizer cuts it."""
    ids = prompts.tokens(tokenizer, " " + word)
    if len(ids) != 1:
        raise UserError(f"adapt: --base: its tokenizer makes {len(ids)} tokens of the plan token {word!r}; take a base that has it as one")
    return ids[0]


def _make(job: tuple[str, Any, list]) -> list[Sample]:
    folder, config, asked = job
    tokenizer = models.read_tokenizer(folder)
    return [
        forge_sample(tokenizer, seed, config)
        if pair is None
        else pair_sample(tokenizer, pair, seed, config)
        for seed, pair in asked
    ]


def corpus(folder: str, config) -> list[Sample]:
    """All samples, made by `workers` processes; a forge sample depends on the settings and its number only."""
    chunk = 250
    start = derive_seed("adapt", config.seed) % 10**9 * 10
    asked: list[tuple[int, Any]] = [(start + i, None) for i in range(config.samples)]
    files = file_pairs(config.pairs.split(",")) if config.pairs else []
    asked += [(time, pair) for time in range(config.times) for pair in files]
    jobs = [(folder, config, asked[i : i + chunk]) for i in range(0, len(asked), chunk)]
    with get_context("spawn").Pool(config.workers, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:  # Ctrl-C is the parent's
        samples = [s for part in pool.imap(_make, jobs) for s in part]
    return [s for s in samples if len(s[0]) <= config.max_tokens]


def kept_corpus(folder: str, config, file: Path) -> list[Sample]:
    """`corpus`, kept in a file and read from it while settings, code, tokenizer and files of pairs are those that it was made with."""
    drawn = {k: v for k, v in asdict(config).items() if k not in ("rank", "lr", "minutes", "workers", "gpus", "compiled", "prepare")}
    pairs = [Path(path).read_bytes() for path in config.pairs.split(",") if os.path.exists(path)]
    tokenizer = json.dumps(sorted(models.read_tokenizer(folder).get_vocab().items())).encode()
    hashes = [hashlib.sha256(text).hexdigest() for text in (tokenizer, *pairs)]
    made_of = digest([drawn, source_digest(corpus, house_style.program), hashes])
    if file.exists():
        found = torch.load(file, weights_only=True)
        if found["made_of"] == made_of:
            pieces = (found[name].split(found["lengths"].tolist()) for name in ("ids", "labels"))
            return [(ids.tolist(), labels.tolist()) for ids, labels in zip(*pieces, strict=True)]
    samples = corpus(folder, config)
    flat = {name: torch.tensor([t for s in samples for t in s[i]], dtype=torch.int32) for i, name in enumerate(("ids", "labels"))}
    part = file.with_suffix(".part")
    torch.save(flat | {"lengths": torch.tensor([len(s[0]) for s in samples]), "made_of": made_of}, part)
    os.replace(part, file)
    return samples
