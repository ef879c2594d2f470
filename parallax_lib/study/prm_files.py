"""A PRM from files alone: trained on rows and tensors, tested on the branches of others; figures beside it.

Knows the settings `prm.train_jsonl`, `prm.valid_jsonl`, `prm.save_path`, `prm.checkpoint`.  Holds no method of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from parallax_lib.analysis import branch_selection, metrics
from parallax_lib.analysis.figures import theme
from parallax_lib.analysis.figures import training as figures
from parallax_lib.core.config import resolve
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Params
from parallax_lib.core.storage import write_json
from parallax_lib.prm import labels
from parallax_lib.prm import model as prm_model
from parallax_lib.study import prm_data, prm_registry, training
from parallax_lib.translator.models import pick_device

Say = Callable[[str], None]
SHOWN = ["slice", "groups", "picker", "best", "gt", "ge", "reward", "regret", "gain", "pairwise", "auroc"]


def readable(params: Params) -> None:
    """UserError if a PRM of these settings reads what files of latents do not hold."""
    if params.prm.reads != "states" or params.prm.context != "none":
        said = f"prm.reads {params.prm.reads}, prm.context {params.prm.context}"
        raise UserError(f"{said}: input embeddings and prompts are the translator's, which is not loaded here; use states and none")


def rows_of(params: Params, say: Say) -> tuple[pd.DataFrame, np.ndarray]:
    """(rows that a PRM may use, latents [n, K, D]) of the files; what was read and what was left out is said."""
    found, latents = prm_data.load(params, say)
    rows, removed = labels.filter_training(found)
    for why, count in removed["why"].value_counts().items():
        say(f"  left out: {count} rows, {why}")
    counts = rows.groupby("split").agg(rows=("task", "size"), families=("family", "nunique"), mean_reward=("reward", "mean"))
    say(counts.round(3).to_string())
    return rows, latents[rows.index]


def train(params: Params, out: Path, say: Say) -> Path:
    """`out`/final, `out`/checkpoint-<step> and figures; a stopped training goes on from its newest checkpoint."""
    readable(params)
    if processes := training.processes_text(params):
        say(processes)
    clock = time.monotonic()
    rows, latents = rows_of(params, say)
    training.refuse_foreign_folder(out)
    model, history = training.fit_rows(params, params.prm.kind, rows, latents, out, progress=_steps(say))
    say(f"trained {len(history)} updates, {history['epoch'].max() + 1 if len(history) else 0} epochs, in {time.monotonic() - clock:.1f} s")
    scored = training.score_table({params.prm.kind: model}, rows, latents)
    held = scored[scored["split"] != "train"]
    if len(held):
        by_depth = metrics.scores_by_depth(held)
        say(by_depth.round(3).to_string(index=False))
    if len(history):
        theme.save_html(figures.loss_curve(history), out / "loss.html")
    theme.save_html(figures.score_distributions(held if len(held) else scored), out / "scores.html")
    say(f"PRM        {out / 'final'}\nfigures    {out / 'loss.html'}, {out / 'scores.html'}")
    return out / "final"


def _steps(say: Say) -> Callable[[dict], None]:
    """Progress of a training: one line every ten seconds, and at the end of an epoch that was evaluated."""
    last = [0.0]

    def progress(row: dict) -> None:
        evaluated = row["valid_loss"] == row["valid_loss"]
        if time.monotonic() - last[0] >= 10 or evaluated:
            last[0] = time.monotonic()
            valid = f", valid loss {row['valid_loss']:.4f}" if evaluated else ""
            say(f"update {row['step']}, epoch {row['epoch'] + 1}: train loss {row['train_loss']:.4f}{valid}")

    return progress


def validate_branches(params: Params, out: Path | None, say: Say) -> pd.DataFrame:
    """The branch-selection test of `prm.checkpoint` on the rows of `prm.valid_jsonl`; written to `out` and `out`.branches.csv."""
    folder = resolve(params.prm.checkpoint)
    config = prm_model.read_config(folder)
    readable(params.model_copy(update={"prm": params.prm.model_copy(update={"reads": config.reads, "context": config.context})}))
    rows, latents = prm_data.load(params, say)
    prm_registry.refuse_leaks(folder, rows["family"])
    if not prm_registry.read_families(folder):
        say(f"  {folder} does not tell which families it was trained on: nothing here shows that these are others")
    model = prm_model.load(folder, latents.shape[2], pick_device(params.translator.device))
    branches = training.branch_table(model, rows, latents)
    if branches.empty:
        raise UserError(f"{params.prm.valid_jsonl}: no original with a judged continuation, so there is no group of siblings to pick from")
    table = branch_selection.branch_selection(branches, tol=params.selection.tolerance)
    say(f"tolerance {params.selection.tolerance:g} of reward\n{table[SHOWN].round(3).to_string(index=False)}")
    if out is not None:
        write_json(out, {"checkpoint": str(folder), "tolerance": params.selection.tolerance, "table": table.to_dict("records")})
        branches.to_csv(out.with_suffix(".branches.csv"), index=False)
    return table
