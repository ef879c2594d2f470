"""`bench`: its options, where it runs, and the file with its rows.

Knows options.  Measures nothing itself.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from parallax_lib.core import hardware, torchrun
from parallax_lib.core.errors import UserError

SHAPES = ("small", "7b", "14b", "32b", "70b")


def add(sub: Any) -> None:
    """The command's options, to the command line's."""
    command = sub.add_parser("bench", help="ceiling, measurement and their ratio, on this machine: engine, PRM training, files")
    what = command.add_subparsers(required=True, metavar="engine|prm|store")
    engine = what.add_parser("engine", help="prefill, decoding steps and guided search of a translator, beside transformers")
    engine.add_argument("--gpus", default="", metavar="H200:2", help="GPUs that hold it together, as executor.gpu; cpu:2 to try it")
    engine.add_argument("--batches", type=int, nargs="+", default=None, metavar="ROWS", help="rows of the decoding steps")
    engine.add_argument("--prompt", type=int, default=None, help="tokens before a decoding step")
    engine.add_argument("--tokenizer", default="", metavar="DIR", help="its folder; else a token is a byte")
    engine.add_argument("--beside", action=argparse.BooleanOptionalAction, default=True, help="measure transformers too")
    engine.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="on a GPU: layers through torch.compile")
    prm = what.add_parser("prm", help="updates and scores of a PRM; start it by torchrun for several GPUs")
    prm.add_argument("--lora", type=int, default=0, metavar="RANK", help="of the adapters; 0: the whole model is trained")
    prm.add_argument("--rows", type=int, default=None, help="trajectories of one update, over all processes")
    prm.add_argument("--device-rows", type=int, default=None, help="at most so many in one forward")
    prm.add_argument("--latents", type=int, default=None, help="of one trajectory: a token each")
    prm.add_argument("--recompute", action=argparse.BooleanOptionalAction, default=True, help="gradient checkpointing")
    prm.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="on a GPU: layers through torch.compile")
    prm.add_argument("--kahan", action="store_true", help="weights in bfloat16, too: prm.precision bf16-weights")
    store = what.add_parser("store", help="journal, tables and latents, beside plain files")
    store.add_argument("--rows", type=int, default=None)
    store.add_argument("--folder", type=Path, default=Path("."), help="on the disk that is measured")
    for command, work in ((engine, _engine), (prm, _prm), (store, _store)):
        command.add_argument("--shape", choices=SHAPES if work is not _store else ("small", "7b"), default="small")
        command.add_argument("--out", type=Path, default=None, metavar="FILE.json", help="gets the JSON line that is printed last")
        command.set_defaults(go=partial(_run, work))


def _run(work: Any, args: argparse.Namespace) -> None:
    from parallax_lib.core import storage
    from parallax_lib.study.bench.report import Report

    if args.out is not None:
        storage.writable_file(args.out)
    report = Report(partial(print, flush=True))
    text = report.as_json(**{"bench": work.__name__[1:], "shape": args.shape} | work(args, report))
    print(text)
    if args.out is not None:
        storage.write_atomic(args.out, text.encode() + b"\n")


def _given(args: argparse.Namespace, small: dict, *names: str) -> dict[str, Any]:
    """The sizes of the shape, and what the command line says instead."""
    told = {name: getattr(args, name) for name in names}
    return (small if args.shape == "small" else {}) | {name: value for name, value in told.items() if value is not None}


def _engine(args: argparse.Namespace, report: Any) -> dict[str, Any]:
    from parallax_lib.core.executors import ExecutorConfig, open_executor
    from parallax_lib.study.bench import engine_bench

    _alone("engine")
    gpus = hardware.gpus_asked(args.gpus)[1]
    given = _given(args, engine_bench.SMALL, "batches", "prompt", "tokenizer", "beside", "compile")
    given |= {"batches": tuple(given.get("batches", engine_bench.Engine.batches))}
    if gpus > 1:  # a model that one GPU cannot hold leaves less room for caches
        given.setdefault("translations", engine_bench.SPLIT)
    asked = engine_bench.Engine(args.shape, gpus, **given)
    if gpus == 1:
        return engine_bench.measure(asked, report)
    with open_executor(ExecutorConfig(gpu=args.gpus, retries=0, timeout_s=1800)) as executor:
        about, rows = executor.submit(engine_bench.of_rank, asked).result()
    for row in rows:
        report.take(row)
    return about


def _prm(args: argparse.Namespace, report: Any) -> dict[str, Any]:
    from parallax_lib.study.bench import prm_bench

    given = _given(args, prm_bench.SMALL, "lora", "rows", "device_rows", "latents", "recompute", "kahan", "compile")
    return prm_bench.run(prm_bench.Training(args.shape, **given), report)


def _store(args: argparse.Namespace, report: Any) -> dict[str, Any]:
    from parallax_lib.study.bench import store_bench

    _alone("store")
    return store_bench.measure(store_bench.Store(**_given(args, store_bench.SMALL, "rows")), report, args.folder)


def _alone(what: str) -> None:
    if torchrun.processes() > 1:
        raise UserError(f"bench {what} starts its own processes: start it without torchrun; only bench prm uses torchrun's")
