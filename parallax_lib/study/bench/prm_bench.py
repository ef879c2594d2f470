"""How fast a PRM of a published shape is trained and scores, on one GPU or on the GPUs of all processes of torchrun.

The updates are those of `prm.train` over synthetic rows; weights and rows are the same whatever the number of processes, so
losses can be compared.  Knows training.  Knows no translator.

n rows, K latents of a row, each a token.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from parallax_lib.core import torchrun
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import optimizer, sharded, train
from parallax_lib.prm.dataset import Dataset, prepare
from parallax_lib.prm.train_config import TrainConfig
from parallax_lib.study import memory
from parallax_lib.study.bench import random_models
from parallax_lib.study.bench.report import Ceilings, Report, ceilings, clock, device, device_name, ms, peak_gib

WARM = 3  # updates that are not timed


@dataclass(frozen=True)
class Training:
    """What is measured."""

    shape: str
    lora: int = 0  # rank of the adapters; 0: the whole model is trained
    rows: int = 1024  # of one update, over all processes
    device_rows: int = 1024  # at most so many in one forward
    latents: int = 6
    updates: int = 8  # timed ones
    recompute: bool = True
    kahan: bool = False  # the weights are bfloat16, too
    compile: bool = True  # prm.compile


SMALL = {"rows": 64, "device_rows": 64, "updates": 4}


def run(asked: Training, report: Report) -> dict[str, Any]:
    """All processes measure together; what is said of the whole."""
    if torchrun.processes() > 1:
        return torchrun.lead(measure, (asked,), report=report)
    return measure(asked, report)


def measure(asked: Training, report: Report | None = None) -> dict[str, Any]:
    """In every process: a few updates, then scores where there is one process."""
    report, count = report or Report(), torchrun.together()
    limits = ceilings(report, torch.bfloat16 if device().type == "cuda" else torch.float32)
    precision = optimizer.KAHAN if asked.kahan else "bf16" if device().type == "cuda" else "fp32"
    optimizer.check(precision, count)
    model, data = random_models.prm(asked.shape, asked.lora, precision), rows(asked)
    peak_gib()
    seconds, losses = _updates(model, data, asked, precision)
    _memory(model, report, count, precision, asked)
    size, tokens = prm_model.size(model), asked.rows * asked.latents
    work = 4 if asked.lora else 6  # forward 2, gradients of activations 2, of weights 2; what is computed again is not counted
    reached = work * size * tokens / seconds / count
    report.add(f"training, {named(asked)}, {tokens:,} tokens, a process", reached / 1e12, "TFLOP/s", limits.product / 1e12)
    report.add("trajectories", asked.rows / seconds, "a second")
    if count == 1:
        scoring(model, data, asked, limits, report)
    about = {"processes": count, "device": device_name(), "torch": torch.__version__, "parameters": size}
    return about | asdict(asked) | {"update_ms": round(1e3 * seconds, 1), "losses": losses}


def named(asked: Training) -> str:
    """What is trained, and how."""
    parts = [f"LoRA {asked.lora}" if asked.lora else "the whole model", "bfloat16 weights" if asked.kahan else ""]
    parts += ["compiled" if asked.compile and device().type == "cuda" and torchrun.together() == 1 else ""]
    return ", ".join(filter(None, [*parts, "recomputed" if asked.recompute else ""]))


def rows(asked: Training) -> Dataset:
    """Trajectories that are all trained on; whether one is good hangs on its first latent."""
    rng, width = np.random.default_rng(0), random_models.configuration(asked.shape).hidden_size
    latents = rng.standard_normal((asked.rows, asked.latents, width), dtype=np.float32).astype(np.float16)
    good = (latents[:, :1, : width // 2].astype(np.float32).sum(2) > 0).astype(float)  # (n, 1)
    counts = np.ones((asked.rows, asked.latents), int)
    return prepare(latents, np.repeat(good, asked.latents, 1), counts, np.arange(asked.rows) // 8, ["train"] * asked.rows)


def _updates(model: prm_model.PRM, data: Dataset, asked: Training, precision: str) -> tuple[float, list[float]]:
    """(seconds of an update, losses of all)."""
    ends, losses = [], []

    def progress(row: dict) -> None:
        ends.append(clock())
        losses.append(round(row["train_loss"], 5))

    config = TrainConfig(
        epochs=WARM + asked.updates, lr=1e-4, batch=asked.rows, device_batch=asked.device_rows, unfreeze_step=0, backbone_lr_factor=1.0,
        precision=precision, recompute=asked.recompute, compile=asked.compile,
    )  # fmt: skip
    train.loop(model, data, config, None, False, progress, lambda part: None)
    return statistics.median(np.diff(ends)[WARM - 1 :]), losses


def _memory(model: prm_model.PRM, report: Report, count: int, precision: str, asked: Training) -> None:
    """What the GPU of each process held at most, against what `size` plans for stage 02."""
    peak = peak_gib()
    if peak is None:
        return
    peaks = torchrun.added(*(peak if rank == torchrun.rank() else 0.0 for rank in range(count)))
    shape, forward = replace(model.config, steps=asked.latents), min(asked.device_rows, asked.rows // count)
    kept = memory.activations(shape, forward, precision, asked.recompute, asked.compile)
    planned = memory.on_each(model.config, precision, kept, count, sharded.room_of(device()))
    report.add(f"memory of a GPU at most, {named(asked)}", max(peaks), "GiB", planned)


def scoring(model: prm_model.PRM, data: Dataset, asked: Training, limits: Ceilings, report: Report) -> None:
    """Scores of the same rows, beside the language model's forward alone."""
    model, tokens = model.eval(), asked.rows * asked.latents
    given = torch.zeros(asked.rows, asked.latents, model.config.width, dtype=model.backbone.given, device=model.mean.device)
    with torch.no_grad():
        alone = ms(lambda: model.backbone.run(given), 3)
        taken = ms(lambda: prm_model.scores(model, data.latents), 3)
    floor = limits.ms(0, 2 * prm_model.size(model) * tokens)
    what = f"scores of {asked.rows:,} trajectories, {named(replace(asked, recompute=False))}"
    report.add(what, taken, "ms", floor, its_layers_alone=alone)
