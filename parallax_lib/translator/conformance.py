"""Compares the engine with the model's own forward when a model is loaded, and refuses an architecture that it misreads.

Knows the engine's operations and what a right answer is.  Knows no architecture by name, no weights' files and no task.

The whole model is compared on a short prompt, in its own precision.  One layer of each kind is compared on a short and on
a long prompt, in float32, where a wrong mask cannot hide behind rounding; the long one passes the sliding window.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from parallax_lib.core.errors import UserError
from parallax_lib.translator import engine
from parallax_lib.translator.language_model import Translator

SHORT = (12, 5)  # tokens of two prompts in one batch: the second is padded
LONG = 96  # tokens where there is no window
PAST = 24  # tokens by which a long prompt passes a window
KINDS = 6  # of layers, at most
LONGEST = 8192  # a window of more tokens is not passed: comparing costs the square
EXACT, ROUGH = 2e-3, 0.5  # of the spread: float32, and a whole model in half precision, where a router may choose otherwise
WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")

@dataclass(frozen=True)
class FirstLayers(Translator):
    """A translator whose decoder is one layer of each kind, in float32; it has states and no logits."""

    layers: Any = None

    @property
    def body(self) -> Any:
        return self.layers

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        return super().embed(tokens).float()


def check(translator: Translator, say: Callable[[str], None] = print) -> str:
    """What was compared, in words; also given to `say` where a window is too long to be passed.

    UserError that names the architecture and what differs, or what the engine cannot run.
    """
    kind, window = type(translator.model).__name__, window_of(translator)
    passed = window is not None and window + PAST <= LONGEST
    long = window + PAST if passed else LONG
    beyond = f", past its window of {window}" if passed else ""
    rough = ROUGH if translator.body.dtype.itemsize < 4 else EXACT
    _compare(kind, "logits", SHORT, rough, lambda: worst(translator, SHORT, translator.logits, translator.model))
    few = _attempt(kind, lambda: first_layers(translator))
    for lengths, at in ((SHORT, ""), ((long, 7), beyond)):
        _compare(kind, "hidden states", lengths, EXACT, lambda n=lengths: worst(few, n, lambda h: h, few.body), at)
    message = f"{kind}: agrees with its own forward on prompts of {SHORT[0]} and {long} tokens"
    if window is not None and not passed:
        message += f"; its window of {window} tokens was not passed"
        say(message)
    return message


def _compare(kind: str, what: str, lengths: tuple[int, ...], bound: float, difference: Callable[[], float], beyond: str = "") -> None:
    off = _attempt(kind, difference)
    if not off <= bound:  # not a number is refused, too
        problem = f"the engine's {what} differ from the model's own by {off:.1%} of their spread on prompts of {lengths[0]} tokens{beyond}"
        raise UserError(f"translator.model: {kind} is not supported: {problem}; choose a model of another architecture")


def _attempt(kind: str, act: Callable[[], Any]) -> Any:
    """What `act` returns; whatever the architecture's code raises meanwhile becomes one line."""
    try:
        return act()
    except torch.OutOfMemoryError:
        raise
    except Exception as e:  # any: it is another library's code, on a model that it was not written for
        why = " ".join(f"{type(e).__name__}: {e}".split())[:160]
        problem = f"the engine cannot run it ({why}); choose a model of another architecture"
        raise UserError(f"translator.model: {kind} is not supported: {problem}") from None


def window_of(translator: Translator) -> int | None:
    """Tokens of the window that some layer sees through; None where all see everything, or where no prompt is that long."""
    config = translator.body.config
    kinds = getattr(config, "layer_types", None) or ["sliding"]
    sizes = [getattr(config, name, None) for name in WINDOWS if not all("full" in kind for kind in kinds)]
    found = [size for size in sizes if isinstance(size, int) and size < (getattr(config, "max_position_embeddings", None) or 2**31)]
    return max(found, default=None)


def first_layers(translator: Translator) -> Translator:
    """A copy of the decoder with one layer of each kind, in float32."""
    body, config = translator.body, copy.copy(translator.body.config)
    name = next(n for n, part in body._modules.items() if isinstance(part, torch.nn.ModuleList) and len(part) == config.num_hidden_layers)
    kinds = [_kind(layer) for layer in body._modules[name]]
    kept = [kinds.index(kind) for kind in dict.fromkeys(kinds)][:KINDS]
    config.num_hidden_layers = len(kept)
    if types := getattr(config, "layer_types", None):
        config.layer_types = [types[i] for i in kept]
    words = body.get_input_embeddings()
    shell = copy.copy(body)
    shell._modules = {name: part for name, part in body._modules.items() if part is not words}
    shell._modules[name] = torch.nn.ModuleList(body._modules[name][i] for i in kept)
    few = copy.deepcopy(shell, {id(body.config): config}).float().eval()  # its layers read the changed description, too
    for place, layer in enumerate(few._modules[name]):
        for part in layer.modules():
            if hasattr(part, "layer_idx"):
                part.layer_idx = place
    return FirstLayers(translator.model, translator.tokenizer, translator.name, layers=few)


def _kind(layer: torch.nn.Module) -> tuple:
    """What two layers that compute alike have in common: the classes of their parts, and the parts' settings."""
    plain = (bool, int, float, str, type(None))

    def settings(part: torch.nn.Module) -> list:
        return sorted((k, repr(v)) for k, v in vars(part).items() if isinstance(v, plain) and "idx" not in k)

    return tuple((type(part), *settings(part)) for part in layer.modules())


@torch.inference_mode()
def worst(translator: Translator, lengths: tuple[int, ...], read: Callable, own: Callable) -> float:
    """The largest difference, as a share of the spread, after the prompt, after the kept one of three rivals, and a step later.

    read: last hidden states (B, D) -> what is compared; own: the model, or its decoder.
    """
    draw = torch.Generator().manual_seed(0)
    high = translator.model.get_input_embeddings().weight.shape[0]

    def tokens(*shape: int) -> torch.Tensor:
        return torch.randint(0, high, shape, generator=draw).to(translator.device)

    ids, rows = [tokens(length) for length in lengths], torch.arange(len(lengths), device=translator.device)
    rivals, last = translator.embed(tokens(len(lengths), 3)), translator.embed(tokens(len(lengths)))
    winner = 1 + rows % 2
    state = engine.prefill(translator, [row.tolist() for row in ids])
    said = [read(state.hidden)]
    state = engine.keep_candidate(state, engine.step_candidates(translator, state, rivals), winner)
    said.append(read(state.hidden))
    said.append(read(engine.step(translator, state, last).hidden))
    found = 0.0
    for row, ours in enumerate(torch.stack(said, dim=1)):
        embeds = torch.cat([translator.embed(ids[row]), rivals[row, winner[row]][None], last[row][None]])
        made_by = own(inputs_embeds=embeds[None])
        expected = (made_by.logits if "logits" in made_by else made_by.last_hidden_state)[0, -3:].float()
        spread = (expected - expected.mean(-1, keepdim=True)).norm(dim=-1)
        off = float(((ours.float() - expected).norm(dim=-1) / spread).max())
        found = off if not off <= found else found
    return found
