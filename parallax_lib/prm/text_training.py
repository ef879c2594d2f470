"""Trains a text PRM: the head alone, then the adapters with it; exact accumulation over batches by length, resumable.

Knows texts, batches and optimisers; schedule, phases and checkpoints are `train`'s.  Knows nothing of programs or verdicts.

m distinct texts, K scores of a text.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from parallax_lib.core.errors import UserError
from parallax_lib.core.source import source_digest
from parallax_lib.core.storage import derive_seed, digest
from parallax_lib.prm import checkpoints, text_rows
from parallax_lib.prm import model as prm_model
from parallax_lib.prm.losses import ACTIVATIONS, find_loss
from parallax_lib.prm.text_reward import Chunks, TextConfig, TextPRM, build, chunk_size
from parallax_lib.prm.text_rows import TextData
from parallax_lib.prm.train import finished, first_phase, keep_best, resumed, set_lr, unfreeze

LINEAR = ("bce", "mse", "orm")  # losses under which rows of one text may be one row of their mean target
MOMENTS = 256  # texts whose states give mean and deviation


@dataclass(frozen=True)
class TextTraining:
    epochs: int = 1
    lr: float = 1e-3  # of the head
    backbone_lr_factor: float = 0.3  # of lr, for the adapters
    batch: int = 32  # texts of one update
    unfreeze_step: int = 20  # updates of the head alone before the adapters join
    weight_decay: float = 0.01
    warmup: int = 10  # updates of linear warm-up, for either phase
    clip: float = 1.0  # gradient norm
    seed: int = 0
    evaluations: int = 4  # of the valid loss in an epoch
    valid_texts: int = 512  # at most so many are evaluated, by whole tasks
    patience: int = 4  # evaluations without a better valid loss before stopping; 0: never
    keep: int = checkpoints.KEPT  # newest checkpoints left on disk; one is written after every evaluation


def fit(
    data: TextData,
    config: TextConfig,
    training: TextTraining = TextTraining(),
    out_dir: str | Path | None = None,
    *,
    progress: Callable[[dict], None] = lambda row: None,
    device: str = "cpu",
    tokens: int = 0,
    resume: bool = True,
    extra: Callable[[Path], None] = lambda folder: None,
) -> tuple[TextPRM, pd.DataFrame]:
    """The model with the best valid loss, and one history row per update.

    tokens: of one forward, no part of the result but for rounding; 0: what suits the device.  With `out_dir` the model is written to
    out_dir/final with what `extra(folder)` adds, and checkpoints beside it: an interrupted training goes on from the newest.
    UserError for settings that cannot be, or where one text alone takes more memory than there is.
    """
    _check(config, training)
    training = planned(data, training)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(training.seed, "weights"))
        model = build(config)
    limit = Chunks(chunk_size(device, tokens))
    begin_at_base_rate(model.to(device), data, training, limit)
    folder = None if out_dir is None else Path(out_dir)
    history = _loop(model, data, training, folder, progress, limit, resume)
    if folder is not None:
        prm_model.save(model, folder / "final", lambda part: (_write_record(part, training, history), extra(part)))
    return model.eval(), history


def planned(data: TextData, training: TextTraining) -> TextTraining:
    """The settings for so many texts: a short training gives the head alone a fifth of its updates at most, warm-up half of that."""
    rows = data.rows("train")
    updates = training.epochs * len(text_rows.updates(data, rows, training.batch, np.random.default_rng(0)))
    alone = min(training.unfreeze_step, updates // 5)
    return replace(training, unfreeze_step=alone, warmup=min(training.warmup, max(1, updates // 10)))


@torch.no_grad()
def begin_at_base_rate(model: TextPRM, data: TextData, training: TextTraining, limit: Chunks) -> None:
    """Mean and deviation of some training texts' states; the output's bias says their mean target."""
    model.eval()
    rows = data.rows("train")
    some = np.random.default_rng(derive_seed(training.seed, "moments")).permutation(rows)[:MOMENTS]
    lengths = _lengths(data, some)

    def work() -> Tensor:
        parts = [some[part] for part in limit.cut(lengths)]
        return torch.cat([model.states(*_batch(model, data, rows)).cpu()[data.weights[rows] > 0] for rows in parts])

    values = limit.fitted(work, int(lengths.max())).double()
    model.mean.copy_(values.mean(0))
    model.std.copy_(values.std(0, correction=0).clamp_min(1e-3))
    middle = float((data.weights[rows] * data.targets[rows]).sum() / data.weights[rows].sum())
    middle = min(max(middle, 0.01), 0.99)
    logit = ACTIVATIONS[model.config.loss] == "sigmoid"
    model.head.bias.fill_(math.log(middle / (1 - middle)) if logit else middle)


def _loop(model: TextPRM, data: TextData, training: TextTraining, folder: Path | None, progress, limit: Chunks, resume: bool):
    """Train in place from the newest checkpoint or from the start; the history."""
    optimizer, run = first_phase(model, training), fingerprint(data, model.config, training) if folder else ""
    state = resumed(model, optimizer, training, folder, run, resume)
    valid, clock, spent = _valid(data, training), time.monotonic(), 0
    for epoch, part, due, rows in _updates(data, training, state.step):
        if finished(state, training):
            break
        if state.step == training.unfreeze_step:
            unfreeze(model, optimizer, training)
        set_lr(optimizer, state.step, (epoch + part) / training.epochs, training)
        loss = update(model, optimizer, data, rows, training, limit, state.step)
        state.step += 1
        spent += int(_lengths(data, rows).sum())
        valid_loss = evaluate(model, data, valid, limit) if due and len(valid) else math.nan
        keep_best(state, model, valid_loss, training)
        phase = 1 + (len(optimizer.param_groups) > 1)
        row = {"step": state.step, "epoch": epoch, "phase": phase, "train_loss": loss, "valid_loss": valid_loss}
        state.history.append(row)
        if folder and due:
            checkpoints.write(folder, model, optimizer, state, run, training.keep)
        progress(row | {"done": (epoch + part) / training.epochs, "tokens_per_s": spent / (time.monotonic() - clock)})
    if state.best is not None:
        prm_model.restore(model, state.best)
    return pd.DataFrame(state.history, columns=["step", "epoch", "phase", "train_loss", "valid_loss"])


def update(model: TextPRM, optimizer, data: TextData, rows: np.ndarray, training: TextTraining, limit: Chunks, step: int) -> float:
    """One optimiser step on all rows as if they were one batch; the loss before it.  Where memory runs out it starts over."""
    model.train()
    lengths = _lengths(data, rows)

    def work() -> float:
        optimizer.zero_grad(set_to_none=True)
        total = count = 0.0
        for part in limit.cut(lengths):
            loss, weight = _terms(model, data, rows[part])
            loss.backward()
            total, count = total + loss.detach(), count + weight
        for p in model.parameters():
            if p.grad is not None:
                p.grad.div_(count.clamp_min(1e-12))
        return float(total / count.clamp_min(1e-12))

    loss = limit.fitted(work, int(lengths.max()), lambda: optimizer.zero_grad(set_to_none=True))
    if not math.isfinite(loss):
        raise UserError(f"the {model.config.loss} loss is {loss} at update {step}: lower lr, now {training.lr}")
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], training.clip)
    optimizer.step()
    return loss


@torch.no_grad()
def evaluate(model: TextPRM, data: TextData, rows: np.ndarray, limit: Chunks) -> float:
    """The loss over those rows."""
    model.eval()
    lengths = _lengths(data, rows)

    def work() -> float:
        parts = [_terms(model, data, rows[part]) for part in limit.cut(lengths)]
        return float(sum(loss for loss, _ in parts) / sum(count for _, count in parts).clamp_min(1e-12))

    return limit.fitted(work, int(lengths.max()))


def _terms(model: TextPRM, data: TextData, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    ids, ends = _batch(model, data, rows)
    given = (x[rows].to(ends.device) for x in (data.targets, data.weights))
    group = torch.from_numpy(data.groups[rows]).to(ends.device)
    return find_loss(model.config.loss).terms(model(ids, ends), *given, group)


def _batch(model: TextPRM, data: TextData, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    device = model.mean.device
    return text_rows.collate([data.ids[i] for i in rows]).to(device), data.ends[rows].to(device)


def _lengths(data: TextData, rows: np.ndarray) -> np.ndarray:
    return np.array([len(data.ids[i]) for i in rows], dtype=np.int64)


def _valid(data: TextData, training: TextTraining) -> np.ndarray:
    """The valid texts that are evaluated: those of tasks drawn by the seed, the same at every evaluation."""
    rows = data.rows("valid")
    parts = text_rows.updates(data, rows, 1, np.random.default_rng(derive_seed(training.seed, "valid"))) if len(rows) else []
    return np.concatenate([rows[:0], *parts])[: training.valid_texts]


def _updates(data: TextData, training: TextTraining, done: int) -> Iterator[tuple[int, float, bool, np.ndarray]]:
    """(epoch, fraction of it done, whether the valid loss is due, rows) of every update after the first `done`."""
    step, rows = 0, data.rows("train")
    for epoch in range(training.epochs):
        rng = np.random.default_rng(derive_seed(training.seed, "order", epoch))
        batches = text_rows.updates(data, rows, training.batch, rng)
        due = {round(len(batches) * k / training.evaluations) for k in range(1, training.evaluations + 1)}
        for i, batch in enumerate(batches):
            step += 1
            if step > done:
                yield epoch, (i + 1) / len(batches), i + 1 in due, batch


def fingerprint(data: TextData, config: TextConfig, training: TextTraining) -> str:
    """Identity of a training: settings, data and code.  A checkpoint of another one is not continued."""
    tensors = hashlib.sha256()
    for part in (*data.ids, *(x.numpy() for x in (data.ends, data.targets, data.weights)), data.groups):
        tensors.update(np.ascontiguousarray(part))
    code = source_digest(build, _loop, find_loss(config.loss))
    return digest([asdict(config), asdict(training), list(data.split), tensors.hexdigest(), code])


def _write_record(part: Path, training: TextTraining, history: pd.DataFrame) -> None:
    (part / "training.json").write_text(json.dumps(asdict(training), indent=1) + "\n")
    history.to_csv(part / "history.csv", index=False)


def _check(config: TextConfig, training: TextTraining) -> None:
    if config.loss not in LINEAR:
        raise UserError(f"a text PRM's loss is one of {', '.join(LINEAR)}, not {config.loss!r}")
    least = {"epochs": 1, "batch": 1, "evaluations": 1, "unfreeze_step": 0, "patience": 0}
    for name, low in least.items():
        if getattr(training, name) < low:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(training, name)}; it must be at least {low}")
    if training.lr <= 0:
        raise UserError(f"--lr is {training.lr}; it must be above 0")
