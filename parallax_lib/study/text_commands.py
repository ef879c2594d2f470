"""The commands train-text and score-text: a reward model that reads programs or plans, and its scores of a table.

Knows options and where results are written.  Holds no method; what a command needs is imported when it runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from parallax_lib.core.config import resolve
from parallax_lib.core.errors import UserError

SETTINGS = {"lora_rank": int, "loss": str, "max_tokens": int}  # of TextConfig
TRAINING = {"epochs": int, "lr": float, "batch": int, "unfreeze_step": int, "evaluations": int, "patience": int, "seed": int}
HELP = {
    "lora_rank": "of the adapters, 16; 0 trains the whole backbone",
    "loss": "bce, mse or orm",
    "max_tokens": "longer rows are not read, 8192",
    "epochs": "1; of plans 2, of sources 6",
    "lr": "of the head, 1e-3; the adapters' is 0.3 of it",
    "batch": "texts of one update, 32; of sources 16",
    "unfreeze_step": "updates of the head alone, 20",
    "evaluations": "of the valid loss in an epoch, 4",
    "patience": "evaluations without a better valid loss before stopping, 4; 0: never",
    "seed": "of weights and order, 0",
}
USUAL = {"plan": {"epochs": 2}, "source": {"epochs": 6, "batch": 16}}  # short texts, few of them distinct: cheap to read more than once


def add(sub) -> None:
    """The commands' options, to the command line's."""
    learn = sub.add_parser("train-text", help="train a PRM that reads the source and a program, a plan, or nothing else")
    learn.add_argument("--rollouts", default="", metavar="DIR", help="what `collect` wrote, or a run's folder")
    learn.add_argument("--jsonl", default="", metavar="FILE", help="rows: task, family, direction, source_code, plan, code, reward")
    learn.add_argument("--test-rollouts", default="", metavar="DIR", help="rollouts of other families to measure it on")
    learn.add_argument("--reads", default="program", choices=("program", "plan", "source"))
    learn.add_argument("--backbone", default="qwen-coder-0.5b", metavar="NAME|FOLDER")
    learn.add_argument("--fold", default="", metavar="k/n", help="test the k-th of n folds of families, the next one is valid")
    learn.add_argument("--valid-fraction", type=float, default=0.15, help="of the families, without --fold and without a column split")
    learn.add_argument("--share", type=float, default=1.0, help="of the training tasks, for a learning curve")
    learn.add_argument("--shuffle-siblings", action="store_true", help="control: rewards dealt out anew among each task's rows")
    learn.add_argument("--reward", default="executable", help="the setting reward.spec")
    learn.add_argument("--out", required=True, type=Path, metavar="DIR", help="gets final, checkpoint-<step> and metrics.json")
    for name, kind in (SETTINGS | TRAINING).items():
        learn.add_argument("--" + name.replace("_", "-"), type=kind, default=None, help=HELP[name])
    _machine(learn)
    learn.set_defaults(go=_train)
    score = sub.add_parser("score-text", help="one score a row by a PRM of train-text")
    score.add_argument("--checkpoint", required=True, nargs="+", type=Path, metavar="DIR", help="final; several: each row's mean of those "
                       "that were not trained on its family")  # fmt: skip
    score.add_argument("--rollouts", default="", metavar="DIR")
    score.add_argument("--table", type=Path, default=None, metavar="results.parquet")
    score.add_argument("--sources", default="", metavar="DIR|PARAMS.yaml", help="rollouts or a suite with the sources of a table's tasks")
    score.add_argument("--arm", default="", help="only these rows of the table, such as pool")
    score.add_argument("--seen", action="store_true", help="score families too that a PRM was trained on")
    score.add_argument("--translator", default="", metavar="NAME|FOLDER", help="then cost_<reads>: the reading in the translator's tokens")
    score.add_argument("--add", action="store_true", help="write the whole table with the scores in it")
    score.add_argument("--out", required=True, type=Path, metavar="scores.parquet")
    _machine(score)
    score.set_defaults(go=_score)


def _machine(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="cpu, cuda, cuda:1; auto: a GPU, else the CPU")
    command.add_argument("--chunk", type=int, default=0, help="tokens of one forward; default 16,384 on a GPU")


def _say(line: str) -> None:
    print(line, flush=True)


def _one_of(**given) -> None:
    if sum(map(bool, given.values())) != 1:
        raise UserError(f"name exactly one of {', '.join(f'--{name}' for name in given)}")


def _train(args) -> None:
    import time

    from parallax_lib.core import storage
    from parallax_lib.prm.text_reward import TextConfig
    from parallax_lib.prm.text_training import TextTraining
    from parallax_lib.study import text_prm, training
    from parallax_lib.translator.models import pick_device

    _one_of(rollouts=args.rollouts, jsonl=args.jsonl)
    if args.backbone.startswith(("/", ".", "~")) and not resolve(args.backbone).is_dir():
        raise UserError(f"--backbone {args.backbone}: no such folder; name one of a causal LM, or qwen-coder-0.5b")
    out = storage.writable_folder(args.out.expanduser().resolve())
    training.refuse_foreign_folder(out)
    clock = time.monotonic()
    said = {name: value for name, value in vars(args).items() if value is not None}
    config = TextConfig(args.backbone, args.reads, **{name: said[name] for name in SETTINGS if name in said})
    learning = TextTraining(**USUAL.get(args.reads, {}) | {name: said[name] for name in TRAINING if name in said})
    rows = text_prm.read(args.rollouts, args.jsonl, args.reward)
    rows = text_prm.share_of_tasks(rows.assign(split=text_prm.split(rows, args.valid_fraction, args.fold)), args.share)
    if args.test_rollouts:
        rows = text_prm.with_tested(rows, text_prm.read(args.test_rollouts, spec=args.reward))
    more = {"device": pick_device(args.device), "tokens": args.chunk}
    with storage.held(out):
        found = text_prm.train(rows, config, learning, out, _say, shuffle=args.shuffle_siblings, **more)
        settings = {name: str(value) for name, value in said.items() if name != "go"}
        about = {"settings": settings, "seconds": round(time.monotonic() - clock, 1)}
        storage.write_json(out / "metrics.json", about | found)
    _say(text_prm.table({part: found[part] for part in ("valid", "test") if part in found}).round(3).to_string(index=False))
    _say(f"{found['updates']} updates in {about['seconds']:.0f} s\nPRM        {out / 'final'}\nfigures    {out / 'metrics.json'}")


def _score(args) -> None:
    import pandas as pd

    from parallax_lib.core import storage
    from parallax_lib.study import text_prm, text_scores
    from parallax_lib.translator.models import pick_device

    _one_of(rollouts=args.rollouts, table=args.table)
    storage.writable_file(args.out)
    if args.table is not None:
        rows = storage.read_table(args.table.parent, args.table.stem)
        rows = rows[rows["arm"].isin(args.arm.split(","))].reset_index(drop=True) if args.arm else rows
        rows = text_scores.with_sources(rows, args.sources)
    else:
        rows = text_prm.read(args.rollouts)
    if rows.empty:
        raise UserError("no rows to score")
    size = text_scores.translator_size(args.translator) if args.translator else 0
    more = {"seen": args.seen, "device": pick_device(args.device), "tokens": args.chunk, "sizes": size, "inside": text_scores.counted(_say)}
    scores = text_scores.score_rows(rows, args.checkpoint, _say, **more)
    whole = text_scores.add_scores(rows, scores) if args.add else scores
    storage.write_atomic(args.out, pd.DataFrame(whole).to_parquet(index=False))
    name = next(name for name in scores if name.startswith("score_"))
    _say(f"{int(scores[name].notna().sum())} of {len(scores)} rows have a score {name}: {args.out}")
