"""Weights in bfloat16 that are trained as if they were float32."""

import importlib.util
from dataclasses import replace

import pytest
import torch
from training_rows import SHORT, make_rows, write_lm

from parallax_lib.core.errors import UserError
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import optimizer, train

CONFIG = replace(SHORT, epochs=12, batch=60, device_batch=60, lr=2e-5, unfreeze_step=0, warmup=0, backbone_lr_factor=1.0, patience=0)


def test_without_the_library_and_in_several_processes_it_is_refused_in_one_line(monkeypatch):
    optimizer.check("bf16", 8)
    with pytest.raises(UserError, match="in one process"):
        optimizer.check(optimizer.KAHAN, 2)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs torch-optimi"):
        optimizer.check(optimizer.KAHAN, 1)


def test_a_model_whose_weights_are_bfloat16_scores_as_its_float32_twin(tmp_path):
    write_lm(tmp_path / "lm")
    torch.manual_seed(0)
    model = prm_model.build(prm_model.PRMConfig(backbone=str(tmp_path / "lm"), latent_width=12)).eval()
    latents = torch.randn(5, 4, 12)
    exact = prm_model.scores(model, latents)
    optimizer.to_bfloat16(model.backbone)
    assert prm_model.scores(model, latents) == pytest.approx(exact, abs=0.03)


def test_a_recurrent_model_keeps_float32_weights():
    """Its cells cast nothing, so it would score no latents."""
    model = prm_model.build(prm_model.PRMConfig(backbone="gru", latent_width=12))
    train.first_phase(model, replace(CONFIG, precision="bf16"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimizer, "adamw", lambda *given: None)
        train.first_phase(model, replace(CONFIG, precision=optimizer.KAHAN))
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.skipif(importlib.util.find_spec("optimi") is None, reason="torch-optimi is not installed: pip install -e '.[bf16]'")
def test_bfloat16_weights_go_where_float32_ones_go(tmp_path, monkeypatch):
    """Each step is below the resolution of most weights: without what was rounded away they stay."""
    write_lm(tmp_path / "lm", hidden_size=64)
    shape, moved, ends = prm_model.PRMConfig(backbone=str(tmp_path / "lm")), {}, {}
    started = prm_model.build(replace(shape, latent_width=12)).backbone.state_dict()

    def plain(group, lr, decay, precision, fused):
        return torch.optim.AdamW([group], lr=lr, weight_decay=decay)

    for name, precision in (("float32", "bf16"), ("kahan", optimizer.KAHAN), ("plain", optimizer.KAHAN)):
        if name == "plain":
            monkeypatch.setattr(optimizer, "adamw", plain)
        out = tmp_path / name
        model, _ = train.fit(*make_rows(), replace(CONFIG, precision=precision, save_every=5), out, prm=shape)
        ends[name] = {k: v.float() for k, v in model.backbone.state_dict().items()}
        moved[name] = sum(float((ends[name][k] - v.float()).abs().sum()) for k, v in started.items() if k in ends[name])
        dtype = torch.float32 if name == "float32" else torch.bfloat16
        assert {p.dtype for p in model.backbone.parameters()} == {dtype}
        again = prm_model.load(out / "final")
        assert torch.equal(again.head.weight, model.head.weight.float())
    assert moved["kahan"] == pytest.approx(moved["float32"], rel=0.1) and moved["plain"] < 0.7 * moved["float32"]


@pytest.mark.skipif(importlib.util.find_spec("optimi") is None, reason="torch-optimi is not installed: pip install -e '.[bf16]'")
def test_a_stopped_training_of_bfloat16_weights_goes_on_with_what_was_rounded_away(tmp_path):
    write_lm(tmp_path / "lm")
    config = replace(CONFIG, precision=optimizer.KAHAN, save_every=4, eval_every=4)
    shape = prm_model.PRMConfig(backbone=str(tmp_path / "lm"))

    class Stopped(Exception):
        pass

    def stop(row):
        if row["step"] == 6:
            raise Stopped

    whole, _ = train.fit(*make_rows(), config, tmp_path / "whole", prm=shape)
    with pytest.raises(Stopped):
        train.fit(*make_rows(), config, tmp_path / "parts", prm=shape, progress=stop)
    parts, _ = train.fit(*make_rows(), config, tmp_path / "parts", prm=shape)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))
