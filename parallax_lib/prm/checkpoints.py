"""Checkpoints of a training run: written whole, found again, refused when they belong to another run.

Of a training over several processes the first one has the files, and all of them call these functions.
Knows folders named checkpoint-<step>, weights, optimiser state and history.  Knows nothing of losses or batches.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from parallax_lib.core import torchrun
from parallax_lib.core.errors import UserError
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import sharded

KEPT = 2  # newest checkpoints left on disk


@dataclass
class TrainState:
    """What training changes beside weights and optimiser."""

    step: int = 0  # updates done
    best_loss: float = float("inf")  # on the valid split
    best: dict[str, Tensor] | None = None  # weights at best_loss
    waited: int = 0  # evaluations since best_loss
    history: list[dict] = field(default_factory=list)


def write(
    folder: Path, model, optimizer, state: TrainState, run: str, keep: int = KEPT, more: Callable[[Path], None] = lambda part: None
) -> None:
    """`folder`/checkpoint-<step> of the run with that fingerprint, and what `more(part)` adds; older ones beyond `keep` are deleted
    (0: none are)."""
    weights, moments = sharded.gathered(model), sharded.gathered_optimizer(optimizer)
    if not torchrun.first():
        return

    def extra(part: Path) -> None:
        torch.save(moments, part / "optimizer.pt")
        if state.best is not None:
            save_file(state.best, part / "best.safetensors")
        plain = {k: getattr(state, k) for k in ("step", "best_loss", "waited", "history")}
        (part / "state.json").write_text(json.dumps(plain | {"run": run}))
        more(part)

    prm_model.save(model, folder / f"checkpoint-{state.step}", extra, weights)
    for old in find(folder)[:-keep] if keep else ():
        shutil.rmtree(old)


def find(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    found = [p for p in folder.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
    return sorted(found, key=lambda p: int(p.name.removeprefix("checkpoint-")))


def newest(folder: Path, run: str) -> Path | None:
    """The checkpoint to go on from.  UserError if the folder holds another run's."""
    return torchrun.from_first(lambda: _newest(folder, run))


def _newest(folder: Path, run: str) -> Path | None:
    found = find(folder)
    if not found:
        return None
    if json.loads((found[-1] / "state.json").read_text())["run"] != run:
        raise UserError(
            f"{folder}: {found[-1].name} belongs to a training with other settings, data or code: "
            "give another folder, or start over with resume=False"
        )
    return found[-1]


def clear(folder: Path) -> None:
    for path in find(folder) if torchrun.first() else ():
        shutil.rmtree(path)


def read_state(path: Path) -> TrainState:
    values = torchrun.from_first(lambda: json.loads((path / "state.json").read_text()))
    values.pop("run")
    best = path / "best.safetensors"
    return TrainState(**values, best=load_file(best) if torchrun.first() and best.exists() else None)


def read_weights(path: Path, model, optimizer) -> None:
    """Fill model and optimizer, whose parameter groups must already be those of that step."""
    if torchrun.together() == 1:
        prm_model.restore(model, load_file(path / "model.safetensors"))
        optimizer.load_state_dict(torch.load(path / "optimizer.pt", weights_only=True, map_location=model.mean.device))
        return
    first = torchrun.first()
    sharded.fill(prm_model.learned(model), load_file(path / "model.safetensors") if first else None)
    sharded.fill_optimizer(optimizer, torch.load(path / "optimizer.pt", weights_only=True, map_location="cpu") if first else None)
