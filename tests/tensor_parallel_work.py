"""What each of two processes runs for the tests of models over several GPUs; imported by both."""

import tiny_families
import torch

from parallax_lib.core.errors import UserError
from parallax_lib.translator import decoding, engine, models, tensor_parallel

IDS = [[5, 9, 2, 7, 9, 2], [11, 3, 8], [4] * 20]


def said(translator):
    """Hidden states of prefill and of rivals, and what is decoded: greedy, sampled and with drafts."""
    state = engine.prefill(translator, IDS)
    hidden = [state.hidden]
    embeds = torch.randn(3, 2, translator.width, generator=torch.Generator().manual_seed(3)).to(translator.device)
    hidden.append(engine.step_candidates(translator, state, embeds))
    state = engine.keep_candidate(state, hidden[1], torch.tensor([0, 1, 0], device=translator.device))
    answers = decoding.decode(translator, state, IDS, [6], limits=[24] * 3, temperatures=[0.0, 0.8, 0.0], seeds=[1, 2, 3], draft=4)
    return hidden, [a.tokens for a in answers]


def compared(name):
    """(largest difference of states, whether the tokens are the same, parameters here and in all) of a tiny family; or its refusal."""
    whole = models.Translator(tiny_families.build(name), models.byte_tokenizer(), name)
    device = models.pick_device("auto")
    whole.model.to(device)
    try:
        model, size = tensor_parallel.load(lambda: tiny_families.build(name), device)
    except UserError as error:
        return str(error)
    parts = models.Translator(model.eval(), whole.tokenizer, name, gpus=2, whole=size)
    (a, told), (b, ours) = said(whole), said(parts)
    held = sum(p.numel() for p in model.parameters())
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True)), told == ours, held, parts.size == whole.size


def loaded(given):
    """Greedy tokens of a folder's model, which every rank holds a part of, its name, and the frequencies of its rotations."""
    translator = models.load_translator(*given)
    answers = decoding.decode(translator, engine.prefill(translator, IDS), IDS, [6], limits=[24] * 3)
    return answers[0].tokens, translator.name, translator.model.model.rotary_emb.inv_freq.tolist()
