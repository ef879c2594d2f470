"""The published layout: there and back, and what hostile or broken files say."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
import torch

from parallax_lib.core.errors import UserError
from parallax_lib.search.published_format import export_layout, import_layout


@pytest.fixture
def folder(tmp_path):
    frame = pd.DataFrame({"capture_id": ["a-1", "a-1_v0_r0", "a-1_v1_r0"], "task": ["t"] * 3, "reward": [1.0, 0.0, np.nan]})
    vectors = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float16)
    export_layout(tmp_path, frame, vectors)
    return tmp_path, frame, vectors


def test_there_and_back(folder):
    path, frame, vectors = folder
    assert sorted(p.name for p in path.iterdir()) == ["a-1.pt", "a-1_v0_r0.pt", "a-1_v1_r0.pt", "dataset.jsonl"]
    back, again = import_layout(path)
    pd.testing.assert_frame_equal(back, frame)
    np.testing.assert_array_equal(again, vectors)


def test_gzipped_files_are_accepted(folder):
    path, frame, vectors = folder
    for file in list(path.iterdir()):
        file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    np.testing.assert_array_equal(import_layout(path)[1], vectors)


def test_a_pickle_that_runs_code_does_not_run(folder, tmp_path):
    path, *_ = folder

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save(Evil(), path / "a-1.pt")
    with pytest.raises(UserError, match=r"a-1.pt: cannot be read as a tensor"):
        import_layout(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(2, 4, 4), r"expected a dense float tensor \[K, D\], found Tensor \[2, 4, 4\]"),
        (torch.zeros(2, 4, dtype=torch.int32), "expected a dense float tensor"),
        ({"a": 1}, "found dict"),
        (torch.full((2, 4), float("inf")), "holds NaN or infinity"),
        (torch.zeros(2, 5), "latents have 2 different shapes"),
    ],
)
def test_wrong_tensors_are_named(folder, value, message):
    torch.save(value, folder[0] / "a-1.pt")
    with pytest.raises(UserError, match=message):
        import_layout(folder[0])


def test_truncated_and_missing_files_are_named(folder):
    path = folder[0]
    (path / "a-1.pt").write_bytes((path / "a-1.pt").read_bytes()[:200])
    with pytest.raises(UserError, match="a-1.pt: cannot be read"):
        import_layout(path)
    (path / "a-1.pt").unlink()
    with pytest.raises(UserError, match="a-1.pt: named in dataset.jsonl but missing"):
        import_layout(path)


def test_a_line_ends_at_a_newline_only(folder):
    path, frame, vectors = folder
    odd = frame.assign(task="a\u2028b\x85c\x0bd")
    export_layout(path, odd, vectors)
    rows = [json.loads(line) for line in (path / "dataset.jsonl").read_text().split("\n")[:-1]]
    (path / "dataset.jsonl").write_text("\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    pd.testing.assert_frame_equal(import_layout(path)[0], odd)


@pytest.mark.parametrize("line", ["5", "null", '["a"]', '"a"', "{}", "{", "", "\xff"])
def test_a_line_that_is_no_row_is_named(folder, line):
    index = folder[0] / "dataset.jsonl"
    index.write_bytes(index.read_bytes() + line.encode("latin-1") + b"\n")
    with pytest.raises(UserError, match="line 4: not a row with a capture_id"):
        import_layout(folder[0])


def test_nothing_outside_the_folder_is_read(folder, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    for name in (5, ["a.pt"], {"a": 1}, "a b.pt", "../a-1.pt", str(tmp_path / "a-1.pt"), "x/../../a-1.pt"):
        (inner / "dataset.jsonl").write_text(json.dumps({"capture_id": "b", "latents": name}) + "\n")
        with pytest.raises(UserError, match="is not a plain file name|a-1.pt|b.pt: named in dataset.jsonl but missing"):
            import_layout(inner)
