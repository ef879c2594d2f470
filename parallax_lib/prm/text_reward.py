"""A reward model that reads text: a causal language model's body over token ids, a scalar head where a score is given.

Knows token ids.  Knows nothing of what they say, of labels or of search.

n rows, K scores of a row, B rows of a batch, T tokens, H width of the body.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from parallax_lib.core.errors import UserError
from parallax_lib.core.halving import Shrinking
from parallax_lib.core.progress import Inside, unheard
from parallax_lib.prm import model as prm_model
from parallax_lib.prm.backbones import CausalBody, pretrained
from parallax_lib.prm.losses import to_probability
from parallax_lib.prm.text_rows import READS, Texts, chunks, collate
from parallax_lib.translator import models, packaged_models

GPU_TOKENS, CPU_TOKENS = 16_384, 4_096  # of one forward


@dataclass(frozen=True)
class TextConfig:
    backbone: str = "qwen-coder-0.5b"  # a packaged model, or a causal LM by id or folder
    reads: str = "program"  # of text_rows.READS
    lora_rank: int = 16  # 0: the whole body is trained, in float32
    loss: str = "bce"  # decides how a raw score becomes a probability
    max_tokens: int = 8192  # rows of more are not read
    base: str = ""  # fingerprint of the weights beneath the adapters; building fills it in


class TextPRM(nn.Module):
    """Body, the standardised state of a token, scalar head; one score for each token that is asked for."""

    def __init__(self, config: TextConfig, backbone: CausalBody):
        super().__init__()
        self.config, self.backbone = config, backbone
        self.head = nn.Linear(backbone.width, 1)
        nn.init.zeros_(self.head.weight)  # before training it says the base rate
        self.register_buffer("mean", torch.zeros(backbone.width))
        self.register_buffer("std", torch.ones(backbone.width))

    def forward(self, ids: Tensor, ends: Tensor) -> Tensor:
        """ids [B, T] padded on the right, ends [B, K] -> raw scores [B, K]; those of ends below 0 mean nothing."""
        return self.head((self.states(ids, ends) - self.mean) / self.std)[..., 0]

    def states(self, ids: Tensor, ends: Tensor) -> Tensor:
        """The states [B, K, H] of the tokens at `ends`, float32.  On a GPU the body computes in bfloat16."""
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=ids.device.type != "cpu"):
            hidden = self.backbone.read(ids)
        at = ends.clamp_min(0)[..., None].expand(-1, -1, hidden.shape[-1])
        return hidden.gather(1, at).float()


def source_of(name: str) -> str:
    """Where transformers finds a backbone; a packaged one is fetched on first use."""
    return str(packaged_models.fetched(name)) if name in packaged_models.table() else name


def tokenizer_of(config: TextConfig):
    return models.read_tokenizer(models.id_or_folder(source_of(config.backbone)))


def build(config: TextConfig) -> TextPRM:
    """A fresh model; adapters are drawn from torch's generator.  UserError for a backbone that cannot be read."""
    if config.reads not in READS:
        raise UserError(f"a text PRM reads {', '.join(READS)}, not {config.reads!r}")
    body = pretrained(source_of(config.backbone), config.lora_rank, words=True)
    return TextPRM(replace(config, base=body.fingerprint() if config.lora_rank else ""), body)


def read_config(folder: Path) -> TextConfig:
    """The description of a trained text PRM.  UserError where the folder holds none."""
    file = folder / "prm.json"
    if not file.exists():
        inside = sorted(p.name for p in folder.glob("*/") if (p / "prm.json").exists()) if folder.is_dir() else []
        hint = f"; it holds {', '.join(inside)}: give one of these" if inside else "; name DIR/final of what train-text wrote"
        raise UserError(f"{folder}: no prm.json here{hint}")
    try:
        return TextConfig(**json.loads(file.read_text()))
    except (json.JSONDecodeError, TypeError):
        raise UserError(f"{file}: not a text PRM's description; a PRM of latents is tested by validate-branches") from None


def load(folder: str | Path, device: str = "cpu") -> TextPRM:
    """A saved model in eval mode.  UserError for damaged files or another backbone than it was trained on."""
    folder = Path(folder)
    config = read_config(folder)
    model = build(config)
    if model.config.base != config.base:
        problem = f"{folder}: {config.backbone} has other weights than this PRM was trained on"
        raise UserError(f"{problem}; put those back, or train a PRM on these")
    try:
        prm_model.restore(model, load_file(folder / "model.safetensors"))
    except FileNotFoundError:
        raise UserError(f"{folder}: model.safetensors is missing; copy the whole folder") from None
    except (SafetensorError, RuntimeError) as e:
        raise UserError(f"{folder}: its files do not fit together: {' '.join(str(e).split())[:160]}") from None
    return model.to(device).eval()


def chunk_size(device: str | torch.device, asked: int = 0) -> int:
    """Tokens of one forward: as asked, else what suits the device."""
    return asked or (CPU_TOKENS if torch.device(device).type == "cpu" else GPU_TOKENS)


class Chunks(Shrinking):
    """Forwards of at most so many tokens, half as many from where memory ran out."""

    def cut(self, lengths: np.ndarray) -> list[np.ndarray]:
        return list(chunks(lengths, self.most))

    def fitted(self, work: Callable[[], Any], least: int, start_over: Callable[[], None] = lambda: None) -> Any:
        """`work()`; where memory runs out, after `start_over()` again with half of the tokens.  UserError if one row of `least`
        tokens is too much."""

        def release() -> None:
            start_over()
            torch.cuda.empty_cache()

        try:
            return self.tried(work, release, least - 1)
        except torch.OutOfMemoryError:
            raise UserError(f"one text of {least} tokens does not fit into the GPU's memory; lower --max-tokens") from None


@torch.no_grad()
def score(model: TextPRM, texts: Texts, tokens: int = 0, inside: Inside = unheard) -> np.ndarray:
    """Scores in 0..1, float32 [n, K]; NaN where a row is not read or has no score there.  Equal texts are read once.

    tokens: of one forward; 0: what suits the device.
    """
    model.eval()
    first: dict[bytes, int] = {}
    of = np.array([first.setdefault(key, i) for i, key in enumerate(texts.keys())], dtype=np.int64)
    todo = np.array([i for i in first.values() if not texts.why[i]], dtype=np.int64)
    out, device = np.full(texts.ends.shape, np.nan, dtype=np.float32), model.mean.device
    limit, done = Chunks(chunk_size(device, tokens)), 0
    lengths = texts.tokens[todo]

    def read(rows: np.ndarray) -> None:
        for part in limit.cut(texts.tokens[rows]):
            some = rows[part]
            ends = torch.from_numpy(texts.ends[some]).to(device)
            raw = model(collate([texts.ids[i] for i in some]).to(device), ends)
            out[some] = to_probability(model.config.loss, raw).cpu().numpy()

    for part in chunks(lengths, limit.most):
        limit.fitted(lambda rows=todo[part]: read(rows), int(lengths[part].max()))
        done += int(lengths[part].sum())
        inside("score", done, int(lengths.sum()), "tokens")
    return np.where(texts.ends >= 0, out[of], np.nan).astype(np.float32)


def last(scores: np.ndarray) -> np.ndarray:
    """[n] the last score of each row [n, K], NaN without one."""
    at = np.isfinite(scores).cumsum(1).argmax(1)
    return scores[np.arange(len(scores)), at]
