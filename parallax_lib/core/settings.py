"""Every setting of a run: its section, name, type, bounds and default.

Knows one value at a time.  Knows nothing of files, of what fits together, or of what the stages do with a setting.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

DIRECTIONS = ("serial-omp", "serial-cuda", "omp-cuda", "cuda-omp")
SMALL_PRMS = ("transformer", "gru", "ridge")  # not a language model
API_NAMES = {"openmp": "omp", "c": "serial", "c++": "serial", "cpp": "serial", "sequential": "serial", "cu": "cuda", "nvidia": "cuda"}


def api_name(text: str) -> str:
    """An API as this project spells it: OpenMP is omp, C++ is serial."""
    word = text.strip().lower()
    return API_NAMES.get(word, word)


def direction_name(text: str) -> str:
    """A direction as this project spells it, source-target: "cuda:omp", "CUDA -> OpenMP" and "cuda_to_omp" are cuda-omp."""
    return "-".join(map(api_name, re.split(r"\s*(?:->|=>|→|:|/|>|_to_|_2_|\s+to\s+|-|_)\s*", text.strip().lower())))


def _directions(value: Any) -> Any:
    return tuple(direction_name(each) if isinstance(each, str) else each for each in value) if isinstance(value, (list, tuple)) else value


ONE_OR_MORE = BeforeValidator(lambda value: (value,) if isinstance(value, str) and value else value or ())
SWITCH = BeforeValidator(lambda value: {True: "on", False: "off"}[value] if isinstance(value, bool) else value)  # YAML reads on as true


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Suite(Section):
    kinds: tuple[str, ...] = Field(("minibench",), min_length=1)  # of tasks.suites.SUITES
    root: str = ""  # HeCBench checkout, for kind hecbench, and for what the rows of `file` do not hold
    file: Annotated[tuple[str, ...], ONE_OR_MORE] = ()  # JSON Lines, Parquet or CSV with a task or a program a row, for kind tasks
    forge_count: int = Field(100, ge=0)  # programs to draw, for kind forge
    forge_wide: int = Field(0, ge=0)  # more programs, of patterns that a seed puts together, for the PRM to train on and for no test
    forge_seed: int = 1_000_000  # first seed of the programs of kind forge
    forge_families: Literal["train", "heldout", "all", "mostly_heldout"] = "all"  # mostly_heldout: those three times as often as the others
    directions: Annotated[tuple[str, ...], BeforeValidator(_directions)] = Field(DIRECTIONS, min_length=1)  # cuda:omp is cuda-omp
    test_fraction: float = Field(0.4, ge=0, le=1)  # of the kernels, by whole families
    valid_fraction: float = Field(0.15, ge=0, le=1)  # of the kernels too
    split_seed: int = 4  # which families are tested
    split: str = ""  # file that states the side of hand-written kernels, such as data/splits/handwritten.yaml; then no other is tested


class Translator(Section):
    model: str = "smollm2"  # smollm2, qwen-coder-0.5b, qwen-coder-1.5b (from packages), random, a folder, or a model-hub id
    adapter: str = ""  # folder of a LoRA adapter; relative to the repository
    device: str = "auto"  # "cpu", "cuda", "cuda:1"; auto: a GPU, else the CPU
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # of the weights; auto: float32 on a CPU
    compile: bool = False  # on a GPU: its layers through torch.compile; each process compiles them first, half a minute at 7B
    prompt: Literal["short", "rules"] = "short"  # rules: says what a translation must do, for models that were not trained on the short one


class Latent(Section):
    steps: int = Field(4, ge=0)  # K; 0: plain decoding, for collecting and translating without a PRM
    align: str = "soft"  # of translator.alignment.ALIGNMENTS
    tau: float = Field(0.1, gt=0)  # temperature of the soft alignment
    ridge: float = Field(1e-3, gt=0)  # r of the ridge alignment
    proposal: str = "gaussian"  # of translator.proposals.PROPOSALS
    sigma: float = Field(0.5, ge=0)  # logits: 1.3 is near the spread of Gumbel noise, so about one draw of the plan at temperature 1
    unit: Literal["rms", "absolute"] = "rms"  # of sigma, for gaussian
    words: int = Field(8, ge=1)  # likeliest tokens whose logits move, for logits; directions, for pca
    pca: str = "data/rollouts"  # folder of rollouts whose latents give the directions of pca


class Decode(Section):
    max_new_tokens: int = Field(1600, ge=1)  # of one answer
    temperature: float = Field(0.0, ge=0)  # of every program but the re-decode control's; 0: greedy
    redecode_temperature: float = Field(0.7, ge=0)  # for the re-decode control
    max_prompt: int = Field(8192, ge=1)  # tokens, or fewer where the model has too few positions; tasks with more are left out, and told
    batch: int = Field(30, ge=1)  # rows at once; one of a task that takes more than 4,096 tokens, prompt and answer, counts as several
    draft: int = Field(24, ge=0)  # prompt-lookup tokens checked in one forward; 0: plain decoding
    engine: Literal["own", "vllm"] = "own"  # what decodes answers; vllm: where it is installed, on one GPU or a CPU, without drafts
    opening: Literal["fence", "plan", "free"] = "fence"  # what an answer starts with: a code fence, a plan as text, or what the model says
    sample_temperature: float = Field(0.8, gt=0)  # of the programs of `search.sampled`


class Collect(Section):
    limit: int = Field(8, ge=0)  # tasks collected live; 0: none, `shipped` has them all
    per_direction: int = Field(0, ge=0)  # at most so many of them in one direction; 0: as many as come
    resamples: int = Field(1, ge=0)  # R: branch-offs at each of `depths`; 0: originals only
    depths: tuple[int, ...] = ()  # latent indices where rollouts branch off, one named twice has twice as many; empty: every index
    onward: bool = False  # a branch-off goes on with noise at every later latent, as search does; else it differs at one
    shipped: str = ""  # folder of rollouts collected earlier, added to the live ones
    shipped_limit: int = Field(0, ge=0)  # tasks of it that are used, drawn by hash; 0: all
    sensitivity_sigmas: tuple[Annotated[float, Field(ge=0)], ...] = (0.0, 1.0)  # sizes of noise that the probe of latent sensitivity tries
    sensitivity_limit: int = Field(1, ge=0)  # tasks of the probe of latent sensitivity
    sensitivity_branches: int = Field(2, ge=1)  # programs of each size of noise and of the control
    splits: tuple[Literal["train", "valid", "test"], ...] = ()  # collect live only on tasks of these; empty: of all


class Reward(Section):
    spec: str = "executable"  # of prm.labels.REWARDS


class Prm(Section):
    kind: str = "transformer"  # "transformer", "gru", "ridge", or a causal LM by id or folder
    width: int = Field(128, ge=1)  # H of the small kinds
    layers: int = Field(2, ge=1)  # of the small kinds
    heads: int = Field(4, ge=1)  # of the transformer
    dropout: float = Field(0.1, ge=0, lt=1)  # of the small kinds
    lora_rank: int = Field(0, ge=0)  # causal LM only: train adapters of this rank, its weights stay in their precision; 0: train it whole
    reads: Literal["states", "embeddings", "both"] = "states"  # a latent, the input embedding it is aligned to, or one after the other
    context: Literal["none", "pooled"] = "none"  # pooled: the PRM also reads the mean state of the prompt
    loss: str = "mse"  # of prm.losses.LOSSES
    epochs: int = Field(20, ge=1)  # at most; training stops where the valid loss no longer falls
    lr: float = Field(1e-3, gt=0)  # of adapter and head
    batch: int = Field(64, ge=1)  # rollouts of one update
    device_batch: int = Field(64, ge=1)  # rollouts of one forward; smaller ones accumulate to the same update
    precision: Literal["fp32", "bf16", "bf16-weights"] = "fp32"  # bf16: computes in it, learns float32; bf16-weights: learns it, too
    recompute: bool = False  # causal LM only: less memory, as the backward pass computes a layer's activations again
    compile: bool = False  # causal LM on a GPU only: its layers through torch.compile, in training and in search
    pack: int = Field(256, ge=0)  # causal LM only: latents that it reads in one row, beginnings that siblings share once; 0: one row each
    unfreeze_step: int = Field(50, ge=0)  # updates of adapter and head alone before the backbone joins
    backbone_lr_factor: float = 0.3  # of lr, for the backbone
    zeta: float = 4.0  # margin of the rank loss
    threshold: float = 0.5  # score above which the PRM likes a program; targets at or above it are positive for the rank loss
    checkpoint: str = ""  # use this trained PRM in stages 03 and 04 instead of the run's own
    init: str = ""  # start the training from the weights of this trained PRM, whose kind and shape then hold
    train_jsonl: str = ""  # rows to train on, instead of stage 01's: a JSONL file in the published layout
    valid_jsonl: str = ""  # rows to test on (stage 03); empty: the test families of the training file
    vectors: str = ""  # base folder of the tensors that the rows name; empty: beside each JSONL file, or vectors/ there
    fields: str = ""  # YAML file that says what fields of those files are called
    save_every: int = Field(50, ge=0)  # updates between checkpoints; 0: one at the end of every epoch
    keep: int = Field(2, ge=0)  # newest checkpoints left on disk; 0: all
    save_path: str = ""  # folder of checkpoint-<step> and final; empty: in the run's folder
    baselines: tuple[str, ...] = ("ridge", "gru")  # kinds trained beside the run's own, in stage 02
    folds: int = Field(0, ge=0)  # stage 03: families unseen by the translator, tested in so many parts; 0: none; 1: with suite.split


class Selection(Section):
    tolerance: float = Field(0.05, ge=0, le=1)  # of reward, in stage 03: a pick this close to the best sibling is one of the best


class Search(Section):
    limit: int = Field(5, ge=1)  # test tasks translated by every method
    per_direction: int = Field(0, ge=0)  # at most so many of them in one direction; 0: as many as come
    branches: int = Field(4, ge=1)  # N, row 0 unperturbed
    samples: int = Field(3, ge=1)  # pool of whole programs; the oracle over fewer than `branches` bounds no choice among trajectories
    choose: str = "steps"  # in `search.policies.POLICIES`: guided takes the best of N states at every step, or of N whole `trajectories`
    margin: float = 0.0  # gain in score below which the unperturbed candidate is kept
    lookahead: Literal[0, 1] = 0  # 1: score the states that the candidates lead to; dearer
    beam: int = Field(1, ge=1)  # prefixes kept while thinking in steps; at most `branches`
    repair: int = Field(0, ge=0)  # further rounds in which every method mends what failed, told the compiler's or the run's log
    repair_limit: int = Field(0, ge=0)  # tasks that repair rounds are made for, under the first seed; 0: all, under all seeds
    arms: tuple[str, ...] = ()  # names in `search.arms.ARMS`; empty: all of them
    seeds: tuple[int, ...] = Field((0,), min_length=1)  # of the draws; every task is translated under each
    sampled: int = Field(0, ge=0)  # second pool: programs of the unperturbed latents, decoded at `decode.sample_temperature`


class Validate(Section):
    cpu_s: float = Field(10.0, gt=0)  # CPU seconds of one run of a program
    memory_mb: int = Field(2048, ge=1)  # of one run
    processes: int = Field(320, ge=1)  # and threads, of one run: honest programs ask for up to 256
    workers: int = Field(2, ge=1)  # programs judged at once; more than four are judged by processes of their own
    gpus: tuple[Annotated[int, Field(ge=0)], ...] = ()  # numbers of the GPUs that judged programs run on; empty: the driver's choice
    max_parallel: int = Field(0, ge=0)  # programs judged at once for each of `gpus`, instead of `workers`; 0: `workers`
    races: Annotated[Literal["off", "on", "auto"], SWITCH] = "auto"  # race stage for correct programs; auto: where its tools are installed
    timing: Annotated[Literal["off", "on"], SWITCH] = "off"  # exclusive timing lane for correct programs
    cuda: Literal["auto", "gpu", "emulated", "compile"] = "auto"  # where CUDA programs run; auto: a GPU, else the CPU
    unsafe: bool = False  # run generated programs without a sandbox
    again: int = Field(0, ge=0)  # stage 03, with `prm.folds`: tasks of which the chosen program and another are compiled and run again here
    agree: bool = False  # stage 05: programs of the pools that survive run once more beside their source program, on inputs made for it


class Executor(Section):
    kind: Literal["local", "dask", "modal"] = "local"  # where programs are written
    workers: int = Field(1, ge=1)  # calls in flight; local: 1 is this process, more are processes
    address: str = ""  # of a Dask scheduler, or its --scheduler-file
    tls_ca: str = ""  # PEM files of a Dask cluster that speaks TLS: all three or none
    tls_cert: str = ""  # see tls_ca
    tls_key: str = ""  # see tls_ca
    gpu: str = ""  # as Modal spells it, such as H100; A100-80GB:2 lays one translator over two, also here or on Dask
    timeout_s: int = Field(3600, ge=1)  # of one call that does not run in this process
    retries: int = Field(2, ge=0)  # further attempts after a failed call
    backoff_s: float = Field(1.0, ge=0)  # wait before the first of them, doubled before each next one
    oom_exit_code: int = -9  # a worker process that ends so ran out of memory: the next attempt has half of the batch
    gpu_else: Annotated[tuple[str, ...], ONE_OR_MORE] = ()  # Modal: GPUs taken where none of `gpu` is free, in this order; as many of each
    memory_gib: float = Field(0, ge=0)  # Modal: of a container; 0: what Modal gives
    secrets: Annotated[tuple[str, ...], ONE_OR_MORE] = ()  # Modal: Secrets whose variables a container sees, such as one with HF_TOKEN
    start_s: int = Field(0, ge=0)  # Modal: for a container to be there, its image included; 0: timeout_s
    volume: str = ""  # a Modal Volume that keeps downloaded weights


class Report(Section):
    enabled: bool = False  # stage 07 is part of `run`
    losses: tuple[str, ...] = ("mse", "bce", "rank", "listwise")  # each tried once in stage 07
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.25, 0.5, 1.0)  # of the training tasks, for the learning curve
    margins: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.2)  # each tried in stage 07
    seeds: tuple[int, ...] = Field((0,), min_length=1)  # of every small training


class Params(Section):
    run: str = "demo"
    seed: int = 0
    suite: Suite = Suite()
    translator: Translator = Translator()
    latent: Latent = Latent()
    decode: Decode = Decode()
    collect: Collect = Collect()
    reward: Reward = Reward()
    prm: Prm = Prm()
    selection: Selection = Selection()
    search: Search = Search()
    validation: Validate = Validate()
    executor: Executor = Executor()
    report: Report = Report()


SECTIONS = tuple(k for k in Params.model_fields if k not in ("run", "seed"))
