"""docs/FROM_PARALLAX.md, command by command, on synthetic artefacts in the published layout."""

import json
import re
import shlex
import shutil

import numpy as np
import published_artefacts
import pytest
import torch
from programs import sandboxed

from parallax_lib.__main__ import main
from parallax_lib.core.config import ROOT, load_file
from parallax_lib.prm import model as prm_model
from parallax_lib.study import pipeline

TEXT = (ROOT / "docs" / "FROM_PARALLAX.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S) for line in block.splitlines()]
SCRIPTS = (
    "PRM/run_pqm_qwen_code.sh", "PRM/run_pqm_qwen_code_for_valid.sh", "PRM/run_pqm_qwen_validate_code.sh", "loss_graph.py",
    "plot_distributions.py", "run_inference_w_prm_modal_code_parallel.sh", "run_build_hecbench_dataset_modal.sh",
)  # fmt: skip
FILES, JUDGED, WHOLE = range(3)  # what a step takes: files alone, compilers, whole stages


def kind(command):
    verb = command.split()[3]
    return WHOLE if verb in ("run", "collect", "rejudge", "export") else JUDGED if verb in ("validate", "recheck") else FILES


def do(command, capsys):
    """(exit status, what was printed) of a line of the page."""
    words = shlex.split(command.partition("   #")[0])
    assert words[:3] == ["python", "-m", "parallax_lib"]
    status = main(words[3:])
    said = capsys.readouterr()
    return status, said.out + said.err


@pytest.fixture
def place(tmp_path, monkeypatch, request):
    """A folder with theirs/ in it, which is the current one."""
    published_artefacts.write(tmp_path / "theirs", **getattr(request, "param", {}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_has_a_command_for_every_step_and_names_the_published_scripts():
    assert [kind(c) for c in COMMANDS].count(FILES) == 6 and all(c.startswith("python -m parallax_lib ") for c in COMMANDS)
    for script in SCRIPTS:
        assert script in TEXT


def test_a_prm_from_files_alone_is_trained_tested_and_trained_on(place, capsys):
    said = [do(command, capsys) for command in COMMANDS if kind(command) == FILES]
    assert [status for status, _ in said] == [0, 0, 0, 2, 0, 0]
    full, filtered, picked, refused, foreign, more = (text for _, text in said)
    assert "40 rows, 240 continuations inside them; latents [280, 6, 16] bfloat16" in filtered and "52 rows" in full
    assert "kernel_name is kernel" in filtered and "carried along: prompt_tokens" in filtered
    assert sorted(p.name for p in (place / "prm").glob("checkpoint-*")) and (place / "prm" / "loss.html").exists()
    table = {(r["slice"], r["picker"]): r for r in json.loads((place / "branches.json").read_text())["table"]}
    assert table["all", "original"]["ge"] == 1 and table["all", "prm"]["groups"] == 2 * 6 * 6
    assert table["all", "prm"]["pairwise"] > table["all", "random"]["pairwise"] == 0.5
    assert "tolerance 0.05" in picked and "trained on family 'held0'" in refused and refused.count("\n") >= 1
    assert "does not tell which families" in foreign
    before, after = (json.loads((place / name / "final" / "families.json").read_text()) for name in ("prm", "prm_more"))
    assert before == after and "held0" not in before


def test_a_trainers_checkpoint_scores_as_its_own_modules_do(tmp_path):
    adapter, norm, body, head = published_artefacts.write_checkpoint(tmp_path / "out" / "checkpoint-40", 12)
    latents = torch.randn(3, 5, 12)
    with torch.no_grad():
        right = head(body(inputs_embeds=norm(torch.nn.functional.gelu(adapter(latents)))).last_hidden_state)[..., 0].sigmoid()
    model = prm_model.load(tmp_path / "out" / "checkpoint-40", 12)
    np.testing.assert_allclose(prm_model.scores(model, latents), right, atol=1e-6)
    prm_model.save(model, tmp_path / "ours")
    np.testing.assert_allclose(prm_model.scores(prm_model.load(tmp_path / "ours"), latents), right, atol=1e-6)


@sandboxed
def test_a_foreign_file_of_programs_is_judged_written_in_folders_and_rechecked(place, capsys):
    validate, recheck = (command for command in COMMANDS if kind(command) == JUDGED)
    status, said = do(validate, capsys)
    assert status == 0 and "2 against the source program in their row; 1 of no known task" in said
    rows = [json.loads(line) for line in (place / "judged" / "inference_output_demo.jsonl").read_text().splitlines()]
    assert {r["capture_id"]: r["reason"] for r in rows} == {
        "right": "ok", "wrong": "wrong_output", "broken": "compile_error", "lost": "not_checkable"}  # fmt: skip
    assert (place / "judged" / "validators_results_demo.txt").read_text().count("===") == 4
    assert json.loads((place / "judged" / "validators_stats_demo.json").read_text())["stats"]["total"]["validated"] == 1
    status, said = do(recheck, capsys)
    assert status == 1 and "prints what the reference prints" in said and "differs from the reference: line 1" in said
    listed = place / "judged" / "programs" / "list.csv"
    decided = [line.replace(",,", ",reject,", 1) if "wrong_output" not in line else line for line in listed.read_text().splitlines()]
    listed.write_text("\n".join(decided) + "\n")
    status, said = do(recheck, capsys)
    total = next(line.split() for line in said.splitlines() if line.strip().startswith("total"))
    assert total[1:4] == ["3", "0.333", "0.0"], said  # 1 of 3 by the harness, none after the right one was rejected


@pytest.mark.slow
@pytest.mark.parametrize("place", [{"width": 576, "train": 12, "valid": 4}], indirect=True)
def test_whole_stages_on_a_checkpoint_trained_here_and_moved(place, capsys, forked_kernels):
    try:
        assert do(next(c for c in COMMANDS if "train_filtered" in c), capsys)[0] == 0
        shutil.copytree(place / "prm" / "final", place / "elsewhere" / "moved")
        shutil.rmtree(place / "prm" / "final")
        for command in (c.replace("prm/final", "elsewhere/moved") for c in COMMANDS if kind(c) == WHOLE):
            command = command.replace("params/tiny.yaml", str(ROOT / "params" / "tiny.yaml"))
            status, said = do(command, capsys)
            assert status == 0, (command, said[-1500:])
        run = ROOT / "data" / "runs" / "released"
        written = [json.loads(line) for line in (run / "inference_result_released.jsonl").read_text().splitlines()]
        judged = [json.loads(line) for line in (run / "inference_output_released.jsonl").read_text().splitlines()]
        assert len(written) == len(judged) > 0 and (run / "report" / "index.html").exists()
        assert (place / "published" / "dataset.jsonl").exists() and list((place / "published").glob("*_v0_r0.pt"))
    finally:
        shutil.rmtree(ROOT / "data" / "runs" / "released", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("place", [{"width": 24}], indirect=True)
def test_notebooks_02_and_03_on_rows_of_files(place, forked_kernels):
    rows = {"train_jsonl": "train_filtered.jsonl", "valid_jsonl": "valid.jsonl", "vectors": "vectors"}
    sets = [f"prm.{name}={place / 'theirs' / file}" for name, file in rows.items()]
    params = load_file(ROOT / "params" / "tiny.yaml", ("run=rows", "prm.folds=0", f"prm.save_path={place / 'kept'}", *sets))
    try:
        folder = pipeline.run(params, "02-03", say=lambda line: None)
        assert (folder / "selection.parquet").exists() and (place / "kept" / "final" / "families.json").exists()
    finally:
        shutil.rmtree(ROOT / "data" / "runs" / "rows", ignore_errors=True)
