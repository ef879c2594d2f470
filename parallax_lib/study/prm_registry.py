"""Which trained PRMs score a task in stages 03 and 04, and that none of them was trained on its family.

Knows the run's folder and families.  Knows no latents and makes no score.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch

from parallax_lib.core.config import resolve
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import SMALL_PRMS, Params
from parallax_lib.core.storage import slug, write_json
from parallax_lib.prm import model as prm_model
from parallax_lib.prm.shape import match_width
from parallax_lib.study.run import Run
from parallax_lib.translator.models import pick_device, width_of

INDEX = "cross_validation/models.json"  # family -> names of the PRMs that are tested on it
FAMILIES = "families.json"  # beside a PRM: the families of its training and validation rows


def trained_folder(run: Run, kind: str | torch.nn.Module) -> Path:
    """Where the run trains a PRM of one kind: `<run>/prm-gru`; a language model's folder or id by its last part and a hash, a
    module of one's own by its class.  The run's own PRM in `prm.save_path` where that is given."""
    if run.params.prm.save_path and kind == run.params.prm.kind:
        return resolve(run.params.prm.save_path)
    if isinstance(kind, torch.nn.Module):
        return run.folder / f"prm-own-{slug(type(kind).__name__, type(kind).__qualname__)}"
    return run.folder / f"prm-{kind if kind in SMALL_PRMS else slug(Path(kind).name, kind)}"


def prm_folder(run: Run) -> Path:
    """The run's own PRM, of its fixed split; `prm.checkpoint` instead where that is given."""
    p = run.params.prm
    return resolve(p.checkpoint) if p.checkpoint else trained_folder(run, p.kind) / "final"


def load_prm(run: Run, width: int | None = None):
    """The run's own PRM where its translator is."""
    return prm_model.load(prm_folder(run), latent_width=width, device=pick_device(run.params.translator.device))


def folder_of(run: Run, name: str) -> Path:
    """Where stage 03 keeps a model that is tested on held-out families."""
    return run.folder / "cross_validation" / name[:16]


def tested_families(run: Run) -> set[str] | None:
    """With `prm.folds` the families that stage 03 tested, each by PRMs of its own; else None: the split says which."""
    return set(_index(run)) if _folded(run) else None


def folders(run: Run, family: str) -> list[Path]:
    """The PRMs whose mean score guides a task of the family: stage 03's of all `report.seeds`, or the run's only one."""
    return [folder_of(run, name) for name in _index(run)[family]] if _folded(run) else [prm_folder(run)]


def write_families(families: Iterable[str], folder: Path) -> None:
    write_json(folder / FAMILIES, sorted(set(families)))


def check_given(params: Params, guides: bool) -> None:
    """UserError, before anything else is read, if `prm.checkpoint` or `prm.init` is no PRM, or one of another width.

    guides: the translator's states will be scored, whose width is told by its description alone.
    """
    for key in ("checkpoint", "init"):
        if folder := getattr(params.prm, key):
            if not resolve(folder).exists():
                raise UserError(f"prm.{key}: {folder} does not exist; correct the path or set it to ''")
            config = prm_model.read_config(resolve(folder))
            if guides and key == "checkpoint" and params.executor.kind == "local":
                match_width(width_of(params.translator), config.state_width, f"prm.checkpoint: the PRM in {folder}")


def read_families(folder: Path) -> list[str]:
    """The families of a PRM's training and validation rows; none where nothing says so."""
    file = folder / FAMILIES
    return json.loads(file.read_text()) if file.exists() else []


def refuse_leaks(folder: Path, families: Iterable[str], listed: bool = False) -> None:
    """UserError if the PRM's training or validation rows were of one of the families.

    A PRM without the list is refused too if it must be `listed`, as a run's own are; another is taken as it is.
    """
    file = folder / FAMILIES
    if listed and not file.exists():
        raise UserError(f"{file}: not there, so nothing says which families this PRM has seen; train it again (stage 02)")
    leaked = set(families) & set(read_families(folder))
    if leaked:
        raise UserError(f"{folder}: this PRM was trained on family {min(leaked)!r}, which it is to be tested on; train one without it")


def _folded(run: Run) -> bool:
    return bool(run.params.prm.folds) and not run.params.prm.checkpoint


def _index(run: Run) -> dict[str, list[str]]:
    file = run.folder / INDEX
    if not file.exists():
        raise UserError(f"{file}: not there; with prm.folds stage 03 trains the PRMs that stage 04 uses, run it first")
    return json.loads(file.read_text())
