"""Shipped rollouts judged again: what changed is named, what did not is kept, another suite's rows are refused."""

import json
import shutil

import numpy as np
import pytest
from programs import sandboxed

from parallax_lib import params, rejudge, shipped
from parallax_lib.__main__ import main

pytestmark = sandboxed


@pytest.fixture
def folder(tmp_path):
    """Three shipped serial-omp programs; the second's verdict is not what it should be."""
    rows, vectors = shipped.read_shipped("data/rollouts")
    some = rows[(rows["direction"] == "serial-omp") & rows["reason"].isin(["ok", "compile_error"])]
    some = some.groupby("reason", group_keys=False).head(2).head(3)
    card = json.loads((params.ROOT / "data" / "rollouts" / "card.json").read_text())
    kept = some.drop(columns="origin").reset_index(drop=True)
    kept.loc[1, "reason"] = "timeout"
    shipped.write_shipped(tmp_path / "rows", kept, vectors[some.index], card)
    yield tmp_path / "rows", some["reason"].tolist(), shipped.read_shipped(str(tmp_path / "rows"))[1]
    shutil.rmtree(params.ROOT / "data" / "runs" / rejudge.run_name(str(tmp_path / "rows")), ignore_errors=True)


def test_what_changed_is_named_and_written(folder, tmp_path, capsys):
    path, reasons, vectors = folder
    assert main(["rejudge", str(path), "--out", str(tmp_path / "again"), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "serial-omp: 3 rollouts, 2 with the same reason" in said and f"1  timeout -> {reasons[1]}" in said
    again, latents = shipped.read_shipped(str(tmp_path / "again"))
    assert again["reason"].tolist() == reasons and "was" not in again
    assert again["reward"].tolist() == [float(reason == "ok") for reason in reasons]
    np.testing.assert_array_equal(latents, vectors)
    assert json.loads((tmp_path / "again" / "card.json").read_text())["rejudged"][0].startswith("serial")


def test_rows_of_another_suite_are_refused(folder, tmp_path, capsys):
    path, _, vectors = folder
    rows, _ = shipped.read_shipped(str(path))
    rows.loc[2, "source_code"] = rows.loc[2, "source_code"] + "\n"
    shipped.write_shipped(path, rows.drop(columns="origin"), vectors, json.loads((path / "card.json").read_text()))
    assert main(["rejudge", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"1 tasks, {rows.loc[2, 'task']} first, have another source" in said
