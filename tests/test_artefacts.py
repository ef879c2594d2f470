"""Anyone's rows, tensors and checkpoints: names of fields, precision, widths, leaks, warm starts; each wrong thing in one line."""

import gzip
import json
import os
import subprocess
from dataclasses import replace

import numpy as np
import published_artefacts
import pytest
import torch
import yaml
from training_rows import GRU, SHORT, make_rows, weights_of

from parallax_lib.__main__ import main
from parallax_lib.core import storage
from parallax_lib.core.config import ROOT, load, load_values
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import direction_name
from parallax_lib.core.source import source_digest
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import train
from parallax_lib.search import published_format
from parallax_lib.search.field_map import FieldMap, read_map
from parallax_lib.search.published_format import export_layout, import_layout, read_jsonl, with_tree
from parallax_lib.study import prm_data, prm_registry, program_folders, stages
from parallax_lib.study import run as runs
from parallax_lib.tasks.suites import load_suite
from parallax_lib.tasks.task import Kernel, Task, spread, tasks
from parallax_lib.verdict import build, reference, run_folder, toolchain
from parallax_lib.verdict.toolchain import Toolchain

GPU = Toolchain("cuda", "/opt/nvcc", "", (), True, True, gpu=True)


def save(folder, name, value, packed=False):
    torch.save(value, folder / f"{name}.pt")
    if packed:
        file = folder / f"{name}.pt"
        file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()


def rows_file(folder, rows, name="rows.jsonl"):
    published_artefacts.write_rows(folder / name, rows)
    return folder / name


def test_directions_are_read_in_every_spelling():
    for text in ("cuda:omp", "CUDA -> OpenMP", "cuda_to_omp", "cuda-omp", "CUDA/omp", "cuda to openmp"):
        assert direction_name(text) == "cuda-omp", text
    assert load("tiny", suite={"directions": ["serial:cuda", "C++ -> OpenMP"]}).suite.directions == ("serial-cuda", "serial-omp")


def test_rows_continuations_and_separate_rows_mean_the_same(tmp_path):
    (tmp_path / "vectors").mkdir()
    for name in ("a", "a_v0_r0", "a_v1_r2"):
        save(tmp_path / "vectors", name, torch.full((2, 4), float(len(name))), packed=name == "a")
    row = {"ID": "a", "benchmark": "k", "source": "CUDA", "target": "OpenMP", "reward": 1.0}
    listed = [{"v": 0, "r": 0, "reward": 0.0}, {"id": "a_v1_r2", "reward": 0.3}]
    named = {"v0_r0": {"reward": 0.0}, "v1_r2": {"reward": 0.3}}
    apart = [row | {"ID": name, "reward": reward} for name, reward in (("a_v0_r0", 0.0), ("a_v1_r2", 0.3))]
    for i, rows in enumerate(([row | {"continuations": listed}], [row | {"children": named}], [row, *apart])):
        frame, vectors, report = read_jsonl(rows_file(tmp_path, rows, f"{i}.jsonl"))
        frame = with_tree(frame)
        assert frame["capture_id"].tolist() == ["a", "a_v0_r0", "a_v1_r2"] and frame["root"].tolist() == ["a"] * 3
        assert frame["branch_depth"].tolist() == [-1, 0, 1] and frame["resample"].tolist() == [0, 0, 2]
        assert frame["reward"].tolist() == [1.0, 0.0, 0.3] and set(frame["direction"]) == {"cuda-omp"}
        assert vectors[:, 0, 0].tolist() == [1, 7, 7] and "benchmark is kernel" in report.text()


def test_unknown_fields_are_mapped_by_a_file_and_what_is_skipped_is_told(tmp_path):
    save(tmp_path, "a", torch.zeros(2, 4))
    rows = rows_file(tmp_path, [{"nr": "a", "bench": "k", "verdict": 1.0, "x": 5}, {"nr": "b", "bench": "k", "verdict": 0.5}])
    with pytest.raises(UserError, match=r"line 1: not a row with a capture_id \(its fields: bench, nr, verdict, x\)"):
        read_jsonl(rows)
    (tmp_path / "map.yaml").write_text("capture_id: nr\nkernel: bench\nreward: [outcome, verdict]\nignore: [x]\n")
    frame, _, report = read_jsonl(rows, names=read_map(str(tmp_path / "map.yaml")))
    assert frame[["capture_id", "kernel", "reward"]].values.tolist() == [["a", "k", 1.0]]
    assert "skipped: 1 rows have no tensor in the folder, b.pt first" in report.text() and "carried" not in report.text()
    (tmp_path / "map.yaml").write_text("kernell: bench\n")
    with pytest.raises(UserError, match="map.yaml: line 1: 'kernell' is no field here; did you mean 'kernel'?"):
        read_map(str(tmp_path / "map.yaml"))
    assert FieldMap().found({"score": 1, "reward": 2})["reward"] == "reward"  # the likeliest of two


def test_bfloat16_is_kept_and_what_float16_cannot_hold_is_refused(tmp_path):
    wide = torch.tensor([[9e4, 1e-30], [-3.0e38, 0.1]]).to(torch.bfloat16)
    save(tmp_path, "a", wide)
    rows = rows_file(tmp_path, [{"capture_id": "a", "kernel": "k"}], "dataset.jsonl")
    frame, vectors, report = read_jsonl(rows)
    assert report.dtype == "bfloat16" and torch.equal(torch.from_numpy(vectors[0]), wide.float())
    storage.write_vectors(tmp_path / "shard.safetensors", vectors)
    np.testing.assert_array_equal(storage.read_vectors(tmp_path / "shard.safetensors"), vectors)
    assert (tmp_path / "shard.safetensors").stat().st_size < 8 + 200 + 2 * vectors.size
    export_layout(tmp_path / "again", frame, vectors)
    assert torch.load(tmp_path / "again" / "a.pt").dtype == torch.bfloat16
    np.testing.assert_array_equal(import_layout(tmp_path / "again")[1], vectors)
    save(tmp_path, "a", wide.float())
    with pytest.raises(UserError, match=r"a.pt: holds 3.*e\+38, more than float16 can \(65504\); save it as bfloat16"):
        read_jsonl(rows)
    save(tmp_path, "a", torch.tensor([[65504.0, 0.5]]))
    assert read_jsonl(rows)[1].dtype == np.float16


def test_another_width_is_told_with_the_first_tensor(tmp_path, capsys, monkeypatch):
    published_artefacts.write(tmp_path / "theirs", train=2, valid=1)
    prm_model.save(prm_model.build(replace(GRU, latent_width=17)), tmp_path / "prm")
    loaded = []
    blank = np.zeros((6, 16), np.float16)
    monkeypatch.setattr(published_format, "read_tensor", lambda path: loaded.append(path) or blank)
    command = ["validate-branches", "--jsonl", str(tmp_path / "theirs" / "valid.jsonl"), "--checkpoint", str(tmp_path / "prm")]
    assert main(command) == 2 and len(loaded) == 1
    assert "latents are 16 wide, the PRM in" in capsys.readouterr().err


def test_a_family_in_both_files_and_a_reward_that_is_none_are_refused(tmp_path):
    published_artefacts.write(tmp_path / "t", train=3, valid=1)
    both = {"train_jsonl": str(tmp_path / "t" / "train.jsonl"), "valid_jsonl": str(tmp_path / "t" / "valid.jsonl")}
    with pytest.raises(UserError, match="1 families are in both, 'held0' first; name the training file without"):
        prm_data.load(load_values({"run": "x", "prm": both}))
    rows = [json.loads(line) for line in (tmp_path / "t" / "valid.jsonl").read_text().splitlines()]
    for score, message in ((1.5, "rewards from .* to 1.5; they lie in 0..1"), (None, "rows tell no reward and no verdict")):
        changed = [{k: v for k, v in (row | {"score": score, "branches": []}).items() if v is not None} for row in rows]
        one = {"valid_jsonl": str(rows_file(tmp_path / "t", changed, f"{score}.jsonl"))}
        with pytest.raises(UserError, match=message):
            prm_data.load(load_values({"run": "x", "prm": one}))


def test_verdict_flags_stand_for_a_reward(tmp_path):
    save(tmp_path, "a", torch.zeros(2, 4))
    row = {"capture_id": "a", "kernel": "saxpy", "direction": "serial:omp", "compiled": True, "ran": True, "passed": False}
    given = {"prm": {"valid_jsonl": str(rows_file(tmp_path, [row]))}, "reward": {"spec": "paper"}}
    frame, _ = prm_data.load(load_values({"run": "x"} | given))
    assert frame.loc[0, ["reward", "split", "family", "task"]].tolist() == [0.55, "test", "map", "saxpy.serial-omp"]


def test_stage_03_refuses_a_prm_that_has_seen_a_tested_family(tmp_path):
    published_artefacts.write(tmp_path / "t", train=2, valid=1)
    prm_model.save(prm_model.build(replace(GRU, latent_width=16)), tmp_path / "prm")
    prm_registry.write_families(["held0", "other"], tmp_path / "prm")
    given = {"valid_jsonl": str(tmp_path / "t" / "valid.jsonl"), "checkpoint": str(tmp_path / "prm")}
    run = runs.Run(load_values({"run": "x", "prm": given}), tmp_path, None, lambda *a: None)
    with pytest.raises(UserError, match="trained on family 'held0', which it is to be tested on"):
        stages.select_branches(run)
    prm_registry.write_families(["other"], tmp_path / "prm")
    assert len(stages.select_branches(run)) and run.has("branches")


def test_a_warm_start_begins_with_the_weights_and_refuses_another_kind_of_score(tmp_path):
    data, shape = make_rows(), replace(GRU, steps=4)
    first, _ = train.fit(*data, replace(SHORT, loss="bce"), tmp_path / "first", prm=shape)
    still = replace(SHORT, loss="bce", epochs=1, lr=1e-12, init=str(tmp_path / "first" / "final"))
    again, history = train.fit(*data, still, prm=shape)
    assert len(history)
    for name, value in weights_of(first).items():
        torch.testing.assert_close(weights_of(again)[name], value, atol=1e-6, rtol=0)
    with pytest.raises(UserError, match="are read through sigmoid, those of the loss 'mse' through clip"):
        train.fit(*data, replace(still, loss="mse"), prm=shape)
    prm_model.save(prm_model.build(replace(GRU, latent_width=11)), tmp_path / "narrow")
    with pytest.raises(UserError, match="latents are 12 wide, .* takes 11"):
        train.fit(*data, replace(still, init=str(tmp_path / "narrow")), prm=shape)


def test_a_key_map_names_what_shapes_do_not_tell(tmp_path):
    tmp_path = tmp_path / "checkpoint-7"
    adapter, norm, body, head = published_artefacts.write_checkpoint(tmp_path, 32)
    code = source_digest(train.initial_model)
    file = tmp_path / "pytorch_model.bin"
    weights = torch.load(file)
    weights = {f"wrapped.{name}": value for name, value in weights.items()} | {"wrapped.second.weight": torch.zeros(1, 32)}
    torch.save(weights | {"mu": torch.ones(32), "sd": torch.full((32,), 2.0)}, file)
    with pytest.raises(UserError, match=r"no scalar head \[1, 32\] .*name it: 'head: PREFIX' in key_map.yaml"):
        prm_model.load(tmp_path)
    said = {"head": "wrapped.v_head.summary.", "adapter": "wrapped.latent_proj.", "norm": "wrapped.latent_norm.", "mean": "mu", "std": "sd"}
    (tmp_path / "key_map.yaml").write_text(yaml.safe_dump(said))
    with pytest.raises(UserError, match="1 weights fit nowhere, 'wrapped.second.weight'"):
        prm_model.load(tmp_path)
    weights.pop("wrapped.second.weight")
    torch.save(weights | {"mu": torch.ones(32), "sd": torch.full((32,), 2.0)}, file)
    (tmp_path / "key_map.yaml").write_text(yaml.safe_dump(said | {"activation": "clip"}))
    latents = torch.randn(2, 3, 32)
    with torch.no_grad():
        right = head(body(inputs_embeds=norm(torch.nn.functional.gelu(adapter((latents - 1) / 2)))).last_hidden_state)[..., 0]
    model = prm_model.load(tmp_path, 32)
    torch.testing.assert_close(model(latents), right, atol=1e-5, rtol=1e-5)
    assert model.config.output == "clip"
    assert source_digest(train.initial_model) == code  # a checkpoint that was read does not make a training another one
    with pytest.raises(UserError, match="it holds checkpoint-7: give one of these"):
        prm_model.read_config(tmp_path.parent)


def test_a_users_folder_is_never_overwritten(tmp_path, capsys):
    published_artefacts.write(tmp_path / "t", train=2, valid=1)
    (tmp_path / "out" / "final").mkdir(parents=True)
    assert main(["train", "--jsonl", str(tmp_path / "t" / "train.jsonl"), "--out", str(tmp_path / "out")]) == 2
    assert "holds a trained PRM, final; name another folder" in capsys.readouterr().err


def test_a_limit_per_direction_keeps_the_draw():
    pool = tasks(load_suite(load("tiny").suite), load("tiny").suite.directions)
    every, some = spread(pool, 10**6, 3), spread(pool, 10**6, 3, per_direction=2)
    assert [t.direction for t in some].count("serial-omp") == 2 and len(some) == 2 * len({t.direction for t in pool})
    assert [t.id for t in every[: len(some)]] == [t.id for t in some]


def test_the_presets_memory_is_told_without_a_hub(capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, size in (("7b", "7.62 B"), ("14b", "14.77 B"), ("30b", "30.53 B"), ("70b", "70.55 B")):
        assert main(["size", str(ROOT / "params" / f"{name}.yaml")]) == 0
        assert f"{size} parameters, bfloat16" in capsys.readouterr().out


def test_judged_programs_are_held_to_the_gpus_that_are_named():
    tools = toolchain.on_gpus({"serial": Toolchain("serial", "g++", "", (), True, True), "cuda": GPU}, (1, 3))
    assert {build._env(tools["cuda"])["CUDA_VISIBLE_DEVICES"] for _ in range(4)} == {"1", "3"}
    assert "CUDA_VISIBLE_DEVICES" not in build._env(tools["serial"]) and reference.tool_facts(tools["cuda"]) == reference.tool_facts(GPU)
    asked = {"gpus": [1, 3], "max_parallel": 4}
    assert runs.judging(load_values({"run": "x", "validation": asked})) == 8
    with pytest.raises(UserError, match="validation.max_parallel: it counts for each of validation.gpus"):
        load_values({"run": "x", "validation": {"max_parallel": 4}})


def test_outputs_differ_by_words_and_by_numbers_that_no_other_order_explains():
    ours = "g++ -O2 main.cpp -o program\n./program 7\nsum 1.0000001 PASS\n\nlast   2\n"
    assert run_folder.difference(ours, "./program 8\nsum 1.0 PASS\nlast 2\n") == ""
    assert run_folder.difference(ours, "sum 1.001 PASS\nlast 2\n").startswith("line 1: 'sum 1.0000001 PASS'")
    assert run_folder.difference(ours, "sum 1.0 FAIL\nlast 2\n").startswith("line 1")
    assert run_folder.difference(ours, "sum 1 PASS\n") == "2 lines, the reference prints 1"


def test_arguments_are_quoted_for_make_and_the_shell(tmp_path):
    odd = "$(touch owned) `x` $HOME 'q'"
    kernel = Kernel("k", "k", "s", {"serial": "int main(int, char** v) { __builtin_puts(v[1]); }"}, (), ((odd,),))
    folder = run_folder.write(tmp_path / "p", kernel.sources["serial"], Task(kernel, "serial", "serial"))
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of a make that runs the tests
    done = subprocess.run(["make", "clean", "run"], cwd=folder, capture_output=True, text=True, env=alone)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == odd and not (folder / "owned").exists()
    broken = replace(kernel, hidden_args=(("a\nb",),))
    with pytest.raises(UserError, match="a Makefile cannot hold a line break"):
        run_folder.write(tmp_path / "q", "", Task(broken, "serial", "serial"))


def test_lists_of_decisions_are_read_as_text_csv_and_yaml(tmp_path):
    texts = {"a.txt": "x  # the first\n\ny\n", "a.csv": "folder,choice,note\nx,accept,fine\ny,,\n"}
    texts["a.yaml"] = "x: accept\ny: {choice: '', note: n}\n"
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        found = program_folders.read_list(tmp_path / name)
        assert [e.folder for e in found] == [tmp_path / "x", tmp_path / "y"] and found[0].choice == ("" if name == "a.txt" else "accept")
    (tmp_path / "a.csv").write_text("folder,choice\nx,maybe\n")
    with pytest.raises(UserError, match="entry 1: choice 'maybe' is not one of accept, reject"):
        program_folders.read_list(tmp_path / "a.csv")
