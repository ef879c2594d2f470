"""Decoding speed and memory of a large translator over several GPUs: random weights of a published shape, made on the GPUs.

    python scripts/bench_gpus.py --shape 70b --gpu H200:2      # or --shape 32b; --gpu H200 for one
    python scripts/bench_gpus.py --shape tiny --gpu cpu:2      # shows that it runs: two processes over gloo

Prints one JSON line.  `floor_ms` is the time in which a GPU reads its weights once at COPY bytes a second, which is what a copy
reaches on an H200; each step reads the cache besides.  `fraction` is the floor's share of a step.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from parallax_lib.core import hardware
from parallax_lib.core.executors import ExecutorConfig, open_executor
from parallax_lib.core.settings import Latent
from parallax_lib.translator import alignment, decoding, engine, latent_steps, models, shapes, tensor_parallel
from parallax_lib.translator.language_model import Translator

NAMES = {"7b": "Qwen/Qwen2.5-Coder-7B-Instruct", "32b": "Qwen/Qwen2.5-Coder-32B-Instruct", "70b": "meta-llama/Llama-3.3-70B-Instruct"}
TINY = shapes.QWEN2 | {
    "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 512
}  # fmt: skip
COPY = 4.3e12  # bytes a second
GIB = 2**30
THINK = Latent(steps=4, align="identity")
BRANCHES, ROWS = 8, 8  # of the guided step


def translator_of(shape: str, gpus: int) -> Translator:
    """Random weights; every rank draws the same numbers, so what is whole on each GPU is the same there."""
    from transformers import AutoConfig

    gpu = torch.cuda.is_available()
    shaped = dict(TINY if shape == "tiny" else shapes.SHAPES[NAMES[shape]])
    dtype = "bfloat16" if gpu else "float32"
    config = AutoConfig.for_model(shaped.pop("model_type"), tie_word_embeddings=False, eos_token_id=None, dtype=dtype, **shaped)
    model = tensor_parallel.empty(config)
    size = tensor_parallel.held(model, 1)
    torch.manual_seed(0)
    model = tensor_parallel.split(model, gpus, "cuda" if gpu else "cpu", lambda *given: drawn(*given, gpus))
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(model.device)
    return Translator(model.eval(), models.byte_tokenizer(), shape, gpus=gpus, whole=size)


def drawn(value: torch.Tensor, style: str, device: torch.device, count: int) -> torch.Tensor:
    part = torch.empty_like(tensor_parallel.cut(value, style, 0, count), device=device)
    return part.normal_(0, 0.02) if part.dim() > 1 else part.fill_(1)


def wait() -> float:
    """The time, once the GPU has done all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def prompted(translator: Translator, rows: int, prompt: int) -> engine.State:
    ids = [(torch.arange(prompt) % 250 + 1).tolist()]
    return engine.select(engine.prefill(translator, ids), torch.zeros(rows, dtype=torch.long, device=translator.device))


def decoded(translator: Translator, rows: int, prompt: int, tokens: int) -> dict:
    """Plain decoding of the second pass; the first captures its graphs."""
    for _ in range(2):
        state, start = prompted(translator, rows, prompt), wait()
        answers = decoding.decode(translator, state, [[1]] * rows, [1], limits=[tokens] * rows, draft=0)
        seconds = wait() - start
    steps, written = max(len(a.tokens) for a in answers), sum(len(a.tokens) for a in answers)
    read = sum(p.numel() for p in translator.model.parameters()) - translator.model.get_input_embeddings().weight.numel()
    floor = 1e3 * read * translator.model.dtype.itemsize / COPY
    ms = 1e3 * seconds / steps
    return {"tokens_s": round(written / seconds, 1), "ms": round(ms, 2), "floor_ms": round(floor, 2), "fraction": round(floor / ms, 3)}


def guided(translator: Translator, prompt: int) -> float:
    """Milliseconds of a latent step whose candidates are all looked ahead; no PRM scores them."""
    asked = {"candidates": BRANCHES, "row_seeds": list(range(ROWS)), "lookahead": True}

    def choose(t, rivals, ahead=None):
        return torch.zeros(ROWS, dtype=torch.long, device=translator.device)

    for _ in range(3):
        state, start = prompted(translator, ROWS, prompt), wait()
        latent_steps.think(translator, state, alignment.identity(translator, THINK), THINK, choose=choose, **asked)
        seconds = wait() - start
    return round(1e3 * seconds / THINK.steps, 2)


@torch.inference_mode()
def measured(item: dict) -> dict:
    """What one rank measures."""
    start = wait()
    translator = translator_of(item["shape"], item["gpus"])
    loaded = wait() - start
    held = sum(p.numel() * p.element_size() for p in translator.model.parameters())
    rows = {str(n): decoded(translator, n, item["prompt"], item["tokens"]) for n in item["batches"]}
    step = guided(translator, item["prompt"])
    graphs = engine.captured(translator)
    gpu = torch.cuda.is_available()
    return {
        "shape": item["shape"],
        "gpus": item["gpus"],
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "parameters_b": round(translator.size / 1e9, 2),
        "load_s": round(loaded, 1),
        "decode": rows,
        "guided_step_ms": step,
        "captured": bool(graphs and any(g.graph for b in graphs.buffers for g in b.graphs.values())),
        "weights_gib_a_gpu": round(held / GIB, 2),
        "peak_gib_a_gpu": round(torch.cuda.max_memory_allocated() / GIB, 2) if gpu else None,
        "copy_bytes_s": COPY,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=(*NAMES, "tiny"), default="70b")
    parser.add_argument("--gpu", default="H200:2", help="as executor.gpu: NAME, NAME:COUNT or cpu:COUNT")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--prompt", type=int, default=512, help="tokens")
    parser.add_argument("--tokens", type=int, default=64, help="to decode")
    args = parser.parse_args()
    item = vars(args) | {"gpus": hardware.gpus_asked(args.gpu)[1]}
    with open_executor(ExecutorConfig(gpu=args.gpu, retries=0, timeout_s=600)) as executor:
        print(json.dumps(executor.submit(measured, item).result()))


if __name__ == "__main__":
    main()
