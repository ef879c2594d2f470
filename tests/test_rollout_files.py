"""Rollouts on disk: the published layout read as our own, and one line for what is missing."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parallax_lib.__main__ import main
from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.search import rollout_files

ROOTS = 150  # originals with their branch-offs: a part of the shipped ones does
TREE = ["root", "branch_depth", "resample"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder of rollouts, part of the shipped ones."""
    folder = tmp_path_factory.mktemp("source") / "rollouts"
    every, vectors = rollout_files.read_rollouts(str(ROOT / "data" / "rollouts"))
    part = every[every["root"].isin(every["root"].unique()[:ROOTS])]
    metadata = json.loads((ROOT / "data" / "rollouts" / "metadata.json").read_text())
    rollout_files.write_rollouts(folder, part.drop(columns="origin"), vectors[part.index], metadata)
    return folder


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    """These rollouts in the published layout, written by the command."""
    folder = tmp_path_factory.mktemp("exported") / "published"
    assert main(["export", str(source), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def published(exported, tmp_path):
    """A copy whose index may be changed; the vectors are links."""
    return Path(shutil.copytree(exported, tmp_path / "published", copy_function=link))


def link(source, target):
    return shutil.copy2(source, target) if str(source).endswith((".json", ".jsonl")) else os.link(source, target)


def rewrite(folder, change):
    index = folder / "dataset.jsonl"
    rows = [change(json.loads(line)) for line in index.read_text().splitlines()]
    index.write_text("\n".join(map(json.dumps, rows)) + "\n")


def without(*names):
    return lambda row: {k: v for k, v in row.items() if k not in names}


def test_the_published_layout_is_read_as_our_own(source, published):
    ours, vectors = rollout_files.read_rollouts(str(source), 576)
    theirs, again = rollout_files.read_rollouts(str(published), 576)
    assert len(list(published.glob("*_v1_r0.pt"))) == int((ours["branch_depth"] == 1).sum()) == ours["root"].nunique() == ROOTS
    np.testing.assert_array_equal(vectors, again)
    blank = {"gpu_reason": "", "mean_logprob": 0.0}
    pd.testing.assert_frame_equal(ours.fillna(blank), theirs[list(ours)].fillna(blank), check_dtype=False)


def test_names_alone_tell_where_a_rollout_branches_off(source, published):
    rewrite(published, without(*TREE))
    ours, theirs = rollout_files.read_rollouts(str(source))[0], rollout_files.read_rollouts(str(published))[0]
    pd.testing.assert_frame_equal(ours[TREE], theirs[TREE], check_dtype=False)


@pytest.mark.parametrize("name", ["task", "family", "code"])
def test_a_missing_column_is_named(published, name):
    rewrite(published, without(name))
    with pytest.raises(UserError, match=f"rollouts have no column '{name}'"):
        rollout_files.read_rollouts(str(published))


def test_another_models_vectors_and_an_empty_folder_are_refused(published, tmp_path):
    with pytest.raises(UserError, match="576 wide, the translator's states 64"):
        rollout_files.read_rollouts(str(published), 64)
    with pytest.raises(UserError, match="neither rollouts.jsonl.gz nor dataset.jsonl"):
        rollout_files.read_rollouts(str(tmp_path))


def test_a_folder_without_metadata_is_not_judged_again_and_the_files_old_name_is_refused(published, source, capsys):
    (source / "metadata.json").rename(source / "card.json")
    with pytest.raises(UserError, match="card.json: this file is called metadata.json now; rename it"):
        rollout_files.read_rollouts(str(source))
    (source / "card.json").rename(source / "metadata.json")
    (published / "metadata.json").unlink()
    assert main(["rejudge", str(published)]) == 2
    assert "no metadata with params.suite" in capsys.readouterr().err


def test_a_write_that_ends_midway_leaves_the_earlier_rollouts_whole(source, monkeypatch):
    rows, vectors = rollout_files.read_rollouts(str(source))
    kept = rows.drop(columns="origin")

    def full(*_):
        raise OSError("no space left on device")

    (source / ".new-killed").mkdir()  # as kill -9 leaves it
    monkeypatch.setattr(rollout_files, "write_json", full)
    with pytest.raises(OSError, match="no space"):
        rollout_files.write_rollouts(source, kept.head(1), vectors[:1] + 1, {})
    again, same = rollout_files.read_rollouts(str(source))
    pd.testing.assert_frame_equal(again, rows)
    np.testing.assert_array_equal(same, vectors)
    assert not [path for path in source.iterdir() if path.name.startswith(".")]


def test_latents_of_another_write_are_refused(source):
    rows, vectors = rollout_files.read_rollouts(str(source))
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    rollout_files.write_rollouts(source, rows.drop(columns="origin"), vectors + 1, {})
    (source / "rollouts.jsonl.gz").write_bytes(before["rollouts.jsonl.gz"])
    assert len(rollout_files.read_rollouts(str(source))[0]) == len(rows)
    (source / "latents-0.safetensors.gz").write_bytes(before["latents-0.safetensors.gz"])  # as many rows, other trajectories
    with pytest.raises(UserError, match="latents are not those that metadata.json names"):
        rollout_files.read_rollouts(str(source))


def test_a_folder_that_is_not_there_is_said_to_be_missing(capsys, tmp_path):
    assert main(["export", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("none: no such folder") == 1
