"""What does not load is refused by name in one line: weights, adapters, tokenizers."""

import json

import pytest
import tiny_families as tiny
import torch
from safetensors.torch import load_file, save_file

from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Translator as TranslatorParams
from parallax_lib.prm import backbones
from parallax_lib.prm import model as prm_model
from parallax_lib.translator import models

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.fixture
def base(tmp_path):
    """A folder with a tiny Llama, its tokenizer and one file of weights."""
    tiny.build("llama 3").save_pretrained(tmp_path / "base")
    models.byte_tokenizer().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def refused(folder, adapter=""):
    """The one line with which the translator is refused."""
    with pytest.raises(UserError) as e:
        models.load_translator(TranslatorParams(model=str(folder), adapter=str(adapter), device="cpu"))
    assert "\n" not in str(e.value) and "trust_remote_code" not in str(e.value)
    return str(e.value)


def rewritten(folder, change, name="model.safetensors"):
    file = folder / name
    given = load_file(file)
    save_file(change(given), file, metadata={"format": "pt"})


def broken(value):
    value = value.clone()
    value.view(-1)[3] = float("nan")
    return value


LAST = "model.layers.1.mlp.up_proj.weight"
DAMAGES = [  # what happens to the weights, and what the refusal says
    (lambda w: {f"module.{k}": v for k, v in w.items()}, "'module.'"),
    (lambda w: {f"_orig_mod.{k}": v for k, v in w.items()}, "'_orig_mod.'"),
    (lambda w: {k.replace("layers.1.", "layers.1._orig_mod."): v for k, v in w.items()}, "'_orig_mod.'"),
    (lambda w: {k: v for k, v in w.items() if k != LAST}, f"1 weights are missing, {LAST!r}"),
    (lambda w: {k: v for k, v in w.items() if "layers.1." not in k}, "weights are missing, 'model.layers.1."),
    (lambda w: w | {"model.layers.2.mlp.up_proj.weight": w[LAST].clone()}, "1 weights fit nowhere, 'model.layers.2.mlp"),
    (lambda w: w | {LAST: broken(w[LAST])}, f"{LAST!r} holds values that are not finite"),
    (lambda w: w | {LAST: w[LAST] + torch.inf}, f"{LAST!r} holds values that are not finite"),
    (lambda w: w | {LAST: w[LAST][:-1].clone()}, "cannot load"),
]


@pytest.mark.parametrize("case", range(len(DAMAGES)))
def test_weights_that_did_not_load_are_refused_by_name(base, case):
    change, words = DAMAGES[case]
    rewritten(base, change)
    assert words in refused(base)
    with pytest.raises(UserError) as e:  # the same files as a PRM's backbone
        backbones.pretrained(str(base))
    assert str(e.value).startswith("prm.kind: ") and words.replace("model.", "") in str(e.value).replace("model.", "")


def test_files_that_are_no_weights_are_refused_by_name(base):
    whole = (base / "model.safetensors").read_bytes()
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        kept = (base / name).read_bytes()
        (base / name).write_text(POINTER)
        assert f"{base / name} is a Git LFS pointer" in refused(base)
        (base / name).write_bytes(kept)
    for size in (0, 5, 300, len(whole) - 10):
        (base / "model.safetensors").write_bytes(whole[:size])
        assert "model.safetensors is truncated or damaged" in refused(base)
    (base / "model.safetensors").write_bytes(whole)
    for name in ("config.json", "tokenizer.json"):
        kept = (base / name).read_bytes()
        (base / name).write_bytes(kept[:100])
        assert "cannot load" in refused(base)
        (base / name).write_bytes(kept)
    models.load_translator(TranslatorParams(model=str(base), device="cpu"))


def test_code_beside_the_weights_is_neither_run_nor_asked_for(base, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    settings = json.loads((base / "config.json").read_text())
    own = {"model_type": "homemade", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (base / "config.json").write_text(json.dumps(settings | own))
    (base / "code.py").write_text("raise SystemExit('run')")
    assert "its architecture is code of its own, which is never run" in refused(base)
    with pytest.raises(UserError, match="never run"):
        models.width_of(TranslatorParams(model=str(base)))
    with pytest.raises(UserError, match="never run"):
        backbones.pretrained(str(base))


@pytest.fixture
def adapter(tmp_path):
    """A folder with a LoRA adapter of rank 2 that changes the weights of `base`."""
    import peft  # takes a second

    model = peft.get_peft_model(tiny.build("llama 3"), peft.LoraConfig(r=2, target_modules="all-linear"))
    torch.manual_seed(0)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_that_fits_changes_the_weights(base, adapter):
    plain, adapted = (models.load_translator(TranslatorParams(model=str(base), adapter=a, device="cpu")) for a in ("", str(adapter)))
    same = [torch.equal(a, b) for a, b in zip(plain.model.parameters(), adapted.model.parameters(), strict=True)]
    assert not all(same) and any(same)  # embeddings and norms have no adapter


def test_adapters_that_did_not_load_are_refused_by_name(base, adapter):
    name = "adapter_model.safetensors"
    whole = (adapter / name).read_bytes()
    one = sorted(load_file(adapter / name))[0]
    for change, words in (
        (lambda w: {f"_orig_mod.{k}": v for k, v in w.items()}, "'_orig_mod.'"),
        (lambda w: {k.replace("base_model.model.", "base_model.model.module."): v for k, v in w.items()}, "'module.'"),
        (lambda w: {k: v for k, v in w.items() if k != one}, f"1 weights are missing, {one!r}"),
        (lambda w: w | {one.replace("layers.0", "layers.7"): w[one].clone()}, "1 weights fit nowhere"),
        (lambda w: {}, "weights are missing"),
        (lambda w: {k: torch.zeros_like(v) if "lora_B" in k else v for k, v in w.items()}, "changes no weight of this model"),
        (lambda w: w | {one: broken(w[one])}, "not finite"),
        (lambda w: {k: v[:, :-1].clone() for k, v in w.items()}, "does not fit this model"),
    ):
        rewritten(adapter, change, name)
        said = refused(base, adapter)
        assert words in said and said.startswith(f"translator.adapter: {adapter}"), said
        (adapter / name).write_bytes(whole)
    (adapter / name).write_bytes(whole[:100])
    assert f"{name} is truncated or damaged" in refused(base, adapter)
    (adapter / name).write_text(POINTER)
    assert "is a Git LFS pointer" in refused(base, adapter)
    (adapter / name).write_bytes(whole)
    settings = json.loads((adapter / "adapter_config.json").read_text())
    for kind, words in (("NO_SUCH_TYPE", "of no type that peft knows"), ("PROMPT_TUNING", "which cannot be merged into weights")):
        (adapter / "adapter_config.json").write_text(json.dumps(settings | {"peft_type": kind}))
        said = refused(base, adapter)
        assert words in said and kind in said


def test_a_prm_with_broken_weights_is_refused_by_name(tmp_path):
    model = prm_model.build(prm_model.PRMConfig(backbone="gru", latent_width=8, width=8, layers=1, steps=4))
    prm_model.save(model, tmp_path / "prm")
    prm_model.load(tmp_path / "prm")
    rewritten(tmp_path / "prm", lambda w: {k: broken(v) if k == "head.weight" else v for k, v in w.items()})
    with pytest.raises(UserError, match="'head.weight' holds values that are not finite"):
        prm_model.load(tmp_path / "prm")
    (tmp_path / "prm" / "model.safetensors").write_text(POINTER)
    with pytest.raises(UserError, match="is a Git LFS pointer"):
        prm_model.load(tmp_path / "prm")


def test_frequencies_of_rotations_are_not_rounded(base):
    exact, half = (models.load_translator(TranslatorParams(model=str(base), device="cpu", dtype=d)).model for d in ("float32", "bfloat16"))
    assert half.dtype == torch.bfloat16 and torch.equal(half.model.rotary_emb.inv_freq, exact.model.rotary_emb.inv_freq)
