"""Speed and memory of PRM training on one GPU or several: random weights of a published shape, made on the GPUs themselves.

    python scripts/bench_prm.py [--shape 7b] [--lora 16]
    torchrun --standalone --nproc_per_node 2 scripts/bench_prm.py [--shape 7b] [--lora 16]

Prints one JSON line.  The updates are those of `prm.train`, the rows synthetic; weights and rows are the same whatever the number of
processes, so that the losses can be compared.  Without a GPU only `--shape small` makes sense: it shows that the script runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import zlib
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from parallax_lib.core import torchrun
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import sharded, train
from parallax_lib.prm.dataset import Dataset, prepare
from parallax_lib.prm.train_config import TrainConfig
from parallax_lib.translator import shapes

GIB = 2**30
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
SHAPES = {"7b": "Qwen/Qwen2.5-Coder-7B-Instruct", "14b": "Qwen/Qwen2.5-Coder-14B-Instruct", "small": SMALL}
WARM = 3  # updates that are not timed


def described(shape: str, lora: int) -> tuple[prm_model.PRM, dict[str, Tensor]]:
    """The PRM of that shape on the meta device, and those of its buffers that follow from its configuration."""
    from transformers import Qwen2Config

    with tempfile.TemporaryDirectory() as folder:
        name = SHAPES[shape]
        if isinstance(name, dict):
            Qwen2Config(**name, vocab_size=9, dtype="bfloat16").save_pretrained(folder)
            name = folder
        config = shapes.configuration(name)
        with torch.device("meta"):
            model = prm_model.unfilled(prm_model.PRMConfig(backbone=name, latent_width=config.hidden_size, lora_rank=lora))
    rotary = type(model.backbone.body.rotary_emb)(config)
    return model, {f"backbone.body.rotary_emb.{name}": value for name, value in rotary.named_buffers()}


@torch.no_grad()
def fill(model: prm_model.PRM, known: dict[str, Tensor]) -> None:
    """Random weights; every process draws each of them whole and keeps its part."""
    generator = torch.Generator(model.mean.device)
    for name, value in sharded.values(model).items():
        full = torch.zeros(value.shape, device=model.mean.device)
        if name in known:
            full = known[name].to(full)
        elif name == "std" or (value.ndim == 1 and name.endswith("weight")):
            full.fill_(1)
        elif value.ndim > 1 and "lora_B" not in name:
            full.normal_(0, 0.02, generator=generator.manual_seed(zlib.crc32(name.encode())))
        split = isinstance(value, DTensor)
        value.copy_(distribute_tensor(full.to(value.dtype), value.device_mesh, value.placements, src_data_rank=None) if split else full)


def rows(count: int, steps: int, width: int) -> Dataset:
    """Trajectories that are all trained on; whether one is good hangs on its first latent."""
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((count, steps, width), dtype=np.float32).astype(np.float16)
    good = (latents[:, :1, : width // 2].astype(np.float32).sum(2) > 0).astype(float)  # (n, 1)
    targets = np.repeat(good, steps, 1)
    return prepare(latents, targets, np.ones((count, steps), int), np.arange(count) // 8, ["train"] * count)


def matmul_flops(device: torch.device) -> float:
    """FLOP/s of a bfloat16 product on this device."""
    side = 8192 if device.type == "cuda" else 256
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    taken = []
    for _ in range(6):
        start = time.perf_counter()
        (a @ a)[0, 0].item()
        taken.append(time.perf_counter() - start)
    return 2 * side**3 / min(taken)


def measure(args: SimpleNamespace) -> dict:
    """In every process: a few updates; what the first one reports."""
    device = torch.device(torchrun.device_of("cuda" if torch.cuda.is_available() else "cpu"))
    peak_flops = matmul_flops(device)
    hollow, known = described(args.shape, args.lora)
    size = sum(p.numel() for p in hollow.parameters())
    several = torchrun.together() > 1
    model = sharded.split(hollow, device.type, "bf16") if several else hollow.to_empty(device=device)
    fill(model, known)
    config = TrainConfig(
        epochs=WARM + args.updates, lr=1e-4, batch=args.rows, device_batch=args.device_rows, unfreeze_step=0, backbone_lr_factor=1.0,
        precision="bf16", recompute=args.recompute,
    )  # fmt: skip
    data, ends, losses = rows(args.rows, args.latents, model.config.latent_width), [], []

    def progress(row: dict) -> None:
        ends.append(time.perf_counter())
        losses.append(round(row["train_loss"], 5))

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    train.loop(model, data, config, None, False, progress, lambda part: None)
    peak = torch.cuda.max_memory_allocated() / GIB if device.type == "cuda" else 0.0
    count = torchrun.together()
    peaks = torchrun.added(*(peak if rank == torchrun.rank() else 0.0 for rank in range(count)))
    seconds, tokens = statistics.median(np.diff(ends)[WARM - 1 :]), args.rows * args.latents
    work = 4 if args.lora else 6  # forward 2, gradients of activations 2, of weights 2; what is computed again is not counted
    used = work * size * tokens / seconds
    return {
        "processes": count, "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu", "torch": torch.__version__,
        **vars(args), "parameters": size, "update_ms": round(1e3 * seconds, 1), "samples_per_s": round(args.rows / seconds, 1),
        "tokens_per_s": round(tokens / seconds, 1), "peak_gib": [round(each, 2) for each in peaks],
        "matmul_tflops": round(peak_flops / 1e12, 2), "fraction_of_matmul": round(used / peak_flops / count, 4), "losses": losses,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=tuple(SHAPES), default="7b")
    parser.add_argument("--lora", type=int, default=0, help="rank of the adapters; 0: the whole model is trained")
    parser.add_argument("--rows", type=int, default=1024, help="trajectories of one update, over all processes")
    parser.add_argument("--device-rows", type=int, default=1024, help="at most so many in one forward")
    parser.add_argument("--latents", type=int, default=6, help="of one trajectory: a token each")
    parser.add_argument("--updates", type=int, default=8, help=f"timed ones, after {WARM}")
    parser.add_argument("--recompute", action=argparse.BooleanOptionalAction, default=True, help="gradient checkpointing")
    args = SimpleNamespace(**vars(parser.parse_args()))
    if torchrun.rank():
        return torchrun.follow()
    try:
        result = torchrun.lead(measure, (args,)) if torchrun.processes() > 1 else measure(args)
    finally:
        torchrun.dismiss()
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
