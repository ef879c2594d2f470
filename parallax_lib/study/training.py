"""Stages 02 and 03 on a run folder: the reward models, their scores, the sibling groups they are tested on.

Knows the run's rollouts and parameters.  The models, losses and metrics are elsewhere.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from parallax_lib.core import fingerprint
from parallax_lib.core.config import SMALL_PRMS, Params, dump
from parallax_lib.core.source import source_digest
from parallax_lib.core.storage import digest
from parallax_lib.prm import labels as reward_labels
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import train
from parallax_lib.prm.parallel_training import Material
from parallax_lib.search import methods, rollouts
from parallax_lib.study import run as runs
from parallax_lib.study.prm_registry import trained_folder, write_families
from parallax_lib.study.run import Run
from parallax_lib.tasks.synthetic import generator
from parallax_lib.tasks.task import split_of
from parallax_lib.translator import alignment
from parallax_lib.translator.models import loaded_translator, pick_device


def _fresh_folder(run: Run, kind: str | torch.nn.Module, identity) -> Path:
    """`trained_folder`: kept, with its checkpoints, while data, settings and code are the same; emptied when they changed."""
    folder = trained_folder(run, kind)
    key = digest([folder.name, identity])
    mark = folder / "identity.txt"
    if folder.exists() and (not mark.exists() or mark.read_text() != key):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(key)
    return folder


def refuse_leaks(run: Run, rows: pd.DataFrame) -> None:
    """UserError if a row stands in a split that is not its family's under the run's parameters."""
    suite = run.params.suite
    reward_labels.check_families(rows, {f: split_of(f, suite, generator.SEEN_FAMILIES) for f in rows["family"].unique()})


def train_config(params: Params, **other) -> train.TrainConfig:
    """The run's training settings, some of them otherwise."""
    p = params.prm
    shared = ("loss", "epochs", "lr", "batch", "device_batch", "unfreeze_step", "backbone_lr_factor", "zeta", "threshold")
    return train.TrainConfig(**{name: getattr(p, name) for name in shared} | {"seed": params.seed} | other)


def prm_settings(run: Run) -> dict:
    """What a trained PRM is known by; LoRA only where it is used, so that older trainings keep their names."""
    return {name: value for name, value in dump(run.params)["prm"].items() if value or name != "lora_rank"}


def prm_shape(params: Params, kind: str) -> prm_model.PRMConfig:
    """A run's own model, or a baseline beside it: `prm.lora_rank` is for the former, where it is a language model."""
    p = params.prm
    shared = {name: getattr(p, name) for name in ("width", "layers", "heads", "dropout", "context", "reads")}
    return prm_model.PRMConfig(**shared, lora_rank=p.lora_rank if kind == p.kind and kind not in SMALL_PRMS else 0)


@torch.inference_mode()
def readings(run: Run, vectors: np.ndarray, batch: int = 256) -> np.ndarray:
    """What the PRM reads of latents float16 [n, K, D]: with `prm.reads: both` [n, K, 2 D]."""
    if run.params.prm.reads == "states":
        return vectors
    translator = loaded_translator(run.params.translator)
    read = alignment.reader(alignment.aligner(translator, run.params.latent), run.params.prm.reads)
    parts = [torch.from_numpy(vectors[i : i + batch]).to(translator.device, translator.model.dtype) for i in range(0, len(vectors), batch)]
    return np.concatenate([read(part).float().cpu().numpy().astype(np.float16) for part in parts])


def read_by(run: Run, vectors: np.ndarray) -> list:
    """Identity of what a PRM reads: the vectors by their bytes, prompts' states (where it is given them) by the model they are of."""
    of = [] if run.params.prm.context == "none" else [dump(run.params)["translator"], fingerprint.weights(run.params)]
    return [hashlib.sha256(np.ascontiguousarray(vectors)).hexdigest(), *of]


def train_prm(run: Run, kind: str | torch.nn.Module, rows: pd.DataFrame, vectors: np.ndarray, loss: methods.Given = None):
    """(model, history) of one kind, or a copy of a module of one's own, trained on the rows' paths; kept in
    `trained_folder`/final, checkpoints beside it.  loss: a name or a function instead of `prm.loss`."""
    run = runs.using(run, loss=loss)
    methods.check(run.params, "loss")
    params = run.params
    refuse_leaks(run, rows)
    targets, counts = reward_labels.label(rows, vectors.shape[1])
    groups = rows["root"].astype("category").cat.codes.to_numpy()
    contexts = prompt_states(run, rows)
    inputs = [targets.tolist(), list(rows["capture_id"]), rows["split"].tolist(), read_by(run, vectors)]
    code = source_digest(trial, kind, *methods.members(params, "loss"))
    folder = _fresh_folder(run, kind, [prm_settings(run), run.params.seed, *inputs, code])
    with one_thread() if isinstance(kind, torch.nn.Module) or kind in SMALL_PRMS else nullcontext():
        model, history = train.fit_model(
            kind,
            vectors.astype(np.float32),
            targets,
            counts,
            groups,
            rows["split"].to_numpy(),
            train_config(params, save_every=50),
            folder,
            prm=prm_shape(params, kind),
            contexts=contexts,
            device=pick_device(run.params.translator.device),
            progress=lambda row: run.progress(f"train {folder.name.removeprefix('prm-')}", int(row["step"]), 0),
            extra=partial(write_families, rows.loc[rows["split"] != "test", "family"]),
        )
    return model, history


def trial(params: Params, kind: str, material: Material, split: np.ndarray, **other):
    """A model of one kind trained on rows split another way, or with other settings; kept nowhere."""
    rows, vectors = material.rows, material.vectors
    targets, counts = reward_labels.label(rows, vectors.shape[1])
    groups = rows["root"].astype("category").cat.codes.to_numpy()
    more = {"prm": prm_shape(params, kind), "contexts": material.contexts, "device": pick_device(params.translator.device)}
    with one_thread():
        return train.fit_model(kind, vectors.astype(np.float32), targets, counts, groups, split, train_config(params, **other), **more)[0]


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


def prompt_states(run: Run, rows: pd.DataFrame) -> np.ndarray | None:
    """What a PRM with `prm.context: pooled` reads besides latents, float32 [n, D]; None without."""
    if run.params.prm.context == "none":
        return None
    return rollouts.prompt_states(loaded_translator(run.params.translator), rows)


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
