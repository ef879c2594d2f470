"""How fast a translator reads prompts, decodes and thinks, beside transformers with the same weights.

A decoding step cannot take less than reading the weights and the cache once, reading prompts not less than its products of
matrices.  Attention's products are not counted.  Knows the engine.  Knows no training and no file.

B rows, P prompt tokens, K latent steps, N candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from parallax_lib.core.settings import Decode, Latent, Suite
from parallax_lib.prm import engine_states, incremental_scoring
from parallax_lib.prm import model as prm_model
from parallax_lib.search import rollouts
from parallax_lib.study.bench import random_models
from parallax_lib.study.bench.report import Ceilings, Report, ceilings, clock, device_name, ms, peak_gib
from parallax_lib.tasks import prompts, suites
from parallax_lib.tasks.task import spread, tasks
from parallax_lib.translator import alignment, decoding, engine, fused, joined, latent_steps
from parallax_lib.translator.language_model import Translator


@dataclass(frozen=True)
class Engine:
    """What is measured; the sizes of one shape."""

    shape: str
    gpus: int = 1
    batches: tuple[int, ...] = (1, 32, 128)  # of decoding steps
    prompt: int = 1024
    tokens: int = 256  # decoded
    reading: tuple[int, int] = (8, 522)  # prompts, tokens of each
    guided: tuple[int, int, int] = (2048, 6, 8)  # P, K, N
    translations: tuple[int, int] = (64, 1024)  # rows that are decoded with drafts, at most so many tokens of each
    beside: bool = True  # measure transformers too
    compile: bool = True  # on one GPU: translator.compile and prm.compile
    tokenizer: str = ""


SPLIT = (16, 1024)  # translations of a model over several GPUs
LORA = 16  # rank of the PRM's adapters
WIDTHS = (1, 4, 16)  # columns of a row
SMALL = {"batches": (1, 4), "prompt": 64, "tokens": 24, "reading": (4, 64), "guided": (128, 3, 4), "translations": (8, 48)}


def of_rank(asked: Engine) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """`measure` in a process of its own: what is said of the whole, and the rows."""
    report = Report()
    return measure(asked, report), report.rows


@torch.inference_mode()
def measure(asked: Engine, report: Report) -> dict[str, Any]:
    """Everything that one rank measures; what is said of the whole."""
    translator = random_models.translator(asked.shape, asked.gpus, asked.tokenizer)
    limits = ceilings(report, translator.model.dtype)
    report.add("weights that one process holds", _bytes(translator.model.parameters()) / 2**30, "GiB")
    prm = random_models.prm(asked.shape, LORA) if asked.gpus == 1 else None
    others = transformers(translator, prm, asked) if asked.beside and prm is not None else {}
    if compiled := asked.compile and prm is not None and translator.device.type == "cuda":
        joined.join(translator.body)
        fused.fuse(translator.body)
        engine_states.fuse(prm)
    reading(translator, asked, limits, report, others.get("prefill"))
    for rows in asked.batches:
        steps(translator, rows, asked, limits, report, others.get(rows))
    columns(translator, asked, limits, report)
    translating(translator, asked, limits, report)
    thinking(translator, None, asked, limits, report, others.get("naive"))
    if prm is not None:
        thinking(translator, prm, asked, limits, report, others.get("naive, with a PRM"))
    if (most := peak_gib()) is not None:
        report.add("memory of a GPU at most", most, "GiB")
    graphs = engine.captured(translator)
    replayed = bool(graphs and any(g.graph for b in graphs.buffers for g in b.graphs.values()))
    about = {"shape": asked.shape, "gpus": asked.gpus, "device": device_name(), "torch": torch.__version__}
    return about | {"parameters_b": round(translator.size / 1e9, 3), "captured": replayed, "compiled": compiled}


def transformers(translator: Translator, prm: prm_model.PRM, asked: Engine) -> dict[Any, float]:
    """Milliseconds that transformers takes: "prefill", steps by rows, "naive" searches.  Before layers are compiled for the engine."""
    rows, length = asked.reading
    given = torch.tensor([_prompt(length)] * rows, device=translator.device)
    found: dict[Any, float] = {"prefill": ms(lambda: translator.body(input_ids=given, use_cache=True), 3)}
    for rows in asked.batches:
        found[rows] = static_step(translator, rows, asked)
        torch._dynamo.reset()  # else other shapes are taken for sizes that change
    return found | {"naive": _naive(translator, None, asked), "naive, with a PRM": _naive(translator, prm, asked)}


def reading(translator: Translator, asked: Engine, limits: Ceilings, report: Report, eager: float | None) -> None:
    """Prompts of one length into a cache, against the products of the layers' matrices.  eager: milliseconds of transformers."""
    rows, length = asked.reading
    ids = [_prompt(length)] * rows
    operations = 2 * _layers(translator) * rows * length / asked.gpus
    others = {} if eager is None else {"transformers": eager}
    taken = ms(lambda: engine.prefill(translator, ids), 3)
    report.add(f"prefill of {rows} prompts of {length} tokens", taken, "ms", limits.ms(0, operations), **others)


def steps(translator: Translator, rows: int, asked: Engine, limits: Ceilings, report: Report, static: float | None) -> None:
    """One token a row and forward, logits and draw included.  static: milliseconds of transformers' own step."""
    for _ in range(2):  # the first pass captures its graphs
        state = engine.prefill(translator, [_prompt(asked.prompt)])
        state, start = engine.select(state, torch.zeros(rows, dtype=torch.long, device=translator.device)), clock()
        answers = decoding.decode(translator, state, [[1]] * rows, [1], limits=[asked.tokens] * rows, draft=0)
        seconds = clock() - start
    each = 1e3 * seconds / max(len(a.tokens) for a in answers)
    del state
    others = {} if static is None else {"transformers_static": static}
    columns = asked.prompt + asked.tokens // 2
    floor = limits.ms(_read(translator) + rows * columns * _column(translator))
    report.add(f"decoding step, {rows} rows behind {asked.prompt} tokens", each, "ms", floor, **others)


def translating(translator: Translator, asked: Engine, limits: Ceilings, report: Report) -> None:
    """Programs of the bundled suite as answers to the prompts that ask for them, with drafts and without.

    The tokens are given, so that random weights write real programs: drafts are right as often as for a translator that writes these.
    """
    rows, most = asked.translations
    pool = spread(tasks(suites.load_suite(Suite()), Suite().directions), rows, 0)
    read = translator.tokenizer
    ids = [prompt[-2 * most :] for prompt in rollouts.ask(translator, pool)]
    given = [prompts.tokens(read, task.kernel.sources[task.target])[:most] for task in pool]
    taken, forwards, head = {}, 0, translator.model.get_output_embeddings()
    for draft in (0, Decode().draft) * 2:  # the first pass captures its graphs
        calls: list[None] = []
        heard = head.register_forward_pre_hook(lambda *_, to=calls: to.append(None))
        state, start = engine.prefill(translator, ids), clock()
        answers = decoding.decode(translator, state, ids, [1], limits=[len(g) for g in given], draft=draft, given=given)
        taken[bool(draft)], forwards = clock() - start, len(calls)
        heard.remove()
        assert [a.tokens for a in answers] == given
    tokens, columns = sum(map(len, given)), sum(len(i) + len(g) // 2 for i, g in zip(ids, given, strict=True))
    floor = forwards * limits.ms(_read(translator) + columns * _column(translator)) / 1e3
    what = f"{len(pool)} translations with drafts, {tokens / forwards:.1f} tokens a forward"
    report.add(what, tokens / taken[True], "tokens/s", tokens / floor, without=tokens / taken[False])


def columns(translator: Translator, asked: Engine, limits: Ceilings, report: Report) -> None:
    """Forwards of several columns a row, as drafts are checked; what a forward costs besides them, in columns, as `decoding` reckons."""
    rows, where = asked.batches[-1], translator.device
    state = engine.prefill(translator, [_prompt(asked.prompt)])
    state = engine.select(state, torch.zeros(rows, dtype=torch.long, device=where))
    read, taken = _read(translator, head=False) + rows * asked.prompt * _column(translator), []
    for width in WIDTHS:
        live = torch.ones(rows, width, dtype=torch.bool, device=where)
        embeds = torch.zeros(rows, width, translator.width, dtype=translator.model.dtype, device=where)

        def once(live=live, embeds=embeds) -> None:
            visible, places, length = state.visible, state.places, state.slab.length
            engine.forward(translator, state, embeds, live)
            state.visible, state.places, state.slab.length = visible, places, length

        taken.append(ms(once, warm=2))
        least = limits.ms(read, 2 * _layers(translator) * rows * width / asked.gpus)
        report.add(f"a forward of {rows} rows x {width} columns", taken[-1], "ms", least)
    column, fixed = np.polyfit([rows * width for width in WIDTHS], taken, 1)
    if column > 0 and fixed > 0:  # on a busy machine a line through the three may fall
        report.add("a forward costs, besides its columns, so many", fixed / column, "columns", assumed=decoding.overhead(translator))


def static_step(translator: Translator, rows: int, asked: Engine) -> float:
    """Milliseconds of transformers' own greedy step over its static cache, compiled by its own mode on a GPU."""
    from transformers import StaticCache

    model, where = translator.model, translator.device
    cache = StaticCache(config=model.config, max_cache_len=asked.prompt + asked.tokens + 8)
    gpu = where.type == "cuda"
    step = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True) if gpu else model.forward
    given = torch.tensor([_prompt(asked.prompt)] * rows, device=where)
    token = model(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1:].argmax(-1)
    place = torch.full((rows, 1), asked.prompt, device=where)

    def once() -> None:
        nonlocal token
        out = step(input_ids=token, position_ids=place, past_key_values=cache, use_cache=True)
        token = out.logits[:, -1:].argmax(-1).clone()  # a replayed graph writes its output anew
        place.add_(1)

    return ms(once, asked.tokens, warm=5)


def thinking(
    translator: Translator, prm: prm_model.PRM | None, asked: Engine, limits: Ceilings, report: Report, naive: float | None
) -> None:
    """Guided search of one row: a prompt of P tokens, K latent steps, N candidates of which the PRM takes one.

    Without a PRM all candidates are looked ahead, and the first is taken.
    """
    length, count, rivals = asked.guided
    setting = Latent(steps=count, align="identity")
    align, where = alignment.identity(translator, setting), translator.device

    def once() -> None:
        state = engine.prefill(translator, [_prompt(length)])
        scorer = None if prm is None else incremental_scoring.start(prm, 1)

        def choose(t, candidates, ahead=None):
            if scorer is None:
                return torch.zeros(1, dtype=torch.long, device=where)
            best = scorer.score_next(candidates).argmax(1)
            scorer.keep(best)
            return best

        ask = {"candidates": rivals, "row_seeds": [0], "lookahead": prm is None}
        latent_steps.think(translator, state, align, setting, choose=choose, **ask)

    read, operations = count * _read(translator, head=False), 2 * _layers(translator) * length / asked.gpus
    read += 0 if prm is None else count * _bytes(prm.parameters())
    others = {} if naive is None else {"naive": naive}
    what = f"guided search P={length} K={count} N={rivals}, {'without' if prm is None else 'with'} a PRM"
    report.add(what, ms(once, 3, warm=2), "ms", limits.ms(0, operations) + limits.ms(read), **others)


def _naive(translator: Translator, prm: prm_model.PRM | None, asked: Engine) -> float:
    """The same search without any cache: each candidate reads the prompt again, and the PRM the latents."""
    length, count, rivals = asked.guided
    prompt = translator.embed(torch.tensor([_prompt(length)], device=translator.device))
    latents = prompt[:, :1].expand(-1, count, -1)

    def once() -> None:
        for t in range(count):
            for _ in range(rivals):
                translator.body(inputs_embeds=torch.cat([prompt, latents[:, : t + 1]], 1), use_cache=False)
                if prm is not None:
                    prm(latents[:, : t + 1])

    return ms(once, 1, warm=0)


def _prompt(length: int) -> list[int]:
    return [i % 250 + 1 for i in range(length)]


def _layers(translator: Translator) -> int:
    """Parameters of the layers that one token goes through, on all GPUs."""
    return sum(p.numel() for p in translator.body.layers.parameters()) * translator.gpus


def _read(translator: Translator, head: bool = True) -> int:
    """Bytes of the weights that one forward reads on a GPU: without the input embeddings, of which it takes rows."""
    words, out = translator.model.get_input_embeddings(), translator.model.get_output_embeddings()
    return _bytes(translator.model.parameters()) - _bytes(words.parameters()) - (0 if head else _bytes(out.parameters()))


def _bytes(values: Any) -> int:
    return sum(p.numel() * p.element_size() for p in values)


def _column(translator: Translator) -> int:
    """Bytes of the keys and values of one token of one row on a GPU."""
    c = translator.model.config
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    return 2 * c.num_hidden_layers * c.num_key_value_heads // translator.gpus * head * translator.model.dtype.itemsize
