"""The emulator against a GPU: the agreement that the documents state, counted row by row, and rollouts with a GPU's verdicts."""

import gzip
import hashlib
import json

import agree_cuda
import pytest

from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.search import rollout_files

ROLLOUTS = ROOT / "data" / "rollouts"


def lines(name):
    return map(json.loads, gzip.decompress((ROLLOUTS / name).read_bytes()).decode().splitlines())


@pytest.fixture(scope="module")
def both():
    """(emulated, on a GPU) by kernel and direction, program's text: whether it validates."""
    emulated, texts = {}, {}
    for row in lines("rollouts.jsonl.gz"):
        if row["task"].endswith("-cuda") and row["code"] is not None:
            name = (row["kernel"], row["direction"], hashlib.sha256(json.dumps(row["code"]).encode()).hexdigest()[:12])
            emulated.setdefault(name, []).append(row["validated"])
            texts[name] = row
    return emulated, {tuple(row["id"].split("/")[1:]): row for row in lines("gpu.jsonl.gz")}, texts


def test_every_gpu_verdict_is_of_a_shipped_program_and_the_documents_count_them_right(both):
    emulated, gpu, _ = both
    assert set(gpu) <= set(emulated) and all(row["toolchain"].startswith("nvcc") for row in gpu.values())
    same = sum(emulated[name][0] == (row["level"] == 5) for name, row in gpu.items())
    stricter = sum(emulated[name][0] < (row["level"] == 5) for name, row in gpu.items())
    said = f"{len(gpu):,} of the {len(emulated):,} different CUDA programs"
    for page in ("docs/VERDICTS.md", "docs/RESULTS.md", "data/rollouts/README.md"):
        text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
        assert said in text and f"{100 * same / len(gpu):.1f} %" in text, page
    assert f"{stricter} pass on the GPU only" in (ROOT / "docs" / "VERDICTS.md").read_text(encoding="utf-8")
    assert f"of {len(gpu):,} CUDA programs" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_comparison_says_the_same(both, capsys, tmp_path):
    emulated, gpu, texts = both
    taken = [name for name in gpu if emulated[name][0] != (gpu[name]["level"] == 5)][:3] + list(gpu)[:5]
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl.gz"
    rows = [{"id": gpu[name]["id"], **{k: texts[name][k] for k in ("level", "reason", "log", "parallel_evidence")}} for name in taken]
    first.write_text("".join(json.dumps(row) + "\n" for row in rows))
    second.write_bytes(gzip.compress("".join(json.dumps(gpu[name]) + "\n" for name in taken).encode()))
    agree_cuda.compare(first, second)
    out = capsys.readouterr().out
    assert "all                  n     8  same verdict  62.50%" in out and "not judged on both): 0" in out
    assert all(out.count(gpu[name]["id"]) == 1 for name in taken[:3])


def test_relabelled_rollouts_take_what_the_gpu_said_and_keep_the_rest(both, tmp_path, capsys):
    emulated, gpu, _ = both
    rows, vectors = rollout_files.read_rollouts("data/rollouts")
    other = next(name for name in gpu if emulated[name] == [False] and gpu[name]["level"] == 5)
    wanted = [i for i, name in enumerate(agree_cuda.ids(rows)) if name == gpu[other]["id"]]
    part = rows.iloc[[*wanted, 0, 1]]
    rollout_files.write_rollouts(
        tmp_path / "some", part.drop(columns="origin"), vectors[part.index], json.loads((ROLLOUTS / "metadata.json").read_text())
    )
    (tmp_path / "one.jsonl").write_text(json.dumps(gpu[other]) + "\n")
    agree_cuda.relabel(tmp_path / "some", tmp_path / "one.jsonl", tmp_path / "new")
    after, same_vectors = rollout_files.read_rollouts(str(tmp_path / "new"))
    assert (same_vectors == vectors[part.index]).all()
    assert after["validated"].tolist() == [True, *part["validated"][1:]] and after["reward"].tolist() == [1.0, *part["reward"][1:]]
    assert after["toolchain"][0].startswith("nvcc") and after["log"].tolist()[1:] == part["log"].tolist()[1:]
    assert after.columns.tolist() == part.columns.tolist()
    assert "1 of 3 verdicts" in capsys.readouterr().out


def test_a_gpu_that_could_not_judge_and_other_programs_change_nothing(both, tmp_path):
    _, gpu, _ = both
    rows, vectors = rollout_files.read_rollouts("data/rollouts")
    name = agree_cuda.ids(rows).index(next(iter(gpu.values()))["id"])
    part = rows.iloc[[name]]
    rollout_files.write_rollouts(
        tmp_path / "one", part.drop(columns="origin"), vectors[[name]], json.loads((ROLLOUTS / "metadata.json").read_text())
    )
    for row in ({"id": agree_cuda.ids(part)[0], "level": 2, "reason": "infra_error"}, {"id": "written/x/y/z", "level": 5, "reason": "ok"}):
        (tmp_path / "said.jsonl").write_text(json.dumps(row) + "\n")
        with pytest.raises(UserError, match="judges no program of"):
            agree_cuda.relabel(tmp_path / "one", tmp_path / "said.jsonl", tmp_path / "new")
    with pytest.raises(UserError, match="neither a .parquet table nor a folder"):
        agree_cuda.named(tmp_path / "said.jsonl")
