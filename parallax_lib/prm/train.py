"""Trains a process reward model on latents and prefix labels: two phases, exact accumulation, resumable.

Knows tensors, batches and optimisers.  Knows nothing of programs, verdicts or search.

Letters: n rollouts, K latent steps, D translator width.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from parallax_lib.core import torchrun
from parallax_lib.core.errors import UserError
from parallax_lib.core.fingerprint import content
from parallax_lib.core.halving import Shrinking
from parallax_lib.core.source import source_digest
from parallax_lib.core.storage import derive_seed, digest
from parallax_lib.core.tables import name_of
from parallax_lib.prm import checkpoints, optimizer, sharded, warm_start
from parallax_lib.prm.backbones import CausalBody
from parallax_lib.prm.checkpoints import TrainState
from parallax_lib.prm.dataset import Dataset, moments, prepare
from parallax_lib.prm.linear import RidgeProbe
from parallax_lib.prm.losses import ACTIVATIONS, LOSSES, activation, find_loss
from parallax_lib.prm.model import PRM, Own, PRMConfig, build, restore, save, to_masters
from parallax_lib.prm.ridge_probe import fit_ridge
from parallax_lib.prm.train_config import DEFAULTS, TrainConfig, check
from parallax_lib.prm.update import evaluate, update, whole_groups
from parallax_lib.translator import fused


def fit_model(kind: str | torch.nn.Module, *data, prm: PRMConfig | None = None, **options):
    """`fit` for any kind: "transformer", "gru", a causal LM by id or folder, "ridge" (closed form), or a copy of a module of
    one's own, forward(latents [B, K, D]) -> raw scores [B, K]."""
    if isinstance(kind, torch.nn.Module):
        return fit(*data, prm=prm, module=kind, **options)
    return fit(*data, prm=replace(prm or PRMConfig(), backbone=kind), **options)


def fit(
    latents,
    targets,
    counts,
    groups,
    split,
    config: TrainConfig = DEFAULTS,
    out_dir: str | Path | None = None,
    *,
    prm: PRMConfig | None = None,
    contexts=None,
    progress: Callable[[dict], None] | None = None,
    device: str = "cpu",
    resume: bool = True,
    extra: Callable[[Path], None] = lambda folder: None,
    module: torch.nn.Module | None = None,
) -> tuple[PRM | RidgeProbe, pd.DataFrame]:
    """The model with the best valid loss, and one history row per update.

    latents [n, K, D], targets [n, K] in 0..1, counts [n, K] (0 = no label), groups [n] (siblings, e.g. task ids), split
    [n] of "train" | "valid" | anything else (unused), contexts [n, D] for a PRM with pooled context.  With `out_dir`
    the model is written to out_dir/final, whole with what `extra(folder)` adds to it or not at all, and checkpoints, with that
    too, to out_dir/checkpoint-<step>; an interrupted run goes on from the newest one and ends with the same weights.  UserError
    for bad settings or data.
    """
    config = replace(config, loss=name_of(LOSSES, config.loss, "prm.loss"))
    check(config)
    optimizer.check(config.precision, torchrun.processes())
    prm = prm or PRMConfig()
    read = contexts if prm.context == "pooled" or config.init else None
    data = prepare(latents, targets, counts, groups, split, config.weighting, read)
    prm = replace(prm, loss=config.loss, latent_width=data.latents.shape[2], steps=data.latents.shape[1])
    prm = replace(prm, activation="" if config.loss in ACTIVATIONS else activation(config.loss))
    folder = None if out_dir is None else Path(out_dir)
    if prm.backbone == "ridge" and module is None and not config.init:
        model, history = fit_ridge(data, prm)
    else:
        model = initial_model(data, prm, config, module)
        history = _trained(model, (data, config, folder, device, resume), progress=progress or (lambda row: None), extra=extra)
        model.to(device)
    if folder is not None:
        save(model, folder / "final", lambda part: (_write_record(part, config, history), extra(part)))
    return model.eval(), history


def _trained(model: PRM, given: tuple, **own) -> pd.DataFrame:
    """Train the model over all processes where that is worth it, else here; its history.  own: what only this process does."""
    if not sharded.worthwhile(model):
        return _alone(model, *given, **own)
    to_masters(model)
    history = torchrun.lead(_take_part, (sharded.outline(model), *given), whole=model, **own)
    gc.collect()  # the split model holds itself, and a GPU's memory with it
    return history


def _alone(model: PRM, data: Dataset, config: TrainConfig, folder: Path | None, device: str, resume: bool, progress, extra):
    """Train the model in this process; its history."""
    state = loop(model.to(device), data, config, folder, resume, progress, extra)
    if state.best is not None:
        restore(model, state.best)
    return pd.DataFrame(state.history)


def _take_part(
    outline: PRM, data: Dataset, config: TrainConfig, folder: Path | None, device: str, resume: bool, whole: PRM | None = None,
    progress=lambda row: None, extra=lambda part: None,
) -> pd.DataFrame:  # fmt: skip
    """The same over all processes.  `whole`, which the first one has, gives the weights and gets the trained ones."""
    model = sharded.split(outline, device, config.precision)
    sharded.fill(sharded.values(model), sharded.values(whole) if torchrun.first() else None)
    state = loop(model, data, config, folder, resume, progress, extra)
    last = sharded.gathered(model) if math.isinf(state.best_loss) else state.best
    if torchrun.first():
        restore(whole, last)
    return pd.DataFrame(state.history)


def loop(model: PRM, data: Dataset, config: TrainConfig, folder: Path | None, resume: bool, progress, extra) -> TrainState:
    """Train in place from the newest checkpoint or from the start; in all processes at once where the model is split."""
    if config.recompute and isinstance(model.backbone, CausalBody):
        model.backbone.recompute()
    if config.compile and model.mean.is_cuda and torchrun.together() == 1 and isinstance(model.backbone, CausalBody):
        fused.fuse(model.backbone.body)
    adamw, run = first_phase(model, config), fingerprint(data, model.config, config) if folder and torchrun.first() else ""
    state = resumed(model, adamw, config, folder, run, resume)
    (train, valid), forward = (data.rows(name) for name in ("train", "valid")), Shrinking(config.device_batch)
    for epoch, part, last, rows in _updates(data, train, config, state.step):
        if finished(state, config):
            break
        if state.step == config.unfreeze_step:
            unfreeze(model, adamw, config)
        lr = set_lr(adamw, state.step, (epoch + part) / config.epochs, config)
        loss = update(model, adamw, data, rows, config, state.step, forward)
        state.step += 1
        due = last if config.eval_every == 0 else state.step % config.eval_every == 0
        valid_loss = evaluate(model, data, valid, config, forward) if due and len(valid) else math.nan
        keep_best(state, model, valid_loss, config)
        phase = 1 + (len(adamw.param_groups) > 1)
        row = {"step": state.step, "epoch": epoch, "phase": phase, "train_loss": loss, "valid_loss": valid_loss}
        state.history.append(row | {"lr": lr, "backbone_lr": adamw.param_groups[-1]["lr"] if phase == 2 else 0.0})
        if folder and (last if config.save_every < 0 else config.save_every and state.step % config.save_every == 0):
            checkpoints.write(folder, model, adamw, state, run, config.keep, extra)
        progress(state.history[-1])
    return state


def initial_model(data: Dataset, prm: PRMConfig, config: TrainConfig, module: torch.nn.Module | None = None) -> PRM | Own:
    """Seeded weights, or those of a module of one's own; statistics and output bias from the training rows."""
    if config.init:
        return warm_start.begun(config.init, config.loss, prm)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "weights"))
        model = build(prm) if module is None else Own(module, prm)
    rows = data.rows("train")
    weights = data.weights[rows]
    model.mean, model.std = moments(data.latents[rows], weights > 0)
    if prm.context == "pooled":
        if data.contexts is None:
            raise UserError("PRMConfig.context is 'pooled' but no contexts [n, D] were given")
        model.context_mean, model.context_std = moments(data.contexts[rows, None], weights.amax(1, keepdim=True) > 0)
    mean = float((weights * data.targets[rows]).sum() / weights.sum())
    if module is None and config.loss in ("mse", "huber", "bce", "orm"):
        middle = min(max(mean, 0.01), 0.99)
        model.head.bias.data.fill_(math.log(middle / (1 - middle)) if ACTIVATIONS[config.loss] == "sigmoid" else mean)
    return model


def first_phase(model: PRM, config: TrainConfig) -> torch.optim.Optimizer:
    """An optimiser of everything but the backbone, which is frozen.  What is learned becomes float32, or as `precision` says."""
    to_masters(model)
    precision = getattr(config, "precision", "")
    if precision == optimizer.KAHAN and isinstance(model.backbone, CausalBody):
        optimizer.to_bfloat16(model.backbone)
    model.backbone.requires_grad_(False)
    ours = [p for p in model.parameters() if p.requires_grad]
    group = {"params": ours, "factor": 1.0, "since": 0}
    fused = model.mean.is_cuda  # else the step takes a copy of all that is learned for a moment
    return optimizer.adamw(group, config.lr, config.weight_decay, precision, fused)


def unfreeze(model: PRM, optimizer: torch.optim.Optimizer, config: TrainConfig) -> None:
    """What is learned of the backbone joins as a second parameter group; the first group keeps its moments."""
    theirs = [p.requires_grad_() for name, p in model.backbone.named_parameters() if name not in model.backbone.fixed]
    group = {"params": theirs, "factor": config.backbone_lr_factor}
    optimizer.add_param_group(group | {"since": config.unfreeze_step})


def set_lr(optimizer: torch.optim.Optimizer, step: int, done: float, config: TrainConfig) -> float:
    """Linear warm-up of each group since it joined, cosine to a tenth over the run; the first group's rate."""
    cosine = 0.55 + 0.45 * math.cos(math.pi * done)
    for group in optimizer.param_groups:
        warm = min(1.0, (step - group["since"] + 1) / max(1, config.warmup))
        group["lr"] = config.lr * group["factor"] * cosine * warm
    return optimizer.param_groups[0]["lr"]


def _updates(data: Dataset, rows: Tensor, config: TrainConfig, done: int) -> Iterator[tuple[int, float, bool, Tensor]]:
    """(epoch, fraction of it done, last of it, rows) of every update after the first `done`."""
    step = 0
    for epoch in range(config.epochs):
        rng = np.random.default_rng(derive_seed(config.seed, "order", epoch))
        whole = data.pack(rows, config.batch, whole_groups(config), rng)
        for i, batch in enumerate(whole):
            step += 1
            if step > done:
                yield epoch, i / len(whole), i + 1 == len(whole), batch


def keep_best(state: TrainState, model: PRM, valid_loss: float, config: TrainConfig) -> None:
    """Weights at the lowest valid loss so far, and how many evaluations were no better since."""
    if valid_loss < state.best_loss:
        state.best_loss, state.waited = valid_loss, 0
        state.best = sharded.gathered(model)
    elif not math.isnan(valid_loss) and state.step > config.unfreeze_step:
        state.waited += 1


def finished(state: TrainState, config: TrainConfig) -> bool:
    """Whether the training stops early."""
    return 0 < config.patience <= state.waited


def resumed(model, optimizer, config: TrainConfig, folder: Path | None, run: str, resume: bool) -> TrainState:
    """Where the newest checkpoint of that run stands, its weights in model and optimizer; a fresh state without one."""
    if folder and not resume:
        checkpoints.clear(folder)
    path = checkpoints.newest(folder, run) if folder else None
    if path is None:
        return TrainState()
    state = checkpoints.read_state(path)
    if state.step > config.unfreeze_step:
        unfreeze(model, optimizer, config)
    checkpoints.read_weights(path, model, optimizer)
    return state


def fingerprint(data: Dataset, prm: PRMConfig, config: TrainConfig) -> str:
    """Identity of a run: settings, data and code.  A checkpoint of another one is not continued."""
    tensors = hashlib.sha256()
    for part in data.tensors():
        tensors.update(part.contiguous().view(torch.uint8).numpy())
    begun = [content(Path(config.init))] if config.init else []
    code = source_digest(initial_model, loop, find_loss(config.loss))
    return digest([asdict(config), asdict(prm), data.split, tensors.hexdigest(), code, *begun])


def _write_record(part: Path, config: TrainConfig, history: pd.DataFrame) -> None:
    (part / "training.json").write_text(json.dumps(asdict(config), indent=1) + "\n")
    history.to_csv(part / "history.csv", index=False)
