"""Reads models and adapters from files, and refuses by name what did not load.

Knows files, names of weights and what peft merges.  Knows no architecture, no engine and no task.  Code that lies beside
weights is never run.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from parallax_lib.core.errors import UserError

ELSE = {"translator.model": "'smollm2', 'qwen-coder-0.5b'", "prm.kind": "'transformer', 'gru', 'ridge'"}  # what needs no hub
POINTER = b"version https://git-lfs"
WRAPPERS = ("_orig_mod.", "module.")  # what torch.compile and data-parallel training put before a name
WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@contextmanager
def one_line(model: str | Path, key: str = "translator.model") -> Iterator[None]:
    """Whatever is raised where a model or tokenizer cannot be read becomes a UserError that names the setting `key`."""
    try:
        refuse_pointers(Path(model), key)
        yield
    except (UserError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as e:  # any: a foreign folder's files reach four libraries
        raise UserError(f"{key}: cannot load {str(model)!r} ({_why(e, Path(model))}); give a folder, a hub id, or {ELSE[key]}") from None


def _why(error: Exception, folder: Path) -> str:
    if "trust_remote_code" in str(error):
        return "its architecture is code of its own, which is never run"
    if broken := _broken(folder):
        return f"{broken} is truncated or damaged; copy it again"
    said = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(said[0].split())[:200]


def _broken(folder: Path) -> str | None:
    """The first file of safetensors that cannot be opened."""
    for path in sorted(folder.glob("*.safetensors")) if os.path.isdir(folder) else ():
        try:
            with safe_open(path, "pt"):
                pass
        except (SafetensorError, OSError):
            return path.name
    return None


def refuse_pointers(folder: Path, key: str) -> None:
    """UserError if a file of the folder is what Git LFS leaves in a file's place."""
    for path in sorted(filter(Path.is_file, folder.iterdir())) if os.path.isdir(folder) else ():
        with path.open("rb") as file:
            begins = file.read(len(POINTER))
        if begins == POINTER:
            raise UserError(f"{key}: {path} is a Git LFS pointer, not the file; run `git lfs pull` in its repository")


def read(auto: Any, source: str | Path, dtype: torch.dtype | str, key: str = "translator.model", spare: tuple[str, ...] = ()) -> Any:
    """The model that the Auto class `auto` makes of the files at `source`.

    UserError if a weight is missing, left over (unless its name begins with one of `spare`), of another shape or not finite.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # of "Loading weights": how far a run has come is said by the run
    with one_line(source, key):
        model, found = auto.from_pretrained(source, dtype=dtype, output_loading_info=True, trust_remote_code=False)
    over = [name for name in found["unexpected_keys"] if not (spare and name.startswith(spare))]
    refuse_names(f"{key}: {source}", found["missing_keys"], over)
    refuse_broken(f"{key}: {source}", model.named_parameters())
    return model


def refuse_names(where: str, missing: Iterable[str], over: Iterable[str]) -> None:
    """UserError that names a weight that the model has and the files lack, or the other way round."""
    missing, over = sorted(missing), sorted(over)
    if wrapped := next((w for w in WRAPPERS for name in over if f".{w}" in f".{name}"), None):
        raise UserError(f"{where}: names of weights have {wrapped!r} in them, such as {over[0]!r}; save the model that is wrapped there")
    if missing:
        raise UserError(f"{where}: {len(missing)} weights are missing, {missing[0]!r} is one; copy the folder again, whole")
    if over:
        raise UserError(f"{where}: {len(over)} weights fit nowhere, {over[0]!r} is one; config.json is of another model")


def refuse_broken(where: str, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """UserError that names the first weight with a value that is not finite."""
    for name, value in weights:
        if value.numel() and value.is_floating_point() and not all(torch.isfinite(end) for end in value.detach().aminmax()):
            raise UserError(f"{where}: {name!r} holds values that are not finite; these weights are broken, take others")


def merge_adapter(model: Any, folder: Path) -> Any:
    """The model with the adapter of `folder` merged in.  UserError if the adapter does not fit it or changes nothing."""
    where = f"translator.adapter: {folder}"
    if not (folder / "adapter_config.json").exists():
        inside = sorted(p.parent.name for p in folder.glob("*/adapter_config.json"))
        hint = f"; it holds {', '.join(inside)}" if inside else ""
        raise UserError(f"{where} has no adapter_config.json{hint}; name a LoRA adapter's own folder")
    refuse_pointers(folder, "translator.adapter")
    before = _sums(model)
    try:
        merged = _wrapped(model, folder, where).merge_and_unload()
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as e:  # any, as above
        why = f"{broken} is truncated or damaged; copy it again" if (broken := _broken(folder)) else " ".join(str(e).split())[:160]
        raise UserError(f"{where} does not fit this model ({why})") from None
    if _sums(merged) == before:
        raise UserError(f"{where} changes no weight of this model: it is empty, untrained or too small to count; name another")
    return merged


def _wrapped(model: Any, folder: Path, where: str) -> Any:
    """The model with the adapter beside its weights; each of the adapter's own weights has its place."""
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    from peft.utils import load_peft_weights

    try:
        kind = PeftConfig.from_pretrained(str(folder)).peft_type
    except Exception as e:  # any: its own description is read first, and says what is wrong
        raise UserError(f"{where}: adapter_config.json is of no type that peft knows ({' '.join(str(e).split())[:120]})") from None
    if not hasattr(PEFT_TYPE_TO_TUNER_MAPPING.get(kind), "merge_and_unload"):
        raise UserError(f"{where} is of type {kind}, which cannot be merged into weights; name a LoRA adapter")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)  # peft asks transformers by the old name
        wrapped = PeftModel.from_pretrained(model, str(folder))
    given = load_peft_weights(str(folder), device="cpu")
    own, all_of_it = (set(get_peft_model_state_dict(wrapped, save_embedding_layers=more)) for more in (False, True))
    refuse_names(where, own - set(given), set(given) - all_of_it)
    refuse_broken(where, given.items())
    return wrapped


def _sums(model: Any) -> list[int]:
    """A whole number of each weight, which a change of its bits changes."""
    return [int(p.detach().contiguous().view(WHOLE[p.element_size()]).sum(dtype=torch.int64)) for p in model.parameters()]
