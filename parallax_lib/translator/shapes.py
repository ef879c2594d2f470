"""Descriptions of language models: from a folder, from what was fetched earlier, from the table here, or from the hub.

Knows configurations.  Reads no weight and no tokenizer.
"""

from __future__ import annotations

import os
from typing import Any

from parallax_lib.core.config import id_or_folder

QWEN2 = {"model_type": "qwen2", "vocab_size": 152064, "max_position_embeddings": 32768}
SHAPES = {  # published config.json of the presets' models, so that their memory is told without a hub
    "Qwen/Qwen2.5-Coder-7B-Instruct": QWEN2
    | {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944},
    "Qwen/Qwen2.5-Coder-14B-Instruct": QWEN2
    | {"hidden_size": 5120, "num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8, "intermediate_size": 13824},
    "Qwen/Qwen2.5-Coder-32B-Instruct": QWEN2
    | {"hidden_size": 5120, "num_hidden_layers": 64, "num_attention_heads": 40, "num_key_value_heads": 8, "intermediate_size": 27648},
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": {
        "model_type": "qwen3_moe", "vocab_size": 151936, "max_position_embeddings": 262144, "hidden_size": 2048, "num_hidden_layers": 48,
        "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "intermediate_size": 5472, "moe_intermediate_size": 768,
        "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1, "tie_word_embeddings": False,
    },
    "meta-llama/Llama-3.3-70B-Instruct": {
        "model_type": "llama", "vocab_size": 128256, "max_position_embeddings": 131072, "hidden_size": 8192, "num_hidden_layers": 80,
        "num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 28672,
    },
}  # fmt: skip


def known(name: str) -> bool:
    """Whether the table is asked: a model of it that is not on this disk."""
    return name in SHAPES and not os.path.isdir(id_or_folder(name)) and not _fetched(name)


def configuration(name: str) -> Any:
    """The configuration of a model by folder or id."""
    from transformers import AutoConfig

    if known(name):
        shape = dict(SHAPES[name])
        return AutoConfig.for_model(shape.pop("model_type"), dtype="bfloat16", **shape)
    return AutoConfig.from_pretrained(id_or_folder(name), trust_remote_code=False)


def _fetched(name: str) -> bool:
    """Whether the hub's cache on this disk has the model's description and its tokenizer."""
    from huggingface_hub import try_to_load_from_cache

    return all(isinstance(try_to_load_from_cache(name, file), str) for file in ("config.json", "tokenizer.json"))
