"""PRMs that travel to other processes: the same model from its folder and from its files, read once a process."""

import pickle

import pytest
import torch

from parallax_lib.core.errors import UserError
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import packed

CONFIG = prm_model.PRMConfig(backbone="gru", latent_width=6, width=8, steps=2)
LATENTS = torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(0))


def saved(folder, seed=0):
    torch.manual_seed(seed)
    return prm_model.save(prm_model.build(CONFIG), folder)


@pytest.fixture
def reads(monkeypatch):
    """The folders that `prm.load` was asked for."""
    seen, load = [], prm_model.load
    monkeypatch.setattr(prm_model, "load", lambda folder, **more: seen.append(str(folder)) or load(folder, **more))
    return seen


@pytest.mark.parametrize("shared_disk", [True, False])
def test_what_arrives_is_the_model_that_was_packed(shared_disk, tmp_path):
    folder = saved(tmp_path / "prm")
    told = packed.pack(folder, shared_disk)
    assert ("files" in told) != shared_disk and len(pickle.dumps(told)) < 2000 < (folder / "model.safetensors").stat().st_size
    (model,) = packed.unpack([told], "cpu")
    assert torch.equal(prm_model.scores(model, LATENTS), prm_model.scores(prm_model.load(folder), LATENTS))


def test_the_same_files_are_read_once_and_other_files_in_the_same_place_anew(tmp_path, reads):
    first, second = (packed.pack(saved(tmp_path / name, seed), True) for name, seed in (("a", 1), ("b", 2)))
    models = packed.unpack([first, second], "cpu")
    assert packed.unpack([first, second], "cpu") == models and len(reads) == 2
    assert packed.unpack([packed.pack(tmp_path / "a")], "cpu") == models[:1] and len(reads) == 2
    (other,) = packed.unpack([packed.pack(saved(tmp_path / "a", 3), True)], "cpu")
    assert len(reads) == 3 and not torch.equal(prm_model.scores(other, LATENTS), prm_model.scores(models[0], LATENTS))
    packed.unpack([first | {"folder": str(tmp_path / "b")}], "cpu")  # unwanted ones were let go: two 7B bodies do not fit
    assert len(reads) == 4


def test_damaged_files_are_one_line(tmp_path):
    folder = saved(tmp_path / "prm", 4)
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="truncated or damaged"):
        packed.unpack([packed.pack(folder)], "cpu")
