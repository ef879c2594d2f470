"""Shipped rollouts judged again: what changed is named, what did not is kept, another suite's rows are refused."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from programs import sandboxed

from parallax_lib.__main__ import main
from parallax_lib.core import config, settings, storage
from parallax_lib.search import rollout_files
from parallax_lib.study import rejudge

pytestmark = sandboxed


@pytest.fixture
def folder(tmp_path):
    """Three shipped serial-omp programs; the second's verdict is not what it should be."""
    rows, vectors = rollout_files.read_rollouts("data/rollouts")
    some = rows[(rows["direction"] == "serial-omp") & rows["reason"].isin(["ok", "compile_error"])]
    some = some.groupby("reason", group_keys=False).head(2).head(3)
    metadata = json.loads((config.ROOT / "data" / "rollouts" / "metadata.json").read_text())
    kept = some.drop(columns="origin").reset_index(drop=True)
    kept.loc[1, "reason"] = "timeout"
    rollout_files.write_rollouts(tmp_path / "rows", kept, vectors[some.index], metadata)
    yield tmp_path / "rows", some["reason"].tolist(), rollout_files.read_rollouts(str(tmp_path / "rows"))[1]
    shutil.rmtree(config.ROOT / "data" / "runs" / rejudge.run_name(str(tmp_path / "rows")), ignore_errors=True)


def test_what_changed_is_named_and_written(folder, tmp_path, capsys):
    path, reasons, vectors = folder
    assert main(["rejudge", str(path), "--out", str(tmp_path / "again"), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "serial-omp: 3 rollouts, 2 with the same reason" in said and f"1  timeout -> {reasons[1]}" in said
    again, latents = rollout_files.read_rollouts(str(tmp_path / "again"))
    assert again["reason"].tolist() == reasons and "was" not in again
    assert again["reward"].tolist() == [float(reason == "ok") for reason in reasons]
    np.testing.assert_array_equal(latents, vectors)
    assert json.loads((tmp_path / "again" / "metadata.json").read_text())["rejudged"][0].startswith("serial")


def test_some_tasks_are_drawn_by_a_hash_with_all_their_programs(folder, tmp_path):
    path, _, vectors = folder
    rows, _ = rollout_files.read_rollouts(str(path))
    rows.loc[2, "task"], rows.loc[1, "task"] = rows.loc[0, "task"], "another.serial-omp"
    rollout_files.write_rollouts(path, rows.drop(columns="origin"), vectors, json.loads((path / "metadata.json").read_text()))
    first = min(rows["task"].unique(), key=lambda task: hashlib.sha256(task.encode()).hexdigest())
    judged = rejudge.rejudge(str(path), tmp_path / "again", 1, most=1)
    kept = rows["task"] == first
    assert judged["code"].tolist() == rows.loc[kept, "code"].tolist()
    np.testing.assert_array_equal(rollout_files.read_rollouts(str(tmp_path / "again"))[1], vectors[kept.to_numpy()])


def test_a_row_whose_source_has_changed_is_judged_against_the_source_that_it_names(folder, capsys):
    path, _, vectors = folder
    rows, _ = rollout_files.read_rollouts(str(path))
    good = rows.index[rows["reason"] == "ok"][0]
    older, code = rows.loc[good, "source_code"], rows.loc[good, "code"]
    rows.loc[2, ["task", "kernel", "source_code", "code"]] = rows.loc[good, ["task", "kernel", "source_code", "code"]].tolist()
    for name in ("source_code", "code"):  # both print another constant than the suite's programs do
        rows.loc[2, name] = rows.loc[good, name].replace("return 0;", 'printf("older 4.25\\n");\n  return 0;')
    assert rows.loc[2, "code"] != code and rows.loc[2, "source_code"] != older
    rows.loc[2, "reason"] = "timeout"
    rollout_files.write_rollouts(path, rows.drop(columns="origin"), vectors, json.loads((path / "metadata.json").read_text()))
    judged = rejudge.rejudge(str(path), None, 1)
    assert judged.loc[2, ["was", "reason"]].tolist() == ["timeout", "ok"] and judged.loc[2, "task"] == rows.loc[2, "task"]
    assert "1 of tasks whose source has changed" in capsys.readouterr().out


def test_a_runs_folder_is_judged_again_as_it_is(folder, tmp_path, capsys):
    path, reasons, vectors = folder
    run = tmp_path / "run"
    storage.write_table(run, "rollouts", rollout_files.read_rollouts(str(path))[0].assign(split="train"))
    storage.write_vectors(run / "latents.safetensors", vectors)
    storage.write_json(run / "manifest.json", {"params": json.loads((path / "metadata.json").read_text())["params"]})
    try:
        assert main(["rejudge", str(run), "--workers", "1"]) == 0
        assert f"1  timeout -> {reasons[1]}" in capsys.readouterr().out
    finally:
        shutil.rmtree(config.ROOT / "data" / "runs" / rejudge.run_name(str(run)), ignore_errors=True)


@pytest.mark.parametrize("command", [
    ["rejudge", "nowhere"], ["export", "nowhere"], ["adapt", "--base", "nowhere"], ["audit", "nowhere"],
    ["hecbench", "nowhere", "--check"], ["collect", str(config.ROOT / "params" / "tiny.yaml")],
])  # fmt: skip
@pytest.mark.parametrize("out", ["/proc/x", "/etc/passwd/x"])
def test_an_out_that_cannot_be_written_is_told_before_anything_is_read(command, out, capsys):
    assert main([*command, "--out", out]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "cannot write here" in said


def test_the_rules_of_the_cards_verdicts_stay(folder, monkeypatch):
    path, _, _ = folder
    metadata = json.loads((path / "metadata.json").read_text())
    metadata["params"]["validation"] |= {"unsafe": True, "cpu_s": 1}  # not for a folder to say
    (path / "metadata.json").write_text(json.dumps(metadata))
    asked = []

    def judge(run, rows, of):
        asked.append(run.params.validation)
        return rows

    monkeypatch.setattr(rejudge.inference_files, "judge_rows", judge)
    rejudge.rejudge(str(path), None, 3)
    assert (asked[0].unsafe, asked[0].cpu_s) == (False, settings.Validate().cpu_s)
    assert (asked[0].races, asked[0].workers) == ("off", 3)  # data/rollouts was judged without the race stage
