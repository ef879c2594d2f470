"""Commands on files of anyone's: train a PRM on rows, test it on branches, judge programs, recheck their folders.

Knows options and where results are written.  Holds no method; what a command needs is imported when it runs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from parallax_lib.core.config import load_file, load_values, resolve
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Params

TRAIN = {  # option -> setting, type
    "kind": ("prm.kind", str), "loss": ("prm.loss", str), "epochs": ("prm.epochs", int), "lr": ("prm.lr", float),
    "batch": ("prm.batch", int), "init": ("prm.init", str), "seed": ("seed", int),
}  # fmt: skip
ALL = {"suite.test_fraction": 0, "prm.save_every": 0, "prm.keep": 0}  # train on the whole file, keep each epoch's checkpoint


def add(sub) -> None:
    """The commands' options, to the command line's."""
    learn = sub.add_parser("train", help="train a PRM on a JSONL file and its tensors; no translator, no compiler")
    _rows(learn, "rows to train on: one a trajectory, or one a kernel and direction with its continuations inside")
    learn.add_argument("--valid", default="", metavar="FILE.jsonl", help="rows to test on, of other families")
    learn.add_argument("--out", required=True, metavar="DIR", help="gets checkpoint-<step>, final, loss.html and scores.html")
    for name, (setting, kind) in TRAIN.items():
        learn.add_argument(f"--{name}", type=kind, default=None, help=f"the setting {setting}")
    learn.set_defaults(go=_train)
    test = sub.add_parser("validate-branches", help="does a PRM pick the best sibling? the branch-selection test on a JSONL file")
    _rows(test, "rows to test on, as for train")
    test.add_argument("--checkpoint", required=True, metavar="DIR", help="a PRM: final, a checkpoint-<step>, or a trainer's checkpoint")
    test.add_argument("--tolerance", type=float, default=None, help="the setting selection.tolerance, 0.05")
    test.add_argument("--out", type=Path, default=None, metavar="FILE.json", help="the table, and every branch's score beside it")
    test.set_defaults(go=_validate_branches)
    judge = sub.add_parser("validate", help="judge the programs of a JSONL file, anyone's: outputs, a log each, counts")
    judge.add_argument("file", type=Path, help="inference_result_<run>.jsonl, or rows with a kernel, a direction and a program")
    judge.add_argument("--out", type=Path, required=True, metavar="DIR")
    judge.add_argument("--tasks", default="", metavar="TASKS.jsonl", help="the tasks that the programs are for (docs/TASKS.md)")
    judge.add_argument("--params", type=Path, default=None, help="a parameter file whose suite has the tasks; else the bundled suite")
    judge.add_argument("--fields", default="", metavar="MAP.yaml", help="what their fields are called")
    judge.add_argument("--folders", action="store_true", help="write every program as a folder with a Makefile, for recheck")
    judge.add_argument("--set", action="append", default=[], metavar="section.key=value")
    judge.set_defaults(go=_validate)
    again = sub.add_parser("recheck", help="make clean run for each run folder of a list, in the sandbox; status 1 when one does not run")
    again.add_argument("list", type=Path, help="a .txt, .csv or .yaml file (folder, choice, note), or a folder of run folders")
    again.add_argument("--log", type=Path, default=None, help="the combined log; default recheck.log beside the list")
    again.add_argument("--decisions", type=Path, default=None, metavar="FILE.json", help="gets the list's choices; default beside the list")
    again.add_argument("--output", type=Path, default=None, metavar="inference_output_<run>.jsonl", help="rows whose rates are told")
    again.add_argument("--unsafe", action="store_true", help="run without a sandbox")
    again.set_defaults(go=_recheck)


def _rows(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("--jsonl", required=True, metavar="FILE.jsonl", help=what)
    command.add_argument("--vectors", default="", metavar="DIR", help="base folder of the tensors; else beside the file, or vectors/")
    command.add_argument("--fields", default="", metavar="MAP.yaml", help="what their fields are called (docs/FROM_PARALLAX.md)")
    command.add_argument("--set", action="append", default=[], metavar="section.key=value")


def _params(args, **given) -> Params:
    """Defaults, what the options say, then --set; each under its setting's name."""
    said = {setting: getattr(args, name, None) for name, (setting, _) in TRAIN.items()} | given
    sets = [f"{setting}={json.dumps(value)}" for setting, value in said.items() if value not in (None, "")]
    return load_values({"run": "prm"}, (*sets, *args.set))


def _train(args) -> None:
    from parallax_lib.core import storage

    params = _params(args, **{"prm.train_jsonl": args.jsonl, "prm.valid_jsonl": args.valid, "prm.vectors": args.vectors,
                              "prm.fields": args.fields, "prm.save_path": args.out, **ALL})  # fmt: skip
    out = storage.writable_folder(Path(args.out).expanduser().resolve())
    from parallax_lib.study import prm_files, prm_registry

    prm_registry.check_given(params, guides=False)
    with storage.held(out):
        prm_files.train(params, out, lambda line: print(line, flush=True))


def _validate_branches(args) -> None:
    from parallax_lib.core import storage

    if args.out is not None:
        storage.writable_file(args.out)
    if not resolve(args.checkpoint).exists():
        raise UserError(f"--checkpoint {args.checkpoint}: no such folder; name a PRM's, such as DIR/final or DIR/checkpoint-50")
    params = _params(args, **{"prm.valid_jsonl": args.jsonl, "prm.vectors": args.vectors, "prm.fields": args.fields,
                              "prm.checkpoint": args.checkpoint, "selection.tolerance": args.tolerance})  # fmt: skip
    from parallax_lib.study import prm_files

    prm_files.validate_branches(params, args.out, lambda line: print(line, flush=True))


def _validate(args) -> None:
    from parallax_lib.core import storage
    from parallax_lib.search.field_map import read_map
    from parallax_lib.study import inference_files

    name = [f"run={json.dumps(inference_files.run_name(args.file))}"]
    tasks = [f"suite.kinds={json.dumps(['tasks'])}", f"suite.file={json.dumps(args.tasks)}"] if args.tasks else []
    sets = (*name, *tasks, *args.set)
    params = load_file(args.params, sets) if args.params else load_values({}, sets)
    names, out = read_map(args.fields), storage.writable_folder(args.out)
    with storage.held(out):
        run, rows, of = inference_files.validate(args.file, params, names, out, lambda line: print(line, flush=True))
        if args.folders:
            from parallax_lib.study import program_folders

            listed = program_folders.write_all(rows, of, out / "programs")
            print(f"written    {len(listed)} folders: {out / 'programs'}")
            print(f"recheck    python -m parallax_lib recheck {out / 'programs' / 'list.csv'}")


def _recheck(args) -> int:
    from parallax_lib.core import storage
    from parallax_lib.sandbox import sandbox
    from parallax_lib.study import program_folders

    entries = program_folders.read_list(args.list)
    home = args.list if args.list.is_dir() else args.list.parent
    log = args.log or home / "recheck.log"
    storage.writable_file(log)
    ran = program_folders.recheck_list(entries, sandbox.probe(unsafe=args.unsafe), log, lambda line: print(line, flush=True))
    print(f"combined log  {log}")
    decisions = args.decisions or home / "decisions.json"
    kept = program_folders.keep_decisions(entries, decisions)
    found = [args.output] if args.output else sorted(home.parent.glob("inference_output_*.jsonl"))
    if found and (kept or decisions.exists()):
        print(program_folders.accounting(found[0], decisions))
    return 0 if all(each.status == "ok" for each in ran) else 1
