"""Stages 02 and 03 on a run folder: the reward models, their scores, the sibling groups they are tested on.

Knows the run's rollouts and parameters.  The models, losses and metrics are elsewhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from parallax_lib.core import fingerprint, torchrun
from parallax_lib.core.config import dump, resolve
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import SMALL_PRMS, Params
from parallax_lib.core.source import source_digest
from parallax_lib.core.storage import digest
from parallax_lib.prm import labels as reward_labels
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import train
from parallax_lib.prm.parallel_training import Material
from parallax_lib.search import methods
from parallax_lib.study import prm_data
from parallax_lib.study import run as runs
from parallax_lib.study.prm_registry import read_families, trained_folder, write_families
from parallax_lib.study.readings import prompt_states, read_by
from parallax_lib.study.run import Run
from parallax_lib.tasks.synthetic import generator
from parallax_lib.tasks.task import split_of
from parallax_lib.translator.models import pick_device

WHERE = ("save_path", "save_every", "keep")  # where a PRM is kept, not what it is
LATER = dict.fromkeys(("lora_rank", "init", "train_jsonl", "valid_jsonl", "vectors", "fields", "recompute", "compile"), "")
LATER |= {"precision": "fp32", "pack": 256}


def _fresh_folder(run: Run, kind: str | torch.nn.Module, identity) -> Path:
    """`trained_folder`: kept, with its checkpoints, while data, settings and code are the same; emptied when they changed.

    A folder of the user's own, `prm.save_path`, is never emptied: UserError where it holds something else.
    """
    folder = trained_folder(run, kind)
    key = digest([folder.name, identity])
    mark = folder / "identity.txt"
    if folder.exists() and (not mark.exists() or mark.read_text() != key):
        if run.params.prm.save_path and kind == run.params.prm.kind:
            if any(folder.iterdir()):
                raise UserError(f"prm.save_path: {folder} holds other files or another training; name another folder, or empty it")
        else:
            shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(key)
    return folder


def refuse_foreign_folder(folder: Path) -> None:
    """UserError if a folder that a training would write into holds a whole PRM of an earlier one: it is never overwritten."""
    if (folder / "final").exists():
        raise UserError(f"{folder}: holds a trained PRM, final; name another folder, or remove that one")


def refuse_leaks(run: Run, rows: pd.DataFrame) -> None:
    """UserError if a row stands in a split that is not its family's under the run's parameters, or of rows from files if a
    family stands in two splits."""
    if prm_data.given(run.params):
        return reward_labels.check_leakage(rows)
    suite = run.params.suite
    reward_labels.check_families(rows, {f: split_of(f, suite, generator.SEEN_FAMILIES) for f in rows["family"].unique()})


def train_config(params: Params, **other) -> train.TrainConfig:
    """The run's training settings, some of them otherwise."""
    p = params.prm
    shared = ("loss", "epochs", "lr", "batch", "device_batch", "unfreeze_step", "backbone_lr_factor", "zeta", "threshold")
    how = ("precision", "recompute", "compile", "pack")
    return train.TrainConfig(**{name: getattr(p, name) for name in (*shared, *how)} | {"seed": params.seed} | other)


def prm_settings(run: Run) -> dict:
    """What a trained PRM is known by; what came later only where it is used, so that older trainings keep their names."""
    settings = dump(run.params)["prm"]
    return {name: value for name, value in settings.items() if (value or "") != LATER.get(name, object) and name not in WHERE}


def prm_shape(params: Params, kind: str) -> prm_model.PRMConfig:
    """A run's own model, or a baseline beside it: `prm.lora_rank` is for the former, where it is a language model."""
    p = params.prm
    shared = {name: getattr(p, name) for name in ("width", "layers", "heads", "dropout", "context", "reads")}
    return prm_model.PRMConfig(**shared, lora_rank=p.lora_rank if kind == p.kind and kind not in SMALL_PRMS else 0)


def train_prm(run: Run, kind: str | torch.nn.Module, rows: pd.DataFrame, vectors: np.ndarray, loss: methods.Given = None):
    """(model, history) of one kind, or a copy of a module of one's own, trained on the rows' paths; kept in
    `trained_folder`/final, checkpoints beside it.  loss: a name or a function instead of `prm.loss`."""
    run = runs.using(run, loss=loss)
    methods.check(run.params, "loss")
    params = run.params
    refuse_leaks(run, rows)
    targets, _ = reward_labels.label(rows, vectors.shape[1])
    contexts, start = prompt_states(run, rows), init_of(params, kind)
    inputs = [targets.tolist(), list(rows["capture_id"]), rows["split"].tolist(), read_by(run, vectors)]
    code = source_digest(trial, kind, *methods.members(params, "loss"))
    begun = [fingerprint.content(resolve(start))] if start else []
    folder = _fresh_folder(run, kind, [prm_settings(run), params.seed, *inputs, code, *begun])
    name = trained_folder(run, kind).name.removeprefix("prm-")
    updates = most_updates(params, int((rows["split"] == "train").sum()))

    def progress(row: dict) -> None:
        run.progress(f"train {name}", int(row["step"]), updates, "updates", most=True)

    return fit_rows(params, kind, rows, vectors, folder, contexts, progress)


def fit_rows(
    params: Params, kind: str | torch.nn.Module, rows: pd.DataFrame, vectors: np.ndarray, folder: Path, contexts=None,
    progress: Callable[[dict], None] | None = None,
):  # fmt: skip
    """(model, history) of one kind, trained on rows with `split`, `reward` and their latents [n, K, .] into `folder`.

    The list of families that it has seen, those of `prm.init` included, is kept beside its weights.
    """
    if not vectors.shape[1]:
        raise UserError("latent.steps: 0 thinks nothing that a PRM could read; collect with at least 1")
    targets, counts = reward_labels.label(rows, vectors.shape[1])
    start = init_of(params, kind)
    seen = {*rows.loc[rows["split"] != "test", "family"], *(read_families(resolve(start)) if start else ())}
    with one_thread() if isinstance(kind, torch.nn.Module) or kind in SMALL_PRMS else nullcontext():
        return train.fit_model(
            kind,
            vectors.astype(np.float32),
            targets,
            counts,
            rows["root"].astype("category").cat.codes.to_numpy(),
            rows["split"].to_numpy(),
            train_config(params, save_every=params.prm.save_every or -1, keep=params.prm.keep, init=str(resolve(start)) if start else ""),
            folder,
            prm=prm_shape(params, kind),
            contexts=contexts,
            device=pick_device(params.translator.device),
            progress=progress,
            extra=partial(write_families, seen),
        )


def init_of(params: Params, kind: str | torch.nn.Module) -> str:
    """The PRM whose weights a training starts from: `prm.init` for the run's own PRM, none for a baseline beside it."""
    return params.prm.init if kind == params.prm.kind else ""


def processes_text(params: Params) -> str:
    """What several processes of torchrun do with the run's own PRM; nothing is said of one."""
    count, start = torchrun.processes(), params.prm.init
    kind = prm_model.read_config(resolve(start)).backbone if start else params.prm.kind
    if count == 1:
        return ""
    if kind in SMALL_PRMS:
        return f"{count} processes: the first trains the small PRM {kind!r} alone, the others wait"
    return f"{count} processes: the PRM {kind!r} is split over all of them while it is trained; the first does the rest"


def trial(params: Params, kind: str, material: Material, split: np.ndarray, **other):
    """A model of one kind trained on rows split another way, or with other settings; kept nowhere."""
    rows, vectors = material.rows, material.vectors
    targets, counts = reward_labels.label(rows, vectors.shape[1])
    groups = rows["root"].astype("category").cat.codes.to_numpy()
    more = {"prm": prm_shape(params, kind), "contexts": material.contexts, "device": pick_device(params.translator.device)}
    more["progress"] = material.counter()
    with one_thread():
        return train.fit_model(kind, vectors.astype(np.float32), targets, counts, groups, split, train_config(params, **other), **more)[0]


def most_updates(params: Params, rows: int) -> int:
    """Updates of a training on so many rows that does not stop early."""
    return params.prm.epochs * -(-rows // params.prm.batch)


def alone(params: Params) -> bool:
    """Whether a run's trainings keep to this process: a language model's, or those of a GPU that was named."""
    return params.prm.kind not in SMALL_PRMS or ":" in params.translator.device


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrices this small gain nothing from a second thread, and on a busy machine lose tenfold by waiting for it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def score_table(models: dict, rows: pd.DataFrame, vectors: np.ndarray, contexts: np.ndarray | None = None) -> pd.DataFrame:
    """Long form for every model: capture_id, depth, score, target, n, split, direction, model."""
    targets, counts = reward_labels.label(rows, vectors.shape[1])
    labels = reward_labels.label_table(rows, targets, counts)
    steps = vectors.shape[1]
    labels["split"], labels["direction"] = np.repeat(rows["split"].to_numpy(), steps), np.repeat(rows["direction"].to_numpy(), steps)
    parts = [
        labels.assign(model=name, score=prm_model.scores(model, vectors.astype(np.float32), contexts).numpy().ravel())
        for name, model in models.items()
    ]
    return pd.concat(parts, ignore_index=True)


def branch_table(model, rows: pd.DataFrame, vectors: np.ndarray, contexts: np.ndarray | None = None) -> pd.DataFrame:
    """Sibling groups of stage 03 with the model's scores."""
    return reward_labels.branch_groups(rows, prm_model.scores(model, vectors.astype(np.float32), contexts).numpy())
