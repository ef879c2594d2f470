"""What each stage remembers in a run's folder, and how `--force` has it forgotten.

Knows the kinds of the journal and the folders of trained models.  Knows no stage's code: a change of that is seen by the keys.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from parallax_lib.core.storage import Journal

KINDS = {  # stage -> kinds of the journal; a verdict belongs to every stage that judges
    "01": ("chunk", "rollout", "latent_sensitivity", "verdict", "reference"),
    "04": ("translation",),
    "05": ("translation", "verdict", "reference"),
    "07": ("variation",),
}
FOLDERS = {"02": "prm-*", "03": "cross_validation"}  # stage -> its models


def forget(folder: Path, stage: str) -> None:
    """All that the stage would take as done is made anew; what other stages remember stays."""
    journal = Journal(folder / "journal.sqlite")
    for kind in KINDS.get(stage, ()):
        rows = journal.rows(kind)
        journal.forget(kind, [key for key, row in rows.items() if kind != "translation" or _repairs(row) == (stage == "05")])
    for path in folder.glob(FOLDERS[stage]) if stage in FOLDERS else ():
        shutil.rmtree(path)


def _repairs(translation: dict) -> bool:
    """Whether programs were written in a repair round, which stage 05 makes."""
    return any(row["attempt"] for row in translation["rows"])
